package audit

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the package's metrics, of one log at a time. All labels are fixed words.
type Metrics struct {
	queue     atomic.Pointer[chan *Message]
	messages  *prometheus.CounterVec
	lost      prometheus.Counter
	failures  prometheus.Counter
	bytes     prometheus.Counter
	sent      prometheus.Counter
	skipped   prometheus.Counter
	connected prometheus.Gauge
}

// NewMetrics registers the metrics; nil registers nothing.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	factory := promauto.With(registry)
	m := &Metrics{
		messages: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_audit_messages_total", Help: "Audit messages, by event.",
		}, []string{"event"}),
		lost: factory.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_audit_lost_total", Help: "Audit messages that were not recorded because their queue was full; the audit log tells of the gap.",
		}),
		failures: factory.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_audit_write_failures_total", Help: "Failed attempts to write the audit log; they are repeated every second.",
		}),
		bytes: factory.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_audit_bytes_total", Help: "Bytes written to the audit log.",
		}),
		sent: factory.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_audit_syslog_sent_total", Help: "Audit messages sent to the syslog server, repetitions after a lost connection included.",
		}),
		skipped: factory.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_audit_syslog_skipped_total", Help: "Files of the audit log that were removed before all of them was sent to the syslog server.",
		}),
		connected: factory.NewGauge(prometheus.GaugeOpts{
			Name: "dcmgate_audit_syslog_connected", Help: "1 while there is a connection to the syslog server.",
		}),
	}
	factory.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dcmgate_audit_queue", Help: "Audit messages that wait to be written.",
	}, func() float64 {
		if q := m.queue.Load(); q != nil {
			return float64(len(*q))
		}
		return 0
	})
	for _, word := range slices.Collect(maps.Values(words)) {
		m.messages.WithLabelValues(word)
	}
	return m
}
