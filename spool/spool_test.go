package spool

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/spool/segment"
)

func TestInstanceIsStoredAsItCame(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, small())
	o := synth.NewTemplate(200_000, 1).Object(1, 2, 3)
	r := mustSend(t, s, o, to("cloud", "pacs")...)
	if r.Outcome != Stored {
		t.Fatalf("outcome %v", r.Outcome)
	}
	check := func(s *Spool) {
		t.Helper()
		in, err := s.Instance(r.Instance.ID)
		if err != nil {
			t.Fatal(err)
		}
		if string(in.StudyInstanceUID) != o.StudyInstanceUID || string(in.SeriesInstanceUID) != o.SeriesInstanceUID || string(in.SOPInstanceUID) != o.SOPInstanceUID {
			t.Errorf("UIDs %v", in)
		}
		if in.Digest != sha256.Sum256(o.Data) || in.Size != int64(len(o.Data)) || in.CallingAETitle != "CT1" || in.Flags != 0 {
			t.Errorf("instance %+v", in)
		}
		if m := in.Metadata.Text(dicom.TagModality); m != "CT" {
			t.Errorf("modality %q", m)
		}
		sameBytes(t, dataSet(t, s, in.ID), o.Data)
		rd, err := s.Open(in.ID)
		if err != nil {
			t.Fatal(err)
		}
		defer rd.Close()
		var whole bytes.Buffer
		if n, err := rd.WriteTo(&whole); err != nil || n != rd.Size() {
			t.Fatal(n, err)
		}
		meta, header, err := dicom.ReadFileMeta(&whole)
		if err != nil || header != in.HeaderLength || string(meta.SOPInstanceUID) != o.SOPInstanceUID || meta.SourceAETitle != "CT1" {
			t.Errorf("file meta %+v, %d bytes, %v", meta, header, err)
		}
		found, err := s.Lookup(in.StudyInstanceUID, in.SeriesInstanceUID, in.SOPInstanceUID)
		if err != nil || len(found) != 1 || found[0].ID != in.ID {
			t.Errorf("lookup: %v, %v", found, err)
		}
		n := 0
		for got, err := range s.Instances(in.StudyInstanceUID, "") {
			if err != nil || got.ID != in.ID {
				t.Error(got.ID, err)
			}
			n++
		}
		if n != 1 {
			t.Errorf("%d instances in the study", n)
		}
	}
	check(s)
	flush(t, s)
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, small())
	check(s)
	verifyClean(t, s)
	if s.Recovery().Replayed != 0 {
		t.Errorf("replayed %d after a clean close", s.Recovery().Replayed)
	}
}

func TestDuplicatesAndVersions(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	o := synth.NewTemplate(30_000, 1).Object(1, 1, 1)
	first := mustSend(t, s, o, to("cloud")...)
	for range 2 { // before and after it is indexed
		again := mustSend(t, s, o, to("cloud")...)
		if again.Outcome != Duplicate || again.Instance.ID != first.Instance.ID {
			t.Fatalf("%v of %v", again.Outcome, again.Instance.ID)
		}
		flush(t, s)
	}
	other := o
	other.Data = bytes.Clone(o.Data)
	other.Data[len(other.Data)-1] ^= 1
	second := mustSend(t, s, other, to("cloud")...)
	if second.Outcome != NewVersion || second.Instance.Flags&FlagNewVersion == 0 {
		t.Fatalf("%v", second.Outcome)
	}
	for _, v := range []synth.Object{o, other} {
		if r := mustSend(t, s, v, to("cloud")...); r.Outcome != Duplicate {
			t.Fatalf("%v", r.Outcome)
		}
	}
	in := incoming(o)
	in.TransferSyntaxUID = dicom.JPEGBaseline
	if r, err := send(s, in, o.Data); err != nil || r.Outcome != NewVersion {
		t.Fatal(r.Outcome, err)
	}
	sameBytes(t, dataSet(t, s, first.Instance.ID), o.Data)
	sameBytes(t, dataSet(t, s, second.Instance.ID), other.Data)
	if c := s.Counts()["cloud"]; c.Pending != 2 {
		t.Fatalf("%+v", c)
	}
	verifyClean(t, s)
}

