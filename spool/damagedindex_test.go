package spool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/synth"
)

// fillIndex leaves a closed spool with an index of some tables: instances for two destinations, those for cloud delivered
// but for the last hundred, those for pacs parked.
func fillIndex(t *testing.T, dir string, n int) {
	t.Helper()
	s := openSpool(t, dir, small())
	tpl := synth.NewTemplate(500, 1)
	for i := range n {
		mustSend(t, s, tpl.Object(i/100, i/10, i), to("cloud", "pacs")...)
	}
	flush(t, s)
	for _, j := range mustClaim(t, s, "cloud", n-100) {
		if err := s.Complete(Delivered(j.Key(), 0)); err != nil {
			t.Fatal(err)
		}
	}
	for _, j := range mustClaim(t, s, "pacs", n) {
		if err := s.Complete(Park(j.Key(), "x", "y")); err != nil {
			t.Fatal(err)
		}
	}
	flush(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// spoil changes bytes of a file and returns what puts them right again.
func spoil(t *testing.T, path string, at int64) (mend func()) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	was := make([]byte, 8)
	n, err := f.ReadAt(was, at)
	if n == 0 {
		t.Fatal(err)
	}
	bad := make([]byte, n)
	for i := range bad {
		bad[i] = ^was[i]
	}
	if _, err := f.WriteAt(bad, at); err != nil {
		t.Fatal(err)
	}
	return func() {
		defer f.Close()
		if _, err := f.WriteAt(was[:n], at); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDamagedIndexIsRefused spoils the tables of an index all over: it is never opened, and nothing of it is changed, so
// that it is as good as before once the disk gives what was written.
func TestDamagedIndexIsRefused(t *testing.T) {
	dir := t.TempDir()
	const n = 300
	fillIndex(t, dir, n)
	files, err := filepath.Glob(filepath.Join(dir, indexDir, "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range append(files, filepath.Join(dir, indexDir, "MANIFEST")) {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		for k := range int64(30) {
			mend := spoil(t, path, k*st.Size()/30)
			s, err := Open(dir, small())
			if err == nil {
				s.Close()
				t.Fatalf("%s, spoilt at %d of %d, was opened", filepath.Base(path), k*st.Size()/30, st.Size())
			}
			if !strings.Contains(err.Error(), "index/"+filepath.Base(path)) || !strings.Contains(err.Error(), "verify --rebuild") {
				t.Error(err)
			}
			mend()
		}
	}
	s := openSpool(t, dir, small())
	if c := s.Counts(); c["cloud"] != (JobCounts{Pending: 100, Delivered: n - 100}) || c["pacs"] != (JobCounts{Parked: n}) {
		t.Errorf("%+v", c)
	}
	verifyClean(t, s)
}

// TestRebuildOfADamagedIndex makes an index anew of which parts cannot be read: what the others say is kept, nothing is
// lost, and what is not known is delivered again.
func TestRebuildOfADamagedIndex(t *testing.T) {
	whole := t.TempDir()
	const n = 300
	fillIndex(t, whole, n)
	for _, at := range []float64{0.1, 0.6, 0.999} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, indexDir, "*.sst"))
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			path := files[len(files)-1]
			st, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, path, int64(at*float64(st.Size())))
			r, err := Rebuild(context.Background(), dir, small(), nil)
			if err != nil || r.OldDamages != 1 || r.OldIndexRead || r.Instances != n {
				t.Fatalf("%+v, %v", r, err)
			}
			if exists(filepath.Join(dir, salvageDir)) {
				t.Error("the copy is left behind")
			}
			s := openSpool(t, dir, small())
			c := s.Counts()
			if total(c["cloud"]) != n || total(c["pacs"]) != n {
				t.Errorf("jobs are missing: %+v", c)
			}
			if at < 0.999 && (c["cloud"].Delivered < n/2 || c["pacs"].Parked < n/2) { // a block of 4 KiB
				t.Errorf("too much is not known: %+v", c)
			}
			verifyClean(t, s)
		})
	}
}

// TestIndexIsReadThrough finds damage that comes while the index is open: Verify names it, and so does the daily look.
func TestIndexIsReadThrough(t *testing.T) {
	dir := t.TempDir()
	fillIndex(t, dir, 200)
	o := small()
	o.readThroughEvery = 10 * time.Millisecond
	s := openSpool(t, dir, o)
	files, err := filepath.Glob(filepath.Join(dir, indexDir, "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	verifyClean(t, s)
	if err := s.IndexDamage(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	mend := spoil(t, files[0], f.Size()-100) // where only its opening looks, so that this test's own reading is right
	for s.IndexDamage() == nil {
		time.Sleep(time.Millisecond)
	}
	r, err := s.Verify(t.Context(), nil)
	if err != nil || r.ProblemCount != 1 || !strings.Contains(r.Problems[0].What, "index/"+filepath.Base(files[0])) {
		t.Errorf("%+v, %v", r, err)
	}
	mustSend(t, s, synth.NewTemplate(500, 1).Object(9, 9, 999), to("cloud")...) // it is safe in the segments
	mend()
	for s.IndexDamage() != nil {
		time.Sleep(time.Millisecond)
	}
	verifyClean(t, s)
}

func total(c JobCounts) int64 { return c.Pending + c.Parked + c.Delivered }
