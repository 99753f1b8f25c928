package spool

import (
	"errors"
	"slices"
	"time"

	"dcmgate/internal/walltime"
	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

const (
	// evictBatch is how many instances one operation evicts; it bounds the transaction, also where each of them was the
	// last of a study with all the text keys a study may have.
	evictBatch = 64
	// evictEvery is how often age is looked at.
	evictEvery = time.Minute
	// evictPause is the rest after a pass for room that has found nothing that can go.
	evictPause = 500 * time.Millisecond
	// retentionSlack is the part of Retention, 1/n, by which an instance may outlive it in the hope that its whole segment
	// can be recycled, which is cheaper than punching holes into it.
	retentionSlack = 8
)

// runEvictor is the goroutine that gives room back.
func (s *Spool) runEvictor() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-s.relieve:
		case <-s.closing:
			return
		}
		s.lookAtClock()
		freed, err := s.evictPass()
		if err != nil && !errors.Is(err, ErrClosed) {
			s.log.Error("eviction failed", "error", err)
		}
		if err := s.purgePass(); err != nil && !errors.Is(err, ErrClosed) {
			s.log.Error("pruning custody records failed", "error", err)
		}
		if (freed == 0 || err != nil) && !s.rest(evictPause) {
			return
		}
		timer.Reset(evictEvery)
	}
}

// rest waits; it says no when the spool closes.
func (s *Spool) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.closing:
		return false
	}
}

func (s *Spool) wakeEvictor() {
	select {
	case s.relieve <- struct{}{}:
	default:
	}
}

// evictPass evicts what room and age ask for: whole segments first, oldest first, then single instances out of segments
// that undelivered ones keep alive. Then it recycles what is dead. It tells how many bytes of records went.
func (s *Spool) evictPass() (freed int64, err error) {
	for _, whole := range [...]bool{true, false} {
		for _, info := range s.payloads.Segments() {
			if s.closed.Load() {
				return freed, ErrClosed
			}
			over, err := s.overuse()
			if err != nil {
				return freed, err
			}
			n, err := s.evictSegment(info, whole, over)
			freed += n
			if err != nil {
				return freed, err
			}
			if n > 0 && whole { // at once: somebody may wait for the room
				if err := errors.Join(s.recycleIfDead(info), s.shrinkPool()); err != nil {
					return freed, err
				}
			}
		}
	}
	if err := s.recycleDead(); err != nil {
		return freed, err
	}
	return freed, s.shrinkPool()
}

// overuse tells how many bytes are to be freed for room.
func (s *Spool) overuse() (int64, error) {
	stats, err := s.payloads.Stats()
	if err != nil {
		return 0, err
	}
	over := s.pressure.roomOf(s, stats, s.ledger.snapshot()).overuse()
	if wanted := s.pressure.wanted.Load(); wanted > 0 {
		over = max(over, wanted-stats.FreeBytes-stats.PoolBytes)
	}
	return over, nil
}

// shrinkPool gives segments that hold nothing back to the file system where MinFree asks for it.
func (s *Spool) shrinkPool() error {
	stats, err := s.payloads.Stats()
	if err != nil {
		return err
	}
	if n := s.pressure.poolSurplus(stats); n > 0 {
		return s.payloads.Shrink(n)
	}
	return nil
}

// evictSegment evicts from one segment: all of it if whole is set and nothing in it is needed any more, else what has to
// go by itself.
func (s *Spool) evictSegment(info segment.Info, whole bool, over int64) (freed int64, err error) {
	use, ok := s.ledger.use(info.ID)
	if !ok || use.done == 0 || use.checkpoint.Generation != info.Generation {
		return 0, nil
	}
	now, dead := s.o.Now(), use.done == use.live
	retention := s.retention()
	switch {
	case whole && dead && s.expired(use.newest, now):
		return s.evictFrom(info, evictOp{s: s}, -1, whole)
	case whole && dead && over > 0 || !whole && over > 0:
		return s.evictFrom(info, evictOp{s: s, forRoom: true}, over, whole)
	case !whole && retention > 0:
		before := now.Add(-retention - retention/retentionSlack)
		return s.evictFrom(info, evictOp{s: s, before: before}, -1, whole)
	}
	return 0, nil
}

