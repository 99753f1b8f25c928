package dimse

import (
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/metrics"
)

// direction tells who requested an association or invoked an operation, as a metric label.
type direction uint8

const (
	inbound direction = iota
	outbound
	directions
)

var directionNames = [directions]string{"in", "out"}

// outcome is what became of an association request.
type outcome uint8

const (
	outcomeAccepted outcome = iota
	outcomeRejectedPermanent
	outcomeRejectedTransient
	outcomeAborted  // malformed or unexpected PDU, or A-ABORT instead of an answer
	outcomeTimeout  // ARTIM ran out
	outcomeLost     // the connection ended, was never made, or TLS failed
	outcomeOverload // closed to make room: too many connections without an association
	outcomes
)

var outcomeNames = [outcomes]string{"accepted", "rejected-permanent", "rejected-transient", "aborted", "timeout", "lost", "overload"}

// ending is how an established association ended.
type ending uint8

const (
	endReleased ending = iota
	endAbortedByPeer
	endAborted // by this side, for what the peer did or because it was asked to
	endTimeout
	endLost
	endings
)

var endingNames = [endings]string{"released", "aborted-by-peer", "aborted", "timeout", "lost"}

// classNone labels operations that were never answered.
const classNone = ClassPending + 1

var classLabels = [...]string{"success", "warning", "failure", "cancel", "pending", "none"}

// instruments are the package's metrics. Servers and Dialers on one Registerer share them.
type instruments struct {
	associations  [directions]prometheus.Gauge
	requests      [directions][outcomes]prometheus.Counter
	ends          [directions][endings]prometheus.Counter
	bytesReceived [directions]prometheus.Counter
	bytesSent     [directions]prometheus.Counter
	operations    *prometheus.CounterVec   // by direction, operation and class
	seconds       *prometheus.HistogramVec // by direction and operation
	strays        prometheus.Counter
	panics        prometheus.Counter
}

func newInstruments(reg prometheus.Registerer) (*instruments, error) {
	if reg == nil {
		return unregistered()
	}
	return buildInstruments(reg)
}

// unregistered are for all who keep metrics for nobody; a set of their own would cost each tens of KB.
var unregistered = sync.OnceValues(func() (*instruments, error) { return buildInstruments(nil) })

func buildInstruments(reg prometheus.Registerer) (*instruments, error) {
	b := instrumentBuilder{reg: reg}
	associations := b.gauge("dcmgate_associations", "Associations that are established now, by who requested them (in: the peer, out: dcmgate).", "direction")
	requests := b.counter("dcmgate_association_requests_total", "Association requests by who made them and what became of them.", "direction", "outcome")
	ends := b.counter("dcmgate_association_ends_total", "Established associations that ended, by who requested them and how they ended.", "direction", "how")
	received := b.counter("dcmgate_association_received_bytes_total", "Bytes received on associations, headers included, by who requested the association.", "direction")
	sent := b.counter("dcmgate_association_sent_bytes_total", "Bytes sent on associations, headers included, by who requested the association.", "direction")
	operations := b.counter("dcmgate_dimse_operations_total", "Operations by who invoked them and the class of the final status; none means that no response was sent or came.", "direction", "operation", "status_class")
	seconds := b.histogram("dcmgate_dimse_seconds", "Seconds from the first byte of an operation's request to its final response.", "direction", "operation")
	strays := b.counter("dcmgate_dimse_stray_messages_total", "Cancels and responses for operations that are not outstanding; they are ignored.")
	panics := b.counter("dcmgate_dimse_panics_total", "Services that panicked; the operation was answered with a processing failure.")
	if b.err != nil {
		return nil, b.err
	}
	in := &instruments{operations: operations, seconds: seconds, strays: strays.WithLabelValues(), panics: panics.WithLabelValues()}
	in.foresee()
	for d, name := range directionNames {
		in.associations[d] = associations.WithLabelValues(name)
		in.bytesReceived[d], in.bytesSent[d] = received.WithLabelValues(name), sent.WithLabelValues(name)
		for o, label := range outcomeNames {
			in.requests[d][o] = requests.WithLabelValues(name, label)
		}
		for e, label := range endingNames {
			in.ends[d][e] = ends.WithLabelValues(name, label)
		}
	}
	return in, nil
}

// foresee makes the series of C-STORE, which are worth an alert before the first has happened.
// Those of other operations come with the first; a series of each beforehand would be several
// hundred that never move.
func (in *instruments) foresee() {
	store := CStoreRQ.Operation()
	for _, direction := range directionNames {
		for c, label := range classLabels {
			if StatusClass(c) != ClassPending {
				in.operations.WithLabelValues(direction, store, label)
			}
		}
	}
	in.seconds.WithLabelValues(directionNames[inbound], store)
}

// operation counts one that is over; class is that of its final status or classNone.
func (in *instruments) operation(d direction, f CommandField, class StatusClass, took time.Duration) {
	if class >= StatusClass(len(classLabels)) || class == ClassPending {
		return
	}
	name := f.Operation() // one of twelve
	in.operations.WithLabelValues(directionNames[d], name, classLabels[class]).Inc()
	in.seconds.WithLabelValues(directionNames[d], name).Observe(took.Seconds())
}

// instrumentBuilder registers collectors, or takes those that are registered already, and
// remembers the first failure.
type instrumentBuilder struct {
	reg prometheus.Registerer
	err error
}

func (b *instrumentBuilder) counter(name, help string, labels ...string) *prometheus.CounterVec {
	return register(b, prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels))
}

func (b *instrumentBuilder) gauge(name, help string, labels ...string) *prometheus.GaugeVec {
	return register(b, prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels))
}

func (b *instrumentBuilder) histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	opts := prometheus.HistogramOpts{Name: name, Help: help, Buckets: metrics.LatencyBuckets()}
	return register(b, prometheus.NewHistogramVec(opts, labels))
}

func register[C prometheus.Collector](b *instrumentBuilder, c C) C {
	if b.reg == nil {
		return c
	}
	err := b.reg.Register(c)
	var already prometheus.AlreadyRegisteredError
	if errors.As(err, &already) {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	if err != nil && b.err == nil {
		b.err = err
	}
	return c
}
