package forwarder

import (
	"errors"
	"fmt"
	"time"

	"dcmgate/dimse"
	"dcmgate/transfer"
)

// settle decides what an outcome means for the job, the destination and the
// breaker. Everything in this file runs under the courier's lock.
func (w *worker) settle(e *entry, o transfer.Outcome) {
	now := time.Now()
	switch o.Kind {
	case transfer.Answered:
		w.settleAnswer(now, e, o.Status)
	case transfer.NoContext:
		w.complete(w.parked(now, e, w.met(classifyNoContext(e.Pair, o.Err))))
	case transfer.LocalError:
		w.settleLocal(now, e, w.met(classifyLocal(o.Err)))
	case transfer.Interrupted:
		w.settleInterrupted(now, e, o)
	case transfer.NotSent:
		w.giveBack(e, outcomeReturned)
	}
	if w.breaker.state == BreakerHalfOpen && w.claimed == 0 {
		w.kick() // it proved nothing about the destination; try another
	}
}

func (w *worker) settleAnswer(now time.Time, e *entry, status dimse.Status) {
	w.answered++
	f := classifyStatus(uint16(status))
	if e.NewVersion && status == dimse.StatusDuplicateSOPInstance {
		f = failure{class: classOtherVersion, Detail: f.Detail}
	}
	f = w.met(f)
	if f.Scope == scopeInstance {
		w.works()
	}
	switch f.Action {
	case actDeliver:
		w.complete(w.deliveredAs(now, e, f, uint16(status)))
	case actPark:
		w.complete(w.parked(now, e, f))
	case actRetry, actTrip:
		if f.Scope == scopeDestination {
			w.fails(now, f)
		}
		w.complete(w.blame(now, e, f))
	}
}

func (w *worker) settleLocal(now time.Time, e *entry, f failure) {
	switch {
	case f.Action == actPark:
		w.complete(w.parked(now, e, f))
	case f.Limited && w.ledger.misread(now, e.ID, min(maxReads, w.Policy.MaxAttempts)):
		r := w.parked(now, e, f)
		r.Unreadable = true
		w.complete(r)
	default:
		w.complete(w.later(now, e, f))
	}
}

