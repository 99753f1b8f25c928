package web

import (
	"sync"
	"time"
)

// ages is the clock by which links are made and their age is told. It goes on when the machine's clock is set back: what has
// expired does not work again, and what has not goes on working. It follows one that is set ahead. After a start it is the
// machine's clock. For many goroutines.
type ages struct {
	clock  func() time.Time
	passed func() time.Duration // since any moment; no clock moves it

	mu   sync.Mutex
	last time.Time
	at   time.Duration // by passed, at last
}

func newAges(clock func() time.Time, passed func() time.Duration) *ages {
	return &ages{clock: clock, passed: passed, at: passed()}
}

func (a *ages) now() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	wall, at := a.clock().Round(0), a.passed() // Round: without the monotonic reading
	a.last, a.at = a.last.Add(at-a.at), at
	if wall.After(a.last) {
		a.last = wall
	}
	return a.last
}
