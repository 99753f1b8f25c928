package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"dcmgate/dicom"
	"dcmgate/gateway"
)

// Options say what to examine and how.
type Options struct {
	Names   []string      // of destinations, upstreams, databases, and AE titles of peers; none: everything, and the machine
	Timeout time.Duration // of each step
	// StorageClasses are the SOP classes that a destination is asked about, the most frequent ones first, and Compressed the
	// transfer syntaxes. There is room for about a hundred questions.
	StorageClasses []dicom.UID
	Compressed     []dicom.UID
	Now            func() time.Time // nil: the clock
}

// atOnce is how many are examined at the same time.
const atOnce = 8

// examiner examines what a configuration names.
type examiner struct {
	o   Options
	cfg gateway.Config
	// status is that of the gateway that runs on the data folder; nil if none does.
	status *gateway.Status
}

// subject is something to be examined.
type subject struct {
	kind          Kind
	name, address string
	examine       func(ctx context.Context, e *Examined)
}

// Names are those that can be asked for.
func Names(cfg *gateway.Config) (names []string) {
	for _, s := range (&examiner{cfg: *cfg}).connections() {
		names = append(names, s.name)
	}
	return names
}

// Examine examines, several at once, and gives each result to report in the order of the configuration. It fails only if a
// name is not known.
func Examine(ctx context.Context, cfg gateway.Config, o Options, report func(*Examined)) error {
	if o.Now == nil {
		o.Now = time.Now
	}
	x := &examiner{o: o, cfg: cfg}
	subjects, err := x.subjects()
	if err != nil {
		return err
	}
	x.askGateway(ctx)
	results := make([]chan *Examined, len(subjects))
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range results {
		results[i] = make(chan *Examined, 1)
	}
	go func() { // starting waits for room
		for i, s := range subjects {
			group.Go(func() error {
				e := &Examined{Kind: s.kind, Name: s.name, Address: s.address, Findings: []Finding{}}
				s.examine(ctx, e)
				results[i] <- e
				return nil
			})
		}
	}()
	for _, r := range results {
		report(<-r)
	}
	return group.Wait()
}

func (x *examiner) subjects() (chosen []subject, err error) {
	all := x.connections()
	if len(x.o.Names) == 0 {
		return append([]subject{{kind: Machine, examine: x.machine}}, all...), nil
	}
	for _, name := range x.o.Names {
		found := false
		for _, s := range all {
			if s.name == name {
				chosen, found = append(chosen, s), true
			}
		}
		if !found {
			return nil, fmt.Errorf("%q is the name of no destination, upstream or database, and the AE title of no peer that has an address", name)
		}
	}
	return chosen, nil
}

// connections are all that the configuration names.
func (x *examiner) connections() (all []subject) {
	for _, d := range x.cfg.Destinations {
		all = append(all, subject{Destination, d.Name, d.Address, func(ctx context.Context, e *Examined) {
			at := &endpoint{address: d.Address, called: d.AETitle, calling: d.CallingAETitle, storage: true, converts: d.Convert}
			if d.Commitment.Enabled {
				at.required = []dicom.UID{dicom.StorageCommitmentPushModelSOPClass}
			}
			x.applicationEntity(ctx, e, at, d.TLS)
			x.delivery(e, d.Name)
		}})
	}
	for _, u := range x.cfg.Upstreams {
		all = append(all, subject{Upstream, u.Name, u.Address, func(ctx context.Context, e *Examined) {
			at := &endpoint{address: u.Address, called: u.AETitle, calling: x.cfg.AETitle, required: append(slices.Clone(u.Models), dicom.StudyRootMoveSOPClass)}
			x.applicationEntity(ctx, e, at, u.TLS)
		}})
	}
	for _, p := range x.cfg.Peers {
		if p.Address == "" {
			continue
		}
		all = append(all, subject{Peer, p.AETitle, p.Address, func(ctx context.Context, e *Examined) {
			x.applicationEntity(ctx, e, &endpoint{address: p.Address, called: p.AETitle, calling: x.cfg.AETitle, storage: true, converts: true}, p.TLS)
		}})
	}
	for _, v := range x.cfg.Views {
		all = append(all, subject{Database, v.Name, "", func(ctx context.Context, e *Examined) { x.database(ctx, e, v) }})
	}
	if c := x.cfg.Retrieve.Cloud; c.URL != "" {
		address := ""
		if u, err := url.Parse(c.URL); err == nil {
			address = u.Host
		}
		all = append(all, subject{Cloud, "retrieve.cloud", address, func(ctx context.Context, e *Examined) { x.cloud(ctx, e, c) }})
	}
	return all
}

// applicationEntity goes step by step as far as it gets.
func (x *examiner) applicationEntity(ctx context.Context, e *Examined, at *endpoint, t gateway.ClientTLS) {
	config, err := t.Load(at.address)
	if err != nil {
		e.problem("config", err.Error(), "mend the file, or have the key name another one")
		return
	}
	if !x.connected(ctx, e, at.address) {
		return
	}
	if at.tls = config; config != nil {
		var sound bool
		if sound, at.asked = x.secured(ctx, e, at.address, config); !sound {
			return
		}
	}
	x.associated(ctx, e, at)
}
