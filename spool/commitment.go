package spool

import (
	"math"
	"slices"
	"time"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// awaitingMark spares the search for jobs that await commitment where there are none to be found. The queue's lock
// guards it.
type awaitingMark struct {
	low   int64 // no job of the queue is due before, Unix milliseconds
	moved int   // counts the jobs that have come to await
}

// awaits notes that a job of the queue awaits commitment from due on.
func (q *queue) awaits(due int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.awaiting.low = min(q.awaiting.low, due)
	q.awaiting.moved++
}

// awaitingFrom tells from which due time on jobs may await; ok is false if none does. The mark is for passed.
func (q *queue) awaitingFrom() (low int64, mark int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.awaiting.low, q.awaiting.moved, q.counts.awaiting > 0
}

// passed notes that a search begun at mark found nothing due before low.
func (q *queue) passed(low int64, mark int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.awaiting.moved == mark {
		q.awaiting.low = low
	}
}

// Awaiting lists up to limit jobs for which the destination is to be asked for its commitment (PS3.4 J) by until, those
// that are due first in front. They are not leased: one caller asks a destination. It costs in proportion to limit.
func (s *Spool) Awaiting(destination string, until time.Time, limit int) ([]Job, error) {
	if err := checkDestination(destination); err != nil {
		return nil, err
	}
	q := s.queue(destination)
	low, mark, ok := q.awaitingFrom()
	end := until.UnixMilli()
	if !ok || low > end || limit <= 0 {
		return nil, nil
	}
	var jobs []Job
	first := int64(math.MaxInt64)
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, queuePrefix(kindAwaiting, destination), awaitingKey(destination, low, 0), false, func(key, _ []byte) (bool, error) {
			_, p, ok := queueEntry(key)
			if !ok {
				return true, nil
			}
			if first = min(first, p.due); p.due > end || len(jobs) == limit {
				return false, nil
			}
			in, r, ok, err := s.jobIn(txn, p.id, destination, JobAwaiting)
			if ok {
				jobs = append(jobs, r.job(*in, destination))
			}
			return err == nil, err
		})
	})
	if err != nil {
		return nil, err
	}
	q.passed(first, mark)
	return jobs, nil
}

// BeginCommitment notes, before the destination is asked, what it is going to be asked for, and returns once that is
// durable. The jobs become due again at t.Until. Those that await no longer are left out of what is noted.
func (s *Spool) BeginCommitment(t Transaction) error {
	if err := t.check(); err != nil {
		return err
	}
	return s.adjust(func(x *tx) error {
		noted := t
		noted.Instances = nil
		for _, id := range t.Instances {
			old, ok, err := readJob(x.txn, id, t.Destination)
			if err != nil {
				return err
			}
			if !ok || old.state != JobAwaiting {
				continue
			}
			now := old
			now.due, now.asked = max(t.Until.UnixMilli(), 1), t.Asked.UnixMilli()
			now.asks++
			x.putJob(id, t.Destination, &old, &now)
			noted.Instances = append(noted.Instances, id)
		}
		x.set(transactionKey(t.UID), noted.append(nil))
		s.awaitsFrom(x, t.Destination, t.Until)
		return nil
	})
}

// WithdrawCommitment notes that the destination could not be asked, so that nothing is going to be reported, and makes
// the jobs due again at a time, as if they had not been asked for. It does not wait.
func (s *Spool) WithdrawCommitment(uid dicom.UID, at time.Time) {
	s.committer.enqueue(&adjustOp{done: make(chan error, 1), adjust: func(x *tx) error {
		t, ok, err := readTransaction(x.txn, uid)
		if err != nil || !ok {
			return err
		}
		for _, id := range t.Instances {
			old, ok, err := readJob(x.txn, id, t.Destination)
			if err != nil {
				return err
			}
			if !ok || old.state != JobAwaiting || old.asked != t.Asked.UnixMilli() {
				continue
			}
			now := old
			now.due, now.asked = max(at.UnixMilli(), 1), 0
			now.asks = max(now.asks, 1) - 1
			x.putJob(id, t.Destination, &old, &now)
		}
		x.delete(transactionKey(uid))
		s.awaitsFrom(x, t.Destination, at)
		return nil
	}}, false)
}

func (s *Spool) awaitsFrom(x *tx, destination string, at time.Time) {
	q := s.queue(destination)
	x.onDurable(func() { q.awaits(at.UnixMilli()) })
}

// CommitmentResult is what a destination's report means for one job.
type CommitmentResult uint8

// Results of a report.
const (
	ResultCommitted CommitmentResult = iota + 1 // the destination has committed itself
	ResultSendAgain                             // it has not: the instance is sent again
	ResultRefused                               // it has not, and a person has to act
	ResultAskAgain                              // it has said nothing about the instance
)

// Commitment is the end of waiting for one job. Code and Reason are as in Outcome.
type Commitment struct {
	ID     InstanceID
	Result CommitmentResult
	At     time.Time // ResultSendAgain, ResultAskAgain: not before
	Code   string
	Reason string
}

// evictedReason is added where an instance cannot be sent again.
const evictedReason = "; the gateway has evicted it since: send it again from where it came"

