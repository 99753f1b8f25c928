package segment

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
)

// life is a store on a memory disk whose power is cut again and again, and what it owes.
type life struct {
	t    *testing.T
	r    *rand.Rand
	d    *memDisk
	s    *Store
	seed uint64

	// owed are the records for which Commit returned nil and that were not freed since. An index would have them.
	owed map[Location]*object
	// known are the checkpoints as an index would keep them; indexed are the records before them.
	known map[ID]Checkpoint
	// freed are places of freed records: a cut may have kept a part of the hole.
	freed map[[2]int64]bool
	// everything that was ever handed to Commit, by digest of payload: only these bytes may be reported.
	made map[[32]byte]bool
}

func powerOptions() Options {
	return Options{SegmentSize: 256 << 10, AllocateStep: 32 << 10, PoolBytes: 1 << 20, MaxLanes: 4}
}

// start opens and replays the store, and checks that it has all that is owed and nothing that was never written.
func (l *life) start() {
	s, err := open(l.d, powerOptions())
	if err != nil {
		l.t.Fatalf("round %d: %v", l.seed, err)
	}
	l.s = s
	got := map[Location]bool{}
	report, err := s.Replay(l.known, func(r Record) error {
		got[r.Location] = true
		if !l.made[r.Digest] {
			l.t.Errorf("round %d: a record that nobody wrote: %+v", l.seed, r.Location)
		}
		return nil
	})
	if err != nil {
		l.t.Fatalf("round %d: %v", l.seed, err)
	}
	for _, r := range report.Damaged {
		if !l.freed[[2]int64{int64(r.Segment), r.Offset}] {
			l.t.Errorf("round %d: damage: %+v", l.seed, r)
		}
	}
	for at, o := range l.owed {
		behind := l.known[at.Segment].Generation != at.Generation || at.Offset >= l.known[at.Segment].Offset
		if behind && !got[at] {
			l.t.Fatalf("round %d: lost %+v; replayed %d, %+v", l.seed, at, len(got), report)
		}
		expect(l.t, s, o)
	}
	for at := range got {
		if l.owed[at] == nil {
			// Whole, but its Commit did not return: it counts from now on, as the index would have it.
			l.readable(at)
			delete(got, at)
		}
	}
	l.known = report.Ends
}

// readable checks a record that was not acknowledged but is reported.
func (l *life) readable(at Location) {
	if err := l.s.Verify(at); err != nil {
		l.t.Errorf("round %d: reported, but %v", l.seed, err)
	}
}

// step does something at random.
func (l *life) step() error {
	switch n := l.r.IntN(20); {
	case n < 14:
		return l.store(l.object())
	case n < 16:
		w, err := l.s.Begin()
		if err == nil {
			_, err = w.Write(content(l.r.Uint64(), l.r.IntN(300_000)))
			w.Abort()
		}
		return err
	case n < 17:
		for at := range l.owed {
			if l.r.IntN(3) == 0 {
				delete(l.owed, at)
				l.freed[[2]int64{int64(at.Segment), at.Offset}] = true
				return l.s.Free(at)
			}
		}
	case n < 18:
		return l.recycle()
	case n < 19:
		for id, end := range l.known {
			for at := range l.owed {
				if at.Segment == id && at.Generation == end.Generation {
					end.Offset = max(end.Offset, at.Next().Offset)
				}
			}
			l.known[id] = end
		}
	}
	return nil
}

// object makes a record of random size, now and then one with records in it.
func (l *life) object() *object {
	o := newObject(l.r.Uint64(), []int{l.r.IntN(9000), l.r.IntN(9000), l.r.IntN(200_000), 4032, 8128}[l.r.IntN(5)])
	if l.r.IntN(8) == 0 {
		o.payload = bytes.Repeat(o.payload[:min(len(o.payload), 4096)], 3)
		o.header = min(o.header, len(o.payload))
	}
	return o
}

func (l *life) store(o *object) error {
	l.made[o.digest()] = true
	err := tryStore(l.s, o)
	if err == nil {
		l.owed[o.at] = o
	}
	return err
}

// together commits several records at once, so that they form groups.
func (l *life) together() error {
	var wg sync.WaitGroup
	objects := []*object{l.object(), l.object(), l.object(), l.object()}
	errs := make([]error, len(objects))
	for i, o := range objects {
		l.made[o.digest()] = true
		wg.Go(func() { errs[i] = tryStore(l.s, o) })
	}
	wg.Wait()
	for i, o := range objects {
		if errs[i] == nil {
			l.owed[o.at] = o
		}
	}
	return errors.Join(errs...)
}

