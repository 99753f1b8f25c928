package spool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dcmgate/internal/synth"
	"dcmgate/spool/segment"
)

// fillForRebuild leaves a spool with every kind of job and an evicted instance.
func fillForRebuild(t *testing.T, dir string, o Options, c *clock) map[string]JobCounts {
	t.Helper()
	s := openSpool(t, dir, o)
	tpl := synth.NewTemplate(20_000, 1)
	for i := range 3 {
		mustSend(t, s, tpl.Object(0, 0, 100+i), to("cloud")...)
	}
	deliverAll(t, s, "cloud")
	c.advance(48 * time.Hour)
	evictNow(t, s)
	for i := range 10 {
		mustSend(t, s, tpl.Object(1, i/5, i), to("cloud", "pacs")...)
	}
	jobs := mustClaim(t, s, "cloud", 5)
	for i, o := range []Outcome{
		Delivered(jobs[0].Key(), 0), Delivered(jobs[1].Key(), 0xB007), Park(jobs[2].Key(), "x", "y"),
		Retry(jobs[3].Key(), c.now().Add(time.Hour), "x", "y"), Retry(jobs[4].Key(), time.Time{}, "x", "y"),
	} {
		if err := s.Complete(o); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := s.KeepEnquiry(Enquiry{Peer: "CT1", TransactionUID: "1.2", Received: c.now(), Request: []byte("request")}); err != nil {
		t.Fatal(err)
	}
	flush(t, s)
	counts := s.Counts()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return counts
}

func rebuildOptions(c *clock) Options {
	o := small()
	o.Now, o.Retention = c.now, 24*time.Hour
	return o
}

func TestRebuildKeepsOutcomes(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	o := rebuildOptions(c)
	counts := fillForRebuild(t, dir, o, c)
	calls := 0
	r, err := Rebuild(context.Background(), dir, o, func(done, total int64) {
		if calls++; done > total {
			t.Errorf("%d of %d", done, total)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OldIndexRead || r.Instances != 10 || r.CustodyKept != 3 || r.Missing != 0 || r.OutcomesKept != 5 || calls < 10 {
		t.Errorf("%+v, %d calls", r, calls)
	}
	s := openSpool(t, dir, o)
	for name, want := range counts {
		if got := s.Counts()[name]; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	if st := s.Stats(); st.Instances != 10 || st.Evicted != 3 {
		t.Errorf("%+v", st)
	}
	if e, err := s.Enquiry("CT1", "1.2"); err != nil || string(e.Request) != "request" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := s.Changes(0, 1); err != ErrChangesPruned {
		t.Error(err)
	}
	again := mustSend(t, s, synth.NewTemplate(20_000, 1).Object(1, 0, 0))
	if again.Outcome != Duplicate {
		t.Error(again.Outcome)
	}
	if r := mustSend(t, s, synth.NewTemplate(20_000, 1).Object(0, 0, 100), to("cloud")...); r.Outcome != Restored {
		t.Error(r.Outcome)
	}
	verifyClean(t, s)
	if exists(filepath.Join(dir, oldIndexDir)) || exists(filepath.Join(dir, newIndexDir)) {
		t.Error("directories left behind")
	}
}

func TestRebuildFromSegmentsAlone(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	o := rebuildOptions(c)
	fillForRebuild(t, dir, o, c)
	if err := os.RemoveAll(filepath.Join(dir, indexDir)); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(dir, o); err == nil {
		s.Close()
		t.Fatal("opened segments without their index")
	}
	r, err := Rebuild(context.Background(), dir, o, nil)
	if err != nil || r.OldIndexRead && r.OutcomesKept != 0 || r.Instances < 10 {
		t.Fatalf("%+v, %v", r, err)
	}
	s := openSpool(t, dir, o)
	if c := s.Counts()["pacs"]; c != (JobCounts{Pending: 10}) {
		t.Errorf("%+v", c)
	}
	if c := s.Counts()["cloud"]; c.Pending != r.Instances {
		t.Errorf("%+v", c)
	}
	verifyClean(t, s)
}

// TestEmptySegmentsNeedNoIndex opens a spool without an index beside segments that were put to use, reserved and
// prepared, but hold nothing.
func TestEmptySegmentsNeedNoIndex(t *testing.T) {
	dir, o := t.TempDir(), small()
	store, err := segment.Open(filepath.Join(dir, segmentsDir), segment.Options{SegmentSize: o.SegmentSize, AllocateStep: o.AllocateStep})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Replay(nil, nil); err != nil {
		t.Fatal(err)
	}
	w, err := store.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(make([]byte, 1<<20)); err != nil { // never committed
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	obj := synth.NewTemplate(1000, 1).Object(1, 1, 1)
	for range 2 { // the second time the format key is there
		s := openSpool(t, dir, o)
		if st := s.Stats(); st.Segments == 0 || st.Instances != 0 {
			t.Errorf("%+v", st)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := openSpool(t, dir, o)
	mustSend(t, s, obj)
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, indexDir)); err != nil {
		t.Fatal(err)
	}
	for range 2 { // also a second time: the attempt leaves no index that looks whole
		if s, err := Open(dir, o); err == nil || !errors.Is(err, errNoIndex) {
			s.Close()
			t.Errorf("one record without an index: %v", err)
		}
	}
}

func TestInterruptedSwapIsFinishedOrUndone(t *testing.T) {
	tests := []struct {
		name  string
		wreck func(index, old, fresh string) error
	}{
		{"before the old one is moved", func(index, old, fresh string) error { return os.CopyFS(fresh, os.DirFS(index)) }},
		{"between the moves", func(index, old, fresh string) error {
			if err := os.CopyFS(fresh, os.DirFS(index)); err != nil {
				return err
			}
			return os.Rename(index, old)
		}},
		{"before the old one is removed", func(index, old, fresh string) error { return os.CopyFS(old, os.DirFS(index)) }},
		{"only the old one", func(index, old, fresh string) error { return os.Rename(index, old) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			s := openSpool(t, dir, small())
			mustSend(t, s, synth.NewTemplate(1000, 1).Object(1, 1, 1), to("cloud")...)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			index, old, fresh := filepath.Join(dir, indexDir), filepath.Join(dir, oldIndexDir), filepath.Join(dir, newIndexDir)
			if err := tt.wreck(index, old, fresh); err != nil {
				t.Fatal(err)
			}
			s = openSpool(t, dir, small())
			if n := len(mustClaim(t, s, "cloud", 10)); n != 1 {
				t.Errorf("%d jobs", n)
			}
			if exists(old) || exists(fresh) {
				t.Error("directories left behind")
			}
			verifyClean(t, s)
		})
	}
}
