package gateway

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// ReloadStatus says how the configuration file stands to what is in force.
type ReloadStatus struct {
	Taken time.Time `json:"taken"`           // when what is in force was read
	At    time.Time `json:"at,omitzero"`     // of the last attempt to take it again
	Error string    `json:"error,omitempty"` // why that changed nothing, a line for each mistake
	// NeedsRestart are the keys whose change waits for a restart.
	NeedsRestart []string `json:"needs_restart,omitempty"`
}

// The values of the label result of dcmgate_config_reloads_total.
const (
	reloadTaken     = "taken"
	reloadUnchanged = "unchanged"
	reloadFailed    = "failed"
)

// reloads accounts for reloads.
type reloads struct {
	results map[string]prometheus.Counter
	success prometheus.Gauge
	valid   prometheus.Gauge

	mu   sync.Mutex
	last ReloadStatus
	// stamps are of the files that matter, when they were read last: those of the settings in force, and of settings that
	// could not be taken.
	stamps map[string]string
}

func newReloads(registry prometheus.Registerer) *reloads {
	factory := promauto.With(registry)
	results := factory.NewCounterVec(prometheus.CounterOpts{
		Name: "dcmgate_config_reloads_total",
		Help: "Times that the configuration was taken again, by result: taken, unchanged, failed.",
	}, []string{"result"})
	r := &reloads{
		results: make(map[string]prometheus.Counter),
		success: factory.NewGauge(prometheus.GaugeOpts{
			Name: "dcmgate_config_last_reload_success_timestamp_seconds",
			Help: "Unix time when the configuration in force was read, or found to be unchanged.",
		}),
		valid: factory.NewGauge(prometheus.GaugeOpts{
			Name: "dcmgate_config_valid",
			Help: "1, or 0 while the configuration file, or a file that it names, cannot be taken.",
		}),
	}
	for _, result := range []string{reloadTaken, reloadUnchanged, reloadFailed} {
		r.results[result] = results.WithLabelValues(result)
	}
	return r
}

// reading notes that the files are about to be read.
func (r *reloads) reading(files []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stamps = make(map[string]string)
	r.stamp(files)
}

// readingAlso notes that these are, too. Of those noted before nothing is
// changed: what has become of them since is to be noticed.
func (r *reloads) readingAlso(files []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stamp(files)
}

func (r *reloads) stamp(files []string) {
	for _, file := range files {
		if _, known := r.stamps[file]; !known {
			r.stamps[file] = stampOf(file)
		}
	}
}

// watched are the files that matter.
func (r *reloads) watched() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.stamps))
}

// changed reports whether one of them has since it was read.
func (r *reloads) changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for file, stamp := range r.stamps {
		if stampOf(file) != stamp {
			return true
		}
	}
	return false
}

// begin notes that the gateway has started with a configuration.
func (r *reloads) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last.Taken = now
	r.success.Set(float64(now.Unix()))
	r.valid.Set(1)
}

// note accounts for one.
func (r *reloads) note(done *Reloaded, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last.At = done.At
	if err != nil {
		r.last.Error = err.Error()
		r.results[reloadFailed].Inc()
		r.valid.Set(0)
		return
	}
	r.last.Error, r.last.NeedsRestart = "", done.NeedsRestart
	r.success.Set(float64(done.At.Unix()))
	r.valid.Set(1)
	if len(done.Changed) == 0 {
		r.results[reloadUnchanged].Inc()
		return
	}
	r.last.Taken = done.At
	r.results[reloadTaken].Inc()
}

func (r *reloads) status() ReloadStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}
