package gateway

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// Why a caller is not admitted, as the counter names it.
const (
	refusedCalledAE    = "called-ae"
	refusedUnknown     = "unknown"
	refusedAddress     = "address"
	refusedCertificate = "certificate"
)

// allRights are those that a peer can have.
var allRights = []Right{RightStore, RightQuery, RightRetrieve, RightCommit, RightUpstream}

// refusals counts who and what was refused for want of a right.
type refusals struct {
	callers *prometheus.CounterVec
	rights  *prometheus.CounterVec
}

func newRefusals(registry prometheus.Registerer) *refusals {
	factory := promauto.With(registry)
	r := &refusals{
		callers: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_callers_refused_total",
			Help: "Associations rejected since the caller is not one of the peers, by reason.",
		}, []string{"reason"}),
		rights: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_rights_missing_total",
			Help: "Associations in which a presentation context was refused since the peer lacks a right, by right.",
		}, []string{"right"}),
	}
	for _, why := range []string{refusedCalledAE, refusedUnknown, refusedAddress, refusedCertificate} {
		r.callers.WithLabelValues(why)
	}
	for _, right := range allRights {
		r.rights.WithLabelValues(string(right))
	}
	return r
}

// noteMissing counts and logs the rights for want of which contexts of a
// request were refused.
func (r *receiver) noteMissing(rq *dimse.AssociationRequest, p Peer, results []pdu.PresentationContextResult) {
	var missing []string
	for _, pc := range rq.RQ.PresentationContexts {
		i := slices.IndexFunc(results, func(res pdu.PresentationContextResult) bool { return res.ID == pc.ID })
		if i < 0 || results[i].Result != pdu.ContextUserRejection {
			continue
		}
		right, ok := rightFor(dicom.UID(pc.AbstractSyntax))
		if !ok {
			right = RightStore
		}
		if !p.Allows(right) && !slices.Contains(missing, string(right)) {
			missing = append(missing, string(right))
			r.refusals.rights.WithLabelValues(string(right)).Inc()
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		r.audit.lacksRights(rq, missing)
		r.incidents.note(IncidentRights, subject(rq), "the peer's allow lacks "+strings.Join(missing, ", "))
		r.log.Warn("peer lacks rights", "association", rq.ID, "peer", pdu.Printable(p.AETitle), "remote", rq.Remote, "missing", strings.Join(missing, ","))
	}
}
