package images

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/metrics"
)

// Outcomes of adding an image.
const (
	outcomeStored    = "stored"
	outcomeDuplicate = "duplicate"
	outcomeRefused   = "refused" // what was sent is not taken
	outcomeFull      = "full"
	outcomeFailed    = "failed"
)

// instruments are a store's metrics. Labels are fixed words.
type instruments struct {
	registerer prometheus.Registerer
	all        []prometheus.Collector
	added      *prometheus.CounterVec
	seconds    prometheus.Histogram
	stored     prometheus.Gauge
	bytes      prometheus.Gauge
	withdrawn  prometheus.Counter
	damaged    prometheus.Counter
}

func newInstruments(r prometheus.Registerer, t totals) *instruments {
	m := &instruments{
		registerer: r,
		added: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_images_added_total",
			Help: "Images that are not DICOM that were to be added, by source (command, folder, upload) and outcome (stored, duplicate, refused, full, failed).",
		}, []string{"source", "outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "dcmgate_images_add_seconds", Buckets: metrics.LatencyBuckets(),
			Help: "Seconds from the beginning of an image that is not DICOM until it is durable, the sender's time included.",
		}),
		stored: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dcmgate_images_stored", Help: "Images that are not DICOM that are stored, without the withdrawn ones.",
		}),
		bytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dcmgate_images_bytes", Help: "Bytes of the files of stored images that are not DICOM.",
		}),
		withdrawn: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_images_withdrawn_total", Help: "Images that are not DICOM that were withdrawn.",
		}),
		damaged: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "dcmgate_images_damaged_total", Help: "Images that are not DICOM that were found damaged on disk by a verification.",
		}),
	}
	m.stored.Set(float64(t.images - t.withdrawn))
	m.bytes.Set(float64(t.bytes))
	for _, source := range []Source{FromCommand, FromFolder, FromUpload} {
		for _, outcome := range []string{outcomeStored, outcomeDuplicate, outcomeRefused, outcomeFull, outcomeFailed} {
			m.added.WithLabelValues(string(source), outcome)
		}
	}
	m.all = []prometheus.Collector{m.added, m.seconds, m.stored, m.bytes, m.withdrawn, m.damaged}
	if r != nil {
		r.MustRegister(m.all...)
	}
	return m
}

func (m *instruments) unregister() {
	if m.registerer == nil {
		return
	}
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}

// Refusal tells whether an error of [Store.Add] is about what was sent, so that to send it again changes nothing.
func Refusal(err error) bool {
	_, format := errors.AsType[*FormatError](err)
	_, identifier := errors.AsType[*IdentifierError](err)
	return format || identifier || errors.Is(err, ErrTooLarge) || errors.Is(err, ErrDigest)
}

// account counts what was to be added. What an image belongs to is not for the log.
func (s *Store) account(source Source, in *Image, added bool, err error, begun time.Time) {
	outcome := outcomeDuplicate
	switch {
	case err == nil && added:
		outcome = outcomeStored
		s.log.Info("image stored", "source", source, "kind", in.Kind, "bytes", in.Size, "width", in.Width, "height", in.Height, "sequence", in.Sequence)
	case err == nil:
	case Refusal(err):
		outcome = outcomeRefused
	case errors.Is(err, ErrFull):
		outcome = outcomeFull
	default:
		outcome = outcomeFailed
	}
	s.metrics.added.WithLabelValues(string(source), outcome).Inc()
	if err == nil {
		s.metrics.seconds.Observe(s.o.Now().Sub(begun).Seconds())
	}
}
