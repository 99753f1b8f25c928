package forwarder

import (
	"sync"
	"time"
)

// A Breaker is the circuit breaker of destinations for others that depend on a peer: failures in a row open it, and then one
// attempt at a time is let through, ever more rarely, until one is answered. It may be used by many goroutines.
type Breaker struct {
	mu      sync.Mutex
	breaker breaker
	probing bool // half-open, and the attempt is under way
	now     func() time.Time
}

// NewBreaker makes a breaker that is closed. threshold is the number of failures in a row that open it, probe the wait before
// an attempt is let through.
func NewBreaker(threshold int, probe Backoff) *Breaker {
	return &Breaker{now: time.Now, breaker: breaker{
		threshold: threshold,
		probe:     probe.withDefaults(), longProbe: probe.withDefaults(),
		random: jitter,
	}}
}

// Admit tells whether an attempt may be made now. Whoever is admitted has to report Failed, Answered or Withdrawn.
func (b *Breaker) Admit() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.breaker.state == BreakerClosed:
		return true
	case b.breaker.state == BreakerHalfOpen && b.probing:
		return false
	}
	ok, _ := b.breaker.admit(b.now())
	b.probing = ok && b.breaker.state == BreakerHalfOpen
	return ok
}

// Failed reports an attempt that speaks against the peer; lasting is a failure that only a person can mend, which opens at
// once. It tells whether this opened the breaker.
func (b *Breaker) Failed(lasting bool) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	return b.breaker.failed(b.now(), lasting)
}

// Answered reports that the peer did its work. It tells whether this closed the breaker.
func (b *Breaker) Answered() (closed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	return b.breaker.answered()
}

// Withdrawn reports an attempt that has shown nothing: it was given up here.
func (b *Breaker) Withdrawn() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
}

// State is the state, and when an open breaker lets an attempt through.
func (b *Breaker) State() (state BreakerState, next time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.breaker.state == BreakerOpen {
		next = b.breaker.next
	}
	return b.breaker.state, next
}
