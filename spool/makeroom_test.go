package spool

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/synth"
	"dcmgate/spool/segment"
)

// pooled is a spool whose pool holds something.
func pooled(t *testing.T) (s *Spool, f *faulty, pool func() int64) {
	t.Helper()
	o, c := small(), newClock()
	o.SegmentSize, o.Retention, o.Now = 1<<20, time.Hour, c.now
	s, f = openFaulty(t, t.TempDir(), o)
	tpl := synth.NewTemplate(100_000, 1)
	for i := range 30 {
		mustSend(t, s, tpl.Object(1, 1, i))
	}
	flush(t, s)
	c.advance(3 * time.Hour)
	evictNow(t, s)
	pool = func() int64 {
		st, err := f.segments.Stats()
		if err != nil {
			t.Fatal(err)
		}
		return st.PoolBytes
	}
	if pool() < 2<<20 {
		t.Fatalf("%d bytes in the pool", pool())
	}
	return s, f, pool
}

// The index lacks a little room, which the pool has: what is stored then is indexed, and the rest of the pool stays.
func TestThePoolGivesRoomToTheIndex(t *testing.T) {
	s, _, pool := pooled(t)
	full := pool()
	err := s.adjust(func(x *tx) error {
		x.onDurable(func() {
			s.room.used = memTableSize
			s.room.free = func() (int64, error) { return indexRoomLeast - 1 + full - pool(), nil }
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustSend(t, s, synth.NewTemplate(3000, 1).Object(2, 1, 1))
	flush(t, s)
	if err := s.Health(); err != nil {
		t.Error(err)
	}
	if left := pool(); left <= 0 || left >= full {
		t.Errorf("%d bytes of %d are left in the pool", left, full)
	}
}

// On a disk without a free byte what has been delivered is evicted, and the reserve stays for the table of a memtable. So it is
// while the rest of the memtable is left for that, and others wait.
func TestEvictionOnAFullDisk(t *testing.T) {
	t.Run("", func(t *testing.T) { testEvictionOnAFullDisk(t, false) })
	t.Run("little is left of the memtable", func(t *testing.T) { testEvictionOnAFullDisk(t, true) })
}

func testEvictionOnAFullDisk(t *testing.T, little bool) {
	t.Helper()
	o, c := small(), newClock()
	o.Retention, o.ReserveBytes, o.Now = time.Hour, 1<<20, c.now
	s, f := openFaulty(t, t.TempDir(), o)
	for i := range 3 {
		mustSend(t, s, synth.NewTemplate(3000, 1).Object(1, 1, i), to("cloud")...)
	}
	deliverAll(t, s, "cloud")
	var room atomic.Bool
	err := s.adjust(func(x *tx) error {
		x.onDurable(func() {
			s.room.free = func() (int64, error) {
				if room.Load() {
					return 1 << 40, nil
				}
				return 0, nil
			}
			if little {
				s.room.used = memTableSize - memTableRelief
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	f.set(func() { f.stats = func(st *segment.Stats) { st.FreeBytes, st.PoolBytes = 0, 0 } })
	s.pressure.noSpace()
	if l := s.Pressure(); l != LevelFull {
		t.Errorf("pressure %v", l)
	}
	others := make(chan error, 1)
	go func() { others <- s.adjust(func(*tx) error { return nil }) }()
	if little {
		waitFor(t, func() bool { return errors.Is(s.Health(), syscall.ENOSPC) })
	}
	c.advance(3 * time.Hour)
	waitFor(t, func() bool {
		s.wakeEvictor()
		return s.Stats().Evicted == 3
	})
	if given := !exists(s.reserve.path); given != little {
		t.Errorf("the reserve was given: %v", given)
	}
	if healthy := s.Health() == nil; healthy == little {
		t.Errorf("healthy: %v", healthy)
	}
	if err := <-others; little != errors.Is(err, ErrUnhealthy) {
		t.Errorf("others: %v", err)
	}
	room.Store(true)
	waitFor(t, func() bool { return s.Health() == nil })
	verifyClean(t, s)
}

// noRoom opens a spool with delivered instances whose memtable may be full for all but evictions, on a disk that has no room until
// it is given some.
func noRoom(t *testing.T) (s *Spool, c *clock, room *atomic.Bool) {
	t.Helper()
	o := small()
	c, room = newClock(), new(atomic.Bool)
	o.Retention, o.Now = time.Hour, c.now
	s, _ = openFaulty(t, t.TempDir(), o)
	for i := range 3 {
		mustSend(t, s, synth.NewTemplate(3000, 1).Object(1, 1, i), to("cloud")...)
	}
	deliverAll(t, s, "cloud")
	err := s.adjust(func(x *tx) error {
		x.onDurable(func() {
			s.room.used = memTableSize - memTableRelief
			s.room.free = func() (int64, error) {
				if room.Load() {
					return 1 << 40, nil
				}
				return 0, nil
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, c, room
}

// Whatever was the last to find no room, an index that nobody has anything to write into is healthy again when there is some: until
// then nobody may send what would show it.
func TestHealthReturnsWithRoom(t *testing.T) {
	for _, row := range []struct {
		name string
		last func(t *testing.T, s *Spool, c *clock)
	}{
		{"evictions", func(t *testing.T, s *Spool, c *clock) {
			c.advance(3 * time.Hour)
			waitFor(t, func() bool {
				s.wakeEvictor()
				return s.Stats().Evicted == 3 && len(s.ledger.checkpoints()) == 0 // and recycled, after which nothing is written
			})
		}},
		{"nothing to write", func(t *testing.T, s *Spool, _ *clock) { s.committer.enqueue(&flushOp{make(chan error, 1)}, true) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			s, c, room := noRoom(t)
			row.last(t, s, c)
			waitFor(t, func() bool { return errors.Is(s.Health(), syscall.ENOSPC) })
			room.Store(true)
			waitFor(t, func() bool { return s.Health() == nil && s.Pressure() != LevelFull })
			mustSend(t, s, synth.NewTemplate(3000, 1).Object(2, 1, 1))
		})
	}
}

// The room goes between the look at it and a transaction: what makes room is not kept behind that for ever.
func TestRoomLostBeforeATransaction(t *testing.T) {
	s, c, room := noRoom(t)
	room.Store(true)
	lost := make(chan error, 1)
	go func() {
		lost <- s.adjust(func(x *tx) error {
			room.Store(false)
			x.set(metaKey("test"), nil)
			return nil
		})
	}()
	waitFor(t, func() bool { return !room.Load() })
	c.advance(3 * time.Hour)
	waitFor(t, func() bool {
		s.wakeEvictor()
		return s.Stats().Evicted == 3
	})
	if err := <-lost; err != nil && !errors.Is(err, ErrUnhealthy) {
		t.Error(err)
	}
}

func TestMakeRoom(t *testing.T) {
	for _, row := range []struct {
		minFree, free, pool int64 // MiB; the pool is what it is, or 0
		need                int64
		shrinks, ok         bool
	}{
		{minFree: 100, free: 120, need: 20, ok: true},
		{minFree: 100, free: 119, need: 20},
		{minFree: 100, free: 119, pool: 1, need: 20, shrinks: true, ok: true},
		{minFree: 100, free: 50, pool: 1, need: 20},
		{minFree: -1, free: 48, need: 1},
		{minFree: -1, free: 49, need: 1, ok: true},
	} {
		t.Run(fmt.Sprintf("%+v", row), func(t *testing.T) {
			s, f, pool := pooled(t)
			before := pool()
			s.pressure.limits.Store(&Limits{MinFree: max(row.minFree<<20, -1)})
			f.set(func() {
				f.stats = func(st *segment.Stats) {
					st.FreeBytes = row.free << 20
					st.PoolBytes *= row.pool
				}
			})
			err := s.MakeRoom(t.Context(), s.dir, row.need<<20)
			if row.ok != (err == nil) || err != nil && (!errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), fmt.Sprintf("%d MiB are free", row.free))) {
				t.Error(err)
			}
			if shrunk := pool() < before; shrunk != row.shrinks && row.free >= row.minFree { // else the evictor may
				t.Errorf("%d bytes of %d are left in the pool", pool(), before)
			}
			if err := s.MakeRoom(t.Context(), "/proc", 1<<40); err != nil {
				t.Errorf("on another file system: %v", err)
			}
		})
	}
}

// A file lacks room where the spool itself has plenty: what has been delivered is evicted for it all the same, but nothing if that would
// not do.
func TestMakeRoomEvicts(t *testing.T) {
	o := small()
	o.SegmentSize = 1 << 20
	s, f := openFaulty(t, t.TempDir(), o)
	tpl := synth.NewTemplate(100_000, 1)
	for i := range 30 {
		mustSend(t, s, tpl.Object(1, 1, i))
	}
	flush(t, s)
	s.pressure.limits.Store(&Limits{MinFree: 100 << 20})
	f.set(func() { f.stats = func(st *segment.Stats) { st.FreeBytes = 300 << 20 } })
	if l := s.Pressure(); l != LevelNone {
		t.Fatalf("pressure %v", l)
	}
	stored := s.Stats().Instances
	if err := s.MakeRoom(t.Context(), s.dir, 210<<20); !errors.Is(err, syscall.ENOSPC) || s.Stats().Instances != stored {
		t.Errorf("%d of %d instances are left for a file that is too large: %v", s.Stats().Instances, stored, err)
	}
	var err error
	waitFor(t, func() bool {
		err = s.MakeRoom(t.Context(), s.dir, 201<<20)
		return !errors.Is(err, syscall.ENOSPC)
	})
	if err != nil || s.Stats().Instances == 0 {
		t.Errorf("%d of %d instances are left: %v", s.Stats().Instances, stored, err)
	}
	verifyClean(t, s)
}

// A writer takes a recycled segment before its accounts are dropped: its own are kept.
func TestASegmentTakenAgainKeepsItsAccounts(t *testing.T) {
	l := newLedger()
	x := &tx{ledger: l, segments: map[segment.ID]struct{}{}}
	x.segmentUse(segment.Location{Segment: 7, Generation: 1}, func(u *segmentUse) { u.live = 0 })
	x.segmentUse(segment.Location{Segment: 7, Generation: 2}, func(u *segmentUse) { u.live = 1 })
	x.forgetSegment(7, 1)
	if u, ok := l.use(7); !ok || u.live != 1 {
		t.Errorf("%+v, %v", u, ok)
	}
	x.forgetSegment(7, 2)
	if _, ok := l.use(7); ok {
		t.Error("the accounts are kept")
	}
}
