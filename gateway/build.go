package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/spool"
)

// security is what New loads from the files that the configuration names.
type security struct {
	server       *tls.Config            // nil without a TLS listener
	destinations map[string]*tls.Config // by name; nil entries for plain TCP
	upstreams    map[string]*tls.Config // likewise
	peers        map[string]*tls.Config // by AE title; likewise
	public       *tls.Config            // nil for plain HTTP
	clients      []cloud.Key            // of interface 203
	cloud        *cloud.Client          // nil if there is none
}

func loadSecurity(cfg Config, log *slog.Logger) (security, error) {
	s := security{
		destinations: make(map[string]*tls.Config), upstreams: make(map[string]*tls.Config), peers: make(map[string]*tls.Config),
	}
	var err error
	if s.server, err = cfg.DICOM.TLS.load(cfg.Peers); err != nil {
		return s, err
	}
	if s.public, err = cfg.Public.TLS.load(log); err != nil {
		return s, err
	}
	if s.clients, err = cfg.Retrieve.load(); err != nil {
		return s, err
	}
	if s.cloud, err = cfg.Retrieve.Cloud.client(); err != nil {
		return s, err
	}
	for _, d := range cfg.Destinations {
		if s.destinations[d.Name], err = d.TLS.Load(d.Address); err != nil {
			return s, fmt.Errorf("destination %s: %w", d.Name, err)
		}
	}
	for _, u := range cfg.Upstreams {
		if s.upstreams[u.Name], err = u.TLS.Load(u.Address); err != nil {
			return s, fmt.Errorf("upstream %s: %w", u.Name, err)
		}
	}
	for _, p := range cfg.Peers {
		if s.peers[p.AETitle], err = p.TLS.Load(p.Address); err != nil {
			return s, fmt.Errorf("peer %s: %w", p.AETitle, err)
		}
	}
	return s, nil
}

// newServer builds what accepts associations, on the plain listener and on that
// for TLS: the limits are over both.
func (g *Gateway) newServer(r *receiver) (*dimse.Server, error) {
	d := &g.cfg.DICOM
	return dimse.NewServer(r, dimse.ServerOptions{
		Timeouts: dimse.Timeouts{
			ARTIM:        d.Timeouts.Association,
			IdleTimeout:  d.Timeouts.Idle,
			PDUTimeout:   d.Timeouts.PDU,
			WriteTimeout: d.Timeouts.Write,
			DIMSETimeout: d.Timeouts.DIMSE,
		},
		MaxAssociations: d.MaxAssociations,
		MaxPerAddress:   d.MaxPerAddress,
		MaximumLength:   d.MaxPDU,
		Logger:          g.log,
		Registerer:      g.registry,
	})
}

// newForwarder builds what delivers.
func (g *Gateway) newForwarder(s *spool.Spool) (*forwarder.Forwarder, error) {
	destinations := make([]forwarder.Destination, 0, len(g.cfg.Destinations))
	for _, d := range g.cfg.Destinations {
		destinations = append(destinations, forwarderDestination(d, g.security.destinations[d.Name]))
	}
	dialer := &forwarder.DIMSE{CallingAETitle: g.cfg.AETitle, Logger: g.log, Registerer: g.registry}
	return forwarder.New(forwarder.Options{
		Queue:        forwarder.FromSpool(s),
		Dialer:       dialer,
		Custody:      s,
		Commitments:  dialer,
		Destinations: destinations,
		Grace:        g.grace(),
		Logger:       g.log,
		Registerer:   g.registry,
		Converter:    g.converter,
	})
}

func forwarderDestination(d Destination, secure *tls.Config) forwarder.Destination {
	linger := d.Linger
	if linger == 0 {
		linger = -1 // 0 means the default there
	}
	return forwarder.Destination{
		Name:                d.Name,
		CalledAETitle:       d.AETitle,
		CallingAETitle:      d.CallingAETitle,
		Address:             d.Address,
		TLS:                 secure,
		Associations:        d.Associations,
		Window:              d.Window,
		BatchPerAssociation: d.Batch,
		Linger:              linger,
		MaximumLength:       d.MaxPDU,
		Calendar:            d.Calendar,
		TransferSyntaxes:    d.TransferSyntaxes,
		Convert:             d.Convert,
		DialTimeout:         d.Timeouts.Association,
		Timeouts: dimse.Timeouts{
			ARTIM:        d.Timeouts.Association,
			WriteTimeout: d.Timeouts.Write,
			DIMSETimeout: d.Timeouts.DIMSE,
		},
		Policy: forwarder.Policy{
			Backoff:     forwarder.Backoff{Initial: d.Retry.Initial, Max: d.Retry.Max},
			MaxAttempts: d.Retry.Attempts,
		},
		Commitment: forwarderCommitment(d.Commitment),
	}
}

