package spool

import (
	"context"
)

// adminBatch is how many jobs one operation of Redrive or Drop takes; it bounds the transaction.
const adminBatch = 500

// Redrive makes matching jobs pending again, ready at once, and records the reason. A filter without State takes parked
// and refused jobs; with State pending it takes those that wait for their time; delivered, committed and dropped ones can
// be sent again while the instance is stored. With State awaiting the destination is asked for its commitment again at
// once. Claimed jobs are left alone. It returns how many were changed, durably.
func (s *Spool) Redrive(ctx context.Context, f JobFilter, reason string) (int, error) {
	return s.administerStates(ctx, f, []JobState{JobParked, JobRefused}, "redriven", reason, func(old *jobRecord, in *Instance) (JobState, bool) {
		if old.state == JobAwaiting {
			return JobAwaiting, old.due > s.o.Now().UnixMilli()
		}
		waits := old.state == JobPending && old.due != 0
		again := old.state.waitsForPerson() || in.State == InstanceStored && old.state.terminal()
		return JobPending, waits || again
	})
}

// Drop gives matching pending, parked and refused jobs up and records the reason. A filter without State takes all of
// these. With State awaiting it gives up the commitment: the jobs count as delivered. Claimed jobs are left alone. It
// returns how many were changed, durably.
func (s *Spool) Drop(ctx context.Context, f JobFilter, reason string) (int, error) {
	return s.administerStates(ctx, f, []JobState{JobPending, JobParked, JobRefused}, "dropped", reason, func(old *jobRecord, _ *Instance) (JobState, bool) {
		if old.state == JobAwaiting {
			return JobDelivered, true
		}
		return JobDropped, !old.state.terminal()
	})
}

// administerStates is administer for each of the states that are meant if the filter names none.
func (s *Spool) administerStates(ctx context.Context, f JobFilter, states []JobState, code, reason string, decide decideJob) (int, error) {
	if f.State != 0 {
		states = []JobState{f.State}
	}
	total := 0
	for _, state := range states {
		f.State = state
		n, err := s.administer(ctx, f, code, reason, decide)
		total += n
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// decideJob tells the state a job is to have and whether that applies to it.
type decideJob func(old *jobRecord, in *Instance) (JobState, bool)

// administer changes matching jobs page by page. Each page is listed again inside the committer, one job at a time.
func (s *Spool) administer(ctx context.Context, f JobFilter, code, reason string, decide decideJob) (int, error) {
	total, cursor := 0, ""
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		jobs, next, err := s.Jobs(f, cursor, adminBatch)
		if err != nil {
			return total, err
		}
		o := &adminOp{s: s, jobs: jobs, state: f.State, code: code, reason: clip(reason, maxReason), decide: decide, done: make(chan error, 1)}
		s.committer.enqueue(o, true)
		if err := s.await(o.done); err != nil {
			return total, err
		}
		total += o.changed
		if next == "" {
			return total, nil
		}
		cursor = next
	}
}

// adminOp changes jobs that nobody has claimed.
type adminOp struct {
	s       *Spool
	jobs    []Job
	state   JobState
	code    string
	reason  string
	decide  decideJob
	changed int
	done    chan error
}

func (o *adminOp) apply(t *tx) error {
	for i := range o.jobs {
		if err := o.change(t, &o.jobs[i]); err != nil {
			return err
		}
	}
	t.onDurable(func() { o.done <- nil })
	return nil
}

func (o *adminOp) change(t *tx, j *Job) error {
	id := j.Instance.ID
	old, ok, err := readJob(t.txn, id, j.Destination)
	if err != nil || !ok || old.state != o.state {
		return err
	}
	in, err := t.entry(id)
	if err != nil {
		return skipMissing(err)
	}
	state, applies := o.decide(&old, in)
	q := o.s.queue(j.Destination)
	if !applies || !q.hold(id) {
		return nil
	}
	now := old
	now.state, now.due, now.updated = state, 0, t.now.UnixMilli()
	now.code, now.reason = o.code, o.reason
	now.asks, now.asked, now.refusals = 0, 0, 0 // a person begins anew
	if state == JobAwaiting {
		now.due = now.updated
	}
	if err := t.moveJob(in, j.Destination, &old, &now); err != nil {
		return err
	}
	o.changed++
	t.onDurable(func() {
		q.moved(id, old.state, &now)
		if now.state == JobAwaiting {
			q.awaits(now.due)
		}
	})
	return nil
}

func (o *adminOp) failed(err error) { o.done <- err }
