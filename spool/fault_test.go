package spool

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/synth"
	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

func TestFailedCommitStoresNothing(t *testing.T) {
	for _, cause := range []error{syscall.EIO, fmt.Errorf("%w: %w", segment.ErrNoSpace, syscall.ENOSPC)} {
		t.Run(cause.Error(), func(t *testing.T) {
			s, f := openFaulty(t, t.TempDir(), small())
			tpl := synth.NewTemplate(30_000, 1)
			o := tpl.Object(1, 1, 1)
			f.set(func() { f.commit = func() error { return cause } })
			_, err := send(s, incoming(o), o.Data, to("cloud")...)
			if !errors.Is(err, cause) {
				t.Fatalf("error %v", err)
			}
			if full := errors.Is(err, ErrFull); full != errors.Is(cause, segment.ErrNoSpace) {
				t.Errorf("full: %v", full)
			}
			if errors.Is(cause, syscall.EIO) && s.Health() == nil {
				t.Error("healthy after a failed write")
			}
			f.set(func() { f.commit = nil })
			s.pressure.refuse.Store(0)
			s.pressure.next.Store(0)
			if st := s.Stats(); st.Instances != 0 || st.Unindexed != 0 {
				t.Errorf("%+v", st)
			}
			if jobs := mustClaim(t, s, "cloud", 1); len(jobs) != 0 {
				t.Error("a job of an instance that was refused")
			}
			if r := mustSend(t, s, o, to("cloud")...); r.Outcome != Stored {
				t.Errorf("afterwards: %v", r.Outcome)
			}
			if err := s.Health(); err != nil {
				t.Errorf("after a good write: %v", err)
			}
			verifyClean(t, s)
		})
	}
}

// TestFailedBegin has no segment to be had: what the disk refuses is seen by everybody, what passes is not.
func TestFailedBegin(t *testing.T) {
	for _, row := range []struct {
		cause     error
		full, red bool
	}{
		{syscall.EROFS, false, true},
		{syscall.EIO, false, true},
		{fmt.Errorf("%w: %w", segment.ErrNoSpace, syscall.ENOSPC), true, false},
		{segment.ErrTooManyWriters, false, false},
	} {
		t.Run(row.cause.Error(), func(t *testing.T) {
			s, f := openFaulty(t, t.TempDir(), small())
			o := synth.NewTemplate(3000, 1).Object(1, 1, 1)
			f.set(func() { f.begin = func() error { return row.cause } })
			if _, err := s.Begin(incoming(o)); !errors.Is(err, row.cause) || errors.Is(err, ErrFull) != row.full {
				t.Errorf("begin: %v", err)
			}
			if err := s.Health(); errors.Is(err, row.cause) != row.red {
				t.Errorf("health: %v", err)
			}
			f.set(func() { f.begin = nil })
			s.pressure.refuse.Store(0)
			s.pressure.next.Store(0)
			mustSend(t, s, o)
			if err := s.Health(); err != nil {
				t.Errorf("after a good write: %v", err)
			}
		})
	}
}

// TestSegmentsTurnGreenWithoutASender has a record fail, after which nobody sends: the disk is probed until it is well. As it
// fails the next record all the same, it is given more time before the second probe.
func TestSegmentsTurnGreenWithoutASender(t *testing.T) {
	o := small()
	o.probeEvery = time.Millisecond
	s, f := openFaulty(t, t.TempDir(), o)
	image := synth.NewTemplate(3000, 1).Object(1, 1, 1)
	var probes atomic.Int32
	f.set(func() {
		f.begin = func() error { return syscall.EROFS }
		f.probe = func() error { probes.Add(1); return syscall.EROFS }
	})
	if _, err := s.Begin(incoming(image)); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("begin: %v", err)
	}
	waitFor(t, func() bool { return probes.Load() > 2 })
	if err := s.Health(); !errors.Is(err, syscall.EROFS) {
		t.Errorf("health while the disk refuses: %v", err)
	}
	f.set(func() { f.probe = nil })
	waitFor(t, func() bool { return s.Health() == nil })

	probes.Store(0)
	f.set(func() { f.probe = func() error { probes.Add(1); return nil } })
	if _, err := s.Begin(incoming(image)); !errors.Is(err, syscall.EROFS) {
		t.Fatalf("begin: %v", err)
	}
	f.set(func() { f.begin = nil })
	mustSend(t, s, image)
	if err := s.Health(); err != nil {
		t.Errorf("after a good write: %v", err)
	}
	if n := probes.Load(); n != 0 {
		t.Errorf("%d probes at once after one that was wrong", n)
	}
}

