package restore

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Outcomes of an image.
const (
	outcomeRestored = "restored"
	outcomePresent  = "present"
	outcomeFailed   = "failed"
)

// Metrics are the instruments of all restorers.
type Metrics struct {
	images *prometheus.CounterVec
	bytes  prometheus.Counter
}

// NewMetrics registers them; nil registers nothing.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	factory := promauto.With(registry)
	m := &Metrics{
		images: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_cloud_images_total",
			Help: "Images of studies that were to be restored from the cloud, by outcome: restored, present (stored already), failed.",
		}, []string{"outcome"}),
		bytes: factory.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_cloud_bytes_total", Help: "Bytes of images downloaded from the cloud and stored.",
		}),
	}
	for _, outcome := range [...]string{outcomeRestored, outcomePresent, outcomeFailed} {
		m.images.WithLabelValues(outcome)
	}
	return m
}