// operations are what a person may ask of the running gateway.
func (g *Gateway) operations(p *parts) Operator {
	return liveOperations{&operations{
		spool: p.spool, status: func() Status { return g.status(p) },
		rebuild: func(ctx context.Context, name string, progress func(int64)) error {
			return rebuildViews(ctx, p.publish, name, progress)
		},
		restore: (&restoring{p.restorer, p.receive.queries, g.moveDestinations()}).run,
		revoke: func(study dicom.UID) error {
			if p.links == nil {
				return revokeLinks(g.cfg, study)
			}
			return endLinks(p.links, study)
		},
	}, p.forward}
}

// liveOperations adds to operations what concerns a running forwarder.
type liveOperations struct {
	*operations
	forward *forwarder.Forwarder
}

// Retry implements [Operator]. Whoever retries by hand has mended something,
// so a destination that is waited for is tried at once.
func (o liveOperations) Retry(ctx context.Context, f JobFilter, reason string) (Changed, error) {
	n, err := o.operations.Retry(ctx, f, reason)
	if err == nil && f.Destination != "" {
		o.forward.Probe(f.Destination)
	}
	return n, err
}

// control is what the control socket serves.
func (g *Gateway) control(p *parts) control {
	return control{g.operations(p), p.spool.Health, func() error { return g.checkReady(p) }}
}

// admin is what the HTTP listener serves.
func (g *Gateway) admin(p *parts) *admin {
	return &admin{
		metrics: g.registry.Handler(),
		health:  p.spool.Health,
		ready:   func() error { return g.checkReady(p) },
		status:  func() Status { return g.status(p) },
	}
}

// checkReady says whether instances can be received.
func (g *Gateway) checkReady(p *parts) error {
	g.mu.Lock()
	running := g.running == p
	g.mu.Unlock()
	if !running {
		return errors.New("starting or stopping")
	}
	if err := p.spool.Health(); err != nil {
		return err
	}
	if level := p.spool.Pressure(); level >= spool.LevelReject {
		return fmt.Errorf("spool pressure %v: senders are turned away", level)
	}
	return nil
}

// registerReady registers the gauge that says what /readyz says.
func (g *Gateway) registerReady(p *parts) {
	promauto.With(g.registry).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dcmgate_ready", Help: "1 while instances can be received, as /readyz says.",
	}, func() float64 {
		if g.checkReady(p) != nil {
			return 0
		}
		return 1
	})
}

// Status returns a snapshot; only what the configuration says before Ready and
// after the end of Run.
func (g *Gateway) Status() Status {
	g.mu.Lock()
	p := g.running
	g.mu.Unlock()
	if p == nil {
		return Status{AETitle: g.cfg.AETitle, Version: g.version, Config: g.cfg.Source, DataDir: g.cfg.DataDir, Notes: g.cfg.Notes}
	}
	return g.status(p)
}

func (g *Gateway) status(p *parts) Status {
	live := p.forward.Status()
	s := Status{
		Running:      true,
		Version:      g.version,
		AETitle:      g.cfg.AETitle,
		Config:       g.cfg.Source,
		DataDir:      g.cfg.DataDir,
		Started:      p.started,
		Listeners:    g.Listeners(),
		Spool:        spoolStatus(p.spool, g.cfg.Spool.Quota),
		Recovery:     recoveryStatus(p.spool.Recovery()),
		Received:     p.receive.tally.status(),
		Destinations: destinationStatus(g.cfg.Destinations, live, p.spool.Counts()),
		Commitments:  commitmentStatus(p.keeper),
		Views:        viewsStatus(p.publish),
		Upstreams:    upstreamStatus(p.upstreams),
		Notes:        g.cfg.Notes,
	}
	s.Associations.In = int(p.receive.open.Load())
	for i := range live {
		s.Associations.Out += live[i].Associations
	}
	for i := range s.Upstreams {
		s.Associations.Out += s.Upstreams[i].Associations
	}
	return s
}

var _ dimse.Handler = (*receiver)(nil)
