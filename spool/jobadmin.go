package spool

import (
	"context"
)

// adminBatch is how many jobs one operation of Redrive or Drop takes; it bounds the transaction.
const adminBatch = 500

// Redrive makes matching jobs pending again, ready at once, and records the reason. A filter without State takes parked
// and refused jobs; with State pending it takes those that wait for their time; delivered, committed and dropped ones can
// be sent again while the instance is stored. With State awaiting the destination is asked for its commitment again at
// once. Claimed jobs are left alone. So is, unless the filter says otherwise, a version of which the destination has, or is
// being sent, a later one: it would take that one's place. It returns how many were changed, durably, and how many such
// versions were not.
func (s *Spool) Redrive(ctx context.Context, f JobFilter, reason string) (changed, superseded int, err error) {
	o := adminOp{code: "redriven", inOrder: !f.Superseded, decide: func(old *jobRecord, in *Instance) (JobState, bool) {
		if old.state == JobAwaiting {
			return JobAwaiting, old.due > s.o.Now().UnixMilli()
		}
		waits := old.state == JobPending && old.due != 0
		again := old.state.waitsForPerson() || in.State == InstanceStored && old.state.terminal()
		return JobPending, waits || again
	}}
	return s.administerStates(ctx, f, []JobState{JobParked, JobRefused}, o, reason)
}

// Drop gives matching pending, parked and refused jobs up and records the reason. A filter without State takes all of
// these. With State awaiting it gives up the commitment: the jobs count as delivered. Claimed jobs are left alone. It
// returns how many were changed, durably.
func (s *Spool) Drop(ctx context.Context, f JobFilter, reason string) (int, error) {
	o := adminOp{code: "dropped", decide: func(old *jobRecord, _ *Instance) (JobState, bool) {
		if old.state == JobAwaiting {
			return JobDelivered, true
		}
		return JobDropped, !old.state.terminal()
	}}
	changed, _, err := s.administerStates(ctx, f, []JobState{JobPending, JobParked, JobRefused}, o, reason)
	return changed, err
}

// administerStates is administer for each of the states that are meant if the filter names none.
func (s *Spool) administerStates(ctx context.Context, f JobFilter, states []JobState, model adminOp, reason string) (changed, superseded int, err error) {
	if f.State != 0 {
		states = []JobState{f.State}
	}
	model.s, model.reason = s, clip(reason, maxReason)
	for _, state := range states {
		f.State, model.state = state, state
		n, left, err := s.administer(ctx, f, model)
		changed, superseded = changed+n, superseded+left
		if err != nil {
			return changed, superseded, err
		}
	}
	return changed, superseded, nil
}

// decideJob tells the state a job is to have and whether that applies to it.
type decideJob func(old *jobRecord, in *Instance) (JobState, bool)

// administer changes matching jobs page by page. Each page is listed again inside the committer, one job at a time.
func (s *Spool) administer(ctx context.Context, f JobFilter, model adminOp) (changed, superseded int, err error) {
	for cursor := ""; ; {
		if err := ctx.Err(); err != nil {
			return changed, superseded, err
		}
		jobs, next, err := s.Jobs(f, cursor, adminBatch)
		if err != nil {
			return changed, superseded, err
		}
		o := model
		o.jobs, o.done = jobs, make(chan error, 1)
		s.committer.enqueue(&o, true)
		if err := s.await(o.done); err != nil {
			return changed, superseded, err
		}
		changed, superseded = changed+o.changed, superseded+o.superseded
		if next == "" {
			return changed, superseded, nil
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
	inOrder bool // no version is sent after a later one

	changed    int
	superseded int
	done       chan error
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
	if o.inOrder && state == JobPending && old.state != JobPending {
		late, err := o.s.superseded(t.txn, in, q)
		if err != nil || late {
			q.moved(id, old.state, &old) // as it was
		}
		if late {
			o.superseded++
		}
		if err != nil || late {
			return err
		}
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
