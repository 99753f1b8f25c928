package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/load"
	"dcmgate/internal/synth"
)

// Options are what is measured, and where.
type Options struct {
	Dir          string        // an existing folder on the disk to be measured
	Sizes        []int64       // of data sets, in bytes
	Associations []int         // at once
	Duration     time.Duration // of one measurement, of which a case has five
	Command      []string      // runs dcmgate: program and first arguments
	Env          []string      // beside this process's environment
	Version      string
	// Progress is told of each measurement before it begins, of how many there are. It may be nil.
	Progress func(done, total int, what string)
}

const (
	// maxBytes is what one measurement writes at most, however fast the disk.
	maxBytes = 1 << 30
	// arriveLimit is how long the gateway may deliver nothing.
	arriveLimit = 30 * time.Second
	arrivePoll  = 5 * time.Millisecond
	warmUp      = 4 // instances of each association before the clock starts
	sinkWindow  = 8 // operations that the sink lets the gateway have outstanding, as clouds do
)

// run is a run.
type run struct {
	o      Options
	folder *folder
	done   int // measurements
	stored int // instances by the last ingest
	begun  time.Time
}

// Room is how many bytes of free disk a run needs for a while: what one measurement writes, and the segments that a gateway
// prepares.
func (o *Options) Room() int64 {
	return maxBytes + int64(2*slices.Max(o.Associations)+8)*segmentSize + 8*slices.Max(o.Sizes)
}

// Run measures. It ends early with ctx, and leaves nothing behind in either case.
func Run(ctx context.Context, o Options) (_ *Report, err error) {
	if err := checkRoom(o.Dir, o.Room()); err != nil {
		return nil, err
	}
	r := &run{o: o, begun: time.Now()}
	if r.folder, err = newFolder(o.Dir); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.folder.remove()) }()
	report := &Report{Version: o.Version, Started: r.begun.UTC().Truncate(time.Second)}
	if report.Machine, err = r.describe(ctx); err != nil {
		return nil, err
	}
	for _, size := range o.Sizes {
		for _, n := range o.Associations {
			c, err := r.measure(ctx, size, n)
			if err != nil {
				if ctx.Err() != nil {
					return nil, context.Cause(ctx) // what failed failed by that
				}
				return nil, err
			}
			report.Cases = append(report.Cases, c)
		}
	}
	return report, nil
}

// measure measures a case.
func (r *run) measure(ctx context.Context, size int64, associations int) (Case, error) {
	template := synth.NewTemplate(int(size), uint64(r.begun.UnixNano()))
	size = int64(template.Size())
	c := Case{SizeBytes: size, Associations: associations}
	data := filepath.Join(r.folder.path, "data")
	for _, m := range []struct {
		what string
		do   func() (Rate, error)
		into *Rate
	}{
		{"disk", func() (Rate, error) { return r.disk(ctx, size, associations) }, &c.Disk},
		{"network", func() (Rate, error) { return r.network(ctx, template, associations) }, &c.Network},
		{"ingest", func() (Rate, error) { return r.ingest(ctx, data, template, associations) }, &c.Ingest},
		{"forward", func() (Rate, error) { return r.forward(ctx, data, template, associations) }, &c.Forward},
		{"end to end", func() (Rate, error) { return r.endToEnd(ctx, data+"2", template, associations) }, &c.EndToEnd},
	} {
		what := fmt.Sprintf("%s, %d kB, %d associations", m.what, size/1000, associations)
		if r.o.Progress != nil {
			r.o.Progress(r.done, 5*len(r.o.Sizes)*len(r.o.Associations), what)
		}
		var err error
		if *m.into, err = m.do(); err != nil {
			return c, fmt.Errorf("%s: %w", what, err)
		}
		r.done++
	}
	return c, nil
}

// network stores to a sink.
func (r *run) network(ctx context.Context, t *synth.Template, associations int) (Rate, error) {
	sink, address, err := archive.Listen("127.0.0.1:0", archive.Options{NoDigest: true})
	if err != nil {
		return Rate{}, err
	}
	defer sink.Close()
	return r.send(ctx, address, t, associations)
}

// ingest stores to a gateway that delivers nothing yet.
func (r *run) ingest(ctx context.Context, data string, t *synth.Template, associations int) (Rate, error) {
	g, err := r.startGateway(ctx, data, "", associations)
	if err != nil {
		return Rate{}, err
	}
	defer g.kill()
	if err := r.warm(ctx, g, t, associations); err != nil {
		return Rate{}, err
	}
	before, err := g.processorTime()
	if err != nil {
		return Rate{}, err
	}
	result, err := r.send(ctx, g.address, t, associations)
	if err != nil {
		return Rate{}, err
	}
	if result.Gateway, err = g.usage(before, int64(result.Instances)*int64(t.Size())); err != nil {
		return Rate{}, err
	}
	r.stored = warmUp*associations + result.Instances
	return result, g.stop()
}

