package forwarder

import (
	"math"
	"math/rand/v2"
	"time"
)

// A Backoff says how long to wait before the next attempt. The wait before
// attempt n+1 is drawn evenly from (0, min(Max, Initial*Factor^n)]: full
// jitter, because the jobs of one outage all fail at the same moment and
// would otherwise all come back at the same moment.
type Backoff struct {
	Initial time.Duration // bound of the first wait; default 1 s
	Max     time.Duration // bound of every wait; default 10 min
	Factor  float64       // growth of the bound; default 2, at least 1
}

func (b Backoff) withDefaults() Backoff {
	if b.Initial <= 0 {
		b.Initial = time.Second
	}
	if b.Max <= 0 {
		b.Max = 10 * time.Minute
	}
	if b.Factor < 1 {
		b.Factor = 2
	}
	b.Initial = min(b.Initial, b.Max)
	return b
}

// ceiling returns the bound of the wait after the given number of failures
// (1 for the first).
func (b Backoff) ceiling(failures int) time.Duration {
	grown := float64(b.Initial) * math.Pow(b.Factor, float64(max(failures, 1)-1))
	if grown >= float64(b.Max) { // also catches +Inf
		return b.Max
	}
	return time.Duration(grown)
}

// wait draws the wait after the given number of failures; random returns
// numbers in [0,1).
func (b Backoff) wait(failures int, random func() float64) time.Duration {
	c := b.ceiling(failures)
	return max(c-time.Duration(random()*float64(c)), 1)
}

// steadyWait draws from the upper half of the range only. Probes of a dead
// destination use it: there is one of them, so spreading matters less than
// not probing twice in quick succession.
func (b Backoff) steadyWait(failures int, random func() float64) time.Duration {
	c := b.ceiling(failures)
	return max(c-time.Duration(random()*float64(c)/2), 1)
}

// jitter is the source of randomness outside tests.
func jitter() float64 { return rand.Float64() }

// or fills what is not set with the given bounds.
func (b Backoff) or(initial, limit time.Duration) Backoff {
	if b.Initial <= 0 {
		b.Initial = initial
	}
	if b.Max <= 0 {
		b.Max = max(limit, b.Initial)
	}
	return b.withDefaults()
}
