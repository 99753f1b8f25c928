package spool

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
)

// checkClasses compares the SOP classes of a study.
func checkClasses(t testing.TB, s *Spool, study dicom.UID, want ...dicom.UID) {
	t.Helper()
	for got, err := range s.Studies(context.Background(), StudyFilter{UIDs: []dicom.UID{study}}) {
		if err != nil || !slices.Equal(got.SOPClasses, want) {
			t.Errorf("%s: SOP classes %v, want %v; %v", study, got.SOPClasses, want, err)
		}
	}
}

// A study has the SOP classes of all its instances (PS3.4 C.3.4), several in one series too, whether they are indexed
// yet or not, and none whose last instance is gone.
func TestSOPClassesOfStudy(t *testing.T) {
	const secondary, sr = "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.5.1.4.1.1.88.11"
	dir, o := t.TempDir(), small()
	s := openSpool(t, dir, o)
	put := func(sop string, class dicom.UID) InstanceID {
		t.Helper()
		d := ward[0]
		d.sop = sop
		w, err := s.Begin(Incoming{SOPClassUID: class, SOPInstanceUID: dicom.UID(sop), TransferSyntaxUID: dicom.ExplicitVRLittleEndian})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if _, err := w.Write(d.object(t).Data); err != nil {
			t.Fatal(err)
		}
		r, err := w.Commit(nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Instance.ID
	}
	capture := put("1", secondary)
	put("2", synth.CTImageStorage)
	put("3", synth.CTImageStorage)
	flush(t, s)
	checkClasses(t, s, "1.1", synth.CTImageStorage, secondary)

	release := holdIndex(t, s)
	put("4", sr)
	checkClasses(t, s, "1.1", synth.CTImageStorage, secondary, sr)
	release()
	flush(t, s)
	checkClasses(t, s, "1.1", synth.CTImageStorage, secondary, sr)

	err := s.adjust(func(tx *tx) error {
		in, err := tx.entry(capture)
		if err != nil {
			return err
		}
		return tx.bury(in)
	})
	if err != nil {
		t.Fatal(err)
	}
	checkClasses(t, s, "1.1", synth.CTImageStorage, sr)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	checkClasses(t, openSpool(t, dir, o), "1.1", synth.CTImageStorage, sr)
}

// What a sender can make a study's record grow by is bounded.
func TestSOPClassesAreBounded(t *testing.T) {
	var c sopClassCounts
	for i := range 2 * maxSOPClasses {
		c.add(dicom.UID(fmt.Sprint("1.2.", i)), 1)
		c.add("1.2.0", 1)
	}
	d := decoder{b: c.append(nil)}
	if got := d.sopClasses(); len(got) != maxSOPClasses || got[0].n != 2*maxSOPClasses+1 || d.err() != nil {
		t.Errorf("%d classes, %+v first, %v", len(got), got[0], d.err())
	}
	c.remove("1.2.1")
	c.remove("1.2.100") // not listed
	if len(c) != maxSOPClasses-1 || slices.Contains(c.uids(), "1.2.1") {
		t.Errorf("%v", c.uids())
	}
}
