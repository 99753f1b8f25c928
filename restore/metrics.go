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

// instruments are the package's metrics.
type instruments struct {
	images *prometheus.CounterVec
	bytes  prometheus.Counter
}

func newInstruments(registry prometheus.Registerer) *instruments {
	factory := promauto.With(registry)
	m := &instruments{
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
