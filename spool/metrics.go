package spool

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// instruments are the spool's metrics. Labels are bounded: destinations are configured, the rest are fixed words.
type instruments struct {
	registerer  prometheus.Registerer
	all         []prometheus.Collector
	received    prometheus.Counter
	bytes       prometheus.Counter
	duplicates  prometheus.Counter
	newVersions prometheus.Counter
	restored    prometheus.Counter
	damaged     prometheus.Counter
	flagged     *prometheus.CounterVec
	failures    *prometheus.CounterVec
	commit      prometheus.Histogram
	transaction prometheus.Histogram
	batch       prometheus.Histogram
	outcomes    *prometheus.CounterVec
	evictions   prometheus.Counter
}

// secondsBuckets reach from a write into the cache of a fast disk to a disk in trouble.
var secondsBuckets = []float64{.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10}

var flagNames = map[Flags]string{
	FlagNoStudy: "no_study_uid", FlagNoSeries: "no_series_uid", FlagUIDMismatch: "uid_mismatch",
	FlagMalformed: "malformed", FlagInvalidUID: "invalid_uid", FlagTrimmed: "trimmed",
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func newInstruments(s *Spool) *instruments {
	m := &instruments{
		registerer:  s.o.Registerer,
		received:    counter("dcmgate_instances_received_total", "Instances stored durably and acknowledged; duplicates are not among them."),
		bytes:       counter("dcmgate_received_bytes_total", "Data set bytes of the instances stored."),
		duplicates:  counter("dcmgate_duplicates_total", "Instances acknowledged without a write because the same content was stored already."),
		newVersions: counter("dcmgate_new_versions_total", "Instances stored with other content under UIDs that were known."),
		restored:    counter("dcmgate_restored_total", "Instances stored again after the same content had been evicted or was damaged."),
		damaged:     counter("dcmgate_instances_damaged_total", "Stored instances found to be damaged on disk, when they were sent, by verify or otherwise."),
		evictions:   counter("dcmgate_evictions_total", "Instances whose bytes were given up after delivery."),
		flagged: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dcmgate_instances_flagged_total",
			Help: "Instances stored although something is odd about them, by what it is."}, []string{"flag"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dcmgate_commit_failures_total",
			Help: "Instances refused at the end of their data set, by reason."}, []string{"reason"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dcmgate_commit_seconds", Buckets: secondsBuckets,
			Help: "Time from the end of a data set until the instance is durable."}),
		transaction: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dcmgate_index_commit_seconds", Buckets: secondsBuckets,
			Help: "Time of a synced transaction of the index."}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "dcmgate_index_batch_operations",
			Buckets: prometheus.ExponentialBuckets(1, 4, 7), Help: "Operations in a transaction of the index."}),
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dcmgate_job_outcomes_total",
			Help: "Ended attempts by destination and result."}, []string{"destination", "result"}),
	}
	for _, name := range flagNames {
		m.flagged.WithLabelValues(name)
	}
	for _, reason := range [...]string{"full", "unhealthy", "write"} {
		m.failures.WithLabelValues(reason)
	}
	m.all = append(m.gauges(s), m.received, m.bytes, m.duplicates, m.newVersions, m.restored, m.damaged, m.evictions, m.flagged, m.failures,
		m.commit, m.transaction, m.batch, m.outcomes, jobCollector{s}, roomCollector{s})
	if m.registerer != nil {
		m.registerer.MustRegister(m.all...)
	}
	return m
}