func TestSameInstanceFromManyWritersAtOnce(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	tpl := synth.NewTemplate(100_000, 1)
	for round := range 10 {
		o := tpl.Object(1, 1, round)
		var wg sync.WaitGroup
		outcomes := make(chan StoreOutcome, 8)
		for range 8 {
			wg.Go(func() {
				r, err := send(s, incoming(o), o.Data, to("cloud")...)
				if err != nil {
					t.Error(err)
				}
				outcomes <- r.Outcome
			})
		}
		wg.Wait()
		close(outcomes)
		count := map[StoreOutcome]int{}
		for c := range outcomes {
			count[c]++
		}
		if count[Stored] != 1 || count[Duplicate] != 7 {
			t.Fatalf("%v", count)
		}
	}
	if n := len(mustClaim(t, s, "cloud", 100)); n != 10 {
		t.Fatalf("%d jobs", n)
	}
	verifyClean(t, s)
}

func TestOddInstancesAreStoredAndFlagged(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	tests := []struct {
		name string
		in   Incoming
		data []byte
		want Flags
	}{
		{"no study", Incoming{SOPInstanceUID: "1.2", TransferSyntaxUID: dicom.ExplicitVRLittleEndian}, []byte("\x08\x00\x18\x00UI\x04\x001.2\x00"), FlagNoStudy | FlagNoSeries},
		{"other UID", Incoming{SOPInstanceUID: "1.3", TransferSyntaxUID: dicom.ExplicitVRLittleEndian}, []byte("\x08\x00\x18\x00UI\x04\x001.2\x00"), FlagNoStudy | FlagNoSeries | FlagUIDMismatch},
		{"empty", Incoming{SOPInstanceUID: "1.4"}, nil, FlagNoStudy | FlagNoSeries},
		{"bad UID", Incoming{SOPInstanceUID: "../../etc/passwd"}, nil, FlagNoStudy | FlagNoSeries | FlagInvalidUID},
		{"garbage", Incoming{SOPInstanceUID: "1.5", TransferSyntaxUID: dicom.DeflatedExplicitVRLittleEndian}, bytes.Repeat([]byte{0xFF}, 100), FlagNoStudy | FlagNoSeries | FlagMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := send(s, tt.in, tt.data)
			if err != nil || r.Outcome != Stored {
				t.Fatal(r.Outcome, err)
			}
			if r.Instance.Flags != tt.want {
				t.Errorf("flags %b, want %b", r.Instance.Flags, tt.want)
			}
			sameBytes(t, dataSet(t, s, r.Instance.ID), tt.data)
		})
	}
	verifyClean(t, s)
}

