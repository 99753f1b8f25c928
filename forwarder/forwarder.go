package forwarder

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
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
	// Asked is told of requests for storage commitment and of reports to them, for an audit trail; it returns at once. nil
	// tells nobody.
	Asked func(Asked)
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
	metrics *instruments

	mu    sync.Mutex
	o     Options
	posts []*post         // in the order of the destinations; then those that are about to end
	group *errgroup.Group // nil before Run
	ctx   context.Context // of Run
	over  bool            // no further post is begun
}

// New checks the options and prepares the couriers. It starts nothing.
func New(o Options) (*Forwarder, error) {
	if o.Queue == nil || o.Dialer == nil {
		return nil, errors.New("forwarder: needs a queue and a dialer")
	}
	f := &Forwarder{o: o, metrics: newInstruments(o.Registerer)}
	apply, err := f.Change(o.Destinations, o.Grace)
	if err != nil {
		return nil, err
	}
	apply()
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

// newCourier makes the courier of a destination that was checked.
func (f *Forwarder) newCourier(d Destination, o Options) *courier {
	m := f.metrics.of(d.Name)
	c := &courier{
		Destination: d, queue: o.Queue, dialer: o.Dialer, converter: o.Converter, grace: o.Grace, random: o.Random, metrics: m,
		log:      o.Logger.With("destination", d.Name),
		limiter:  transfer.NewLimiter(int64(Unlimited)),
		kicks:    make(chan struct{}, 1),
		served:   make(map[transfer.Pair]int),
		control:  newController(d.Associations),
		limit:    Unlimited,
		calendar: d.Calendar,
		more:     true,
		ledger:   newLedger(),
		breaker: breaker{
			threshold: d.Policy.BreakerThreshold, redial: d.Policy.Redial,
			probe: d.Policy.Probe, longProbe: d.Policy.LongProbe, random: o.Random,
		},
	}
	if d.Commitment.Enabled {
		c.asker = &asker{Commitment: d.Commitment, custody: o.Custody, dialer: o.Commitments, tell: o.Asked, metrics: f.metrics.commitmentsOf(d.Name)}
	}
	c.tenure, c.retire = context.WithCancel(context.Background())
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
	g.Go(func() error { // keeps the group open for destinations that are yet to come
		<-ctx.Done()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.over = true
		return nil
	})
	f.mu.Lock()
	f.group, f.ctx = g, ctx
	for _, p := range f.posts {
		f.begin(p)
	}
	f.mu.Unlock()
	return g.Wait()
}

// Status returns a snapshot of every destination, in the order of the
// options.
func (f *Forwarder) Status() []Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]Status, 0, len(f.posts))
	for _, p := range f.posts {
		if !p.given {
			all = append(all, p.status())
		}
	}
	return all
}

// couriers are those that serve now.
func (f *Forwarder) couriers() []*courier {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]*courier, len(f.posts))
	for i, p := range f.posts {
		all[i] = p.courier
	}
	return all
}

// Probe lets an open breaker try at once, and commitment be asked for, for a
// person who has mended something. It reports whether there is such a destination.
func (f *Forwarder) Probe(destination string) bool {
	all := f.couriers()
	i := slices.IndexFunc(all, func(c *courier) bool { return c.Name == destination })
	if i < 0 {
		return false
	}
	c := all[i]
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
