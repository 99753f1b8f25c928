package dimse

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestWaitingDisplacesWhoHasMost compares the heap with a plain search, over random comings and
// goings.
func TestWaitingDisplacesWhoHasMost(t *testing.T) {
	const limit = 12
	w := newWaiting(limit)
	random := rand.New(rand.NewPCG(1, 2))
	var seats []*seat // in the order of their arrival
	of := func(address netip.Addr) (n int) {
		for _, s := range seats {
			if s.queue.address == address {
				n++
			}
		}
		return n
	}
	remove := func(a *Association) {
		for i, s := range seats {
			if s.a == a {
				seats = append(seats[:i:i], seats[i+1:]...)
				return
			}
		}
	}
	for range 20_000 {
		if random.IntN(4) == 0 && len(seats) > 0 {
			s := seats[random.IntN(len(seats))]
			w.leave(s)
			remove(s.a)
			continue
		}
		address := netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(1 + random.IntN(15)))})
		var want *Association
		switch {
		case of(address) >= limit/2:
			for i := len(seats) - 1; i >= 0; i-- {
				if seats[i].queue.address == address {
					want = seats[i].a
				}
			}
		case len(seats) >= limit:
			most := 0
			for _, s := range seats {
				if n := of(s.queue.address); n > most {
					most, want = n, s.a
				}
			}
		}
		s, displaced := w.enter(&Association{remote: netip.AddrPortFrom(address, 1)})
		if displaced != want {
			t.Fatalf("%v displaced %p, want %p", address, displaced, want)
		}
		remove(displaced)
		seats = append(seats, s)
		if w.n != len(seats) || w.n > limit || len(w.queues) != len(w.ranked) {
			t.Fatalf("%d seats, want %d; %d queues, %d ranked", w.n, len(seats), len(w.queues), len(w.ranked))
		}
	}
	for _, s := range seats {
		w.leave(s)
	}
	if w.n != 0 || len(w.queues) != 0 || len(w.ranked) != 0 {
		t.Errorf("not empty: %+v", w)
	}
}