// settleInterrupted deals with a request whose response will never come. If
// it was the only one, the association broke over it, and it has used up an
// attempt. If there were several, each is a suspect and none is charged: they
// are sent again, one at a time.
func (w *worker) settleInterrupted(now time.Time, e *entry, o transfer.Outcome) {
	var local *transfer.LocalAbortError
	switch {
	case w.stopping || isClosed(w.quit):
		w.giveBack(e, outcomeReturned)
	case errors.As(o.Err, &local) || errors.Is(o.Err, dimse.ErrReleased):
		w.giveBack(e, outcomeInterrupted) // another's fault, or nobody's
	default:
		w.breaks(o.Err)
		if o.Unanswered == 1 {
			w.complete(w.blame(now, e, w.met(classifyBreak(o.Err))))
			return
		}
		e.alone = true
		w.giveBack(e, outcomeInterrupted)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// giveBack returns an entry to the feed, or to the queue if nothing may be
// taken from the feed.
func (c *courier) giveBack(e *entry, outcome string) {
	if c.halted() {
		c.complete(c.released(e))
		return
	}
	c.metrics.attempts[outcome].Inc()
	c.feed.giveBack(e)
	c.noteWaiting(time.Now())
	c.announce(e)
	c.kick()
}

// complete ends the lease of a job.
func (c *courier) complete(r Result) {
	c.claimed--
	if r.Verdict != RetryLater && r.Verdict != Released {
		c.ledger.settled(r.Job.ID)
	}
	if err := c.queue.Complete(r); err != nil {
		c.ledger.warn(c.log, time.Now(), "complete", "the queue did not take a result; the instance may be sent again", "sop_instance_uid", r.Job.SOPInstanceUID, "error", err)
	}
}

func (c *courier) deliveredAs(now time.Time, e *entry, f failure, status uint16) Result {
	outcome := outcomeDelivered
	switch f.Code {
	case "warning":
		outcome = outcomeWarning
		c.ledger.warn(c.log, now, fmt.Sprintf("warning %04X", status), "delivered with a warning", f.attributes("sop_instance_uid", e.SOPInstanceUID)...)
	case "duplicate":
		outcome = outcomeDuplicate
	}
	c.ledger.deliveries++
	c.answers++
	c.metrics.attempts[outcome].Inc()
	c.metrics.delivered.Inc()
	c.metrics.bytes.Add(float64(max(e.Size, 0)))
	c.metrics.seconds.Observe(now.Sub(e.Received).Seconds())
	r := Result{Job: e.Job, Verdict: Delivered, Status: status}
	if c.asker != nil {
		r.At = now.Add(c.asker.Wait)
	}
	if outcome != outcomeDelivered {
		r.Code, r.Reason = f.Code, f.Error()
	}
	return r
}

func (c *courier) parked(now time.Time, e *entry, f failure) Result {
	c.metrics.attempts[outcomeParked].Inc()
	c.ledger.note(now, f)
	c.ledger.warn(c.log, now, f.Code+" "+e.Pair.String(), "instance parked", f.attributes("sop_instance_uid", e.SOPInstanceUID)...)
	return Result{Job: e.Job, Verdict: Parked, Code: f.Code, Reason: f.Error()}
}

func (c *courier) released(e *entry) Result {
	c.metrics.attempts[outcomeReturned].Inc()
	return Result{Job: e.Job, Verdict: Released}
}

// blame charges an attempt to the job. A limited failure parks it in the end,
// but only if the destination has meanwhile shown itself to be well: one that
// fails with everything must not get its whole queue parked.
func (c *courier) blame(now time.Time, e *entry, f failure) Result {
	if f.Limited {
		attempts, guilty := c.ledger.charge(e.ID)
		if attempts >= c.Policy.MaxAttempts && guilty {
			f.Detail = fmt.Sprintf("%d attempts, the last: %s", attempts, f.Detail)
			return c.parked(now, e, f)
		}
		if attempts >= c.Policy.MaxAttempts-1 && !guilty && c.ledger.lone() {
			c.askEcho()
		}
	}
	return c.later(now, e, f)
}

// later has a job that failed claimed again after a wait.
func (c *courier) later(now time.Time, e *entry, f failure) Result {
	c.metrics.attempts[outcomeRetry].Inc()
	c.ledger.note(now, f)
	c.ledger.warn(c.log, now, f.Code, "instance will be sent again", f.attributes("sop_instance_uid", e.SOPInstanceUID, "attempts", e.Attempts+1)...)
	at := now.Add(c.Policy.Backoff.wait(e.Attempts+1, c.random))
	if c.breaker.state != BreakerClosed && at.Before(c.breaker.next) {
		at = c.breaker.next.Add(time.Second) // let the next probe be made with another instance
	}
	if c.due.IsZero() || at.Before(c.due) {
		c.due = at
	}
	return Result{Job: e.Job, Verdict: RetryLater, At: at, Code: f.Code, Reason: f.Error()}
}

// askEcho has a C-ECHO sent before the only job that fails is tried again: as
// long as there is nothing else to send, nothing else can show that it is not
// the destination that fails. Once the breaker is open, its probe does so.
func (c *courier) askEcho() {
	if c.breaker.state == BreakerClosed && !c.stopping {
		c.echoDue = true
		c.kick()
	}
}

// fails records a failure of the destination.
func (c *courier) fails(now time.Time, f failure) {
	opened := c.breaker.failed(now, f.Action == actTrip)
	c.ledger.note(now, f)
	c.ledger.warn(c.log, now, "destination "+f.Code, "destination fails", f.attributes("failures", c.breaker.failures)...)
	c.metrics.breaker.Set(float64(c.breaker.state))
	if c.breaker.state == BreakerOpen {
		c.releaseFeed()
		c.wakeAll()
	}
	if opened {
		c.log.Warn("breaker opens", f.attributes("next_probe", c.breaker.next)...)
	}
	c.kick()
}

// works records that the destination did what it should.
func (c *courier) works() {
	if c.breaker.failures == 0 {
		return
	}
	failures := c.breaker.failures
	if c.breaker.answered() {
		c.log.Info("breaker closes, the destination works again", "failures", failures)
		c.ledger.forgive()
		c.metrics.breaker.Set(float64(c.breaker.state))
		c.more = true
		c.kick()
	}
}