// delivering starts a gateway on a data folder that delivers to a counting sink, measures with both, stops it, and takes its
// data away.
func (r *run) delivering(ctx context.Context, data string, associations int, measure func(*archive.Archive, *gate) (Rate, error)) (result Rate, err error) {
	sink, address, err := archive.Listen("127.0.0.1:0", archive.Options{NoDigest: true, Window: sinkWindow})
	if err != nil {
		return Rate{}, err
	}
	defer sink.Close()
	g, err := r.startGateway(ctx, data, address, associations)
	if err != nil {
		return Rate{}, err
	}
	defer func() { err = errors.Join(err, g.kill(), os.RemoveAll(data)) }()
	if result, err = measure(sink, g); err != nil {
		return Rate{}, err
	}
	return result, g.stop()
}

// forward has the gateway deliver what ingest has stored.
func (r *run) forward(ctx context.Context, data string, t *synth.Template, associations int) (Rate, error) {
	return r.delivering(ctx, data, associations, func(sink *archive.Archive, g *gate) (Rate, error) {
		if err := r.arrival(ctx, sink, r.stored); err != nil {
			return Rate{}, err
		}
		first, last := sink.Span()
		result := rate(r.stored-1, int64(t.Size()), last.Sub(first))
		var err error
		result.Gateway, err = g.usage(0, int64(r.stored)*int64(t.Size()))
		return result, err
	})
}

// endToEnd stores and delivers at once. Its clock runs until the last instance has arrived.
func (r *run) endToEnd(ctx context.Context, data string, t *synth.Template, associations int) (Rate, error) {
	return r.delivering(ctx, data, associations, func(sink *archive.Archive, g *gate) (Rate, error) {
		warm := warmUp * associations
		if err := r.warm(ctx, g, t, associations); err != nil {
			return Rate{}, err
		}
		if err := r.arrival(ctx, sink, warm); err != nil {
			return Rate{}, err
		}
		before, err := g.processorTime()
		if err != nil {
			return Rate{}, err
		}
		began := time.Now()
		sent, err := r.send(ctx, g.address, t, associations)
		if err != nil {
			return Rate{}, err
		}
		if err := r.arrival(ctx, sink, warm+sent.Instances); err != nil {
			return Rate{}, err
		}
		_, last := sink.Span()
		result := rate(sent.Instances, int64(t.Size()), last.Sub(began))
		result.Answers = sent.Answers
		result.Gateway, err = g.usage(before, int64(result.Instances)*int64(t.Size()))
		return result, err
	})
}

// warm stores some instances that are not counted.
func (r *run) warm(ctx context.Context, g *gate, t *synth.Template, associations int) error {
	s := &load.Sender{Address: g.address, Template: t, Total: warmUp * associations, FirstStudy: 1 << 20, Once: true}
	return s.Run(ctx, associations)
}

// send stores instances for the time of a measurement.
func (r *run) send(ctx context.Context, address string, t *synth.Template, associations int) (Rate, error) {
	var mu sync.Mutex
	var took []time.Duration
	s := &load.Sender{
		Address: address, Template: t, Total: associations << 20, Once: true, More: r.budget(int64(t.Size())),
		Answered: func(d time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			took = append(took, d)
		},
	}
	began := time.Now()
	if err := s.Run(ctx, associations); err != nil {
		return Rate{}, err
	}
	result := rate(s.Acked(), int64(t.Size()), time.Since(began))
	result.Answers = latency(took)
	return result, nil
}

// latency returns the percentiles of durations, nil for none. It sorts them.
func latency(took []time.Duration) *Latency {
	if len(took) == 0 {
		return nil
	}
	slices.Sort(took)
	at := func(share float64) float64 {
		return float64(took[int(share*float64(len(took)-1))].Microseconds()) / 1000
	}
	return &Latency{P50: at(0.5), P99: at(0.99), Max: at(1)}
}

// arrival waits until so many instances have reached the sink. It fails once none has for a while.
func (r *run) arrival(ctx context.Context, sink *archive.Archive, n int) error {
	had, since := 0, time.Now()
	for {
		now := sink.Counts().Instances
		if now >= n {
			return nil
		}
		if now > had {
			had, since = now, time.Now()
		} else if time.Since(since) > arriveLimit {
			return fmt.Errorf("%d of %d instances have been delivered, and none for %v", now, n, arriveLimit)
		}
		if err := pause(ctx, arrivePoll); err != nil {
			return err
		}
	}
}