func TestAbortLeavesNothing(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	o := synth.NewTemplate(30_000, 1).Object(1, 1, 1)
	w, err := s.Begin(incoming(o))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(o.Data); err != nil {
		t.Fatal(err)
	}
	if len(w.Metadata().Elements) == 0 || w.Size() != int64(len(o.Data)) {
		t.Error("nothing scanned")
	}
	w.Abort()
	w.Abort()
	if _, err := w.Commit(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if st := s.Stats(); st.Instances != 0 || st.Bytes != 0 {
		t.Errorf("%+v", st)
	}
	if found, err := s.Lookup(dicom.UID(o.StudyInstanceUID), dicom.UID(o.SeriesInstanceUID), dicom.UID(o.SOPInstanceUID)); err != nil || len(found) != 0 {
		t.Error(found, err)
	}
}

func TestBadJobsAreRefused(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	o := synth.NewTemplate(2000, 1).Object(1, 1, 1)
	for _, name := range []string{"", "a\x00b", "\xff", string(bytes.Repeat([]byte("x"), 65))} {
		if _, err := send(s, incoming(o), o.Data, JobSpec{Destination: name}); !errors.Is(err, ErrBadDestination) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := send(s, incoming(o), o.Data, make([]JobSpec, MaxJobs+1)...); !errors.Is(err, ErrTooManyJobs) {
		t.Error(err)
	}
	r := mustSend(t, s, o, to("a", "b", "a")...)
	if got := r.Instance.Destinations(); len(got) != 2 {
		t.Error(got)
	}
}

func TestIDsRiseWhenTheClockStepsBack(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	o := small()
	o.Now = c.now
	tpl := synth.NewTemplate(2000, 1)
	var last InstanceID
	for round := range 3 {
		s := openSpool(t, dir, o)
		for i := range 3 {
			r := mustSend(t, s, tpl.Object(1, 1, 10*round+i))
			if r.Instance.ID <= last {
				t.Fatalf("%v after %v", r.Instance.ID, last)
			}
			last = r.Instance.ID
		}
		c.advance(-time.Hour)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestChangesHaveNoGaps(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	tpl := synth.NewTemplate(3000, 1)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				o := tpl.Object(1, w, i)
				if _, err := send(s, incoming(o), o.Data); err != nil {
					t.Error(err)
				}
			}
		})
	}
	seen := map[InstanceID]bool{}
	var last uint64
	read := func() {
		for {
			changes, err := s.Changes(last, 7)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range changes {
				if c.Sequence != last+1 || seen[c.ID] || c.Kind != ChangeStored {
					t.Fatalf("change %+v after %d", c, last)
				}
				last, seen[c.ID] = c.Sequence, true
				if _, err := s.Instance(c.ID); err != nil {
					t.Fatal(err)
				}
			}
			if len(changes) == 0 {
				return
			}
		}
	}
	for range 20 {
		read()
	}
	wg.Wait()
	flush(t, s)
	read()
	if len(seen) != 200 {
		t.Errorf("%d changes", len(seen))
	}
}

func TestClosedSpoolRefuses(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	o := synth.NewTemplate(3000, 1).Object(1, 1, 1)
	w, err := s.Begin(incoming(o))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(nil); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Begin(incoming(o)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Claim("x", 1); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := s.flush(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	openSpool(t, dir, small())
	fresh := filepath.Join(dir, newIndexDir)
	if err := os.Mkdir(fresh, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, small())
	if err == nil {
		s.Close()
		t.Fatal("opened twice")
	}
	var locked *segment.LockError
	if !errors.As(err, &locked) {
		t.Errorf("the error gives no advice: %v", err)
	}
	if _, err := Rebuild(t.Context(), dir, small(), nil); !errors.As(err, &locked) {
		t.Errorf("rebuild: %v", err)
	}
	if !exists(fresh) {
		t.Error("an index that the other process may be building is gone")
	}
}

// TestFolderIsALink opens a data folder by a symbolic link, with files of others in it, and a copy of it that was made while it
// was open, the lock's file included.
func TestFolderIsALink(t *testing.T) {
	base := t.TempDir()
	dir, link, copied := filepath.Join(base, "data"), filepath.Join(base, "link"), filepath.Join(base, "copy")
	if err := errors.Join(os.MkdirAll(filepath.Join(dir, segmentsDir), 0o700), os.Symlink(dir, link)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lost+found", "segments/.nfs0001", "segments/0000000g.seg", "segments/1.seg", "segments/notes.txt"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("not ours"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := openSpool(t, link, small())
	tpl := synth.NewTemplate(3000, 1)
	in := mustSend(t, s, tpl.Object(1, 1, 1)).Instance
	flush(t, s)
	if _, err := Open(dir, small()); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("by its own name: %v", err)
	}
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, dataSet(t, openSpool(t, copied, small()), in.ID), tpl.Object(1, 1, 1).Data)
	for _, name := range []string{"lost+found", "segments/notes.txt", "segments/1.seg"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "not ours" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}
