package restore

import (
	"context"
	"errors"
	"sync"
	"time"

	"dcmgate/dicom"
)

// Bounds of what is restored because somebody has asked for a study that is not stored.
const (
	maxStudies   = 4                // at once
	forgetAfter  = time.Minute      // a study that has been restored, or could not be, is not asked for again before
	maxForgotten = 1024             // studies that this is known of
	longestStudy = 30 * time.Minute // to restore one
)

// Why a study is not there although it was asked for.
var (
	ErrUnderWay = errors.New("the study is being fetched; ask again in a while")
	ErrBusy     = errors.New("other studies are being fetched; ask again in a while")
)

// Background restores studies that were asked for, and goes on when nobody waits any more. Make it with NewBackground and
// close it.
type Background struct {
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu      sync.Mutex
	source  Source
	running map[dicom.UID]*fetching
	past    map[dicom.UID]*fetching // from this source
}

// fetching is the restoring of a study.
type fetching struct {
	over chan struct{} // closed at the end; only then the rest is known
	at   time.Time
	err  error
}

// NewBackground restores from a source.
func NewBackground(source Source) *Background {
	b := &Background{source: source, running: map[dicom.UID]*fetching{}, past: map[dicom.UID]*fetching{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Use restores from another source from now on. What is under way goes on from the one before; what that could not give is
// asked for again.
func (b *Background) Use(source Source) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.source = source
	b.past = map[dicom.UID]*fetching{}
}

// Fetch sees to it that a study is restored, and waits for that at most until ctx ends: then the error is ErrUnderWay. It is
// nil if the study has been restored, even if nothing is to be had of it.
func (b *Background) Fetch(ctx context.Context, study dicom.UID) error {
	f := b.begin(study)
	if f == nil {
		return ErrBusy
	}
	select {
	case <-f.over:
		return f.err
	case <-ctx.Done():
		return ErrUnderWay
	}
}

// begin starts to restore a study, or joins who does or has done lately; nil if there are too many others.
func (b *Background) begin(study dicom.UID) *fetching {
	b.mu.Lock()
	defer b.mu.Unlock()
	if f := b.running[study]; f != nil {
		return f
	}
	if f := b.past[study]; f != nil && time.Since(f.at) < forgetAfter {
		return f
	}
	if len(b.running) >= maxStudies || b.ctx.Err() != nil {
		return nil
	}
	f := &fetching{over: make(chan struct{})}
	b.running[study] = f
	source, past := b.source, b.past
	b.ended.Go(func() { b.restore(f, study, source, past) })
	return f
}

// restore restores a study. What has become of it is remembered among what the source could give.
func (b *Background) restore(f *fetching, study dicom.UID, source Source, past map[dicom.UID]*fetching) {
	ctx, cancel := context.WithTimeout(b.ctx, longestStudy)
	defer cancel()
	report, err := source.Study(ctx, study, nil)
	if err == nil && report.Failed > 0 {
		err = errors.New("not all images of the study could be fetched")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(past) >= maxForgotten {
		clear(past)
	}
	f.at, f.err = time.Now(), err
	past[study] = f
	delete(b.running, study)
	close(f.over)
}

// Close ends what is under way.
func (b *Background) Close() {
	b.cancel()
	b.ended.Wait()
}
