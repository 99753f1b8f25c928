package spool

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// reserve is a file that takes up room as long as there is enough. When the disk is full it is given back, so that the
// index can still be written and eviction can free more; see indexRoom.
type reserve struct {
	path string
	size int64

	mu   sync.Mutex
	held bool
}

// newReserve finds the file if an earlier process held it.
func newReserve(path string, size int64) *reserve {
	return &reserve{path: path, size: size, held: size > 0 && exists(path)}
}

// hold makes the file, unless that would take what the index needs.
func (r *reserve) hold(free int64) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held && free < r.size+indexRoomLeast {
		return fmt.Errorf("hold reserve: %w", unix.ENOSPC)
	}
	return r.holdLocked()
}

func (r *reserve) holdLocked() error {
	if r.size <= 0 || r.held {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("hold reserve: %w", err)
	}
	defer f.Close()
	if err := unix.Fallocate(int(f.Fd()), 0, 0, r.size); err != nil {
		os.Remove(r.path)
		return fmt.Errorf("hold reserve: %w", err)
	}
	r.held = true
	return nil
}

// give gives the room back and tells whether there was any.
func (r *reserve) give() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held || os.Remove(r.path) != nil {
		return false
	}
	r.held = false
	return true
}

// restore holds the room again once there is plenty.
func (r *reserve) restore(free int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held && r.size > 0 && free > 4*r.size {
		_ = r.holdLocked()
	}
}
