package dropfolder

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the instruments of all folders of a process.
type Metrics struct {
	files    *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	retries  *prometheus.CounterVec
	waiting  *prometheus.GaugeVec
	oldest   *prometheus.GaugeVec
	rejected *prometheus.GaugeVec
	trouble  *prometheus.GaugeVec
	notified *prometheus.GaugeVec
}

// NewMetrics registers them; nil registers nothing.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	factory := promauto.With(registry)
	folder := []string{"folder"}
	return &Metrics{
		files: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_drop_files_total",
			Help: "Files that left a drop folder, by result: taken, or the code of the reason why not.",
		}, []string{"folder", "result"}),
		bytes: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_drop_bytes_total", Help: "Bytes of files taken from a drop folder.",
		}, folder),
		retries: factory.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_drop_retries_total", Help: "Times that a file of a drop folder was put off: it could not be read or moved, or nothing could be taken.",
		}, folder),
		waiting: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dcmgate_drop_waiting_files", Help: "Files known to wait in a drop folder; no more than 10000 are looked at at a time.",
		}, folder),
		oldest: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dcmgate_drop_oldest_seconds", Help: "How long the file has been seen in a drop folder that has been there longest.",
		}, folder),
		rejected: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dcmgate_drop_rejected_files", Help: "Files in the folder for what was not taken; no more than 100000 are counted.",
		}, folder),
		trouble: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dcmgate_drop_trouble", Help: "1 while a drop folder cannot be worked off; dcmgate status says why.",
		}, folder),
		notified: factory.NewGaugeVec(prometheus.GaugeOpts{
			Name: "dcmgate_drop_notified", Help: "1 while the system tells of files that come into a drop folder, 0 while only rescans find them.",
		}, folder),
	}
}

// folderMetrics are those of one folder.
type folderMetrics struct {
	name                                         string
	files                                        *prometheus.CounterVec
	bytes, retries                               prometheus.Counter
	waiting, oldest, rejected, trouble, notified prometheus.Gauge
}

func (m *Metrics) of(folder string, codes []string) *folderMetrics {
	f := &folderMetrics{
		name: folder, files: m.files,
		bytes: m.bytes.WithLabelValues(folder), retries: m.retries.WithLabelValues(folder),
		waiting: m.waiting.WithLabelValues(folder), oldest: m.oldest.WithLabelValues(folder),
		rejected: m.rejected.WithLabelValues(folder), trouble: m.trouble.WithLabelValues(folder), notified: m.notified.WithLabelValues(folder),
	}
	for _, result := range append([]string{resultTaken, CodeEmpty, CodeLink, CodeSpecial, CodeTooLarge, CodeUnreadable}, codes...) {
		f.left(result, 0)
	}
	return f
}

// left counts files that left the folder. Results are codes of the program's, so they are few.
func (f *folderMetrics) left(result string, n int) {
	f.files.WithLabelValues(f.name, result).Add(float64(n))
}

// flag is the value of a gauge that says yes or no.
func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// Forget removes the series of a folder that is watched no longer: its [Watcher.Run] must have returned, or it would make them
// again with what it counts last.
func (m *Metrics) Forget(folder string) {
	for _, v := range []interface{ DeletePartialMatch(prometheus.Labels) int }{
		m.files, m.bytes, m.retries, m.waiting, m.oldest, m.rejected, m.trouble, m.notified,
	} {
		v.DeletePartialMatch(prometheus.Labels{"folder": folder})
	}
}
