package segment

import (
	"encoding/binary"
	"errors"
	"slices"
	"syscall"
	"testing"
)

// TestProbe has the disk refuse each call of a probe, and says what the probe makes of it. A file that a process left
// behind is no obstacle, and none is left.
func TestProbe(t *testing.T) {
	d := newMemDisk()
	s := ready(t, d, small())
	for _, op := range []string{"", "create", "allocate", "write", "datasync", "syncdir", "remove", "open", ""} {
		for _, cause := range []error{syscall.EIO, syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT} {
			d.failWith(op, cause)
			err := s.Probe()
			if reached := op != "" && (op != "open" || d.has(probeName)); reached != errors.Is(err, cause) {
				t.Errorf("%s fails with %v: %v", op, cause, err)
			}
			if full := errors.Is(err, ErrNoSpace); err != nil && full != (cause == syscall.ENOSPC || cause == syscall.EDQUOT) {
				t.Errorf("%s fails with %v: no space: %v", op, cause, full)
			}
		}
	}
	if d.has(probeName) {
		t.Error("a probe was left")
	}
	s.Close()
	if err := s.Probe(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// failWith has all calls of a kind fail.
func (d *memDisk) failWith(op string, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fail = func(o, _ string, _ int64) error {
		if o == op {
			return cause
		}
		return nil
	}
}

func (d *memDisk) has(name string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.names[name] != nil
}

// TestPoolOutlivesAFault has a pool of dead segments and a disk that refuses one kind of call for a while, as one that
// turns read-only refuses all: afterwards nothing lies on the disk that the store does not know, and the pool is used.
func TestPoolOutlivesAFault(t *testing.T) {
	for _, row := range []struct {
		ops  []string
		kept bool // the pool is as it was
	}{
		{[]string{"open", "create", "write", "allocate", "rename", "remove", "datasync", "syncdir"}, true}, // read-only
		{[]string{"write", "remove"}, true},
		{[]string{"allocate", "remove"}, true},
		{[]string{"datasync", "remove"}, true},
		{[]string{"syncdir", "remove"}, true},
		{[]string{"write"}, false},
		{[]string{"datasync"}, false},
		{[]string{"rename"}, false},
		{[]string{"syncdir"}, false},
	} {
		t.Run(row.ops[0], func(t *testing.T) {
			d := newMemDisk()
			o := Options{SegmentSize: minSegmentSize, AllocateStep: 64 << 10, PoolBytes: 8 << 20, MaxOpenFiles: 1}
			s := ready(t, d, o)
			for i := range 7 {
				store(t, s, newObject(uint64(i), 90<<10))
			}
			for _, info := range s.Segments() {
				if err := errors.Join(s.Retire(info.ID), s.Recycle(info.ID)); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := s.Stats()
			if before.PoolSegments < 3 {
				t.Fatalf("%d segments in the pool", before.PoolSegments)
			}
			d.mu.Lock()
			d.fail = func(op, name string, _ int64) error {
				if slices.Contains(row.ops, op) {
					return syscall.EROFS
				}
				return nil
			}
			d.mu.Unlock()
			for i := range 2 {
				if err := tryStore(s, newObject(uint64(100+i), 3000)); !errors.Is(err, syscall.EROFS) {
					t.Fatalf("stored: %v", err)
				}
			}
			if slices.Contains(row.ops, "remove") {
				if err := s.Shrink(1 << 30); !errors.Is(err, syscall.EROFS) {
					t.Errorf("shrink: %v", err)
				}
			}
			d.failWith("", nil)
			after, _ := s.Stats()
			if files := d.files(); files != after.Segments+after.PoolSegments {
				t.Errorf("%d files, and the store knows of %d in use and %d in the pool", files, after.Segments, after.PoolSegments)
			}
			if row.kept && after.PoolSegments < before.PoolSegments {
				t.Errorf("%d segments in the pool, before %d", after.PoolSegments, before.PoolSegments)
			}
			o1 := newObject(200, 3000)
			store(t, s, o1)
			expect(t, s, o1)
			last, _ := s.Stats()
			if after.PoolSegments > 0 && last.PoolSegments != after.PoolSegments-1 {
				t.Errorf("%d segments in the pool after one was taken of %d", last.PoolSegments, after.PoolSegments)
			}
			s.Close()
			again := ready(t, d, o)
			expect(t, again, o1)
			if st, _ := again.Stats(); st.Segments+st.PoolSegments != d.files() {
				t.Errorf("after opening again: %+v", st)
			}
		})
	}
}

// files is the number of files.
func (d *memDisk) files() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.names)
}

// TestNewerLabel opens a segment that a newer version wrote.
func TestNewerLabel(t *testing.T) {
	d := newMemDisk()
	s := ready(t, d, small())
	o := newObject(1, 3000)
	store(t, s, o)
	s.Close()
	label := d.names[fileName(o.at.Segment, segmentSuffix)].data[:labelSize]
	set := func(version byte) {
		label[4] = version
		binary.LittleEndian.PutUint32(label[32:], checksum(label[:32]))
	}
	set(labelVersion + 1)
	var newer *FormatError
	if _, err := open(d, small()); !errors.As(err, &newer) || newer.Format != labelVersion+1 || newer.Known != labelVersion {
		t.Errorf("%v", err)
	}
	set(labelVersion)
	expect(t, ready(t, d, small()), o)
}
