package forwarder

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// An asker asks a destination to commit itself to what it was sent. It is part
// of its courier: what follows is guarded by the courier's lock, and while it
// asks it counts as one of the courier's associations. What fails here never
// counts against the destination's deliveries.
type asker struct {
	Commitment
	custody Custody
	dialer  CommitmentDialer
	metrics commitmentInstruments
	tell    func(Asked) // nil tells nobody

	busy     bool      // an association is open for requests, or about to be
	due      bool      // waits for a worker to end, and the place is kept
	looked   time.Time // when the index was last asked
	next     time.Time // no request before
	failures int       // consecutive requests that were not taken
	silent   int       // times in a row that a report failed to come
	open     []request // taken and not reported on, since the start
	trouble  *Trouble  // while failures or silent are not 0
}

// request is one that the destination has taken.
type request struct {
	uid      dicom.UID
	until    time.Time     // when it is given up
	reported chan struct{} // closed by the report
}

// The asker's own bounds.
const (
	maxRequests   = 8             // taken and not reported on; 1 where reports fail to come
	longestSilent = 6 * time.Hour // wait for a report at most
	patientAsks   = 2             // in vain, before batches become smaller
	maxShrink     = 4             // times that they become a quarter
	askPoll       = time.Second
	lingerPoll    = 100 * time.Millisecond
)

// askWhenDue starts a round of requests if there is something to be asked for,
// and returns when to come again.
func (c *courier) askWhenDue(ctx context.Context, now time.Time, rounds *errgroup.Group) time.Time {
	if c.asker == nil {
		return time.Time{}
	}
	c.mu.Lock()
	again, may := c.mayAsk(now)
	c.mu.Unlock()
	if !may {
		return again
	}
	batch, again, err := c.gather(now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.ledger.warn(c.log, now, "commitment index", "cannot list what awaits commitment", "error", err)
		return now.Add(claimRetry)
	}
	// A place is kept once it is wanted: see seats, and worker.enough.
	if c.asker.due = len(batch) > 0; !c.asker.due {
		return again
	}
	if c.crowded(now) {
		if len(c.idle) > 0 {
			c.wakeIdle(0)
		}
		return time.Time{} // whoever ends kicks
	}
	c.asker.busy, c.asker.due = true, false
	rounds.Go(func() error { c.ask(ctx, batch); return nil })
	return time.Time{}
}

// crowded reports whether the asker has to wait for a worker to end.
func (c *courier) crowded(now time.Time) bool { return c.workers >= c.control.bound(now) }

// mayAsk reports whether to look for something to ask for now, else when to
// come again.
func (c *courier) mayAsk(now time.Time) (again time.Time, may bool) {
	a := c.asker
	a.expire(c, now)
	switch {
	case a.busy:
		return time.Time{}, false
	case c.halted() || c.breaker.state != BreakerClosed:
		a.due = false
		return time.Time{}, false
	case now.Before(a.next):
		a.due = false
		return a.next, false
	case len(a.open) >= a.bound():
		a.due = false
		return a.firstUntil(), false
	case a.due && c.crowded(now):
		return time.Time{}, false
	case !a.due && now.Before(a.looked.Add(a.poll())):
		return a.looked.Add(a.poll()), false
	}
	a.looked = now
	return time.Time{}, true
}

// poll is how often the index is looked at.
func (a *asker) poll() time.Duration { return min(max(a.Wait, time.Millisecond), askPoll) }

func (a *asker) bound() int {
	if a.silent > 0 {
		return 1
	}
	return maxRequests
}

func (a *asker) firstUntil() time.Time {
	return slices.MinFunc(a.open, func(x, y request) int { return x.until.Compare(y.until) }).until
}

// expire gives up the requests whose report has not come in time. Those of one
// moment count once.
func (a *asker) expire(c *courier, now time.Time) {
	kept := a.open[:0]
	for _, r := range a.open {
		if now.Before(r.until) {
			kept = append(kept, r)
		} else {
			a.metrics.requests[requestUnanswered].Inc()
		}
	}
	if len(kept) == len(a.open) {
		return
	}
	a.open = kept
	a.silent++
	c.askerFails(now, failure{class: class{Code: "commitment-unreported",
		Words:  "the destination takes requests for storage commitment but does not report on them",
		Advice: "have it know this gateway's AE title and address as where to report; it is asked again"}})
}