// TestSecondCopyTakesOver lets the first of two copies fail while the second waits for it.
func TestSecondCopyTakesOver(t *testing.T) {
	s, f := openFaulty(t, t.TempDir(), small())
	o := synth.NewTemplate(30_000, 1).Object(1, 1, 1)
	entered, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	f.commit = nil
	slow := func() error {
		if calls.Add(1) > 1 {
			return nil
		}
		close(entered)
		<-release
		return syscall.EIO
	}
	f.set(func() { f.commit = func() error { f.mu.Unlock(); defer f.mu.Lock(); return slow() } })
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := send(s, incoming(o), o.Data, to("cloud")...); !errors.Is(err, syscall.EIO) {
			t.Errorf("first: %v", err)
		}
	})
	<-entered
	wg.Go(func() {
		if r, err := send(s, incoming(o), o.Data, to("cloud")...); err != nil || r.Outcome != Stored {
			t.Errorf("second: %v, %v", r.Outcome, err)
		}
	})
	close(release)
	wg.Wait()
	if n := len(mustClaim(t, s, "cloud", 10)); n != 1 {
		t.Errorf("%d jobs", n)
	}
}

func TestIndexFailure(t *testing.T) {
	dir := t.TempDir()
	s, _ := openFaulty(t, dir, small())
	tpl := synth.NewTemplate(5000, 1)
	mustSend(t, s, tpl.Object(1, 1, 0), to("cloud")...)
	flush(t, s)
	var broken atomic.Bool
	broken.Store(true)
	good := s.committer.commit
	replaceCommit(t, s, func(txn *badger.Txn) error {
		if broken.Load() {
			txn.Discard()
			return syscall.EIO
		}
		return good(txn)
	})
	r := mustSend(t, s, tpl.Object(1, 1, 1), to("cloud")...) // durable in its segment all the same
	waitFor(t, func() bool { return s.Health() != nil })
	if err := s.committer.alive(time.Minute); err != nil { // a new start would not help
		t.Error(err)
	}
	o := tpl.Object(1, 1, 2)
	if _, err := s.Begin(incoming(o)); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("begin: %v", err)
	}
	sameBytes(t, dataSet(t, s, r.Instance.ID), tpl.Object(1, 1, 1).Data)
	if n := len(mustClaim(t, s, "cloud", 10)); n != 2 {
		t.Errorf("%d jobs", n)
	}
	broken.Store(false)
	waitFor(t, func() bool { return s.Health() == nil })
	mustSend(t, s, o, to("cloud")...)
	flush(t, s)
	verifyClean(t, s)

	broken.Store(true)
	mustSend(t, s, tpl.Object(1, 1, 3), to("cloud")...)
	waitFor(t, func() bool { return s.Health() != nil })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openSpool(t, dir, small())
	if s.Recovery().Replayed != 1 {
		t.Errorf("replayed %d", s.Recovery().Replayed)
	}
	if n := len(mustClaim(t, s, "cloud", 10)); n != 4 {
		t.Errorf("%d jobs after the restart", n)
	}
	verifyClean(t, s)
}

