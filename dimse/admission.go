package dimse

import (
	"fmt"
	"net/netip"
	"sync"
)

// admission keeps the books of a server's connections. Every accepted connection is first
// half-open: it has no association yet. Those are few and cheap, and give way to newer ones
// (see waiting); one that brings a request needs a place among the associations.
type admission struct {
	reserved int // places beyond limit for requests that propose nothing but Verification

	mu         sync.Mutex
	limit      int // associations in all
	perAddress int // connections of one address that are associated; 0 is no limit
	placed     map[*Association]place
	associated map[netip.Addr]int // ordinary places, by address
	halfOpen   *waiting
	taken      int // ordinary places
	echoes     int // reserved places
}

// setLimits changes the limits for what is admitted from now on.
func (d *admission) setLimits(o ServerOptions) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.limit, d.perAddress = o.MaxAssociations, o.MaxPerAddress
}

// place is what a connection occupies: a seat while it is half-open, or one of two kinds of
// places for associations.
type place struct {
	kind placeKind
	seat *seat
}

type placeKind uint8

const (
	placeHalfOpen placeKind = iota
	placeOrdinary
	placeReserved
)

func newAdmission(o ServerOptions) *admission {
	return &admission{
		limit: o.MaxAssociations, perAddress: o.MaxPerAddress, reserved: o.ReservedForEcho,
		placed:     make(map[*Association]place),
		associated: make(map[netip.Addr]int),
		halfOpen:   newWaiting(o.MaxHalfOpen),
	}
}

// network is what counts as one address: a host in IPv4, a subnet in IPv6, where one host may
// have any number of addresses.
func network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	p, err := a.WithZone("").Prefix(64)
	if err != nil {
		return a
	}
	return p.Addr()
}

// enter takes in a new connection, and returns the one that is to be closed for it, if any.
func (d *admission) enter(a *Association) (displaced *Association) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seat(a)
}

// seat makes a connection half-open. d.mu is held.
func (d *admission) seat(a *Association) (displaced *Association) {
	s, displaced := d.halfOpen.enter(a)
	d.placed[a] = place{placeHalfOpen, s}
	delete(d.placed, displaced)
	return displaced
}

// admit gives a half-open connection that has sent its request a place among the associations.
func (d *admission) admit(a *Association) *RejectError {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.placed[a]
	if !ok {
		return RejectCongestion(errDisplaced.Error()) // it was closed a moment ago
	}
	address := network(a.remote.Addr())
	n := d.associated[address]
	crowded := d.perAddress > 0 && n >= d.perAddress
	echo := onlyVerification(a.rq) && d.echoes < d.reserved
	switch {
	case crowded && !echo:
		return RejectLimit(fmt.Sprintf("%d associations from this address are open, as many as max_per_address allows", n))
	case d.taken < d.limit && !crowded:
		d.taken++
		d.associated[address]++
		d.placed[a] = place{kind: placeOrdinary}
	case echo:
		d.echoes++
		d.placed[a] = place{kind: placeReserved}
	default:
		return RejectLimit(fmt.Sprintf("%d associations are open, as many as max_associations allows", d.taken))
	}
	d.halfOpen.leave(p.seat)
	return nil
}

// refused makes a connection whose request did not lead to an association half-open again until
// it is closed: its place is free for the next. It returns as enter does.
func (d *admission) refused(a *Association) (displaced *Association) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.placed[a]
	if !ok || p.kind == placeHalfOpen {
		return nil
	}
	d.vacate(a, p)
	return d.seat(a)
}

// isReserved tells whether an association has one of the places reserved for C-ECHO.
func (d *admission) isReserved(a *Association) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.placed[a].kind == placeReserved
}

// leave forgets a connection that is closed.
func (d *admission) leave(a *Association) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.placed[a]; ok {
		delete(d.placed, a)
		d.vacate(a, p)
	}
}

// vacate gives back what a connection occupied. d.mu is held.
func (d *admission) vacate(a *Association, p place) {
	switch p.kind {
	case placeHalfOpen:
		d.halfOpen.leave(p.seat)
	case placeOrdinary:
		d.taken--
		address := network(a.remote.Addr())
		if d.associated[address]--; d.associated[address] == 0 {
			delete(d.associated, address)
		}
	case placeReserved:
		d.echoes--
	}
}

// full tells whether a request would find no ordinary place, so that a connection is given
// less time to make one.
func (d *admission) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.taken >= d.limit
}
