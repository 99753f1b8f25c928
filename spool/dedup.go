package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

// stripes are locks for decisions about one identity; two identities that share a lock only wait for each other.
type stripes [256]sync.Mutex

func (s *stripes) of(k identity) *sync.Mutex {
	sop := hashOf(string(k.sop))
	n := binary.LittleEndian.Uint64(k.study[:]) ^ binary.LittleEndian.Uint64(k.series[:]) ^ binary.LittleEndian.Uint64(sop[:])
	return &s[n%uint64(len(s))]
}

// decision is what is to be done with an instance whose content is known.
type decision struct {
	outcome StoreOutcome
	prior   InstanceID // Duplicate: the copy that is there; Restored: the copy that was
	first   *arrival   // Duplicate: the copy that is on its way
	own     *arrival   // otherwise: this one, registered
}

// store decides and carries out. If the same content is on its way already, its outcome decides: success may only be
// answered once one copy is durable, and if the first one fails, this one takes its place.
func (w *Writer) store(jobs []jobEntry) (Receipt, error) {
	w.s.gate.RLock() // Close waits for us
	defer w.s.gate.RUnlock()
	if w.s.closed.Load() {
		return Receipt{}, ErrClosed
	}
	missing := InstanceID(0)
	for {
		d, err := w.s.decide(w.in, jobs, missing)
		if err != nil {
			return Receipt{}, err
		}
		switch {
		case d.own != nil:
			return w.commit(d)
		case d.first != nil:
			<-d.first.done
			if d.first.err == nil {
				return Receipt{Instance: *d.first.in, Outcome: Duplicate}, nil
			}
			continue
		}
		in, err := w.s.Instance(d.prior)
		switch {
		case err == nil && in.State == InstanceStored:
			there, err := w.s.stillThere(&in)
			if err != nil {
				return Receipt{}, fmt.Errorf("look at the stored copy: %w", err)
			}
			if there {
				return Receipt{Instance: in, Outcome: Duplicate}, nil
			}
		case errors.Is(err, ErrNotFound): // the index contradicts itself: store rather than trust it
			missing = d.prior
		case err != nil:
			return Receipt{}, err
		}
		// Else it is damaged, or was evicted after the decision, which is therefore taken again.
	}
}

// decide tells what the instance is, under the lock of its identity, and registers it if it is to be stored. in gets its
// ID, flags and jobs. missing names a version that the index lists but does not have.
func (s *Spool) decide(in *Instance, jobs []jobEntry, missing InstanceID) (decision, error) {
	k := in.identity()
	lock := s.stripes.of(k)
	lock.Lock()
	defer lock.Unlock()
	if first := s.pending.same(k, in.Digest, string(in.TransferSyntaxUID)); first != nil && !first.in.yields(jobs) {
		return decision{outcome: Duplicate, first: first}, nil
	}
	d := decision{outcome: Stored}
	arriving := s.pending.any(k) // before the index is read: what leaves the pending is in the index by then
	err := s.db.View(func(txn *badger.Txn) error {
		vs, err := readVersions(txn, k)
		if err == nil {
			d, in.jobs, err = judge(txn, withoutVersion(vs, missing), in, jobs, arriving)
		}
		return err
	})
	if err != nil {
		return decision{}, fmt.Errorf("look for duplicates: %w", err)
	}
	if d.outcome == Duplicate {
		return d, nil
	}
	now := s.o.Now()
	in.ID, in.Received = s.ids.next(now), now
	in.Flags &^= FlagNewVersion | FlagRestored
	in.restores = 0
	switch d.outcome {
	case NewVersion:
		in.Flags |= FlagNewVersion
	case Restored:
		in.Flags |= FlagRestored
		in.restores = d.prior
	}
	d.own = &arrival{in: in, kind: kindOfFlags(in.Flags), done: make(chan struct{})}
	s.pending.arriving(k, d.own)
	return d, nil
}

