package spool

import (
	"context"
	"errors"
	"time"
)

// preparePause is what passes before the spool looks again whether another segment is to be prepared.
const preparePause = 2 * time.Second

// prepareSegments zeroes segments ahead once nobody has stored for a while, up to the size of the pool: a record in blocks that have been
// written before is durable in half the time (package segment has the figures), and a box that has not recycled any
// segment yet has no others.
func (s *Spool) prepareSegments() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.tasks.Go(func() {
		<-s.closing
		cancel()
	})
	pause := time.NewTicker(preparePause)
	defer pause.Stop()
	for failed := false; ; {
		more, err := false, error(nil)
		if s.Pressure() == LevelNone {
			more, err = s.payloads.Prepare(ctx, s.o.PrepareRate)
		}
		if err != nil && !errors.Is(err, context.Canceled) && !failed {
			s.log.Warn("no segment prepared; storing goes on without", "error", err)
			failed = true
		}
		if more {
			failed = false
			continue
		}
		select {
		case <-s.closing:
			return
		case <-pause.C:
		}
	}
}
