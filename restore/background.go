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
	source Source
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu      sync.Mutex
	running map[dicom.UID]chan struct{} // closed at the end
	past    map[dicom.UID]outcome
}

// outcome is how the restoring of a study has ended.
type outcome struct {
	at  time.Time
	err error
}

// NewBackground restores from a source.
func NewBackground(source Source) *Background {
	b := &Background{source: source, running: map[dicom.UID]chan struct{}{}, past: map[dicom.UID]outcome{}}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b
}

// Fetch sees to it that a study is restored, and waits for that at most until ctx ends: then the error is ErrUnderWay. It is
// nil if the study has been restored, even if nothing is to be had of it.
func (b *Background) Fetch(ctx context.Context, study dicom.UID) error {
	over, err := b.begin(study)
	if over == nil {
		return err
	}
	select {
	case <-over:
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.past[study].err
	case <-ctx.Done():
		return ErrUnderWay
	}
}

// begin starts to restore a study, or joins who does. Without a channel there is nothing to wait for.
func (b *Background) begin(study dicom.UID) (over chan struct{}, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if over := b.running[study]; over != nil {
		return over, nil
	}
	if past, ok := b.past[study]; ok && time.Since(past.at) < forgetAfter {
		return nil, past.err
	}
	if len(b.running) >= maxStudies || b.ctx.Err() != nil {
		return nil, ErrBusy
	}
	over = make(chan struct{})
	b.running[study] = over
	b.ended.Go(func() { b.restore(study, over) })
	return over, nil
}

func (b *Background) restore(study dicom.UID, over chan struct{}) {
	ctx, cancel := context.WithTimeout(b.ctx, longestStudy)
	defer cancel()
	report, err := b.source.Study(ctx, study, nil)
	if err == nil && report.Failed > 0 {
		err = errors.New("not all images of the study could be fetched")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.past) >= maxForgotten {
		clear(b.past)
	}
	b.past[study] = outcome{time.Now(), err}
	delete(b.running, study)
	close(over)
}

// Close ends what is under way.
func (b *Background) Close() {
	b.cancel()
	b.ended.Wait()
}