// ConcludeCommitment takes what a destination has reported and returns once it is durable; only then may the report be
// answered with success. An older report than the last request is good news only: a commitment counts, anything else does
// not. ErrNotFound if there is no such transaction, or not any more.
func (s *Spool) ConcludeCommitment(uid dicom.UID, results []Commitment) error {
	if len(results) > MaxTransaction {
		return ErrBadTransaction
	}
	known := true
	err := s.adjust(func(x *tx) error {
		t, ok, err := readTransaction(x.txn, uid)
		if known = ok; err != nil || !ok {
			return err
		}
		o := concludeOp{s: s, t: &t}
		for i := range results {
			if !slices.Contains(t.Instances, results[i].ID) {
				continue
			}
			if err := o.conclude(x, &results[i]); err != nil {
				return err
			}
		}
		t.Instances = nil
		x.set(transactionKey(uid), t.append(nil))
		return nil
	})
	if err == nil && !known {
		err = ErrNotFound
	}
	return err
}

// concludeOp concludes the jobs of one transaction.
type concludeOp struct {
	s *Spool
	t *Transaction
}

func (o *concludeOp) conclude(x *tx, c *Commitment) error {
	destination := o.t.Destination
	old, ok, err := readJob(x.txn, c.ID, destination)
	if err != nil || !ok || old.state != JobAwaiting {
		return err
	}
	if c.Result != ResultCommitted && old.asked != o.t.Asked.UnixMilli() {
		return nil // the destination has been asked again since
	}
	in, err := x.entry(c.ID)
	if err != nil {
		return skipMissing(err)
	}
	now := o.record(old, in, c, x.now)
	q := o.s.queue(destination)
	if now.state == JobAwaiting {
		x.putJob(c.ID, destination, &old, &now)
		x.onDurable(func() { q.awaits(now.due) })
		return nil
	}
	if !q.hold(c.ID) {
		return nil // an operator is changing it at this moment; it is asked for again
	}
	if err := x.moveJob(in, destination, &old, &now); err != nil {
		return err
	}
	x.onDurable(func() {
		q.moved(c.ID, old.state, &now)
		if now.due != 0 {
			o.s.rearmTimer()
		}
	})
	return nil
}

// record is the job's record after the report.
func (o *concludeOp) record(old jobRecord, in *Instance, c *Commitment, at time.Time) jobRecord {
	now := old
	now.updated, now.due, now.asked = at.UnixMilli(), 0, 0
	now.code, now.reason = clip(c.Code, maxCode), clip(c.Reason, maxReason)
	switch {
	case c.Result == ResultCommitted:
		now.state = JobCommitted
	case c.Result == ResultAskAgain:
		now.due = max(unixMilli(c.At), 1)
	case c.Result == ResultSendAgain && in.State == InstanceStored:
		now.state, now.due = JobPending, max(unixMilli(c.At), 0)
		now.refusals++
	default:
		now.state = JobRefused
		now.refusals++
		if in.State != InstanceStored {
			now.reason = clip(c.Reason, maxReason-len(evictedReason)) + evictedReason
		}
	}
	return now
}

// SetEvictAfter changes what Options.EvictAfter was: evictions that begin after it has returned go by it. It does not wait
// for the index, which has to be told again by the next Open's Options if it cannot be written any more.
func (s *Spool) SetEvictAfter(e EvictAfter) {
	if e == EvictUnchanged {
		return
	}
	o := &adjustOp{adjust: func(x *tx) error {
		x.onDurable(func() {
			s.pressure.next.Store(0)
			s.wakeEvictor()
		})
		return x.evictAfter(e)
	}, done: make(chan error, 1)}
	s.committer.enqueue(o, true)
}

// applyEvictAfter has the accounts agree with Options.EvictAfter, if it was another when the index was last open.
func (s *Spool) applyEvictAfter() error {
	if s.o.EvictAfter == EvictUnchanged {
		return nil
	}
	return s.adjust(func(x *tx) error { return x.evictAfter(s.o.EvictAfter) })
}

// evictAfter makes the accounts of what may be evicted agree with another rule. Only the accounts change, so one
// transaction does for any number of jobs.
func (x *tx) evictAfter(e EvictAfter) error {
	hold := e == EvictCommitted
	if hold == x.ledger.hold {
		return nil
	}
	err := scan(x.txn, []byte{kindAwaiting}, nil, false, func(key, _ []byte) (bool, error) {
		destination, p, ok := queueEntry(key)
		if !ok {
			return true, nil
		}
		return true, x.rehold(p.id, destination, hold)
	})
	if err != nil {
		return err
	}
	x.setHold(hold)
	return nil
}

func (x *tx) setHold(hold bool) {
	x.ledger.hold = hold
	x.set(metaKey(metaHold), []byte{boolByte(hold)})
}

// rehold moves an instance in the accounts if nothing but commitments are awaited for it. Of several, the first in order
// of destinations counts.
func (x *tx) rehold(id InstanceID, destination string, hold bool) error {
	in, err := x.entry(id)
	if err != nil || in.State != InstanceStored {
		return skipMissing(err)
	}
	for _, j := range in.jobs {
		r, ok, err := readJob(x.txn, id, j.destination)
		if err != nil {
			return err
		}
		if ok && (r.state == JobAwaiting && j.destination < destination || r.state != JobAwaiting && !r.state.terminal()) {
			return nil
		}
	}
	sign := int64(1)
	if hold {
		sign = -1
	}
	x.accountDone(in, sign)
	return nil
}
