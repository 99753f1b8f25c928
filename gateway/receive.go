package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

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
	policy    atomic.Pointer[policy]
	intake    intake
	log       *slog.Logger
	trouble   *trouble
	tally     *tally
	refusals  *refusals
	callers   *callers
	incidents *incidents
	open      atomic.Int64                        // associations
	overlap   chan struct{}                       // writers beyond one for each association
	queries   *qr.SCP                             // nil serves none
	keeper    *commitment.Keeper                  // nil commits itself to nothing
	reports   commitment.Taker[commitment.Result] // of the reporters
	audit     *auditor                            // nil tells nobody
}

// policy is what the configuration says about receiving. It is replaced as a
// whole: an association is admitted by one and keeps what it was granted; where
// an instance goes is looked up when it is committed.
type policy struct {
	admission admission
	contexts  *contexts
	window    uint16
	routes    []route
	sources   []*source // upstreams
	reporters reporters
}

func newPolicy(cfg *Config) *policy {
	p := &policy{
		admission: admission{
			own: cfg.AETitle, checkCalled: cfg.DICOM.CheckCalledAE, accept: cfg.DICOM.Accept, peers: admitted(cfg),
		},
		contexts:  newContexts(cfg.DICOM),
		window:    uint16(cfg.DICOM.Window),
		sources:   sourcesOf(cfg.Upstreams),
		reporters: newReporters(cfg),
	}
	for _, d := range cfg.Destinations {
		p.routes = append(p.routes, route{d.Name, d.Priority})
	}
	return p
}

// route is a destination as far as receiving is concerned.
type route struct {
	destination string
	priority    PriorityPolicy
}

func newReceiver(cfg Config, in intake, log *slog.Logger, registry prometheus.Registerer) *receiver {
	r := &receiver{
		intake:    in,
		log:       log,
		trouble:   newTrouble(),
		tally:     newTally(registry),
		overlap:   make(chan struct{}, overlapping),
		refusals:  newRefusals(registry),
		callers:   newCallers(registry),
		incidents: newIncidents(),
	}
	r.use(newPolicy(&cfg))
	return r
}

// use puts a policy into force.
func (r *receiver) use(p *policy) {
	r.callers.know(p.admission.peers)
	r.policy.Store(p)
}

// Associate implements dimse.Handler.
func (r *receiver) Associate(ctx context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	p := r.policy.Load()
	peer, refused := p.admission.admit(rq.RQ.CallingAETitle, rq.RQ.CalledAETitle, caller{rq.Remote.Addr().Unmap(), rq.TLS})
	reports := p.reporters.admits(ctx, rq)
	label := r.callers.label(p.admission.peers, rq.RQ.CallingAETitle)
	if refused != nil && !(reports && refused.Reason == pdu.RejectUserCallingAETitleNotRecognized) {
		r.refusals.callers.WithLabelValues(refused.why).Inc()
		r.callers.association(label, callerRefused)
		r.incidents.note(IncidentRejected, subject(rq), refused.Detail)
		return nil, refused.RejectError
	}
	roles := p.contexts.grantRoles(peer, rq.RQ)
	if proposesStorage(rq.RQ, roles) {
		if rejection := congested(r.intake.Pressure()); rejection != nil {
			r.callers.association(label, callerCongested)
			r.incidents.note(IncidentRejected, subject(rq), rejection.Detail)
			return nil, rejection
		}
	}
	r.callers.association(label, callerAdmitted)
	if remark := presentedValidity(rq.TLS, time.Now()); remark != "" {
		r.incidents.note(IncidentExpiry, subject(rq), "the certificate that it presents "+remark)
	}
	r.open.Add(1)
	s := newStorage(r, rq)
	s.caller = label
	services := dimse.Mux{dimse.CStoreRQ: dimse.StoreFunc(s.store), dimse.CEchoRQ: dimse.Echo()}
	r.serveCommitment(services, peer, rq)
	choose := p.contexts.policyOf(peer, roles, r.prevailing(ctx))
	if reports {
		choose = p.contexts.acceptReports(choose)
		services[dimse.NEventReportRQ] = commitment.Reports(r.reports)
	}
	results := dimse.Negotiate(rq.RQ, choose)
	r.noteMissing(rq, peer, results)
	r.audit.associated(rq)
	return &dimse.Acceptance{
		Results:               results,
		Service:               services,
		RoleSelections:        append(commitment.GrantRoles(rq.RQ.RoleSelections, peer.Allows(RightCommit), reports), roles...),
		ExtendedNegotiations:  r.serveQueries(services, peer, rq),
		AsyncOperationsWindow: &pdu.AsyncOperationsWindow{Invoked: p.window, Performed: performedWindow(roles)},
		Closed: func(s dimse.AssociationSummary) {
			r.open.Add(-1)
			r.audit.ended(rq, s)
		},
	}, nil
}

// subject names a caller for people.
func subject(rq *dimse.AssociationRequest) string {
	return pdu.Printable(pdu.TrimAETitle(rq.RQ.CallingAETitle)) + " " + rq.Remote.Addr().Unmap().String()
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
func (p *policy) jobs(received spool.Priority) []spool.JobSpec {
	if len(p.routes) == 0 {
		return nil
	}
	jobs := make([]spool.JobSpec, len(p.routes))
	for i, route := range p.routes {
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
