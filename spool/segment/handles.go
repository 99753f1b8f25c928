package segment

import (
	"container/list"
	"sync"
)

// handles keeps the segments' files open: those in use, and a bounded number of the last used ones. It also owns the
// files' names, so that opening one never meets a rename half done.
type handles struct {
	disk disk
	max  int // idle ones kept

	mu   sync.Mutex
	idle list.List // of *segment, the last used in front
}

// handle is a segment's open file; guarded by handles.mu.
type handle struct {
	file file
	refs int
	idle *list.Element
	dead bool // close with the last reference
}

// acquire opens g's file, or shares the one that is open. Every acquire needs a release.
func (h *handles) acquire(g *segment) (file, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.handle == nil {
		f, err := h.disk.open(g.name)
		if err != nil {
			return nil, err
		}
		g.handle = &handle{file: f}
	}
	if g.handle.idle != nil {
		h.idle.Remove(g.handle.idle)
		g.handle.idle = nil
	}
	g.handle.refs++
	return g.handle.file, nil
}

// create makes g's file; it counts as an acquire.
func (h *handles) create(g *segment) (file, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, err := h.disk.create(g.name)
	if err != nil {
		return nil, err
	}
	g.handle = &handle{file: f, refs: 1}
	return f, nil
}

// release gives back what acquire gave. The file may stay open for the next.
func (h *handles) release(g *segment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g.handle.refs--; g.handle.refs > 0 {
		return
	}
	if g.handle.dead {
		h.close(g)
		return
	}
	g.handle.idle = h.idle.PushFront(g)
	for h.idle.Len() > h.max {
		h.close(h.idle.Back().Value.(*segment))
	}
}

// close closes g's file, which nobody uses. An error has nothing to tell: what had to be durable was synced.
func (h *handles) close(g *segment) {
	if g.handle.idle != nil {
		h.idle.Remove(g.handle.idle)
	}
	g.handle.file.Close()
	g.handle = nil
}

// rename gives g's file another name.
func (h *handles) rename(g *segment, to string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.disk.rename(g.name, to); err != nil {
		return err
	}
	g.name = to
	if g.handle != nil {
		g.handle.file.renamed(to)
	}
	return nil
}

// remove unlinks g's file. Who has it open reads on undisturbed.
func (h *handles) remove(g *segment) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	err := h.disk.remove(g.name)
	if g.handle == nil {
		return err
	}
	if g.handle.refs > 0 {
		g.handle.dead = true
	} else {
		h.close(g)
	}
	return err
}

// closeIdle closes what nobody uses, and what is in use as soon as that ends.
func (h *handles) closeIdle() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.max = 0
	for h.idle.Len() > 0 {
		h.close(h.idle.Back().Value.(*segment))
	}
}