// gather lists what to ask for now: everything once the first has waited long
// enough, or a batch is full. Where the destination has failed to report on it
// before, batches get smaller, so that one instance that a destination cannot
// report on keeps few others waiting.
func (c *courier) gather(now time.Time) (batch []spool.Job, again time.Time, err error) {
	jobs, err := c.asker.custody.Awaiting(c.Name, now.Add(c.asker.Wait), c.asker.Batch)
	if err != nil || len(jobs) == 0 {
		return nil, now.Add(c.asker.poll()), err
	}
	due := func(j *spool.Job) bool { return !j.NotBefore.After(now) }
	if !due(&jobs[0]) && len(jobs) < c.asker.Batch {
		return nil, earlier(jobs[0].NotBefore, now.Add(c.asker.poll())), nil
	}
	limit := max(c.asker.Batch>>(2*min(max(jobs[0].Asks-patientAsks, 0), maxShrink)), 1)
	for i := range jobs {
		if len(batch) < limit && (due(&jobs[i]) || jobs[i].Asks == 0) {
			batch = append(batch, jobs[i])
		}
	}
	return batch, now.Add(c.asker.poll()), nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// ask opens an association, makes requests on it as long as there is something
// to ask for, waits for the reports a while, and releases it.
func (c *courier) ask(ctx context.Context, batch []spool.Job) {
	defer c.asked()
	a, err := c.dialCommitment(ctx)
	if err != nil {
		if ctx.Err() == nil && c.tenure.Err() == nil {
			c.requestFailed(c.Policy.Probe, requestFailed, classifyDial(err))
		}
		return
	}
	defer a.Close()
	var made []request
	for len(batch) > 0 && err == nil {
		var r request
		if r, err = c.request(ctx, a, batch); err == nil {
			made = append(made, r)
			batch = c.moreToAsk(ctx)
		}
	}
	c.awaitReports(ctx, a, made)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_ = a.Release(ctx) // how it ends does not matter: requests outlive associations
}

// asked ends the round.
func (c *courier) asked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asker.busy = false
	c.kick()
}

func (c *courier) dialCommitment(ctx context.Context) (*dimse.Association, error) {
	ctx, cancel := context.WithTimeout(ctx, c.DialTimeout)
	defer cancel()
	defer context.AfterFunc(c.tenure, cancel)()
	return c.asker.dialer.DialCommitment(ctx, c.Destination, commitment.Reports(
		func(_ context.Context, rq *dimse.Request, r *commitment.Result) error { return c.takeReport(rq, r) }))
}

// moreToAsk is what else is to be asked for on the same association.
func (c *courier) moreToAsk(ctx context.Context) []spool.Job {
	now := time.Now()
	c.mu.Lock()
	c.asker.expire(c, now) // an answer may take longer than the report may
	room := len(c.asker.open) < c.asker.bound() && !c.halted() && ctx.Err() == nil
	c.mu.Unlock()
	if !room {
		return nil
	}
	batch, _, err := c.gather(now)
	if err != nil {
		return nil // the next round tells
	}
	return batch
}

// request makes one request. What is going to be asked for is durable before
// the destination hears of it, so that its report is known whenever it comes.
func (c *courier) request(ctx context.Context, a *dimse.Association, batch []spool.Job) (request, error) {
	now := time.Now()
	until := time.UnixMilli(now.Add(c.patience()).UnixMilli()) // as the index keeps it
	r := request{uid: commitment.NewTransactionUID(), until: until, reported: make(chan struct{})}
	t := spool.Transaction{UID: r.uid, Destination: c.Name, Asked: now, Until: until}
	rq := commitment.Request{TransactionUID: r.uid}
	for i := range batch {
		in := &batch[i].Instance
		t.Instances = append(t.Instances, in.ID)
		ref := commitment.Reference{SOPClassUID: in.SOPClassUID, SOPInstanceUID: in.SOPInstanceUID}
		if !slices.Contains(rq.References, ref) { // versions of one instance
			rq.References = append(rq.References, ref)
		}
	}
	if err := c.asker.custody.BeginCommitment(t); err != nil {
		c.requestFailed(c.Policy.Probe, requestFailed, classifyLocal(err))
		return r, err
	}
	c.mu.Lock()
	c.asker.open = append(c.asker.open, r) // the report may come before the response
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, c.answerTimeout())
	defer cancel()
	err := commitment.Ask(ctx, a, &rq)
	c.asker.told(Asked{Destination: c.Name, Association: a.ID(), Instances: len(rq.References), Err: err})
	if err == nil {
		c.requestTaken()
		return r, nil
	}
	c.requestNotTaken(ctx, a.ID(), r, err)
	return r, err
}

// answerTimeout bounds the response to N-ACTION.
func (c *courier) answerTimeout() time.Duration {
	if c.Timeouts.DIMSETimeout > 0 {
		return c.Timeouts.DIMSETimeout
	}
	return c.DialTimeout
}

