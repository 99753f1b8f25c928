package dimse

import (
	"sync"
	"time"
)

// roles arranges which of an association's goroutines reads. Exactly one has the reading role.
// It reads until it has a request, and then serves that request itself, so that a data set is
// consumed where it is received; at the end of the data set it hands the role to another
// goroutine. With a window of n there are at most n+1.
//
// Where the peer may have one operation outstanding there is usually nothing to be read while
// it is being served, and handing over would cost two switches of goroutines per instance for
// nothing. Then the role is only lent: the goroutine takes it back when it has answered,
// unless somebody has needed it meanwhile, which after loanTime is everybody.
type roles struct {
	mu      sync.Mutex
	lent    bool
	over    bool // the transport is closed; nobody reads any more
	idle    int  // goroutines waiting on wake
	wake    chan struct{}
	loan    *time.Timer
	workers sync.WaitGroup
}

// loanTime is how long a cancel, abort or release may go unnoticed while an operation that
// cannot be cancelled is being served.
const loanTime = 50 * time.Millisecond

// work is the life of one of the association's goroutines.
func (a *Association) work(reading bool) {
	defer a.roles.workers.Done()
	for {
		if !reading && !a.waitForRole() {
			return
		}
		op := a.nextOperation()
		if op == nil {
			a.readingOver()
			return
		}
		reading = a.serve(op)
	}
}

// waitForRole parks the goroutine until it is to read; false means that it is not needed.
func (a *Association) waitForRole() bool {
	r := &a.roles
	r.mu.Lock()
	if r.over || r.idle > 0 && r.idle >= a.perform {
		r.mu.Unlock()
		return false
	}
	r.idle++
	r.mu.Unlock()
	_, ok := <-r.wake
	return ok
}

// handOver gives the role to another goroutine. The caller has it, or takes it from who lent it.
func (a *Association) handOver() {
	a.roles.mu.Lock()
	defer a.roles.mu.Unlock()
	a.handOverLocked()
}

func (a *Association) handOverLocked() {
	r := &a.roles
	switch {
	case r.over:
	case r.idle > 0:
		r.idle--
		r.wake <- struct{}{}
	default:
		r.workers.Add(1)
		go a.work(true)
	}
}

// lend leaves the role to whoever asks for it.
func (a *Association) lend() {
	r := &a.roles
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lent = true
	if r.loan == nil {
		r.loan = time.AfterFunc(loanTime, a.ensureReader)
	} else {
		r.loan.Reset(loanTime)
	}
}

// reclaim takes a lent role back and tells whether it was still to be had.
func (a *Association) reclaim() bool {
	r := &a.roles
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.lent
	r.lent = false
	if r.loan != nil {
		r.loan.Stop()
	}
	return was
}

// ensureReader makes sure that somebody reads, because something is expected or over.
func (a *Association) ensureReader() {
	a.roles.mu.Lock()
	defer a.roles.mu.Unlock()
	if a.roles.lent {
		a.roles.lent = false
		a.handOverLocked()
	}
}

// readingOver ends the parked goroutines. The caller had the role.
func (a *Association) readingOver() {
	r := &a.roles
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over = true
		close(r.wake)
	}
}

func (r *roles) stopLoan() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.loan != nil {
		r.loan.Stop()
	}
}
