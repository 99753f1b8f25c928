package forwarder

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/spool"
)

// The values of the label outcome of dcmgate_delivery_attempts_total.
const (
	outcomeDelivered   = "delivered"   // success
	outcomeWarning     = "warning"     // delivered, with a warning status
	outcomeDuplicate   = "duplicate"   // delivered, the destination had it
	outcomeRetry       = "retry"       // to be sent again later
	outcomeParked      = "parked"      // put aside for a person
	outcomeInterrupted = "interrupted" // association broke, another instance may be to blame
	outcomeReturned    = "returned"    // handed back without an attempt
)

var outcomes = [...]string{
	outcomeDelivered, outcomeWarning, outcomeDuplicate, outcomeRetry,
	outcomeParked, outcomeInterrupted, outcomeReturned,
}

// instruments are the forwarder's metrics, by destination.
type instruments struct {
	delivered    *prometheus.CounterVec
	bytes        *prometheus.CounterVec
	seconds      *prometheus.HistogramVec
	attempts     *prometheus.CounterVec
	dials        *prometheus.CounterVec
	breaker      *prometheus.GaugeVec
	associations *prometheus.GaugeVec
	allowed      *prometheus.GaugeVec
	window       *prometheus.GaugeVec
	rate         *prometheus.GaugeVec

	commitmentRequests  *prometheus.CounterVec
	commitmentInstances *prometheus.CounterVec
	commitmentSeconds   *prometheus.HistogramVec
	commitmentDegraded  *prometheus.GaugeVec
	reportsTaken        map[string]prometheus.Counter
}

func newInstruments(r prometheus.Registerer) *instruments {
	f := promauto.With(r)
	by := []string{"destination"}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, by)
	}
	reports := counter("dcmgate_destination_commitment_reports_total", "Reports of storage commitment by what became of them: taken, repeated, of an unknown transaction, from another application entity than was asked, failed to be recorded.", "outcome")
	taken := make(map[string]prometheus.Counter, len(reportOutcomes))
	for _, o := range reportOutcomes {
		taken[o] = reports.WithLabelValues(o)
	}
	return &instruments{
		commitmentRequests:  counter("dcmgate_destination_commitment_requests_total", "Requests for storage commitment, by what became of them.", "destination", "outcome"),
		commitmentInstances: counter("dcmgate_destination_commitment_instances_total", "Instances reported on by the destination, by what follows.", "destination", "outcome"),
		commitmentSeconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dcmgate_destination_commitment_seconds",
			Help:    "Time from a request for storage commitment to its report.",
			Buckets: []float64{.01, .1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600},
		}, by),
		commitmentDegraded: gauge("dcmgate_destination_commitment_degraded", "1 while the destination does not take requests for storage commitment or does not report on them."),
		reportsTaken:       taken,
		delivered:          counter("dcmgate_instances_delivered_total", "Instances that the destination answered for with success, a warning, or that it has them already.", by...),
		bytes:              counter("dcmgate_delivered_bytes_total", "Bytes of the data sets of delivered instances.", by...),
		seconds: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "dcmgate_delivery_seconds",
			Help:    "Time from the receipt of an instance to its delivery.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10, 60, 600, 3600, 6 * 3600, 24 * 3600},
		}, by),
		attempts:     counter("dcmgate_delivery_attempts_total", "Attempts to deliver an instance, by outcome.", "destination", "outcome"),
		dials:        counter("dcmgate_destination_dials_total", "Associations requested, by whether one was established.", "destination", "result"),
		breaker:      gauge("dcmgate_destination_breaker", "Circuit breaker: 0 closed, 1 half-open, 2 open."),
		associations: gauge("dcmgate_destination_associations", "Associations open to the destination."),
		allowed:      gauge("dcmgate_destination_associations_allowed", "Associations found to be worth having, at most the configured bound."),
		window:       gauge("dcmgate_destination_window", "Asynchronous operations granted by the destination at the last negotiation."),
		rate:         gauge("dcmgate_destination_rate_limit_bytes_per_second", "Present rate limit; +Inf if there is none."),
	}
}

// forget takes away what says how a destination is that is no more. What was
// counted stays.
func (i *instruments) forget(destination string) {
	for _, gauge := range []*prometheus.GaugeVec{i.breaker, i.associations, i.allowed, i.window, i.rate, i.commitmentDegraded} {
		gauge.DeleteLabelValues(destination)
	}
}

// destinationInstruments are those of one destination, its labels made in
// advance so that every series exists from the start.
type destinationInstruments struct {
	delivered, bytes                             prometheus.Counter
	dialed, dialFailed                           prometheus.Counter
	seconds                                      prometheus.Observer
	attempts                                     map[string]prometheus.Counter
	breaker, associations, allowed, window, rate prometheus.Gauge
}

func (i *instruments) of(destination string) destinationInstruments {
	d := destinationInstruments{
		delivered:    i.delivered.WithLabelValues(destination),
		bytes:        i.bytes.WithLabelValues(destination),
		dialed:       i.dials.WithLabelValues(destination, "established"),
		dialFailed:   i.dials.WithLabelValues(destination, "failed"),
		seconds:      i.seconds.WithLabelValues(destination),
		attempts:     make(map[string]prometheus.Counter, len(outcomes)),
		breaker:      i.breaker.WithLabelValues(destination),
		associations: i.associations.WithLabelValues(destination),
		allowed:      i.allowed.WithLabelValues(destination),
		window:       i.window.WithLabelValues(destination),
		rate:         i.rate.WithLabelValues(destination),
	}
	for _, o := range outcomes {
		d.attempts[o] = i.attempts.WithLabelValues(destination, o)
	}
	return d
}

// commitmentInstruments are those of one destination that is asked for storage
// commitment.
type commitmentInstruments struct {
	requests  map[string]prometheus.Counter
	instances map[spool.CommitmentResult]prometheus.Counter
	reports   map[string]prometheus.Counter
	seconds   prometheus.Observer
	degraded  prometheus.Gauge
}

func (i *instruments) commitmentsOf(destination string) commitmentInstruments {
	m := commitmentInstruments{
		requests:  make(map[string]prometheus.Counter, len(requestOutcomes)),
		instances: make(map[spool.CommitmentResult]prometheus.Counter, len(resultNames)),
		reports:   i.reportsTaken,
		seconds:   i.commitmentSeconds.WithLabelValues(destination),
		degraded:  i.commitmentDegraded.WithLabelValues(destination),
	}
	for _, o := range requestOutcomes {
		m.requests[o] = i.commitmentRequests.WithLabelValues(destination, o)
	}
	for result, name := range resultNames {
		m.instances[result] = i.commitmentInstances.WithLabelValues(destination, name)
	}
	return m
}
