package forwarder

import (
	"fmt"
	"reflect"
	"slices"
	"time"
)

// A post is the service of one destination. When its settings change the courier
// that serves it ends in order, and another takes over: two at once would open
// more associations than are allowed.
type post struct {
	want    Destination // as its last courier has it
	courier *courier    // serves
	next    *courier    // takes over when that has ended; nil: none
	given   bool        // up: the destination was taken away, and the courier is the last
}

func (p *post) status() Status {
	s := p.courier.status()
	if p.next != nil {
		s.State = StateChanging
	}
	return s
}

// Change checks other destinations, and returns what puts them in the place of
// those there are: one that has not changed is left alone, a calendar takes
// effect at once, any other setting once what is under way has ended, which is
// never interrupted. Of a destination that is no longer there nothing is claimed
// any more. grace is as in [Options], for associations from then on.
func (f *Forwarder) Change(destinations []Destination, grace time.Duration) (apply func(), err error) {
	f.mu.Lock()
	o := f.o
	f.mu.Unlock()
	o.Grace = grace
	o = o.withDefaults()
	o.Destinations = make([]Destination, len(destinations))
	seen := make(map[string]bool, len(destinations))
	for i, d := range destinations {
		if d, err = d.withDefaults(); err == nil {
			err = o.admits(&d, seen[d.Name])
		}
		if err != nil {
			return nil, fmt.Errorf("forwarder: %w", err)
		}
		o.Destinations[i], seen[d.Name] = d, true
	}
	return func() { f.change(o) }, nil
}

// admits checks a destination by itself.
func (o *Options) admits(d *Destination, again bool) error {
	switch {
	case again:
		return fmt.Errorf("destination %q is there twice", d.Name)
	case d.Convert && o.Converter == nil:
		return fmt.Errorf("destination %q converts and there is no converter", d.Name)
	case d.Commitment.Enabled && (o.Custody == nil || o.Commitments == nil):
		return fmt.Errorf("destination %q: commitment needs custody and a dialer", d.Name)
	}
	return nil
}

func (f *Forwarder) change(o Options) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.o = o
	before := f.posts
	f.posts = nil
	for _, d := range o.Destinations {
		i := slices.IndexFunc(before, func(p *post) bool { return p.want.Name == d.Name })
		if i < 0 {
			p := &post{want: d, courier: f.newCourier(d, o)}
			p.courier.announceLimits()
			f.posts = append(f.posts, p)
			f.begin(p)
			continue
		}
		f.posts = append(f.posts, before[i])
		f.alter(before[i], d, o)
	}
	for _, p := range before {
		if !slices.Contains(f.posts, p) {
			p.given, p.next = true, nil
			p.courier.retire()
			f.posts = append(f.posts, p)
		}
	}
}

// alter has a post serve its destination as d says. f.mu is held.
func (f *Forwarder) alter(p *post, d Destination, o Options) {
	same := p.want
	same.Calendar = d.Calendar
	if !p.given && reflect.DeepEqual(same, d) {
		last := p.courier
		if p.next != nil {
			last = p.next
		}
		last.follows(d.Calendar, o.Grace)
		p.want = d
		return
	}
	p.want, p.given, p.next = d, false, f.newCourier(d, o)
	p.courier.retire()
}

// begin has a post served, if the forwarder runs. f.mu is held.
func (f *Forwarder) begin(p *post) {
	if f.group != nil && !f.over {
		f.group.Go(func() error { return f.serve(p) })
	}
}

// serve runs the couriers of a post one after the other.
func (f *Forwarder) serve(p *post) error {
	for {
		err := p.courier.run(f.ctx)
		f.mu.Lock()
		if p.next != nil && !f.over && err == nil {
			p.courier, p.next = p.next, nil
			p.courier.announceLimits()
			f.mu.Unlock()
			continue
		}
		if p.given {
			f.posts = slices.DeleteFunc(f.posts, func(other *post) bool { return other == p })
			f.metrics.forget(p.want.Name)
		}
		f.mu.Unlock()
		return err
	}
}

// follows takes what can change while the courier serves.
func (c *courier) follows(calendar Calendar, grace time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calendar, c.grace, c.limitUntil = calendar, grace, time.Time{}
	c.kick()
}

// announceLimits sets the gauges that say what a courier begins with.
func (c *courier) announceLimits() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.metrics.breaker.Set(float64(BreakerClosed))
	c.metrics.rate.Set(gaugeRate(c.limit))
	c.metrics.allowed.Set(float64(c.control.level))
}
