package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/images"
	"dcmgate/spool"
)

// newServer builds what accepts associations, on the plain listener and on that
// for TLS: the limits are over both.
func (g *Gateway) newServer(s *settings, r *receiver) (*dimse.Server, error) {
	o := serverLimits(&s.DICOM)
	o.Refused, o.Logger, o.Registerer = r.audit.refused, g.log, g.registry
	return dimse.NewServer(r, o)
}

// serverLimits are what senders may take and have.
func serverLimits(d *DICOM) dimse.ServerOptions {
	return dimse.ServerOptions{
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
	}
}

// newForwarder builds what delivers.
func (g *Gateway) newForwarder(s *settings, p *parts) (*forwarder.Forwarder, error) {
	dialer := &forwarder.DIMSE{CallingAETitle: s.AETitle, Logger: g.log, Registerer: g.registry}
	return forwarder.New(forwarder.Options{
		Queue:        p.audit.queue(forwarder.FromSpool(p.spool), p.spool.Instance),
		Dialer:       dialer,
		Custody:      p.spool,
		Commitments:  dialer,
		Destinations: forwarderDestinations(s),
		Asked:        p.audit.askedFor,
		Grace:        s.grace(),
		Logger:       g.log,
		Registerer:   g.registry,
		Converter:    g.converter,
	})
}

func forwarderDestinations(s *settings) []forwarder.Destination {
	destinations := make([]forwarder.Destination, 0, len(s.Destinations))
	for _, d := range s.Destinations {
		destinations = append(destinations, forwarderDestination(d, s.destinations[d.Name]))
	}
	return destinations
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
	return p.audit.operator(liveOperations{&operations{
		spool: p.spool, images: func() (*images.Store, error) { return p.images.configured(&g.settings().Images) }, status: func() Status { return g.status(p) },
		rebuild: func(ctx context.Context, name string, progress func(int64)) error {
			return rebuildViews(ctx, p.publish.list(), name, progress)
		},
		restore: func(ctx context.Context, rq RestoreRequest, progress func(int, int)) (RestoreReport, error) {
			return p.restoring().run(ctx, rq, progress)
		},
		revoke: func(study dicom.UID) error {
			links, err := p.links.of(&g.settings().Config, g.log)
			if err != nil {
				return err
			}
			return endLinks(links, study)
		},
		reload: func() (Reloaded, error) { return g.Reload("asked for") },
	}, p.forward})
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
	return control{g.operations(p), p.spool.Health, func() error { return g.checkReady(p) }, p.audit}
}

// admin is what the HTTP listener serves.
func (g *Gateway) admin(p *parts) *admin {
	return &admin{
		metrics: g.registry.Handler(),
		health:  p.spool.Health,
		ready:   func() error { return g.checkReady(p) },
		status:  func() Status { return g.status(p) },
		history: &p.history,
	}
}

// checkReady says whether instances can be received.
func (g *Gateway) checkReady(p *parts) error {
	if g.parts() != p {
		return errors.New("starting or stopping")
	}
	return p.canStore()
}

// canStore says what keeps instances from being stored.
func (p *parts) canStore() error {
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
	p := g.parts()
	if p == nil {
		cfg := g.settings()
		return Status{AETitle: cfg.AETitle, Version: g.version, Config: cfg.Source, DataDir: cfg.DataDir, Notes: cfg.Notes}
	}
	return g.status(p)
}

func (g *Gateway) status(p *parts) Status {
	cfg, live := g.settings(), p.forward.Status()
	s := Status{
		Running:      true,
		Version:      g.version,
		AETitle:      cfg.AETitle,
		Config:       cfg.Source,
		DataDir:      cfg.DataDir,
		Started:      p.started,
		Listeners:    g.Listeners(),
		Spool:        spoolStatus(p.spool, cfg.Spool.Quota),
		Recovery:     recoveryStatus(p.spool.Recovery()),
		Received:     p.receive.tally.status(),
		Destinations: destinationStatus(cfg.Destinations, live, p.spool.Counts(), p.spool.OldestJobs()),
		Commitments:  commitmentStatus(p.keeper),
		Views:        viewsStatus(p.publish.list()),
		Upstreams:    upstreamStatus(p.upstreams.clients()),
		Drop:         p.drop.status(),
		Reload:       g.reloads.status(),
		Notes:        cfg.Notes,
	}
	s.Associations.In = int(p.receive.open.Load())
	for i := range live {
		s.Associations.Out += live[i].Associations
	}
	for i := range s.Upstreams {
		s.Associations.Out += s.Upstreams[i].Associations
	}
	// A collector that fails is left out, and costs its own figure.
	snapshot, _ := g.registry.Snapshot()
	s.Activity = activityStatus(snapshot)
	s.Certificates = certificateStatus(cfg.certificates())
	s.Incidents = incidentStatus(p.receive.incidents, p.spool, p.audit.troubles(), &s)
	return s
}

var _ dimse.Handler = (*receiver)(nil)
