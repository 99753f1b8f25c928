package restore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/spool"
)

// tries is how often an image is begun to be downloaded.
const tries = 3

// maxFailures bounds the failures that a report describes.
const maxFailures = 20

// Store is what restoring needs of a spool.
type Store interface {
	// LookupSOP returns the versions stored under a SOP Instance UID.
	LookupSOP(sop dicom.UID) ([]spool.Instance, error)
	Begin(in spool.Incoming) (*spool.Writer, error)
}

// Options are a Restorer's settings.
type Options struct {
	Cloud    *cloud.Client
	Store    Store
	AETitle  string // of the gateway, as the called one of what is stored
	Source   string // host of the platform, as the address that it came from
	Parallel int    // downloads at once, of all studies
	// Restored is told of what became of each study; it returns at once. nil tells nobody.
	Restored func(study dicom.UID, r Report, err error)

	Logger  *slog.Logger // nil discards
	Metrics *Metrics     // nil: some of its own, which nobody sees
}

// Restorer restores studies. Its methods may be called by many goroutines.
type Restorer struct {
	o       Options
	places  chan struct{} // of downloads
	metrics *Metrics
}

// New makes a Restorer.
func New(o Options) *Restorer {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return &Restorer{o: o, places: make(chan struct{}, o.Parallel), metrics: o.Metrics}
}

// Report says what became of the images of a study.
type Report struct {
	Listed   int       `json:"listed"`   // by the platform, or whoever else was asked
	Restored int       `json:"restored"` // downloaded and stored
	Present  int       `json:"present"`  // were stored already
	Failed   int       `json:"failed"`
	Bytes    int64     `json:"bytes"`              // of what was restored
	Remark   string    `json:"remark,omitempty"`   // what may be missing from the list, and why
	Failures []Failure `json:"failures,omitempty"` // the first of them
}

// Failure is an image that could not be restored.
type Failure struct {
	Instance dicom.UID `json:"instance"`
	Reason   string    `json:"reason"`
}

// job is the restoring of one study.
type job struct {
	*Restorer
	study    dicom.UID
	progress func(Report)

	mu     sync.Mutex
	report Report
}

// Study restores a study; progress, which may be nil, is called after every image. The error is of what concerns all: the
// platform, the spool, the context. Images that fail by themselves are in the report.
func (r *Restorer) Study(ctx context.Context, study dicom.UID, progress func(Report)) (Report, error) {
	begun := time.Now()
	j := &job{Restorer: r, study: study, progress: progress}
	err := j.run(ctx)
	if r.o.Restored != nil {
		r.o.Restored(study, j.report, err)
	}
	args := []any{"listed", j.report.Listed, "restored", j.report.Restored, "present", j.report.Present, "failed", j.report.Failed,
		"bytes", j.report.Bytes, "took", time.Since(begun).Round(time.Millisecond)}
	switch {
	case err != nil:
		r.o.Logger.Warn("study not restored", append(args, "error", err)...)
	case j.report.Failed > 0:
		r.o.Logger.Warn("study not wholly restored", append(args, "reason", j.report.Failures[0].Reason)...)
	default:
		r.o.Logger.Info("study restored", args...)
	}
	return j.report, err
}

func (j *job) run(ctx context.Context) error {
	images, err := j.o.Cloud.Images(ctx, j.study)
	if err != nil {
		return fmt.Errorf("ask the cloud for the study: %w", err)
	}
	j.report.Listed = len(images)
	group, ctx := errgroup.WithContext(ctx)
	for i := range images {
		select {
		case j.places <- struct{}{}:
		case <-ctx.Done():
			return errors.Join(group.Wait(), context.Cause(ctx))
		}
		group.Go(func() error {
			defer func() { <-j.places }()
			return j.image(ctx, &images[i])
		})
	}
	return group.Wait()
}

// image restores one image. The error is of what concerns all.
func (j *job) image(ctx context.Context, image *cloud.Image) error {
	for try := 1; ; try++ {
		outcome, n, err := j.fetch(ctx, image)
		var own *imageError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !errors.As(err, &own):
			return err
		case err != nil && own.again && try < tries:
			continue
		case err != nil:
			j.metrics.images.WithLabelValues(outcomeFailed).Inc()
			j.count(func(r *Report) {
				r.Failed++
				if len(r.Failures) < maxFailures {
					r.Failures = append(r.Failures, Failure{dicom.UID(bounded(image.SOPInstanceUID)), own.Error()})
				}
			})
			return nil
		}
		j.metrics.images.WithLabelValues(outcome).Inc()
		j.metrics.bytes.Add(float64(n))
		j.count(func(r *Report) {
			r.Bytes += n
			if outcome == outcomePresent {
				r.Present++
			} else {
				r.Restored++
			}
		})
		return nil
	}
}

func (j *job) count(change func(*Report)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	change(&j.report)
	if j.progress != nil {
		j.progress(j.report)
	}
}

// bounded is text of the platform's for a report.
func bounded(s string) string { return s[:min(len(s), 64)] }
