package spool

import (
	"context"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Claim leases up to limit jobs of a destination, highest priority first, then oldest instance. Jobs whose NotBefore
// has come take part by priority and age like fresh ones. A version of an instance waits for those that came before it.
// Every job returned must be given to Complete. Claim costs in
// proportion to limit, whatever the backlog. No jobs is no error.
func (s *Spool) Claim(destination string, limit int) ([]Job, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	if err := checkDestination(destination); err != nil {
		return nil, err
	}
	q := s.queue(destination)
	jobs := make([]Job, 0, min(limit, windowSize))
	for deferred := 0; len(jobs) < limit; {
		if deferred >= deferredAtMost {
			q.wake()
			return jobs, nil
		}
		leases, err := q.claim(limit - len(jobs))
		if len(leases) == 0 {
			s.rearmTimer()
			return jobs, err
		}
		before := len(jobs)
		if jobs, err = s.jobsOf(q, leases, jobs); err != nil {
			s.releaseAll(q, jobs)
			return nil, err
		}
		deferred += len(leases) - (len(jobs) - before)
	}
	return jobs, nil
}

func (s *Spool) releaseAll(q *queue, jobs []Job) {
	for i := range jobs {
		q.release(jobs[i].Instance.ID)
	}
}

// jobsOf turns leases into jobs. A lease whose job is no longer pending is dropped, and one that has to wait for an older
// version put off; if the index cannot be read, those that were not turned are handed back.
func (s *Spool) jobsOf(q *queue, leases []*lease, jobs []Job) ([]Job, error) {
	view := lazyView{s: s}
	defer view.discard()
	for i, l := range leases {
		j, ok, err := s.jobOf(q, l, &view)
		if err != nil {
			for _, rest := range leases[i:] {
				q.release(rest.slot.id)
			}
			return jobs, err
		}
		if ok {
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

// lazyView is a transaction that reads the index once somebody needs it: most jobs that are claimed soon need nothing.
type lazyView struct {
	s *Spool
	t *badger.Txn
}

func (v *lazyView) txn() *badger.Txn {
	if v.t == nil {
		v.t = v.s.db.NewTransaction(false)
	}
	return v.t
}

func (v *lazyView) discard() {
	if v.t != nil {
		v.t.Discard()
	}
}

// jobOf turns one lease; ok is false if there is no job to be had of it, and the lease has been seen to.
func (s *Spool) jobOf(q *queue, l *lease, view *lazyView) (j Job, ok bool, err error) {
	in, r := l.in, jobRecord{}
	if in != nil {
		r = newJobRecord(jobEntry{class: l.slot.class}, in.Received)
	} else if in, r, ok, err = s.jobIn(view.txn(), l.slot.id, q.name, JobPending); err != nil || !ok {
		if err == nil {
			q.settled(l.slot.id)
		}
		return Job{}, false, err
	}
	q.identify(l, in)
	if in.Flags&(FlagNewVersion|FlagRestored) != 0 {
		until, waits, err := s.preceded(in, q)
		if err != nil {
			return Job{}, false, err
		}
		if waits {
			s.putOff(q, in, until)
			return Job{}, false, nil
		}
	}
	return activeJob(&r, in, q.name), true, nil
}

func activeJob(r *jobRecord, in *Instance, destination string) Job {
	j := r.job(*in, destination)
	j.State = JobActive
	return j
}

// jobIn reads a job and its instance; ok is false if the job is not in the state.
func (s *Spool) jobIn(txn *badger.Txn, id InstanceID, destination string, state JobState) (in *Instance, r jobRecord, ok bool, err error) {
	r, ok, err = readJob(txn, id, destination)
	if err != nil || !ok || r.state != state {
		return nil, r, false, err
	}
	in, err = readEntry(txn, id)
	if err == ErrNotFound {
		return nil, r, false, nil
	}
	return in, r, err == nil, err
}

// Ready is signalled when Claim may find jobs of the destination, also when a waiting job becomes due. The channel is
// for one reader: a signal is received once, and a Claim that left jobs behind signals again. It is never closed.
func (s *Spool) Ready(destination string) <-chan struct{} {
	if checkDestination(destination) != nil {
		return nil // no such jobs can exist: blocks for ever
	}
	return s.queue(destination).signal
}

// Complete ends claims. It returns at once; the committer makes the outcomes durable in order (Flush waits for it).
// Outcomes that a power failure takes mean that the instance is sent again. If a job named was not claimed, the others
// are taken all the same and ErrNotClaimed is returned.
func (s *Spool) Complete(outcomes ...Outcome) error {
	var failed error
	for _, o := range outcomes {
		if err := s.complete(o); err != nil {
			failed = err
		}
	}
	return failed
}

func (s *Spool) complete(o Outcome) error {
	if checkDestination(o.Job.Destination) != nil {
		return ErrBadDestination
	}
	q := s.queue(o.Job.Destination)
	if o.Result == ResultRelease {
		if !q.release(o.Job.ID) {
			return ErrNotClaimed
		}
		return nil
	}
	if o.Result < ResultDelivered || o.Result > ResultAwait {
		return ErrBadFilter
	}
	in, ok := q.completing(o.Job.ID)
	if !ok {
		return ErrNotClaimed
	}
	o.Code, o.Reason = clip(o.Code, maxCode), clip(o.Reason, maxReason)
	s.committer.enqueue(&outcomeOp{s: s, q: q, in: in, outcome: o}, false)
	return nil
}

// Flush waits until everything committed or completed before the call is durable in the index.
func (s *Spool) Flush(ctx context.Context) error {
	o := &flushOp{done: make(chan error, 1)}
	s.committer.enqueue(o, true)
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// flush is Flush for those who cannot go on without the index: it gives up when that cannot be written.
func (s *Spool) flush() error {
	o := &flushOp{done: make(chan error, 1)}
	s.committer.enqueue(o, true)
	return s.await(o.done)
}

// await waits for an operation, unless the index cannot be written: that could last for ever. The operation stays queued
// then.
func (s *Spool) await(done <-chan error) error {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			if err := s.health.indexErr(); err != nil {
				then := "what was asked for is done when the index can be written again"
				if s.committer.quiet { // nobody goes on with an index that is being made anew
					then = "see to the disk, and repeat the command; the index is as it was"
				}
				return fmt.Errorf("%w; %s: %w", ErrUnhealthy, then, err)
			}
		}
	}
}

// awaitAtWork is await for the spool's own goroutines, which have nothing better to do than to wait until the index can be
// written, unless the spool closes: then nobody may be left to make room for it.
func (s *Spool) awaitAtWork(done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-s.closing:
		return s.await(done)
	}
}

// outcomeOp records how an attempt ended.
type outcomeOp struct {
	s       *Spool
	q       *queue
	in      *Instance
	outcome Outcome
}

func (o *outcomeOp) apply(t *tx) error {
	id, destination := o.in.ID, o.q.name
	old, ok, err := readJob(t.txn, id, destination)
	if err != nil {
		return err
	}
	if !ok || old.state != JobPending {
		// A job that vanished while it was claimed; nothing is left to record.
		t.onDurable(func() { o.q.settled(id) })
		return nil
	}
	now := o.record(old, t.now)
	if err := t.moveJob(o.in, destination, &old, &now); err != nil {
		return err
	}
	from := old.state
	t.onDurable(func() {
		o.q.moved(id, from, &now)
		o.s.metrics.completed(destination, o.outcome.Result)
		switch {
		case now.state == JobAwaiting:
			o.q.awaits(now.due)
		case now.due != 0:
			o.s.rearmTimer()
		}
	})
	return nil
}

// record is the job's record after the outcome.
func (o *outcomeOp) record(old jobRecord, at time.Time) jobRecord {
	now := old
	now.updated, now.due = at.UnixMilli(), 0
	now.status, now.code, now.reason = o.outcome.Status, o.outcome.Code, o.outcome.Reason
	switch o.outcome.Result {
	case ResultDelivered:
		now.state = JobDelivered
	case ResultAwait:
		now.state, now.due = JobAwaiting, max(unixMilli(o.outcome.At), 1)
		now.asks, now.asked = 0, 0
	case ResultPark:
		now.state = JobParked
		now.attempts++
	case resultPutOff:
		now.due = max(unixMilli(o.outcome.At), 1)
	default:
		now.attempts++
		now.due = max(unixMilli(o.outcome.At), 0)
	}
	return now
}

func (o *outcomeOp) failed(error) {} // the job stays claimed here and is pending at the next start

// rearmTimer has the timer look again when the next job is due.
func (s *Spool) rearmTimer() {
	select {
	case s.rearm <- struct{}{}:
	default:
	}
}

// watchDue signals destinations whose waiting jobs become due.
func (s *Spool) watchDue() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(s.signalDue())
		select {
		case <-timer.C:
		case <-s.rearm:
		case <-s.closing:
			return
		}
	}
}

// signalDue wakes the destinations that have a job due and tells how long none other will be. A destination that does
// not claim is woken again only when something changes or its turn comes, never in a loop.
func (s *Spool) signalDue() time.Duration {
	now := s.o.Now().UnixMilli()
	wait := int64(time.Minute / time.Millisecond)
	for _, q := range s.allQueues() {
		due := q.nextDue()
		switch {
		case due == 0:
		case due <= now:
			q.wake()
		default:
			wait = min(wait, due-now)
		}
	}
	return time.Duration(wait) * time.Millisecond
}
