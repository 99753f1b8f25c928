// Package walltime tells when the machine's clock is set while the process runs, for those who remove things by their age.
package walltime

import (
	"sync/atomic"
	"time"
)

const (
	// Jump is by how much more or less than time has passed the clock may have moved between two looks.
	Jump = time.Hour
	// Distrust is how long nothing goes by its age after a larger jump ahead: time to set a wrong clock right.
	Distrust = 24 * time.Hour
)

// Watch compares the clock with the time that has passed. Age tells nothing after a jump: by a clock that is set to 2099
// all is old. What the clock was before the process began it cannot know. Look is for one goroutine, the rest for many.
type Watch struct {
	now    func() time.Time
	passed func() time.Duration

	wall  time.Time     // at the last look
	at    time.Duration // likewise
	until time.Duration // by passed; the clock is not believed before
	ahead atomic.Int64  // the jump that it is not believed for; 0 while it is
}

// New makes a Watch of a clock. passed is the time since any moment, which setting the clock does not change.
func New(now func() time.Time, passed func() time.Duration) *Watch {
	return &Watch{now: now, passed: passed, wall: now().Round(0), at: passed()}
}

// Look notes how far the clock has moved, and returns by how much it was set since the last look, negative if back, if that
// is more than Jump; else 0. A clock that is set back is believed again: nothing is older by it than it is.
func (w *Watch) Look() time.Duration {
	wall, at := w.now().Round(0), w.passed() // Round: without the monotonic reading
	by := wall.Sub(w.wall) - (at - w.at)
	w.wall, w.at = wall, at
	switch {
	case by > Jump:
		w.until = at + Distrust
		w.ahead.Store(int64(by))
		return by
	case by < -Jump:
		w.ahead.Store(0)
		return by
	case at >= w.until:
		w.ahead.Store(0)
	}
	return 0
}

// Believed tells whether the age of something may be acted upon.
func (w *Watch) Believed() bool { return w.ahead.Load() == 0 }

// Ahead is by how much the clock last jumped ahead while it is not believed, else 0.
func (w *Watch) Ahead() time.Duration { return time.Duration(w.ahead.Load()) }

// SinceStart is what New wants: the time since this call.
func SinceStart() func() time.Duration {
	start := time.Now()
	return func() time.Duration { return time.Since(start) }
}
