package segment

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dcmgate/internal/faultdisk"
)

// killedStore is a disk on which a process was killed: it had acknowledged the record a, and has written b, without a sync.
func killedStore(t *testing.T) (d *memDisk, a, b *object) {
	t.Helper()
	d = newMemDisk()
	s := ready(t, d, small())
	a, b = newObject(1, 9000), newObject(2, 9000)
	store(t, s, a)
	dead := false
	d.fail = func(op, _ string, _ int64) error {
		if dead = dead || op == "datasync"; dead {
			return errKilled
		}
		return nil
	}
	if err := tryStore(s, b); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	s.Close()
	return d, a, b
}

// TestSyncFailsAtTheStart has the sync fail that follows upon a process that was killed: the kernel tells then of a write that
// failed before. What Replay reports must be on the disk, and be there after a loss of power.
func TestSyncFailsAtTheStart(t *testing.T) {
	for _, row := range []struct {
		name    string
		err     error
		times   int
		records int // that Replay reports; 0: it fails
	}{
		{"dropped", syscall.EIO, 1, 1},    // the pages of b are clean, and not on the disk
		{"still dirty", errKept, 1, 2},    // the second sync writes them
		{"for good", syscall.EIO, 2, 0},   // nothing can be relied upon
		{"no news", syscall.EIO, 0, 2},    //
		{"dirty for good", errKept, 2, 0}, //
	} {
		t.Run(row.name, func(t *testing.T) {
			d, a, _ := killedStore(t)
			failures := row.times
			d.fail = func(op, _ string, _ int64) error {
				if op != "datasync" || failures == 0 {
					return nil
				}
				failures--
				return row.err
			}
			s := openStore(t, d, small())
			got := map[Location]bool{}
			report, err := s.Replay(nil, func(r Record) error { got[r.Location] = true; return nil })
			if row.records == 0 {
				if !errors.Is(err, row.err) {
					t.Errorf("%+v, %v", report, err)
				}
				return
			}
			if err != nil || len(got) != row.records || !got[a.at] || len(report.Late) != row.times || len(report.Damaged) > 0 {
				t.Fatalf("%d records, %+v, %v", len(got), report, err)
			}
			c := newObject(3, 9000)
			store(t, s, c)
			if again := c.at.Segment == a.at.Segment; again != (row.times == 0) {
				t.Errorf("the segment is used again: %t", again)
			}
			s = openStore(t, d.cut(rand.New(rand.NewPCG(1, 1)), Alignment, 0), small())
			replayAll(t, s, report.Ends)
			for at := range got {
				if err := s.Verify(at); err != nil {
					t.Errorf("reported, but %v", err)
				}
			}
			expect(t, s, c)
		})
	}
}

// TestKilledBeforeTheNameIsDurable has a process die that has named a segment but not synced that: what the next one writes
// there is durable.
func TestKilledBeforeTheNameIsDurable(t *testing.T) {
	for seed := range uint64(10) {
		d := newMemDisk()
		s := ready(t, d, small())
		dead := false
		d.fail = func(op, _ string, _ int64) error {
			if dead = dead || op == "syncdir"; dead {
				return errKilled
			}
			return nil
		}
		if _, err := s.Begin(); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		s.Close()
		d.fail = nil
		s = ready(t, d, small())
		o := newObject(1, 9000)
		store(t, s, o)
		s = ready(t, d.cut(rand.New(rand.NewPCG(seed, 1)), Alignment, 0), small())
		expect(t, s, o)
	}
}

// TestDirectoryFailsToSync has the first call of Replay fail, once and for good.
func TestDirectoryFailsToSync(t *testing.T) {
	for times := 1; times <= 2; times++ {
		d, _, _ := killedStore(t)
		left := times
		d.fail = func(op, _ string, _ int64) error {
			if op != "syncdir" || left == 0 {
				return nil
			}
			left--
			return syscall.EIO
		}
		report, err := openStore(t, d, small()).Replay(nil, func(Record) error { return nil })
		if ok := times == 1; ok && (err != nil || len(report.Late) != 1) || !ok && !errors.Is(err, syscall.EIO) {
			t.Errorf("%d: %+v, %v", times, report, err)
		}
	}
}

// TestErrorsNameTheFileAsItIs renames a segment that is open: from then on errors of every call have its new name.
func TestErrorsNameTheFileAsItIs(t *testing.T) {
	disk := faultdisk.MountApart(t)
	h := handles{disk: diskDir(disk.Dir), max: 1}
	g := &segment{name: fileName(1, freeSuffix)}
	f, err := h.create(g)
	if err != nil {
		t.Fatal(err)
	}
	defer h.release(g)
	if _, err := f.WriteAt(zeros[:], 0); err != nil {
		t.Fatal(err)
	}
	now := fileName(1, segmentSuffix)
	if err := h.rename(g, now); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		op   faultdisk.Op
		call func() error
	}{
		{faultdisk.OpRead, func() error { f.drop(0, 0); _, err := f.ReadAt(make([]byte, 10), 0); return err }},
		{faultdisk.OpWrite, func() error { _, err := f.WriteAt(zeros[:], 0); return err }},
		{faultdisk.OpSync, f.sync},
		{faultdisk.OpSync, f.datasync},
		{faultdisk.OpAllocate, func() error { return f.allocate(0, 2*Alignment) }},
		{faultdisk.OpPunch, func() error { return f.punch(0, Alignment) }},
		{faultdisk.OpTruncate, func() error { return f.truncate(Alignment) }},
	} {
		disk.Fail(t, faultdisk.Rule{Errno: syscall.EIO, Ops: []faultdisk.Op{row.op}})
		err := row.call()
		disk.Heal(t)
		pe, ok := errors.AsType[*os.PathError](err)
		if !ok || !errors.Is(err, syscall.EIO) || pe.Path != filepath.Join(disk.Dir, now) || strings.Contains(err.Error(), freeSuffix) {
			t.Errorf("%s: %v", row.op, err)
		}
	}
}
