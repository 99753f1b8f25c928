package gateway

import (
	"context"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
	"dcmgate/spool"
)

// receiver is the receive policy: it admits associations and says what becomes
// of the instances that come over them. It implements dimse.Handler.
type receiver struct {
	admission admission
	contexts  *contexts
	intake    intake
	routes    []route
	window    uint16
	log       *slog.Logger
	trouble   *trouble
	tally     *tally
	open      atomic.Int64       // associations
	overlap   chan struct{}      // writers beyond one for each association
	queries   *qr.SCP            // nil serves none
	keeper    *commitment.Keeper // nil commits itself to nothing
}

// route is a destination as far as receiving is concerned.
type route struct {
	destination string
	priority    PriorityPolicy
}

func newReceiver(cfg Config, in intake, log *slog.Logger, registry prometheus.Registerer) *receiver {
	r := &receiver{
		admission: admission{
			own: cfg.AETitle, checkCalled: cfg.DICOM.CheckCalledAE, accept: cfg.DICOM.Accept, peers: cfg.Peers,
		},
		contexts: newContexts(cfg.DICOM),
		intake:   in,
		window:   uint16(cfg.DICOM.Window),
		log:      log,
		trouble:  newTrouble(),
		tally:    newTally(registry),
		overlap:  make(chan struct{}, overlapping),
	}
	for _, d := range cfg.Destinations {
		r.routes = append(r.routes, route{d.Name, d.Priority})
	}
	return r
}

// Associate implements dimse.Handler.
func (r *receiver) Associate(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	peer, rejection := r.admission.admit(rq.RQ.CallingAETitle, rq.RQ.CalledAETitle, rq.Remote.Addr().Unmap())
	if rejection != nil {
		return nil, rejection
	}
	if proposesStorage(rq.RQ) {
		if rejection := congested(r.intake.Pressure()); rejection != nil {
			return nil, rejection
		}
	}
	r.open.Add(1)
	s := newStorage(r, rq)
	services := dimse.Mux{dimse.CStoreRQ: dimse.StoreFunc(s.store), dimse.CEchoRQ: dimse.Echo()}
	r.serveCommitment(services, peer, rq)
	return &dimse.Acceptance{
		Results:               dimse.Negotiate(rq.RQ, r.contexts.policyOf(peer)),
		Service:               services,
		RoleSelections:        commitment.GrantRoles(rq.RQ.RoleSelections, peer.Allows(RightCommit), false),
		ExtendedNegotiations:  r.serveQueries(services, peer, rq),
		AsyncOperationsWindow: &pdu.AsyncOperationsWindow{Invoked: r.window, Performed: 1},
		Closed:                func(dimse.AssociationSummary) { r.open.Add(-1) },
	}, nil
}

// origin is what all instances of an association share.
func origin(rq *dimse.AssociationRequest) spool.Incoming {
	return spool.Incoming{
		CallingAETitle: pdu.TrimAETitle(rq.RQ.CallingAETitle),
		CalledAETitle:  pdu.TrimAETitle(rq.RQ.CalledAETitle),
		RemoteAddress:  rq.Remote.Addr().Unmap().String(),
		AssociationID:  rq.ID,
	}
}

// proposesStorage spares from what is meant for senders the associations for
// queries, retrievals and storage commitment and for nothing but C-ECHO, which technicians open to see whether the
// gateway lives.
func proposesStorage(rq *pdu.AssociateRQ) bool {
	for _, pc := range rq.PresentationContexts {
		abstract := dicom.UID(pc.AbstractSyntax)
		if _, ok := rightFor(abstract); !ok && abstract != dicom.VerificationSOPClass {
			return true
		}
	}
	return false
}

// jobs lists the deliveries that an instance of this priority is due: all of
// them to everybody.
func (r *receiver) jobs(received spool.Priority) []spool.JobSpec {
	if len(r.routes) == 0 {
		return nil
	}
	jobs := make([]spool.JobSpec, len(r.routes))
	for i, route := range r.routes {
		jobs[i] = spool.JobSpec{Destination: route.destination, Priority: route.prioritize(received)}
	}
	return jobs
}

func (r route) prioritize(received spool.Priority) spool.Priority {
	switch r.priority {
	case PriorityHigh:
		return spool.PriorityHigh
	case PriorityMedium:
		return spool.PriorityMedium
	case PriorityLow:
		return spool.PriorityLow
	}
	return received
}