// retention is the age at which instances go, 0 while age tells nothing.
func (s *Spool) retention() time.Duration {
	if !s.clock.Believed() {
		return 0
	}
	return s.pressure.limits.Load().Retention
}

// expired tells whether something received at ms is past retention.
func (s *Spool) expired(ms int64, now time.Time) bool {
	retention := s.retention()
	return retention > 0 && ms < now.Add(-retention).UnixMilli()
}

// evictFrom evicts from a segment in batches until enough bytes are freed (over < 0: all that the operation accepts). A
// segment that goes as a whole is emptied even if less would do: then it can be recycled.
func (s *Spool) evictFrom(info segment.Info, model evictOp, over int64, whole bool) (bytes int64, err error) {
	start := placeKey(info.ID, 0)
	var freed []segment.Location
	for start != nil && (whole || over != 0) {
		ids, next, err := s.residents(info.ID, start, model.before)
		if err != nil {
			return bytes, err
		}
		start = next
		o := model
		o.ids, o.over, o.done = ids, over, make(chan error, 1)
		if whole {
			o.over = -1
		}
		s.committer.enqueue(&o, true)
		if err := s.awaitAtWork(o.done); err != nil {
			return bytes, err
		}
		s.metrics.evicted(len(o.freed))
		if len(o.gone) > 0 {
			s.o.Evicted(o.gone)
		}
		freed = append(freed, o.freed...)
		bytes += o.bytes
		if over > 0 {
			over = max(over-o.bytes, 0)
		}
	}
	if use, ok := s.ledger.use(info.ID); ok && use.live == 0 {
		return bytes, nil // recycleDead takes all of it
	}
	for _, l := range freed {
		if err := s.payloads.Free(l); err != nil {
			return bytes, err
		}
	}
	return bytes, nil
}

// residents lists a batch of the instances that a segment holds, up to the first that was received later than before (if
// that is not zero): within a segment they lie in order of age. IDs go on from where a clock that was ahead has taken them,
// and tell no age then.
func (s *Spool) residents(id segment.ID, start []byte, before time.Time) (ids []InstanceID, next []byte, err error) {
	prefix := placeKey(id, 0)[:5]
	ahead := s.o.Now().Add(walltime.Jump)
	err = s.db.View(func(txn *badger.Txn) error {
		return scan(txn, prefix, start, true, func(key, value []byte) (bool, error) {
			if len(ids) == evictBatch {
				next = slices.Clone(key)
				return false, nil
			}
			if len(value) != 8 {
				return true, nil
			}
			if received := idAt(value).time(); !before.IsZero() && received.After(before) && received.Before(ahead) {
				return false, nil
			}
			ids = append(ids, idAt(value))
			return true, nil
		})
	})
	return ids, next, err
}

// evictOp gives up the bytes of instances whose jobs are all done, and keeps their custody records.
type evictOp struct {
	s       *Spool
	ids     []InstanceID
	before  time.Time // only what was received before; zero: any
	forRoom bool      // what never had a job may be protected
	over    int64     // stop after so many bytes; negative: never

	freed []segment.Location
	gone  []Instance // as they were, if somebody is told of it
	bytes int64
	done  chan error
}

func (o *evictOp) apply(t *tx) error {
	for _, id := range o.ids {
		if o.over >= 0 && o.bytes >= o.over {
			break
		}
		if err := o.evict(t, id); err != nil {
			return err
		}
	}
	t.onDurable(func() { o.done <- nil })
	return nil
}

func (*evictOp) relieves() bool { return true }

func (o *evictOp) failed(err error) { o.done <- err }

