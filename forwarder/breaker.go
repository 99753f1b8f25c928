package forwarder

import "time"

// BreakerState is the state of a destination's circuit breaker.
type BreakerState int

// The states of a circuit breaker. The numbers are the values of the metric
// dcmgate_destination_breaker.
const (
	BreakerClosed   BreakerState = 0 // work flows
	BreakerHalfOpen BreakerState = 1 // one association tries one instance
	BreakerOpen     BreakerState = 2 // nothing is claimed until the next probe
)

var breakerNames = [...]string{"closed", "half-open", "open"}

// String returns closed, half-open or open.
func (s BreakerState) String() string {
	if s < 0 || int(s) >= len(breakerNames) {
		return "unknown"
	}
	return breakerNames[s]
}

// breaker counts consecutive failures that speak against the destination as
// a whole and decides when it may be tried. It is a pure state machine: the
// caller passes the time and holds the lock.
//
//	closed    --threshold failures, or one that trips--> open
//	open      --probe time reached----------------------> half-open
//	half-open --failure---------------------------------> open, longer wait
//	half-open --an answer-------------------------------> closed
//
// Below the threshold failures already delay the next dial, so that a
// destination that refuses is not dialled in a tight loop.
type breaker struct {
	threshold int     // consecutive failures that open it
	redial    Backoff // between dials while closed
	probe     Backoff // between probes of a destination that does not work
	longProbe Backoff // the same when only a person can mend it
	random    func() float64

	state    BreakerState
	failures int       // consecutive
	opened   int       // times opened since it last proved itself
	next     time.Time // no dial before
}

// failed records a failure. With trip the breaker opens whatever the count
// and probes are rare: the destination has refused us for good and needs a
// change of configuration. It reports whether this failure opened it.
func (b *breaker) failed(now time.Time, trip bool) (opened bool) {
	b.failures++
	if b.state == BreakerOpen {
		return false // a straggler of the associations that were open
	}
	if !trip && b.state == BreakerClosed && b.failures < b.threshold {
		b.next = now.Add(b.redial.wait(b.failures, b.random))
		return false
	}
	opened = b.state == BreakerClosed
	b.state = BreakerOpen
	b.opened++
	schedule := b.probe
	if trip {
		schedule = b.longProbe
	}
	b.next = now.Add(schedule.steadyWait(b.opened, b.random))
	return opened
}

// answered records that the destination did its work: it answered for an
// instance, or a probe. It reports whether this closed the breaker.
func (b *breaker) answered() (closed bool) {
	if b.state == BreakerOpen {
		return false // an answer from before it opened; the probe decides
	}
	closed = b.state == BreakerHalfOpen
	b.state, b.failures, b.opened, b.next = BreakerClosed, 0, 0, time.Time{}
	return closed
}

// admit reports whether an association may be opened now, moving an open
// breaker whose time has come to half-open. When it refuses, the second
// result is the time to ask again.
func (b *breaker) admit(now time.Time) (bool, time.Time) {
	if now.Before(b.next) {
		return false, b.next
	}
	if b.state == BreakerOpen {
		b.state = BreakerHalfOpen
	}
	return true, time.Time{}
}

// postpone delays the next dial without counting a failure.
func (b *breaker) postpone(now time.Time) {
	if b.state == BreakerClosed {
		b.next = now.Add(b.redial.steadyWait(1, b.random))
	}
}

// hurry makes the next dial or probe due now.
func (b *breaker) hurry() { b.next = time.Time{} }
