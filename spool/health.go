package spool

import (
	"log/slog"
	"sync"
)

// health is what the durable path says of itself: a failed write turns it red, the next good one green. The index and
// the segments are told apart: only the index, while red, refuses new instances, as a segment can only show that it is
// well again by being written.
type health struct {
	mu      sync.Mutex
	log     *slog.Logger
	index   error
	segment error
}

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

func (h *health) indexFailed(err error)   { h.set(&h.index, "index", err) }
func (h *health) indexWritten()           { h.set(&h.index, "index", nil) }
func (h *health) segmentFailed(err error) { h.set(&h.segment, "segments", err) }
func (h *health) segmentWritten()         { h.set(&h.segment, "segments", nil) }

func (h *health) indexErr() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.index
}

func (h *health) err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.index != nil {
		return h.index
	}
	return h.segment
}
