package forwarder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"dcmgate/transfer"
)

// Options are what a Forwarder is made of.
type Options struct {
	Queue        Queue
	Dialer       Dialer
	Custody      Custody          // needed where a destination is asked for commitment
	Commitments  CommitmentDialer // likewise
	Destinations []Destination
	// Grace is how long instances under way are still awaited when the
	// forwarder stops; default 10 s, negative none.
	Grace      time.Duration
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
	// Converter converts for destinations that ask for it; needed if one does.
	Converter *transfer.Converter
	// Random returns numbers in [0,1) for jitter; nil means math/rand.
	Random func() float64
}

// A Forwarder delivers the jobs of a queue to their destinations. The
// destinations share nothing: what one of them does costs no other anything.
type Forwarder struct {
	couriers []*courier
	byName   map[string]*courier
	reports  map[string]prometheus.Counter // by outcome
}

// New checks the options and prepares the couriers. It starts nothing.
func New(o Options) (*Forwarder, error) {
	if o.Queue == nil || o.Dialer == nil {
		return nil, errors.New("forwarder: needs a queue and a dialer")
	}
	o = o.withDefaults()
	f := &Forwarder{byName: make(map[string]*courier)}
	metrics := newInstruments(o.Registerer)
	f.reports = metrics.reportsTaken
	for _, d := range o.Destinations {
		d, err := d.withDefaults()
		if err != nil {
			return nil, fmt.Errorf("forwarder: %w", err)
		}
		if f.byName[d.Name] != nil {
			return nil, fmt.Errorf("forwarder: destination %q is there twice", d.Name)
		}
		if d.Convert && o.Converter == nil {
			return nil, fmt.Errorf("forwarder: destination %q converts and there is no converter", d.Name)
		}
		c := newCourier(d, o, metrics.of(d.Name))
		if d.Commitment.Enabled {
			if o.Custody == nil || o.Commitments == nil {
				return nil, fmt.Errorf("forwarder: destination %q: commitment needs custody and a dialer", d.Name)
			}
			c.asker = &asker{Commitment: d.Commitment, custody: o.Custody, dialer: o.Commitments, metrics: metrics.commitmentsOf(d.Name)}
		}
		f.couriers = append(f.couriers, c)
		f.byName[d.Name] = c
	}
	return f, nil
}

func (o Options) withDefaults() Options {
	if o.Grace == 0 {
		o.Grace = 10 * time.Second
	}
	o.Grace = max(o.Grace, 0)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Random == nil {
		o.Random = jitter
	}
	return o
}

func newCourier(d Destination, o Options, m destinationInstruments) *courier {
	c := &courier{
		Destination: d, queue: o.Queue, dialer: o.Dialer, converter: o.Converter, grace: o.Grace, random: o.Random, metrics: m,
		log:     o.Logger.With("destination", d.Name),
		limiter: transfer.NewLimiter(int64(Unlimited)),
		kicks:   make(chan struct{}, 1),
		served:  make(map[transfer.Pair]int),
		control: newController(d.Associations),
		limit:   Unlimited,
		more:    true,
		ledger:  newLedger(),
		breaker: breaker{
			threshold: d.Policy.BreakerThreshold, redial: d.Policy.Redial,
			probe: d.Policy.Probe, longProbe: d.Policy.LongProbe, random: o.Random,
		},
	}
	m.rate.Set(gaugeRate(Unlimited))
	m.allowed.Set(float64(c.control.level))
	return c
}

func gaugeRate(r Rate) float64 {
	if r == Unlimited {
		return math.Inf(1)
	}
	return float64(r)
}

// Run delivers until ctx ends. Then it takes no further job, awaits what is
// under way for the grace time, hands all leases back and returns nil. It is
// called once.
func (f *Forwarder) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range f.couriers {
		g.Go(func() error { return c.run(ctx) })
	}
	return g.Wait()
}

// Status returns a snapshot of every destination, in the order of the
// options.
func (f *Forwarder) Status() []Status {
	all := make([]Status, len(f.couriers))
	for i, c := range f.couriers {
		all[i] = c.status()
	}
	return all
}

// Probe lets an open breaker try at once, and commitment be asked for, for a
// person who has mended something. It reports whether there is such a destination.
func (f *Forwarder) Probe(destination string) bool {
	c := f.byName[destination]
	if c == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.breaker.hurry()
	if c.asker != nil {
		c.asker.next, c.asker.looked, c.asker.silent = time.Time{}, time.Time{}, 0
	}
	c.more = true
	c.kick()
	return true
}
