package dimse

import "time"

// reservedTimes bounds an association in a place that is reserved for C-ECHO, so that nobody
// keeps it from the next who wants to see whether the gateway lives.
type reservedTimes struct {
	idle  time.Duration // between two operations
	total time.Duration // from its establishment
}

// run is Association.run within these times. Releasing is the requestor's business, so an
// association that overstays is aborted. Nor is the close of its connection waited for long.
func (r reservedTimes) run(a *Association) {
	a.hasty.Store(true)
	if idle := a.stream.limits.IdleTimeout; idle <= 0 || idle > r.idle {
		a.stream.limits.IdleTimeout, a.limits.IdleTimeout = r.idle, r.idle
	}
	aborted := make(chan struct{})
	timer := time.AfterFunc(r.total, func() {
		defer close(aborted)
		a.note(a.abort(&TimeoutError{"the end of an association in the place kept for C-ECHO", r.total}))
	})
	a.run()
	if !timer.Stop() {
		<-aborted
	}
}
