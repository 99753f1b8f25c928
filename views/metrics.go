package views

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/metrics"
)

// instruments are a publisher's metrics. Labels are names of databases, views and columns.
type instruments struct {
	name    string
	up      prometheus.Gauge
	behind  prometheus.Gauge
	changed *prometheus.CounterVec
	lacking *prometheus.GaugeVec
	lag     prometheus.Observer
	lost    *prometheus.CounterVec
	ended   prometheus.Counter
}

// shared returns the collector that another publisher has registered already.
func shared[T prometheus.Collector](registry prometheus.Registerer, c T) T {
	if registry == nil {
		return c
	}
	err := registry.Register(c)
	if there, ok := err.(prometheus.AlreadyRegisteredError); ok {
		return there.ExistingCollector.(T)
	}
	if err != nil {
		panic(err)
	}
	return c
}

func newInstruments(registry prometheus.Registerer, name string) *instruments {
	factory := promauto.With(nil)
	m := &instruments{name: name}
	m.up = shared(registry, factory.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dcmgate_views_up", Help: "Whether rows are being published to a database: 1, or 0 while it fails.",
	}, []string{"database"})).WithLabelValues(name)
	m.behind = shared(registry, factory.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dcmgate_views_behind", Help: "Changes of the spool that are not published to a database yet.",
	}, []string{"database"})).WithLabelValues(name)
	m.changed = shared(registry, factory.NewCounterVec(prometheus.CounterOpts{
		Name: "dcmgate_views_rows_total", Help: "Rows published or revised, by database and view.",
	}, []string{"database", "view"}))
	m.lacking = shared(registry, factory.NewGaugeVec(prometheus.GaugeOpts{
		Name: "dcmgate_views_rows_lacking", Help: "Rows that lack something, by database, view, whether they are held back, and what; counted once a minute.",
	}, []string{"database", "view", "held", "reason"}))
	m.lag = shared(registry, factory.NewHistogramVec(prometheus.HistogramOpts{
		Name: "dcmgate_views_lag_seconds", Buckets: metrics.LatencyBuckets(),
		Help: "Seconds from the reception of an instance to its visible row, by database.",
	}, []string{"database"})).WithLabelValues(name)
	m.lost = shared(registry, factory.NewCounterVec(prometheus.CounterOpts{
		Name: "dcmgate_views_lost_total", Help: "Studies (V_StudyInfo) and images (V_DocImage) that were evicted before they could be published, by database and view.",
	}, []string{"database", "view"}))
	m.ended = shared(registry, factory.NewCounterVec(prometheus.CounterOpts{
		Name: "dcmgate_views_statements_ended_total", Help: "Statements of accounts that read, ended since they took longer than they may, by database.",
	}, []string{"database"})).WithLabelValues(name)
	for _, t := range tables {
		m.changed.WithLabelValues(name, t.view.Name)
		if t != others { // which are never evicted
			m.lost.WithLabelValues(name, t.view.Name)
		}
	}
	return m
}

func (m *instruments) rows(w written) {
	m.changed.WithLabelValues(m.name, StudyInfo.Name).Add(float64(w.study))
	m.changed.WithLabelValues(m.name, DocImage.Name).Add(float64(w.image))
	m.changed.WithLabelValues(m.name, DocImageF.Name).Add(float64(w.other))
}

// lose counts by tables what has no row and will have none; it tells whether there was any.
func (m *instruments) lose(lost [len(tables)]int) (any bool) {
	for i, t := range tables {
		if lost[i] > 0 {
			m.lost.WithLabelValues(m.name, t.view.Name).Add(float64(lost[i]))
			any = true
		}
	}
	return any
}
