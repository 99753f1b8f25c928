package dimse

import (
	"fmt"
	"net/netip"
	"sync"
)

// admission keeps the books of a server's connections. Every accepted connection is first
// half-open: it has no association yet. Those are few and cheap, so that a flood of them is
// turned away at the door; one that brings a request needs a place among the associations.
type admission struct {
	limit       int // associations in all
	perAddress  int // connections of one address that are associated; 0 is no limit
	reserved    int // places beyond limit for requests that propose nothing but Verification
	halfOpen    int // half-open connections in all
	halfOpenOne int // half-open connections of one address

	mu      sync.Mutex
	placed  map[*Association]place
	counts  map[netip.Addr]*addressCount
	waiting int // half-open
	taken   int // ordinary places
	echoes  int // reserved places
}

// place is what a connection occupies.
type place uint8

const (
	placeHalfOpen place = iota
	placeOrdinary
	placeReserved
)

type addressCount struct{ halfOpen, associated int }

func newAdmission(o ServerOptions) *admission {
	return &admission{
		limit: o.MaxAssociations, perAddress: o.MaxPerAddress, reserved: o.ReservedForEcho, halfOpen: o.MaxHalfOpen,
		// One address can never keep the others from being heard.
		halfOpenOne: max(1, o.MaxHalfOpen/2),
		placed:      make(map[*Association]place),
		counts:      make(map[netip.Addr]*addressCount),
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

// enter takes in a new connection; false if it is to be closed at once.
func (d *admission) enter(a *Association) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.count(a)
	if d.waiting >= d.halfOpen || c.halfOpen >= d.halfOpenOne {
		d.forget(a, c)
		return false
	}
	d.waiting++
	c.halfOpen++
	d.placed[a] = placeHalfOpen
	return true
}

// admit gives a half-open connection that has sent its request a place among the associations.
func (d *admission) admit(a *Association) *RejectError {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.count(a)
	echo := onlyVerification(a.rq) && d.echoes < d.reserved
	switch {
	case d.perAddress > 0 && c.associated >= d.perAddress && !echo:
		return RejectLimit(fmt.Sprintf("%d associations from this address are open, as many as max_per_address allows", c.associated))
	case d.taken < d.limit && !(d.perAddress > 0 && c.associated >= d.perAddress):
		d.taken++
		c.associated++
		d.placed[a] = placeOrdinary
	case echo:
		d.echoes++
		d.placed[a] = placeReserved
	default:
		return RejectLimit(fmt.Sprintf("%d associations are open, as many as max_associations allows", d.taken))
	}
	d.waiting--
	c.halfOpen--
	return nil
}

// associated tells whether the request led to an association. If not, the connection counts as
// half-open again until it is closed, and its place is free for the next.
func (d *admission) associated(a *Association, established bool) {
	if established {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.placed[a]; ok && p != placeHalfOpen {
		c := d.count(a)
		d.vacate(p, c)
		d.waiting++
		c.halfOpen++
		d.placed[a] = placeHalfOpen
	}
}

// leave forgets a connection that is closed.
func (d *admission) leave(a *Association) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.placed[a]
	if !ok {
		return
	}
	delete(d.placed, a)
	c := d.count(a)
	d.vacate(p, c)
	d.forget(a, c)
}

func (d *admission) vacate(p place, c *addressCount) {
	switch p {
	case placeHalfOpen:
		d.waiting--
		c.halfOpen--
	case placeOrdinary:
		d.taken--
		c.associated--
	case placeReserved:
		d.echoes--
	}
}

func (d *admission) count(a *Association) *addressCount {
	key := network(a.remote.Addr())
	c := d.counts[key]
	if c == nil {
		c = &addressCount{}
		d.counts[key] = c
	}
	return c
}

func (d *admission) forget(a *Association, c *addressCount) {
	if *c == (addressCount{}) {
		delete(d.counts, network(a.remote.Addr()))
	}
}

// full tells whether a request would find no ordinary place, so that a connection is given
// less time to make one.
func (d *admission) full() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.taken >= d.limit
}
