package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/spool"
)

// maxWriters is how many instances can be in reception at once: one for each
// association of both listeners, the overlapping ones, and those of drop folders.
func maxWriters(cfg *Config) int {
	return 2*cfg.DICOM.MaxAssociations + overlapping + dropWorkers*len(cfg.Drop)
}

// spoolLimits are those of the spool's settings that can change.
func spoolLimits(cfg *Config) spool.Limits {
	s := &cfg.Spool
	return spool.Limits{Quota: s.Quota, MinFree: s.MinFree, Retention: s.Retention, KeepUnrouted: s.KeepUnrouted}
}

// spoolOptions are the spool's settings as the configuration has them.
func spoolOptions(cfg Config, log *slog.Logger, registry prometheus.Registerer) spool.Options {
	return spool.Options{
		Quota:        cfg.Spool.Quota,
		MinFree:      cfg.Spool.MinFree,
		Retention:    cfg.Spool.Retention,
		KeepUnrouted: cfg.Spool.KeepUnrouted,
		SegmentSize:  cfg.Spool.SegmentSize,
		MaxWriters:   maxWriters(&cfg),
		Logger:       log,
		Registerer:   registry,
	}
}

// prepareRate is how fast a running gateway zeroes segments ahead while nobody stores, in bytes per second: seconds for
// the whole pool, and a fraction of what a disk does.
const prepareRate = 400 << 20

// evictions tells the audit trail what a spool evicts. The trail is opened after the spool, which waits for it if it has to.
type evictions struct {
	known sync.Once
	ready chan struct{}
	trail *auditor
}

func newEvictions() *evictions { return &evictions{ready: make(chan struct{})} }

// use ends the waiting; nil is for no trail. Only the first call counts.
func (e *evictions) use(a *auditor) {
	e.known.Do(func() {
		e.trail = a
		close(e.ready)
	})
}

func (e *evictions) tell(list []spool.Instance) {
	<-e.ready
	e.trail.evicted(list)
}

// servingOptions are those of a gateway that receives, as opposed to a command that looks into the spool.
func servingOptions(cfg Config, log *slog.Logger, registry prometheus.Registerer) spool.Options {
	o := spoolOptions(cfg, log, registry)
	o.PrepareRate = prepareRate
	o.EvictAfter = cfg.Spool.EvictAfter.spool()
	return o
}

// RebuildReport says what was found when the index was made anew.
type RebuildReport struct {
	Instances    int64         `json:"instances"`
	Jobs         int64         `json:"jobs"`
	OutcomesKept int64         `json:"outcomes_kept"`  // of jobs, taken over from the old index
	CustodyKept  int64         `json:"custody_kept"`   // records of evicted instances, likewise
	Missing      int64         `json:"missing"`        // in the old index, not among the stored instances
	OldIndexRead bool          `json:"old_index_read"` // all of it
	OldDamages   int           `json:"old_damages"`    // parts of the old index that are damaged; the others were taken over
	Unreadable   int           `json:"unreadable"`
	Damaged      int           `json:"damaged"`
	Duration     time.Duration `json:"duration"` // nanoseconds
}

// Rebuild makes the index of cfg's spool anew from the stored instances. No
// gateway may be running on it. progress may be nil.
func Rebuild(ctx context.Context, cfg Config, progress func(done, total int64)) (RebuildReport, error) {
	conn, err := dialControl(ctx, cfg.DataDir)
	if err == nil {
		conn.Close()
		return RebuildReport{}, fmt.Errorf("a gateway is running on %s; stop it before its index is rebuilt", cfg.DataDir)
	}
	r, err := spool.Rebuild(ctx, cfg.DataDir, spoolOptions(cfg, nil, nil), progress)
	if errors.Is(err, syscall.ENOTDIR) {
		err = dataDirError(cfg.DataDir, err)
	}
	return RebuildReport{
		Instances: r.Instances, Jobs: r.Jobs, OutcomesKept: r.OutcomesKept, OldIndexRead: r.OldIndexRead, OldDamages: r.OldDamages, CustodyKept: r.CustodyKept, Missing: r.Missing,
		Unreadable: r.Unreadable, Damaged: r.Damaged, Duration: r.Duration,
	}, err
}
