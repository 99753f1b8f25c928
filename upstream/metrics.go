package upstream

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/metrics"
)

// The outcomes of a question, which are labels of metrics.
const (
	outcomeAnswered    = "answered"    // to its end
	outcomeRefused     = "refused"     // with a status of failure, or not in the model
	outcomeUnavailable = "unavailable" // not reached, or lost on the way
	outcomeSkipped     = "skipped"     // not asked: the breaker is open, the calendar has it closed, no place was free
	outcomeCancelled   = "cancelled"   // by who asked
)

var outcomes = []string{outcomeAnswered, outcomeRefused, outcomeUnavailable, outcomeSkipped, outcomeCancelled}

// Metrics are the instruments of all archives, with their names as labels.
type Metrics struct {
	queries      *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	moves        *prometheus.CounterVec
	moveSeconds  *prometheus.HistogramVec
	breaker      *prometheus.GaugeVec
	associations *prometheus.GaugeVec
}

// NewMetrics registers them; nil registers nothing.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	f := promauto.With(registry)
	by := []string{"upstream"}
	return &Metrics{
		queries: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_upstream_queries_total",
			Help: "C-FIND requests that were to be put to the upstream, by outcome.",
		}, []string{"upstream", "outcome"}),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dcmgate_upstream_query_seconds", Buckets: metrics.LatencyBuckets(),
			Help: "Seconds from a question to the upstream's final answer, connecting and the caller's time to take the answers included.",
		}, by),
		moves: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_upstream_moves_total",
			Help: "C-MOVE requests that were to be put to the upstream, by outcome.",
		}, []string{"upstream", "outcome"}),
		moveSeconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dcmgate_upstream_move_seconds",
			Help:    "Seconds from the wish for a series to the upstream's final answer to its C-MOVE.",
			Buckets: []float64{.05, .25, 1, 2.5, 10, 30, 60, 300, 1800},
		}, by),
		breaker:      f.NewGaugeVec(prometheus.GaugeOpts{Name: "dcmgate_upstream_breaker", Help: "Circuit breaker of the upstream: 0 closed, 1 half-open, 2 open."}, by),
		associations: f.NewGaugeVec(prometheus.GaugeOpts{Name: "dcmgate_upstream_associations", Help: "Associations with the upstream, those being requested included."}, by),
	}
}

// Forget takes away what says how an archive is that is no more. What was counted stays.
func (m *Metrics) Forget(name string) {
	m.breaker.DeleteLabelValues(name)
	m.associations.DeleteLabelValues(name)
}

// instruments are those of one archive, made in advance so that every series exists from the start.
type instruments struct {
	queries, moves        map[string]prometheus.Counter
	seconds, moveSeconds  prometheus.Observer
	breaker, associations prometheus.Gauge
}

func (m *Metrics) of(name string) instruments {
	i := instruments{
		queries: make(map[string]prometheus.Counter, len(outcomes)), seconds: m.seconds.WithLabelValues(name),
		moves: make(map[string]prometheus.Counter, len(outcomes)), moveSeconds: m.moveSeconds.WithLabelValues(name),
		breaker: m.breaker.WithLabelValues(name), associations: m.associations.WithLabelValues(name),
	}
	for _, o := range outcomes {
		i.queries[o] = m.queries.WithLabelValues(name, o)
		i.moves[o] = m.moves.WithLabelValues(name, o)
	}
	return i
}