func (o *evictOp) evict(t *tx, id InstanceID) error {
	in, err := t.entry(id)
	if err != nil {
		return skipMissing(err)
	}
	if in.State != InstanceStored || !o.before.IsZero() && !in.Received.Before(o.before) {
		return nil
	}
	if o.forRoom && o.s.pressure.limits.Load().KeepUnrouted && in.unrouted() {
		return nil
	}
	open, err := t.othersOpen(in, "")
	if err != nil || open {
		return err
	}
	before := *in
	if err := t.bury(in); err != nil {
		return err
	}
	if o.s.o.Evicted != nil {
		o.gone = append(o.gone, before)
	}
	o.freed = append(o.freed, in.location)
	o.bytes += in.location.Length
	return nil
}

// bury turns an entry into a custody record: who sent what when, its digest, and its jobs, but nothing of the patient.
func (t *tx) bury(in *Instance) error {
	k := in.identity()
	vs, err := readVersions(t.txn, k)
	if err != nil {
		return err
	}
	t.accountDone(in, -1)
	if err := t.removeFromTree(in, stored(withoutVersion(slices.Clone(vs), in.ID))); err != nil {
		return err
	}
	in.State, in.Evicted, in.Metadata = InstanceEvicted, t.now, Metadata{}
	t.putVersions(k, len(vs) > 0, setVersion(vs, in.version()))
	t.set(entryKey(in.ID), appendEntry(nil, in))
	t.set(tombstoneKey(in), nil)
	if err := t.vacate(in); err != nil {
		return err
	}
	t.segmentUse(in.location, func(u *segmentUse) {
		u.live--
		u.bytes -= in.location.Length
	})
	t.total(func(c *totals) {
		c.instances = dec(c.instances)
		c.bytes -= uint64(in.location.Length)
		c.evicted++
	})
	t.change(ChangeEvicted, in.ID)
	return nil
}

// vacate removes the key of the instance's place, unless another has it: a segment whose file was taken away may have
// a successor of the same number.
func (t *tx) vacate(in *Instance) error {
	key := placeKey(in.location.Segment, in.location.Offset)
	value, ok, err := get(t.txn, key)
	if err == nil && ok && len(value) == 8 && idAt(value) == in.ID {
		t.delete(key)
	}
	return err
}

// recycleDead takes segments out of use in which nothing lives.
func (s *Spool) recycleDead() error {
	for _, info := range s.payloads.Segments() {
		if err := s.recycleIfDead(info); err != nil {
			return err
		}
	}
	return nil
}

// recycleIfDead takes a segment out of use if nothing lives in it. It counts as dead only if the index knows all of it:
// records that are durable but not indexed do not show in its accounts.
func (s *Spool) recycleIfDead(info segment.Info) error {
	use, ok := s.ledger.use(info.ID)
	if !ok || use.live != 0 || use.checkpoint.Generation != info.Generation || use.checkpoint.Offset < info.End {
		return nil
	}
	return s.recycle(info)
}

func (s *Spool) recycle(info segment.Info) error {
	if info.Open {
		if err := s.payloads.Retire(info.ID); errors.Is(err, segment.ErrInUse) {
			return nil // its turn comes
		} else if err != nil {
			return err
		}
		if !s.stillDead(info) { // a writer was faster
			return nil
		}
	}
	// The accounts go only after the segment: if they went first, a crash between would have all of it replayed.
	err := s.payloads.Recycle(info.ID)
	if errors.Is(err, segment.ErrInUse) {
		return nil
	}
	if err != nil && !errors.Is(err, segment.ErrGone) {
		return err
	}
	o := &adjustOp{done: make(chan error, 1), relief: true, adjust: func(t *tx) error {
		t.forgetSegment(info.ID, info.Generation)
		return nil
	}}
	s.committer.enqueue(o, true)
	return s.await(o.done)
}

// stillDead looks again after Retire: the segment's end may have moved in between.
func (s *Spool) stillDead(before segment.Info) bool {
	for _, info := range s.payloads.Segments() {
		if info.ID == before.ID {
			return info.Generation == before.Generation && info.End == before.End
		}
	}
	return false
}
