package spool

import (
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
)

func TestKnownCountsByUID(t *testing.T) {
	dir, clock := t.TempDir(), newClock()
	o := small()
	o.Now = clock.now
	s := openSpool(t, dir, o)
	a, b := synth.NewTemplate(4<<10, 1), synth.NewTemplate(6<<10, 1)
	first, other := a.Object(1, 1, 1), a.Object(2, 1, 4)
	version := b.Object(1, 2, 3) // other content under the UIDs of a's
	for _, o := range []synth.Object{first, a.Object(1, 1, 2), a.Object(1, 2, 3), version, other} {
		mustSend(t, s, o)
	}
	flush(t, s)
	check := func(study string, series, instances int) {
		t.Helper()
		gotSeries, gotInstances, err := s.Known(t.Context(), dicom.UID(study))
		if err != nil || gotSeries != series || gotInstances != instances {
			t.Errorf("%d series, %d instances, %v; want %d, %d", gotSeries, gotInstances, err, series, instances)
		}
	}
	check(first.StudyInstanceUID, 2, 3)
	check(other.StudyInstanceUID, 1, 1)
	check("1.2.3", 0, 0)
	if s.LastSequence() != 5 {
		t.Errorf("last sequence %d", s.LastSequence())
	}

	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Hour)
	o.Retention = time.Minute
	s = openSpool(t, dir, o)
	for s.Stats().Evicted < 5 {
		time.Sleep(time.Millisecond)
	}
	flush(t, s)                         // the count is ahead of the index
	check(first.StudyInstanceUID, 2, 3) // custody records are left
	// Whole is what has all that once was, also where it is not indexed yet.
	whole := func(study string, want bool) {
		t.Helper()
		if got, err := s.Whole(t.Context(), dicom.UID(study)); err != nil || got != want {
			t.Errorf("study %s is whole: %v, %v", study, got, err)
		}
	}
	whole("1.2.3", false)
	whole(other.StudyInstanceUID, false)
	o.Retention = 0
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, o)
	for _, o := range []synth.Object{first, a.Object(1, 1, 2), a.Object(1, 2, 3)} {
		whole(first.StudyInstanceUID, false)
		mustSend(t, s, o)
	}
	whole(first.StudyInstanceUID, true) // one of two versions of an instance is enough
	flush(t, s)
	whole(first.StudyInstanceUID, true)
	whole(other.StudyInstanceUID, false)
	mustSend(t, s, a.Object(3, 1, 1))
	whole(a.Object(3, 1, 1).StudyInstanceUID, true)
}