// recycle gives up a segment with all its records.
func (l *life) recycle() error {
	infos := l.s.Segments()
	if len(infos) == 0 {
		return nil
	}
	id := infos[l.r.IntN(len(infos))].ID
	if err := l.s.Retire(id); err != nil {
		return err
	}
	for at := range l.owed {
		if at.Segment == id {
			delete(l.owed, at)
		}
	}
	delete(l.known, id)
	return l.s.Recycle(id)
}

// TestPowerCut lives many lives: random work, a cut that keeps any part of what was not synced, recovery, and again
// on what the recovery left.
func TestPowerCut(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 300
	}
	if raceEnabled() {
		rounds /= 5 // its cost is the copying of disks, of which the race detector makes a lot
	}
	const perLife = 6
	for seed := range uint64(rounds / perLife) {
		l := &life{t: t, r: rand.New(rand.NewPCG(seed, 7)), d: newMemDisk(), seed: seed,
			owed: map[Location]*object{}, known: map[ID]Checkpoint{}, made: map[[32]byte]bool{}, freed: map[[2]int64]bool{}}
		for range perLife {
			l.start()
			for range l.r.IntN(12) {
				if err := l.step(); err != nil {
					t.Fatalf("round %d: %v", seed, err)
				}
			}
			if err := l.together(); err != nil {
				t.Fatal(err)
			}
			l.cutDuring()
			if t.Failed() {
				return
			}
		}
	}
}

// cutDuring cuts the power in the middle of some call: that call and all later ones fail, as they would not return in
// a dead machine, and the platter is what it was when the first failed.
func (l *life) cutDuring() {
	units := []int64{sector, Alignment}
	unit, keep := units[l.r.IntN(2)], []float64{0, 0.2, 0.5, 0.9, 1}[l.r.IntN(5)]
	var after *memDisk
	left := l.r.IntN(14)
	off := errors.New("no power")
	old := l.d
	old.mu.Lock()
	old.fail = func(op, name string, at int64) error {
		if op == "read" {
			return nil
		}
		if left--; left >= 0 {
			return nil
		}
		if after == nil {
			old.mu.Unlock() // check is called with it held
			after = old.cut(l.r, unit, keep)
			old.mu.Lock()
		}
		return off
	}
	old.mu.Unlock()
	for range 4 {
		// What fails here was not acknowledged; what succeeds was, before the cut.
		if err := l.step(); after != nil {
			break
		} else if err != nil {
			l.t.Fatalf("round %d: %v", l.seed, err)
		}
	}
	if after == nil {
		after = old.cut(l.r, unit, keep)
	}
	l.s.Close()
	l.d = after
}

// TestFailedSync: after a sync that failed, the page cache says what the disk does not. The record was refused, so it
// must not come back, and nothing may follow it in that segment.
func TestFailedSync(t *testing.T) {
	for _, size := range []int{3000, 400_000} {
		for _, op := range []string{"datasync", "write"} {
			for _, sealFails := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s of %d, seal fails %t", op, size, sealFails), func(t *testing.T) {
					testFailedSync(t, size, op, sealFails)
				})
			}
		}
	}
}

func testFailedSync(t *testing.T, size int, op string, sealFails bool) {
	d := newMemDisk()
	s := ready(t, d, small())
	a, b, c := newObject(1, 5000), newObject(2, size), newObject(3, size)
	store(t, s, a)
	failed := false
	d.fail = func(what, name string, off int64) error {
		if sealFails && failed && what == "write" && off == sealOffset {
			return syscall.EIO
		}
		if failed && !sealFails || what != op {
			return nil
		}
		failed = true
		if name != fileName(a.at.Segment, segmentSuffix) {
			return nil
		}
		return syscall.EIO
	}
	if err := tryStore(s, b); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	store(t, s, c)
	if c.at.Segment == a.at.Segment {
		t.Fatal("wrote to a lane that failed")
	}
	if st, _ := s.Stats(); st.LanesRetired != 1 || st.LanesLeased != 0 {
		t.Errorf("%+v", st)
	}
	d.fail = nil
	s.Close()
	s = openStore(t, d, small())
	got, report := replayAll(t, s, nil)
	if _, ok := got[c.at]; len(got) != 2 || !ok {
		t.Fatalf("%d records, %+v", len(got), report)
	}
	expect(t, s, a)
	expect(t, s, c)
}

