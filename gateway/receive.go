package gateway

import (
	"context"
	"log/slog"
	"slices"
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
	refusals  *refusals
	callers   *callers
	open      atomic.Int64       // associations
	overlap   chan struct{}      // writers beyond one for each association
	queries   *qr.SCP            // nil serves none
	keeper    *commitment.Keeper // nil commits itself to nothing
	sources   []*source          // upstreams
	reporters reporters
	reports   commitment.Taker[commitment.Result] // of the reporters
}

// route is a destination as far as receiving is concerned.
type route struct {
	destination string
	priority    PriorityPolicy
}

func newReceiver(cfg Config, in intake, log *slog.Logger, registry prometheus.Registerer) *receiver {
	r := &receiver{
		admission: admission{
			own: cfg.AETitle, checkCalled: cfg.DICOM.CheckCalledAE, accept: cfg.DICOM.Accept, peers: admitted(&cfg),
		},
		sources:   sourcesOf(cfg.Upstreams),
		contexts:  newContexts(cfg.DICOM),
		intake:    in,
		window:    uint16(cfg.DICOM.Window),
		log:       log,
		trouble:   newTrouble(),
		tally:     newTally(registry),
		overlap:   make(chan struct{}, overlapping),
		refusals:  newRefusals(registry),
		callers:   newCallers(registry),
		reporters: newReporters(cfg),
	}
	r.callers.know(r.admission.peers)
	for _, d := range cfg.Destinations {
		r.routes = append(r.routes, route{d.Name, d.Priority})
	}
	return r
}

// Associate implements dimse.Handler.
func (r *receiver) Associate(ctx context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	peer, refused := r.admission.admit(rq.RQ.CallingAETitle, rq.RQ.CalledAETitle, caller{rq.Remote.Addr().Unmap(), rq.TLS})
	reports := r.reporters.admits(ctx, rq)
	label := r.callers.label(r.admission.peers, rq.RQ.CallingAETitle)
	if refused != nil && !(reports && refused.Reason == pdu.RejectUserCallingAETitleNotRecognized) {
		r.refusals.callers.WithLabelValues(refused.why).Inc()
		r.callers.association(label, callerRefused)
		return nil, refused.RejectError
	}
	roles := r.contexts.grantRoles(peer, rq.RQ)
	if proposesStorage(rq.RQ, roles) {
		if rejection := congested(r.intake.Pressure()); rejection != nil {
			r.callers.association(label, callerCongested)
			return nil, rejection
		}
	}
	r.callers.association(label, callerAdmitted)
	r.open.Add(1)
	s := newStorage(r, rq)
	s.caller = label
	services := dimse.Mux{dimse.CStoreRQ: dimse.StoreFunc(s.store), dimse.CEchoRQ: dimse.Echo()}
	r.serveCommitment(services, peer, rq)
	policy := r.contexts.policyOf(peer, roles, r.prevailing(ctx))
	if reports {
		policy = r.contexts.acceptReports(policy)
		services[dimse.NEventReportRQ] = commitment.Reports(r.reports)
	}
	results := dimse.Negotiate(rq.RQ, policy)
	r.noteMissing(rq, peer, results)
	return &dimse.Acceptance{
		Results:               results,
		Service:               services,
		RoleSelections:        append(commitment.GrantRoles(rq.RQ.RoleSelections, peer.Allows(RightCommit), reports), roles...),
		ExtendedNegotiations:  r.serveQueries(services, peer, rq),
		AsyncOperationsWindow: &pdu.AsyncOperationsWindow{Invoked: r.window, Performed: performedWindow(roles)},
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

// performedWindow is how many operations the gateway may have outstanding at a
// requestor: sub-operations of a C-GET, if it takes any.
func performedWindow(roles []pdu.RoleSelection) uint16 {
	if len(roles) > 0 {
		return storeWindow
	}
	return 1
}

// prevailing asks the index what instances are stored in.
func (r *receiver) prevailing(ctx context.Context) prevailing {
	if r.queries == nil {
		return nil
	}
	return func(abstract dicom.UID, offered []dicom.UID) (dicom.UID, bool) {
		return r.queries.Prevailing(ctx, abstract, offered)
	}
}

// proposesStorage spares from what is meant for senders the associations for
// queries, retrievals and storage commitment and for nothing but C-ECHO, which technicians open to see whether the
// gateway lives.
func proposesStorage(rq *pdu.AssociateRQ, roles []pdu.RoleSelection) bool {
	for _, pc := range rq.PresentationContexts {
		abstract := dicom.UID(pc.AbstractSyntax)
		_, known := rightFor(abstract)
		if known || abstract == dicom.VerificationSOPClass || slices.ContainsFunc(roles, func(r pdu.RoleSelection) bool {
			return r.SOPClassUID == pc.AbstractSyntax && !r.SCU
		}) {
			continue
		}
		return true
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