// TestAlive tells a spool whose index hangs, or cannot be read any more, from one that works.
func TestAlive(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	if err := s.Alive(); err != nil {
		t.Error(err)
	}
	good, hold := s.committer.commit, make(chan struct{})
	replaceCommit(t, s, func(txn *badger.Txn) error {
		<-hold
		return good(txn)
	})
	mustSend(t, s, synth.NewTemplate(5000, 1).Object(1, 1, 1), to("cloud")...)
	waitFor(t, func() bool { return s.committer.alive(time.Millisecond) != nil })
	if err := s.committer.alive(time.Millisecond); !errors.Is(err, errHangs) {
		t.Error(err)
	}
	if err := s.Alive(); err != nil {
		t.Errorf("after a moment: %v", err)
	}
	close(hold)
	flush(t, s)
	waitFor(t, func() bool { return s.committer.alive(0) == nil })
	if err := s.adjust(func(*tx) error { return errBadRecord }); !errors.Is(err, errBadRecord) {
		t.Error(err)
	}
	if err := s.Alive(); !errors.Is(err, errBadRecord) {
		t.Errorf("an index that cannot be read: %v", err)
	}
}

// TestCloseDoesNotWaitForAnIndexThatCannotBeWritten closes while the spool's own goroutine waits for an eviction to be
// written: whoever could make room for that may be waiting for the process to end.
func TestCloseDoesNotWaitForAnIndexThatCannotBeWritten(t *testing.T) {
	o := small()
	o.Retention = time.Hour
	s, c := evictionSpool(t, o)
	mustSend(t, s, synth.NewTemplate(30_000, 1).Object(1, 1, 1))
	flush(t, s)
	replaceCommit(t, s, func(*badger.Txn) error { return syscall.ENOSPC })
	c.advance(2 * time.Hour)
	s.tasks.Go(func() {
		if _, err := s.evictPass(); err == nil {
			t.Error("evicted without an index")
		}
	})
	waitFor(t, func() bool { return s.health.indexErr() != nil })
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("still closing")
	}
}

// replaceCommit changes how transactions are committed, between two of them.
func replaceCommit(t *testing.T, s *Spool, commit func(*badger.Txn) error) {
	t.Helper()
	err := s.adjust(func(x *tx) error {
		x.onDurable(func() { s.committer.commit = commit })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		time.Sleep(time.Millisecond)
	}
}

// TestCommitWaitsForTheIndex fills the pending with an index that stands still.
func TestCommitWaitsForTheIndex(t *testing.T) {
	o := small()
	o.MaxPending = 4
	s, _ := openFaulty(t, t.TempDir(), o)
	gate := make(chan struct{})
	good := s.committer.commit
	replaceCommit(t, s, func(txn *badger.Txn) error { <-gate; return good(txn) })
	tpl := synth.NewTemplate(3000, 1)
	var stored atomic.Int32
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			o := tpl.Object(1, 1, i)
			if _, err := send(s, incoming(o), o.Data); err != nil {
				t.Error(err)
			}
			stored.Add(1)
		})
	}
	waitFor(t, func() bool { return stored.Load() == 4 })
	if n := s.pending.len(); n != 4 {
		t.Errorf("%d pending", n)
	}
	close(gate)
	wg.Wait()
	verifyClean(t, s)
}

func TestDamagedRecordIsFound(t *testing.T) {
	s, f := openFaulty(t, t.TempDir(), small())
	tpl := synth.NewTemplate(30_000, 1)
	good, bad := mustSend(t, s, tpl.Object(1, 1, 1)), mustSend(t, s, tpl.Object(1, 1, 2))
	flush(t, s)
	in, err := s.instance(bad.Instance.ID)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, s, in.location)
	_ = f
	r, err := s.Verify(t.Context(), nil)
	if err != nil || r.ProblemCount != 1 || r.Problems[0].ID != bad.Instance.ID || r.Instances != 2 {
		t.Errorf("%+v, %v; damaged %v, not %v", r, err, bad.Instance.ID, good.Instance.ID)
	}
}

// Who waits for a change sees all of it: also what is counted in memory once it is durable.
func TestAdjustWaitsForWhatFollowsTheCommit(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	followed := false
	err := s.adjust(func(x *tx) error {
		x.onDurable(func() { time.Sleep(10 * time.Millisecond); followed = true })
		return nil
	})
	if err != nil || !followed {
		t.Errorf("%v, done %v", err, followed)
	}
}