// TestKilledBeforeSync: a record that was written but not synced when the process was killed is whole in the page
// cache. If Replay reports it, it must survive the power cut that comes next, for the index has it by then.
func TestKilledBeforeSync(t *testing.T) {
	for _, size := range []int{3000, 400_000} {
		d := newMemDisk()
		s := ready(t, d, small())
		store(t, s, newObject(1, 100))
		dead := false
		d.fail = func(op, name string, off int64) error {
			if dead = dead || op == "datasync"; dead && op != "read" {
				return errKilled
			}
			return nil
		}
		o := newObject(2, size)
		if err := tryStore(s, o); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		s.Close()
		d.fail = nil
		s = openStore(t, d, small())
		got, report := replayAll(t, s, nil)
		if len(got) != 2 {
			t.Fatalf("%d records", len(got))
		}
		s = openStore(t, d.cut(rand.New(rand.NewPCG(1, 1)), Alignment, 0), small())
		replayAll(t, s, report.Ends)
		for at := range got {
			if err := s.Verify(at); err != nil {
				t.Errorf("%+v: %v", at, err)
			}
		}
	}
}

func TestNoSpace(t *testing.T) {
	d := newMemDisk()
	o := small()
	d.space = 3 << 20
	s := ready(t, d, o)
	var kept []*object
	var err error
	for i := range 100 {
		a := newObject(uint64(i), 200_000)
		if err = tryStore(s, a); err != nil {
			break
		}
		kept = append(kept, a)
	}
	if !errors.Is(err, ErrNoSpace) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v", err)
	}
	if len(kept) < 5 {
		t.Fatalf("%d records fitted", len(kept))
	}
	for _, a := range kept {
		expect(t, s, a)
	}
	if st, _ := s.Stats(); st.LanesRetired != 0 || st.LanesLeased != 0 {
		t.Errorf("%+v", st)
	}
	id := kept[0].at.Segment
	if err := errors.Join(s.Retire(id), s.Recycle(id)); err != nil {
		t.Fatal(err)
	}
	store(t, s, newObject(500, 200_000)) // the pool's space is there again
}

// TestNoSpaceInTheMiddle: a long record meets the full disk, and costs nothing but itself.
func TestNoSpaceInTheMiddle(t *testing.T) {
	d := newMemDisk()
	d.space = 4 << 20
	s := ready(t, d, small())
	w := begin(t, s)
	_, err := w.Write(content(1, 8<<20))
	if !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	if _, again := w.Write([]byte("x")); !errors.Is(again, ErrNoSpace) {
		t.Error(again)
	}
	if _, err := w.Commit(nil, sha256.Sum256(nil), 0, nil); !errors.Is(err, ErrNoSpace) {
		t.Error(err)
	}
	w.Abort()
	a := newObject(2, 1000)
	store(t, s, a)
	expect(t, s, a)
}

func TestActivationFails(t *testing.T) {
	for _, op := range []string{"create", "allocate", "write", "datasync", "rename", "syncdir"} {
		d := newMemDisk()
		s := ready(t, d, small())
		d.fail = func(what, name string, off int64) error {
			if what == op {
				return syscall.EIO
			}
			return nil
		}
		if _, err := s.Begin(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", op, err)
		}
		d.fail = nil
		a := newObject(1, 100)
		store(t, s, a)
		expect(t, s, a)
		if st, _ := s.Stats(); st.LanesLeased != 0 || st.Segments != 1 {
			t.Errorf("%s: %+v", op, st)
		}
		s.Close()
		s = ready(t, d, small())
		expect(t, s, a)
	}
}

func TestUnreadable(t *testing.T) {
	d := newMemDisk()
	s := ready(t, d, small())
	objects := []*object{newObject(1, 9000), newObject(2, 9000), newObject(3, 9000)}
	for _, o := range objects {
		store(t, s, o)
	}
	s.Close()
	bad := objects[1].at.Offset
	d.fail = func(op, name string, off int64) error {
		if op == "read" && off >= bad && off < bad+Alignment {
			return syscall.EIO
		}
		return nil
	}
	s = openStore(t, d, small())
	got, report := replayAll(t, s, nil)
	if len(got) != 2 || len(report.Damaged) != 1 {
		t.Fatalf("%d records, %+v", len(got), report)
	}
	if err := s.Verify(objects[1].at); !errors.Is(err, ErrDamaged) || !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	expect(t, s, objects[2])
}
