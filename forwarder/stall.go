package forwarder

import (
	"slices"
	"time"
)

// Some destinations serve only so many associations at a time, often one, and
// do not reject another: it is connected, and its A-ASSOCIATE-RQ stays
// unanswered until one of ours is released. A request that is not answered
// promptly while others are served is called stalled here. It promises nothing:
// what it would carry is nobody's, an association that has nothing to do is
// released for its sake, and no further one is requested. If that gets it its
// answer, the destination's limit is known.

// How long an answer may take before the request counts as stalled: several
// times what the last one took that nothing held up.
const (
	promptFactor  = 4
	leastPatience = 250 * time.Millisecond
	mostPatience  = 5 * time.Second
)

// watch calls stall now and then until the function it returns is called, with
// the answer to the request at hand.
func (w *worker) watch() (stop func()) {
	var timer *time.Timer
	w.mu.Lock()
	defer w.mu.Unlock()
	patience := min(max(promptFactor*w.answerTook, leastPatience), mostPatience)
	w.requested, w.endsBefore.request = time.Now(), w.ends
	timer = time.AfterFunc(patience, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.stall() {
			timer.Reset(patience)
		}
	})
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		timer.Stop()
		w.awaited = true
	}
}

// stall marks the worker's request as unanswered and lets the association
// that has been idle longest look around: it may have to make room. It reports
// whether to come again.
func (w *worker) stall() (again bool) {
	if w.awaited || w.retired {
		return false
	}
	if w.serving == 0 {
		return true // nothing but the destination itself can hold it up
	}
	if !slices.Contains(w.stalled, w) {
		w.stalled = append(w.stalled, w)
		w.endsBefore.stall = w.ends
		w.withdraw()
	}
	w.beside = max(w.beside, w.serving)
	if w.running > w.control.allowed(time.Now()) {
		w.giveUp()
		return false
	}
	if len(w.idle) > 0 {
		w.wakeIdle(0)
	}
	return true
}

// unstall takes the mark away.
func (w *worker) unstall() {
	if i := slices.Index(w.stalled, w); i >= 0 {
		w.stalled = slices.Delete(w.stalled, i, i+1)
	}
}

// giveUp ends the worker without waiting for the answer any longer.
func (w *worker) giveUp() {
	w.retire()
	w.depart()
	w.cancel()
}

// accepted notes how the request fared that was accepted now. One that had
// stalled, and was accepted once another association had ended, shows how many
// the destination serves.
func (w *worker) accepted(now time.Time) {
	held := slices.Contains(w.stalled, w) && w.ends != w.endsBefore.stall
	w.unstall()
	if !w.retired {
		w.pledge()
	}
	w.serving++
	switch {
	case held:
		w.limited(now, max(w.serving, w.beside))
	case w.ends == w.endsBefore.request:
		w.answerTook = now.Sub(w.requested)
	}
}

// limited records that the destination serves no more than n associations at
// a time, and gives up the requests that this leaves no room for.
func (c *courier) limited(now time.Time, n int) {
	if c.control.ceiling != n {
		c.log.Info("the destination serves only so many associations at a time", "associations", n)
	}
	c.control.refused(now, n)
	c.metrics.allowed.Set(float64(c.control.allowed(now)))
	for len(c.stalled) > 0 && c.running > c.control.allowed(now) {
		c.stalled[len(c.stalled)-1].giveUp()
	}
}
