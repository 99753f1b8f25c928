package spool

import (
	"errors"
	"io/fs"

	"dcmgate/spool/segment"
)

// damageOp notes that the record of an instance is damaged, or that it is whole after all. A damaged instance is no copy
// that deduplication could refer to, and is not delivered; the next copy that comes takes its place and its jobs.
type damageOp struct {
	s        *Spool
	id       InstanceID
	location segment.Location // that was looked at
	damaged  bool
	done     chan error // nil: nobody waits
}

func (o *damageOp) apply(t *tx) error {
	if err := o.mark(t); err != nil {
		return err
	}
	if o.done != nil {
		t.onDurable(func() { o.done <- nil })
	}
	return nil
}

func (o *damageOp) mark(t *tx) error {
	in, err := t.entry(o.id)
	if err != nil {
		return skipMissing(err)
	}
	if in.State != InstanceStored || in.location != o.location || in.damaged() == o.damaged {
		return nil // evicted or replaced meanwhile, or known
	}
	in.Flags ^= FlagDamaged
	vs, err := readVersions(t.txn, in.identity())
	if err != nil {
		return err
	}
	t.putVersions(in.identity(), len(vs) > 0, setVersion(vs, in.version()))
	t.set(entryKey(in.ID), appendEntry(nil, in))
	if o.damaged {
		t.onDurable(o.s.metrics.damaged.Inc)
	}
	return nil
}

func (o *damageOp) failed(err error) {
	if o.done != nil {
		o.done <- err
	}
}

func (in *Instance) damaged() bool { return in.Flags&FlagDamaged != 0 }

// noteDamage marks an instance and waits until the mark is durable, unless the index cannot be written.
func (s *Spool) noteDamage(in *Instance, damaged bool) error {
	o := &damageOp{s: s, id: in.ID, location: in.location, damaged: damaged, done: make(chan error, 1)}
	s.committer.enqueue(o, true)
	return s.await(o.done)
}

// suspect marks an instance if reading it failed because of its bytes. It does not wait.
func (s *Spool) suspect(in *Instance, err error) {
	if lost(err) && !in.damaged() {
		s.committer.enqueue(&damageOp{s: s, id: in.ID, location: in.location, damaged: true}, false)
	}
}

// MarkDamaged marks an instance that could not be read however often it was tried, as Verify would: the next copy that
// comes is stored in its place. It does not wait.
func (s *Spool) MarkDamaged(id InstanceID) error {
	in, err := s.instance(id)
	if err == nil {
		s.suspect(in, ErrDamaged)
	}
	return err
}

// readFailure is what failed where a record is called damaged because the disk gave an error, which may pass; else nil.
func readFailure(err error) error {
	if d, ok := errors.AsType[*segment.DamageError](err); ok {
		return d.Err
	}
	return nil
}

// lost tells whether an error says that the bytes of a record are not there or not right. That a record is gone is no
// fault if the instance was evicted meanwhile; damageOp looks.
func lost(err error) bool {
	return errors.Is(err, segment.ErrGone) || errors.Is(err, segment.ErrDamaged) || errors.Is(err, fs.ErrNotExist)
}

// stillThere looks whether the record that a duplicate is about to be answered for has a whole header: one small read. If
// not, the instance is marked, and the decision is to be taken again.
func (s *Spool) stillThere(in *Instance) (bool, error) {
	p, err := s.payloads.OpenPayload(in.location)
	if err == nil {
		return true, p.Close()
	}
	if !lost(err) {
		return false, err
	}
	return false, s.noteDamage(in, true)
}

// discard removes a stored instance of which another copy came: what is left of its bytes, and every trace but its
// changes. Its open jobs are among the copy's.
func (s *Spool) discard(t *tx, in *Instance, k identity) error {
	open, err := t.othersOpen(in, "")
	if err != nil {
		return err
	}
	if open {
		t.accountDone(in, 1) // as bury supposes
	}
	if err := t.bury(in); err != nil {
		return err
	}
	if !t.quiet {
		l := in.location
		t.onDurable(func() {
			if err := s.payloads.Free(l); err != nil {
				s.log.Warn("damaged record not freed; its room comes back with its segment", "segment", l.Segment, "error", err)
			}
		})
	}
	return s.purge(t, in, k)
}
