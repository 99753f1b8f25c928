package qr

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/dimse"
	"dcmgate/metrics"
)

// unanswered labels queries whose association ended before they were answered.
const unanswered = "none"

// instruments are the package's metrics. All labels are fixed words.
type instruments struct {
	queries *prometheus.CounterVec
	answers *prometheus.CounterVec
	seconds *prometheus.HistogramVec
	// By the operation, C-MOVE or C-GET.
	retrievals    map[dimse.CommandField]*prometheus.CounterVec
	suboperations map[dimse.CommandField]*prometheus.CounterVec

	upstreamAnswers *prometheus.CounterVec
}

func newInstruments(registry prometheus.Registerer) *instruments {
	factory := promauto.With(registry)
	m := &instruments{
		queries: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_queries_total",
			Help: "C-FIND requests, by level and final status in hexadecimal; none if the association ended before it.",
		}, []string{"level", "status"}),
		answers: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_query_answers_total",
			Help: "Matches sent in answer to C-FIND requests, by level.",
		}, []string{"level"}),
		seconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dcmgate_query_seconds", Buckets: metrics.LatencyBuckets(),
			Help: "Seconds from a C-FIND request to its final answer, by level; the caller's time to take the answers included.",
		}, []string{"level"}),
		retrievals:      map[dimse.CommandField]*prometheus.CounterVec{},
		suboperations:   map[dimse.CommandField]*prometheus.CounterVec{},
		upstreamAnswers: newUpstreamAnswers(factory.NewCounterVec),
	}
	for operation, names := range map[dimse.CommandField][2]string{
		dimse.CMoveRQ: {"dcmgate_moves_total", "dcmgate_move_suboperations_total"},
		dimse.CGetRQ:  {"dcmgate_gets_total", "dcmgate_get_suboperations_total"},
	} {
		m.retrievals[operation] = factory.NewCounterVec(prometheus.CounterOpts{
			Name: names[0],
			Help: operation.Operation() + " requests, by final status in hexadecimal; none if the association ended before it.",
		}, []string{"status"})
		m.suboperations[operation] = factory.NewCounterVec(prometheus.CounterOpts{
			Name: names[1],
			Help: "C-STORE sub-operations of " + operation.Operation() + " requests, by outcome.",
		}, []string{"outcome"})
		m.retrievals[operation].WithLabelValues(statusLabel(dimse.StatusSuccess))
		for _, o := range suboperationOutcomes {
			m.suboperations[operation].WithLabelValues(o)
		}
	}
	for _, level := range levelNames { // the rest comes with the first query that needs it
		m.answers.WithLabelValues(level)
		m.queries.WithLabelValues(level, statusLabel(dimse.StatusSuccess))
	}
	return m
}

func statusLabel(s dimse.Status) string { return fmt.Sprintf("%04X", uint16(s)) }

func (m *instruments) query(level Level, status string, took time.Duration) {
	m.queries.WithLabelValues(level.String(), status).Inc()
	m.seconds.WithLabelValues(level.String()).Observe(took.Seconds())
}