// patience is how long the report to a request may take.
func (c *courier) patience() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Backoff{Initial: c.asker.Timeout, Max: max(longestSilent, c.asker.Timeout), Factor: 2}.ceiling(c.asker.silent + 1)
}

// requestTaken notes that the destination works as far as requests go.
func (c *courier) requestTaken() {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.asker
	a.metrics.requests[requestAccepted].Inc()
	a.next = time.Time{}
	if a.failures > 0 {
		c.log.Info("the destination takes requests for storage commitment again", "failures", a.failures)
		a.failures = 0
	}
	if a.silent == 0 {
		a.well()
	}
}

// told tells of a request or a report.
func (a *asker) told(what Asked) {
	if a.tell != nil {
		a.tell(what)
	}
}

// well notes that nothing is wrong.
func (a *asker) well() {
	a.trouble = nil
	a.metrics.degraded.Set(0)
}

// requestNotTaken judges what became of a request. If nobody knows whether the
// destination has it, a report is taken all the same.
func (c *courier) requestNotTaken(ctx context.Context, association string, r request, err error) {
	status, refused := errors.AsType[*dimse.StatusError](err)
	noContext := errors.Is(err, dimse.ErrNoContext)
	c.forget(r.uid)
	switch {
	case noContext:
		wait := c.requestFailed(c.Policy.LongProbe, requestRefused, failure{class: class{Code: "commitment-unsupported",
			Words:  "the destination does not accept the Storage Commitment Push Model SOP class; instances are delivered and remain without its commitment",
			Advice: "have it accept storage commitment from this gateway's AE title, or set commitment.enabled to false"}, Association: association})
		c.asker.custody.WithdrawCommitment(r.uid, wait)
	case refused:
		wait := c.requestFailed(c.Policy.LongProbe, requestRefused, failure{class: class{Code: "commitment-request",
			Words:  "the destination refuses to be asked for storage commitment",
			Advice: "look into its log and configuration"}, Detail: fmt.Sprintf("status %04X", uint16(status.Status)), Association: association})
		c.asker.custody.WithdrawCommitment(r.uid, wait)
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled):
		// the gateway stops
	default:
		f := classifyDial(err)
		f.Association = association
		c.requestFailed(c.Policy.Probe, requestFailed, f)
	}
}

// forget takes a request off the list of those that are open.
func (c *courier) forget(uid dicom.UID) (r request, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.asker.open, func(r request) bool { return r.uid == uid })
	if i < 0 {
		return request{}, false
	}
	r = c.asker.open[i]
	c.asker.open = slices.Delete(c.asker.open, i, i+1)
	return r, true
}

// requestFailed delays the next request and returns until when.
func (c *courier) requestFailed(schedule Backoff, outcome string, f failure) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	a := c.asker
	a.metrics.requests[outcome].Inc()
	if f.Busy && c.open > 0 {
		a.next = now.Add(c.Policy.Redial.steadyWait(1, c.random))
		return a.next // an association too many; not in trouble
	}
	a.failures++
	a.next = now.Add(schedule.steadyWait(a.failures, c.random))
	c.askerFails(now, f)
	return a.next
}

// askerFails keeps what is wrong for the status and the log. It is no failure
// of the destination as far as deliveries go.
func (c *courier) askerFails(now time.Time, f failure) {
	a := c.asker
	if a.trouble == nil || a.trouble.Code != f.Code {
		a.trouble = &Trouble{Since: now, Code: f.Code}
	}
	a.trouble.At, a.trouble.Text = now, f.Error()
	a.trouble.Count++
	a.metrics.degraded.Set(1)
	c.ledger.warn(c.log, now, f.Code, "storage commitment is degraded", f.attributes("failures", a.trouble.Count)...)
}

// awaitReports keeps the association for the reports to the requests made on
// it, unless a delivery needs its place.
func (c *courier) awaitReports(ctx context.Context, a *dimse.Association, made []request) {
	linger := time.NewTimer(c.asker.Linger)
	defer linger.Stop()
	poll := time.NewTicker(lingerPoll)
	defer poll.Stop()
	for len(made) > 0 {
		select {
		case <-made[0].reported:
			made = made[1:]
		case <-poll.C:
			if c.seatWanted() {
				return
			}
		case <-linger.C:
			return
		case <-a.Done():
			return
		case <-c.tenure.Done(): // reports find their way without it
			return
		case <-ctx.Done():
			return
		}
	}
}

// seatWanted reports whether instances wait for an association that cannot be
// had beside this one, or is not given.
func (c *courier) seatWanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.feed.entries) > 0 && (c.open == 0 || c.workers+1 >= c.control.bound(time.Now()))
}
