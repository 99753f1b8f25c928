package spool

import (
	"cmp"
	"container/heap"
	"slices"
)

// position orders the jobs of a queue: waiting ones by when they are due, all by class, then age.
type position struct {
	due   int64 // Unix milliseconds; 0 in a ready queue
	class uint8
	id    InstanceID
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.due, q.due), cmp.Compare(p.class, q.class), cmp.Compare(p.id, q.id))
}

// slot is a job as a window knows it.
type slot struct {
	position
	// in is set while the job was never tried and its instance came recently: Claim then reads nothing.
	in *Instance
	// fromDue marks a waiting job whose time has come.
	fromDue bool
	// gone marks a slot that was forgotten but still lies in the heap.
	gone bool
}

type slotHeap []*slot

func (h slotHeap) Len() int           { return len(h) }
func (h slotHeap) Less(i, j int) bool { return h[i].compare(h[j].position) < 0 }
func (h slotHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *slotHeap) Push(x any)        { *h = append(*h, x.(*slot)) }
func (h *slotHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// window holds the head of a queue in memory, in order. Every unclaimed job up to the horizon is in it; what lies
// beyond is in the index (or among the unindexed) and is fetched by refill when the window has run empty. So its memory
// is bounded, and the index is read from the horizon on: never over the places of jobs that are done.
type window struct {
	heap    slotHeap
	slots   map[InstanceID]*slot
	horizon position
	open    bool // nothing lies beyond: the horizon is at infinity
	limit   int
}

func newWindow(limit int) *window { return &window{slots: map[InstanceID]*slot{}, limit: limit} }

// push adds a job, unless it lies beyond the horizon, where refill will find it, or is here already.
func (w *window) push(s slot) {
	if !w.open && s.compare(w.horizon) > 0 {
		return
	}
	if _, ok := w.slots[s.id]; ok {
		return
	}
	p := &s
	w.slots[s.id] = p
	heap.Push(&w.heap, p)
	if len(w.slots) > 2*w.limit {
		w.trim()
	} else if len(w.heap) > 4*w.limit {
		w.heap = slices.DeleteFunc(w.heap, func(s *slot) bool { return s.gone })
		heap.Init(&w.heap)
	}
}

// trim draws the horizon nearer. Each job is moved out at most once per limit pushes.
func (w *window) trim() {
	live := slices.DeleteFunc(w.heap, func(s *slot) bool { return s.gone })
	slices.SortFunc(live, func(a, b *slot) int { return a.compare(b.position) })
	for _, s := range live[w.limit:] {
		delete(w.slots, s.id)
	}
	clear(live[w.limit:])
	w.heap = live[:w.limit] // sorted, and so a heap
	w.horizon, w.open = w.heap[w.limit-1].position, false
}

// peek gives the first job, nil if the window is empty.
func (w *window) peek() *slot {
	for len(w.heap) > 0 {
		if s := w.heap[0]; !s.gone {
			return s
		}
		heap.Pop(&w.heap)
	}
	return nil
}

// pop removes the first job.
func (w *window) pop() {
	if s := w.peek(); s != nil {
		heap.Pop(&w.heap)
		delete(w.slots, s.id)
	}
}

// forget removes a job wherever it stands.
func (w *window) forget(id InstanceID) {
	if s, ok := w.slots[id]; ok {
		s.gone = true
		s.in = nil
		delete(w.slots, id)
	}
}

// exhausted tells that the window is empty and more may lie beyond the horizon.
func (w *window) exhausted() bool { return !w.open && w.peek() == nil }
