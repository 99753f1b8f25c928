package forwarder

import "time"

// Status is a snapshot of a destination.
type Status struct {
	Name          string
	CalledAETitle string
	Address       string

	State        string            // one of the State constants
	Breaker      BreakerState      // of the circuit breaker
	NextProbe    time.Time         // when an open breaker tries again; zero otherwise
	Associations int               // open now
	Allowed      int               // found to be worth having at most
	Bound        int               // configured at most
	Window       int               // operations granted at the last negotiation; 0 before
	Claimed      int               // instances leased: waiting for an association or under way
	Delivered    uint64            // since the start
	Goodput      float64           // bytes per second, smoothed
	Rate         Rate              // limit at present
	Trouble      *Trouble          // the last failure, nil if there was none since the start
	Commitment   *CommitmentStatus // nil where commitment is not asked for
}

// CommitmentStatus is a snapshot of a destination's storage commitment.
type CommitmentStatus struct {
	Requests int       // taken by the destination since the start and not reported on yet
	Next     time.Time // no request is made before; zero if one may be
	Trouble  *Trouble  // what keeps it from working, nil if nothing does
}

// The states of a destination, in words.
const (
	StateIdle        = "idle"
	StateSending     = "sending"
	StatePaused      = "paused by the calendar"
	StateUnreachable = "not working, nothing is sent until the next probe"
	StateProbing     = "being probed"
	StateStopped     = "stopped"
	StateChanging    = "ending what is under way, then its settings change"
)

// Trouble is the last kind of failure of a destination.
type Trouble struct {
	Since time.Time // first of this kind in a row
	At    time.Time // last
	Count int
	Code  string // short and stable
	Text  string // what happened and what to do
}

// status takes the snapshot.
func (c *courier) status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{
		Name: c.Name, CalledAETitle: c.CalledAETitle, Address: c.Address,
		State: c.state(), Breaker: c.breaker.state,
		Associations: c.open, Allowed: c.control.allowed(time.Now()), Bound: c.Associations,
		Window: c.window, Claimed: c.claimed, Delivered: c.ledger.deliveries,
		Goodput: c.goodput, Rate: c.limit,
	}
	if c.breaker.state == BreakerOpen {
		s.NextProbe = c.breaker.next
	}
	if c.ledger.last != nil {
		last := *c.ledger.last
		s.Trouble = &last
	}
	if a := c.asker; a != nil {
		s.Commitment = &CommitmentStatus{Requests: len(a.open), Next: a.next}
		if a.busy {
			s.Associations++
		}
		if a.trouble != nil {
			last := *a.trouble
			s.Commitment.Trouble = &last
		}
	}
	return s
}

func (c *courier) state() string {
	switch {
	case c.stopping:
		return StateStopped
	case c.breaker.state == BreakerOpen:
		return StateUnreachable
	case c.breaker.state == BreakerHalfOpen:
		return StateProbing
	case c.paused:
		return StatePaused
	case c.claimed > 0:
		return StateSending
	}
	return StateIdle
}
