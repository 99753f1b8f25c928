package spool

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWindowAgainstSortedSlice compares a window over a backing list with simply sorting.
func TestWindowAgainstSortedSlice(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		w := newWindow(8)
		w.open = rng.IntN(2) == 0
		stored := map[InstanceID]position{} // the index
		claimed := map[InstanceID]bool{}
		for id := range InstanceID(200) {
			switch rng.IntN(4) {
			case 0, 1, 2:
				p := position{class: uint8(rng.IntN(3)), id: id + 1}
				stored[p.id] = p
				w.push(slot{position: p})
				w.push(slot{position: p}) // again: no matter
			default:
				take(t, w, stored, claimed)
			}
			if len(w.heap) > 4*8+1 {
				t.Fatalf("%d slots in the heap", len(w.heap))
			}
		}
		for take(t, w, stored, claimed) {
		}
		if len(stored) != 0 {
			t.Fatalf("%d jobs lost", len(stored))
		}
	}
}

// take claims the first job and checks that it is the first of all; sometimes it forgets one instead.
func take(t *testing.T, w *window, stored map[InstanceID]position, claimed map[InstanceID]bool) bool {
	t.Helper()
	order := make([]position, 0, len(stored))
	for _, p := range stored {
		order = append(order, p)
	}
	slices.SortFunc(order, position.compare)
	if w.exhausted() {
		horizon := w.horizon
		w.open = true
		for _, p := range order {
			if p.compare(horizon) > 0 {
				w.push(slot{position: p})
			}
		}
	}
	s := w.peek()
	if s == nil {
		return false
	}
	if s.position != order[0] || claimed[s.id] {
		t.Fatalf("got %v, want %v", s.position, order[0])
	}
	claimed[s.id] = true
	delete(stored, s.id)
	if s.id%5 == 0 {
		w.forget(s.id)
	} else {
		w.pop()
	}
	return true
}
