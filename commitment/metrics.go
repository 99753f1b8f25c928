package commitment

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/dimse"
)

// Label values.
const (
	unanswered = "none" // status of a request whose association ended first

	sameAssociation = "same" // that of the request
	ownAssociation  = "own"  // requested to report

	reportTaken   = "taken"
	reportRefused = "refused"
	reportFailed  = "failed"
)

// instruments are the Keeper's metrics. All labels are fixed words.
type instruments struct {
	requests  *prometheus.CounterVec
	instances *prometheus.CounterVec
	reports   *prometheus.CounterVec
	lost      *prometheus.CounterVec
}

func newInstruments(registry prometheus.Registerer, waiting func() float64) *instruments {
	factory := promauto.With(registry)
	m := &instruments{
		requests: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_commitment_requests_total",
			Help: "Requests of peers for storage commitment (N-ACTION), by status in hexadecimal; none if the association ended before it.",
		}, []string{"status"}),
		instances: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_commitment_instances_total",
			Help: "Instances in results that peers have taken, by what was reported of them.",
		}, []string{"outcome"}),
		reports: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_commitment_reports_total",
			Help: "Reports to peers (N-EVENT-REPORT), by association (same as the request, or own) and outcome; failed counts associations that could not be had, too.",
		}, []string{"association", "outcome"}),
		lost: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_commitment_results_lost_total",
			Help: "Results that were given up before the peer had taken them, by reason.",
		}, []string{"reason"}),
	}
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dcmgate_commitment_waiting",
		Help: "Requests for storage commitment whose result the peer has not taken yet.",
	}, waiting)
	m.requests.WithLabelValues(statusLabel(dimse.StatusSuccess))
	for _, v := range verdictNames {
		m.instances.WithLabelValues(v)
	}
	for _, association := range []string{sameAssociation, ownAssociation} {
		for _, outcome := range []string{reportTaken, reportRefused, reportFailed} {
			m.reports.WithLabelValues(association, outcome)
		}
	}
	for why := range lostAdvice {
		m.lost.WithLabelValues(why)
	}
	return m
}

func statusLabel(s dimse.Status) string { return fmt.Sprintf("%04X", uint16(s)) }

// reported counts a result that was taken.
func (m *instruments) reported(way string, counts [verdicts]int) {
	m.reports.WithLabelValues(way, reportTaken).Inc()
	for v, n := range counts {
		m.instances.WithLabelValues(verdictNames[v]).Add(float64(n))
	}
}
