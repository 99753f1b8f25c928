package spool

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// probeEvery is how long the segments' health stays red before the disk is asked whether it is well again, and then
	// between two questions.
	probeEvery = 2 * time.Second
	// probeSlow is the same where the last answer was wrong: a disk that takes a probe and fails the next record would
	// otherwise draw in senders every other second.
	probeSlow = 30 * time.Second
)

// health is what the durable path says of itself: a failed write turns it red, the next good one green. The index and
// the segments are told apart: only the index, while red, refuses new instances, as it tries by itself until it can be
// written. The segments are written when somebody sends; as nobody may before they are green, they are probed as well.
type health struct {
	mu      sync.Mutex
	log     *slog.Logger
	index   error
	segment error
	sick    chan struct{} // signalled when segment turns red
}

func newHealth(log *slog.Logger) *health { return &health{log: log, sick: make(chan struct{}, 1)} }

func (h *health) set(which *error, name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case err != nil && *which == nil:
		h.log.Error("durable write failed", "part", name, "error", err)
	case err == nil && *which != nil:
		h.log.Info("durable writes succeed again", "part", name)
	}
	*which = err
}

func (h *health) indexFailed(err error) { h.set(&h.index, "index", err) }
func (h *health) indexWritten()         { h.set(&h.index, "index", nil) }
func (h *health) segmentWritten()       { h.set(&h.segment, "segments", nil) }

func (h *health) segmentFailed(err error) {
	h.set(&h.segment, "segments", err)
	select {
	case h.sick <- struct{}{}:
	default:
	}
}

func (h *health) indexErr() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.index
}

func (h *health) segmentErr() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.segment
}

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.index != nil {
		return h.index
	}
	return h.segment
}

// probeSegments asks the disk, while the segments are red, whether it takes durable writes again: a load balancer that
// obeys /readyz sends nothing that could show it.
func (s *Spool) probeSegments() {
	var green time.Time // when a probe last said so
	for {
		select {
		case <-s.health.sick:
		case <-s.closing:
			return
		}
		pause := s.o.probeEvery
		if time.Since(green) < 2*probeSlow {
			pause = probeSlow
		}
		for s.health.segmentErr() != nil {
			if !s.rest(pause) {
				return
			}
			if s.health.segmentErr() != nil && s.payloads.Probe() == nil {
				green = time.Now()
				s.health.segmentWritten()
				break // red again by now is another time, with its own pause
			}
		}
	}
}
