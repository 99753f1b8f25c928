package segment

import (
	"context"
	"time"
)

const (
	// prepareChunk is how much Prepare writes at a time.
	prepareChunk = 1 << 20
	// prepareQuiet is how long no writer may have been open before Prepare writes: a store that is opened for moments, or
	// written all the time, is left alone.
	prepareQuiet = 2 * time.Second
)

// Prepare makes one segment for the pool ahead of need and fills it with zeros, no faster than bytesPerSecond and only
// while no writer has been open for two seconds, counted from Replay: overwriting blocks that were written before takes
// half the time of writing new ones, since the file system has nothing to record. It returns false if it is not the time,
// if the pool has no room for another, or the disk less than ten times as much free. It blocks until the segment is ready
// or ctx ends; the caller owns its goroutine, and ends it before Close.
func (s *Store) Prepare(ctx context.Context, bytesPerSecond int64) (bool, error) {
	g, f, err := s.beginPrepare()
	if g == nil || err != nil {
		return false, err
	}
	if err := s.zeroFill(ctx, f, max(bytesPerSecond, prepareChunk)); err != nil {
		s.discard(g)
		return false, failed("prepare", g.id, err)
	}
	f.drop(0, s.o.SegmentSize) // nobody reads it
	s.refresh(g, f)
	s.files.release(g)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool = append(s.pool, g)
	return true, nil
}

// beginPrepare creates the file of a segment to prepare; there is none if there is no room.
func (s *Store) beginPrepare() (*segment, file, error) {
	if err := s.enter(); err != nil {
		return nil, nil, err
	}
	defer s.leave()
	free, _, err := s.disk.usage()
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	room := s.quiet() >= prepareQuiet && s.phase == replayed && s.poolBytes()+s.o.SegmentSize <= s.o.PoolBytes && free/10 >= s.o.SegmentSize
	s.mu.Unlock()
	if !room {
		return nil, nil, nil
	}
	return s.create()
}

// zeroFill writes zeros over the whole nominal size of a segment.
func (s *Store) zeroFill(ctx context.Context, f file, bytesPerSecond int64) error {
	if err := s.guarded(func() error { return f.allocate(0, s.o.SegmentSize) }); err != nil {
		return err
	}
	pace := time.NewTicker(time.Duration(max(1, prepareChunk*int64(time.Second)/bytesPerSecond)))
	defer pace.Stop()
	chunk := make([]byte, prepareChunk)
	for at := int64(0); at < s.o.SegmentSize; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pace.C:
		}
		if err := ctx.Err(); err != nil { // both may have been ready
			return err
		}
		if s.Quiet() < prepareQuiet {
			continue
		}
		b := chunk[:min(prepareChunk, s.o.SegmentSize-at)]
		if err := s.guarded(func() error { _, err := f.WriteAt(b, at); return err }); err != nil {
			return err
		}
		f.flush(at, int64(len(b)))
		at += int64(len(b))
	}
	return s.guarded(f.sync)
}

// Quiet is for how long no writer has been open; 0 while one is.
func (s *Store) Quiet() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quiet()
}

// quiet is Quiet for a caller that holds s.mu.
func (s *Store) quiet() time.Duration {
	if s.leased > 0 {
		return 0
	}
	return max(0, s.o.Now().Sub(s.lastWriter))
}

// guarded makes a call that touches the disk.
func (s *Store) guarded(call func() error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return call()
}
