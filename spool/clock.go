package spool

import (
	"log/slog"
	"sync/atomic"
	"time"
)

const (
	// clockJump is by how much more than time has passed the clock may have moved ahead between two looks.
	clockJump = time.Hour
	// clockDistrust is how long nothing goes by its age after a larger jump: time to set a wrong clock right.
	clockDistrust = 24 * time.Hour
)

// clockWatch compares the clock with the time that has passed. Age tells nothing after a jump: a clock that is set to 2099
// would have everything evicted that was delivered. look is for one goroutine.
type clockWatch struct {
	now    func() time.Time
	passed func() time.Duration // since any moment; the clock does not move it
	log    *slog.Logger

	wall     time.Time     // at the last look
	at       time.Duration // likewise
	until    time.Duration // by passed; the clock is not believed before
	distrust atomic.Bool
}

func newClockWatch(now func() time.Time, passed func() time.Duration, log *slog.Logger) *clockWatch {
	return &clockWatch{now: now, passed: passed, log: log, wall: now().Round(0), at: passed()}
}

// look notes how far the clock has moved. One that is set back is believed again: nothing is older by it than it is.
func (c *clockWatch) look() {
	wall, at := c.now().Round(0), c.passed() // Round: without the monotonic reading
	ahead := wall.Sub(c.wall) - (at - c.at)
	c.wall, c.at = wall, at
	switch {
	case ahead > clockJump:
		c.until = at + clockDistrust
		c.distrust.Store(true)
		c.log.Warn("the clock jumped ahead; nothing is evicted by age for a day", "by", ahead.Round(time.Second))
	case c.distrust.Load() && (ahead < -clockJump || at >= c.until):
		c.distrust.Store(false)
		c.log.Info("the clock is believed again; instances are evicted by age")
	}
}

// believed tells whether the age of something may be acted upon.
func (c *clockWatch) believed() bool { return !c.distrust.Load() }

// sinceStart is for newClockWatch.
func sinceStart() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
