package spool

import (
	"context"
	"time"

	"dcmgate/spool/segment"
)

// payloads is what the spool asks of package segment, so that tests can put a failing one in its place.
type payloads interface {
	Begin() (recordWriter, error)
	Replay(from map[segment.ID]segment.Checkpoint, fn func(segment.Record) error) (segment.Report, error)
	ScanAll(fn func(segment.Record) error) (segment.Report, error)
	OpenPayload(l segment.Location) (*segment.Payload, error)
	ReadRecord(l segment.Location) (segment.Record, error)
	Verify(l segment.Location) error
	Free(l segment.Location) error
	Recycle(id segment.ID) error
	Retire(id segment.ID) error
	Shrink(bytes int64) error
	Prepare(ctx context.Context, bytesPerSecond int64) (bool, error)
	Probe() error
	SetMaxLanes(n int)
	Segments() []segment.Info
	Stats() (segment.Stats, error)
	Quiet() time.Duration
	Close() error
}

// recordWriter is *segment.Writer.
type recordWriter interface {
	Write(p []byte) (int, error)
	Commit(meta []byte, digest [32]byte, headerLength int, committed func(segment.Location)) (segment.Location, error)
	Abort()
}

// segments makes a *segment.Store a payloads.
type segments struct{ *segment.Store }

func (s segments) Begin() (recordWriter, error) {
	w, err := s.Store.Begin()
	if err != nil {
		return nil, err
	}
	return w, nil
}
