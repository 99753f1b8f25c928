package web

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/metrics"
	"dcmgate/pdu"
)

// instruments are the package's metrics. All labels are fixed words.
type instruments struct {
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	bytes       prometheus.Counter
	connections prometheus.Gauge
	closed      prometheus.Counter
}

func newInstruments(registry prometheus.Registerer) *instruments {
	factory := promauto.With(registry)
	m := &instruments{
		requests: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_public_requests_total",
			Help: "Requests on the public listener, by kind (retrieve: 203, download, image, upload: of one that is not DICOM, other) and outcome.",
		}, []string{"kind", "outcome"}),
		seconds: factory.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dcmgate_public_seconds", Buckets: metrics.LatencyBuckets(),
			Help: "Seconds from a request on the public listener to the end of its answer, by kind; the client's time to take it included.",
		}, []string{"kind"}),
		bytes: factory.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_public_bytes_total", Help: "Bytes of answers on the public listener, without headers.",
		}),
		connections: factory.NewGauge(prometheus.GaugeOpts{
			Name: "dcmgate_public_connections", Help: "Open connections to the public listener.",
		}),
		closed: factory.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_public_connections_refused_total", Help: "Connections to the public listener closed at once: too many from their address.",
		}),
	}
	for _, kind := range [...]string{"retrieve", "download", "image", "upload"} {
		m.requests.WithLabelValues(kind, outcomeOK)
	}
	return m
}

// account counts a request and writes its line of the access log.
func (x *exchange) account() {
	took := x.o.Now().Sub(x.begun)
	x.metrics.requests.WithLabelValues(x.kind, x.outcome).Inc()
	x.metrics.seconds.WithLabelValues(x.kind).Observe(took.Seconds())
	x.metrics.bytes.Add(float64(x.w.bytes))
	args := []any{"kind", x.kind, "outcome", x.outcome, "client", pdu.Printable(x.client), "from", x.address(),
		"instances", x.count, "bytes", x.w.bytes, "took", took.Round(time.Microsecond)}
	switch x.outcome {
	case outcomeOK, outcomeAborted:
		x.log.Info("request served", args...)
		x.audit(0)
	case outcomeFailed, outcomeDamaged:
		x.log.Warn("request failed", append(args, "reason", x.reason)...)
		x.audit(0)
	default:
		// Whoever is refused may ask again and again: one line a minute tells.
		if n, due := x.refusals.met(x.kind, x.outcome); due {
			x.log.Warn("request refused", append(args, "reason", x.reason, "repeated", n)...)
			x.audit(n)
		}
	}
}

// refusedEvery is how often a refusal of one kind is logged.
const refusedEvery = time.Minute

// refusals counts those that are not logged.
type refusals struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[[2]string]*refusal // by kind and outcome, which are few
}

type refusal struct {
	logged time.Time
	count  int // since
}

func newRefusals(now func() time.Time) *refusals {
	return &refusals{now: now, seen: map[[2]string]*refusal{}}
}

// met tells whether a refusal is to be logged, and how many like it were not.
func (r *refusals) met(kind, outcome string) (repeated int, due bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{kind, outcome}
	now := r.now()
	s := r.seen[key]
	if s == nil {
		s = &refusal{}
		r.seen[key] = s
	} else if now.Sub(s.logged) < refusedEvery {
		s.count++
		return 0, false
	}
	repeated = s.count
	*s = refusal{logged: now}
	return repeated, true
}
