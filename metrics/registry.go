package metrics

import (
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// handlerTimeout bounds one scrape; collectors only read memory, so that one
// that takes longer is stuck.
const handlerTimeout = 10 * time.Second

// Registry collects the instruments of one gateway.
type Registry struct{ *prometheus.Registry }

// NewRegistry returns a registry with the Go runtime's and the process's
// collectors and dcmgate_build_info for the given version.
func NewRegistry(version string) *Registry {
	r := &Registry{prometheus.NewRegistry()}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "dcmgate_build_info",
		Help:        "Always 1; the labels name the version of dcmgate and of Go it was built with.",
		ConstLabels: prometheus.Labels{"version": version, "go": runtime.Version()},
	})
	build.Set(1)
	r.MustRegister(
		build,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// Handler serves the registry in Prometheus' text formats. A collector that
// fails costs its own samples, not the scrape.
func (r *Registry) Handler() http.Handler {
	return promhttp.InstrumentMetricHandler(r, promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             handlerTimeout,
	}))
}