// judge compares with what the index has.
func judge(txn *badger.Txn, vs []version, in *Instance, jobs []jobEntry, arriving bool) (decision, []jobEntry, error) {
	same, ok := findContent(vs, in.Digest, string(in.TransferSyntaxUID))
	switch {
	case ok && same.present():
		yields, err := yields(txn, same.id, jobs)
		if err != nil || !yields {
			return decision{outcome: Duplicate, prior: same.id}, nil, err
		}
		return decision{outcome: Restored, prior: same.id}, jobs, nil
	case ok:
		jobs, err := inherit(txn, same.id, jobs)
		return decision{outcome: Restored, prior: same.id}, jobs, err
	case len(vs) > 0 || arriving:
		return decision{outcome: NewVersion}, jobs, nil
	}
	return decision{outcome: Stored}, jobs, nil
}

// yields tells whether an instance that came on request, for nobody to get, gives way to a copy that somebody is to get.
func (in *Instance) yields(jobs []jobEntry) bool {
	return len(jobs) > 0 && len(in.jobs) == 0 && in.Flags&FlagRequested != 0
}

func yields(txn *badger.Txn, id InstanceID, jobs []jobEntry) (bool, error) {
	if len(jobs) == 0 {
		return false, nil
	}
	prior, err := readEntry(txn, id)
	if err != nil {
		return false, skipMissing(err)
	}
	return prior.yields(jobs), nil
}

// inherit marks the jobs that the copy before had delivered already, and adds those that it still has to do for
// destinations that nobody asks for any more: a damaged copy has some.
func inherit(txn *badger.Txn, prior InstanceID, jobs []jobEntry) ([]jobEntry, error) {
	out := slices.Clone(jobs)
	for i, j := range out {
		r, ok, err := readJob(txn, prior, j.destination)
		if err != nil {
			return nil, err
		}
		out[i].committed = ok && r.state == JobCommitted
		out[i].delivered = ok && (r.state == JobDelivered || r.state == JobCommitted)
	}
	before, err := readEntry(txn, prior)
	if err != nil {
		return out, skipMissing(err)
	}
	for _, j := range before.jobs {
		r, ok, err := readJob(txn, prior, j.destination)
		if err != nil {
			return nil, err
		}
		listed := slices.ContainsFunc(jobs, func(o jobEntry) bool { return o.destination == j.destination })
		if ok && !r.state.terminal() && r.state != JobAwaiting && !listed && len(out) < MaxJobs {
			out = append(out, jobEntry{destination: j.destination, class: j.class})
		}
	}
	return out, nil
}

// commit makes the record durable and hands the instance to jobs, queries and the index.
func (w *Writer) commit(d decision) (Receipt, error) {
	s, in := w.s, w.in
	if err := s.slots.acquire(s); err != nil {
		s.pending.failed(in.identity(), d.own, err)
		return Receipt{}, err
	}
	w.parts.buffer = appendMeta(w.parts.buffer[:0], in)
	_, err := w.record.Commit(w.parts.buffer, in.Digest, w.header, func(l segment.Location) {
		in.location = l
		w.count(-w.counted) // adopt counts the record
		s.adopt(in, d.own.kind)
	})
	if err != nil {
		s.slots.release()
		err = s.writeError(err)
		s.pending.failed(in.identity(), d.own, err)
		return Receipt{}, err
	}
	s.health.segmentWritten()
	close(d.own.done)
	return Receipt{Instance: *in, Outcome: d.outcome}, nil
}

// adopt takes on a durable instance. It is called in the order in which the records of a segment became durable, which
// the committer's queue keeps; the caller holds a slot.
func (s *Spool) adopt(in *Instance, kind ChangeKind) {
	s.pending.committed(in)
	s.pressure.unindexed.Add(in.location.Length)
	s.committer.enqueueWith(&storedOp{s: s, in: in, kind: kind}, func() {
		for _, j := range in.jobs {
			if q := s.queue(j.destination); j.delivered {
				q.carried(j.state())
			} else {
				q.arrive(in, j.class)
			}
		}
	})
}

// indexed lets go of an instance that the index has.
func (s *Spool) indexed(in *Instance) {
	for _, j := range in.jobs {
		if !j.delivered {
			s.queue(j.destination).indexed(in.ID)
		}
	}
	s.pending.indexed(in.identity(), in.ID)
	s.slots.release()
}
