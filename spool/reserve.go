package spool

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// reserve is a file that takes up room as long as there is enough. When the disk is full it is given back, so that the
// index can still be written: Badger maps its files, and a page of one that the disk cannot back kills the process.
type reserve struct {
	path string
	size int64

	mu   sync.Mutex
	held bool
}

// hold makes the file.
func (r *reserve) hold() error {
	r.mu.Lock()
	defer r.mu.Unlock()
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

// give gives the room back.
func (r *reserve) give() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held && os.Remove(r.path) == nil {
		r.held = false
	}
}

// restore holds the room again once there is plenty.
func (r *reserve) restore(free int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.held && r.size > 0 && free > 4*r.size {
		_ = r.holdLocked()
	}
}