// gauges read the state when they are scraped.
func (m *instruments) gauges(s *Spool) []prometheus.Collector {
	gauge := func(name, help string, value func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	return []prometheus.Collector{
		gauge("dcmgate_spool_bytes", "Bytes on disk of the instances stored.", func() float64 { return float64(s.ledger.snapshot().bytes) }),
		gauge("dcmgate_spool_evictable_bytes", "Bytes of instances whose jobs are all done.", func() float64 { return float64(s.ledger.snapshot().evictable) }),
		gauge("dcmgate_spool_instances", "Instances stored.", func() float64 { return float64(s.ledger.snapshot().instances) }),
		gauge("dcmgate_spool_unindexed", "Instances that are durable but not in the index yet.", func() float64 { return float64(s.pending.len()) }),
		gauge("dcmgate_spool_pressure", "Back-pressure: 0 none, 1 slow, 2 reject, 3 full.", func() float64 { return float64(s.Pressure()) }),
		gauge("dcmgate_spool_oldest_timestamp_seconds", "When the oldest stored instance was received, Unix time; 0 if there is none.", func() float64 { return unixSeconds(s.oldest()) }),
		gauge("dcmgate_clock_ahead_seconds", "By how much the machine's clock jumped ahead, while nothing is evicted by age for that; 0 otherwise.", func() float64 { return s.ClockAhead().Seconds() }),
		gauge("dcmgate_index_damages", "Parts of the index that were damaged when it was last read through: daily, and by verify.", s.indexDamages),
		gauge("dcmgate_spool_healthy", "1 while durable writes succeed.", func() float64 { return float64(boolByte(s.Health() == nil)) }),
	}
}

func (m *instruments) unregister() {
	if m == nil || m.registerer == nil {
		return
	}
	for _, c := range m.all {
		m.registerer.Unregister(c)
	}
}

// committed counts an acknowledged instance.
func (m *instruments) committed(took time.Duration, r *Receipt) {
	m.commit.Observe(took.Seconds())
	if r.Outcome == Duplicate {
		m.duplicates.Inc()
		return
	}
	m.received.Inc()
	m.bytes.Add(float64(r.Instance.Size))
	switch r.Outcome {
	case NewVersion:
		m.newVersions.Inc()
	case Restored:
		m.restored.Inc()
	}
	if r.Instance.Flags&^FlagRequested == 0 {
		return
	}
	for flag, name := range flagNames {
		if r.Instance.Flags&flag != 0 {
			m.flagged.WithLabelValues(name).Inc()
		}
	}
}

func (m *instruments) commitFailed(err error) {
	switch {
	case errors.Is(err, ErrFull):
		m.failures.WithLabelValues("full").Inc()
	case errors.Is(err, ErrUnhealthy):
		m.failures.WithLabelValues("unhealthy").Inc()
	default:
		m.failures.WithLabelValues("write").Inc()
	}
}

func (m *instruments) indexed(took time.Duration, operations int) {
	m.transaction.Observe(took.Seconds())
	m.batch.Observe(float64(operations))
}

func (m *instruments) completed(destination string, r Result) {
	if r == resultPutOff {
		return
	}
	name := map[Result]string{ResultDelivered: "delivered", ResultRetry: "retry", ResultPark: "parked", ResultAwait: "delivered"}[r]
	m.outcomes.WithLabelValues(destination, name).Inc()
}

func (m *instruments) evicted(n int) { m.evictions.Add(float64(n)) }

var (
	jobsDesc   = prometheus.NewDesc("dcmgate_jobs", "Jobs by destination and state.", []string{"destination", "state"}, nil)
	oldestDesc = prometheus.NewDesc("dcmgate_jobs_oldest_seconds", "Age of the oldest job, from the receipt of its instance, by destination and state; 0 if there is none.", []string{"destination", "state"}, nil)
)

// jobCollector reports the exact numbers of jobs at the moment of the scrape, and the ages of the oldest.
type jobCollector struct{ s *Spool }

func (c jobCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- jobsDesc
	ch <- oldestDesc
}

func (c jobCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, destination string, state JobState) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, destination, state.String())
	}
	oldest, now := c.s.OldestJobs(), c.s.o.Now()
	for _, q := range c.s.allQueues() {
		n := q.jobCounts()
		for state, value := range map[JobState]int64{
			JobPending: n.Pending, JobActive: n.Active, JobParked: n.Parked, JobAwaiting: n.Awaiting, JobRefused: n.Refused,
		} {
			gauge(jobsDesc, float64(value), q.name, state)
		}
		o := oldest[q.name]
		for state, since := range map[JobState]time.Time{JobPending: o.Pending, JobActive: o.Active, JobParked: o.Parked, JobAwaiting: o.Awaiting} {
			age := 0.
			if !since.IsZero() {
				age = max(now.Sub(since).Seconds(), 0)
			}
			gauge(oldestDesc, age, q.name, state)
		}
	}
}

// roomDescs are what roomCollector reports of one look at the file system.
var roomDescs = []struct {
	desc  *prometheus.Desc
	value func(*Stats) int64
}{
	{prometheus.NewDesc("dcmgate_spool_free_bytes", "Bytes free on the spool's file system.", nil, nil), func(s *Stats) int64 { return s.FreeBytes }},
	{prometheus.NewDesc("dcmgate_spool_filesystem_bytes", "Size of the spool's file system in bytes.", nil, nil), func(s *Stats) int64 { return s.TotalBytes }},
	{prometheus.NewDesc("dcmgate_spool_allocated_bytes", "Bytes that segments take on disk, those kept for reuse included.", nil, nil), func(s *Stats) int64 { return s.AllocatedBytes }},
	{prometheus.NewDesc("dcmgate_spool_index_bytes", "Bytes of the index.", nil, nil), func(s *Stats) int64 { return s.IndexBytes }},
}

// roomCollector reports what takes room, and what is left.
type roomCollector struct{ s *Spool }

func (c roomCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range roomDescs {
		ch <- d.desc
	}
}

func (c roomCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.s.Stats()
	for _, d := range roomDescs {
		ch <- prometheus.MustNewConstMetric(d.desc, prometheus.GaugeValue, float64(d.value(&stats)))
	}
}

func unixSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}
