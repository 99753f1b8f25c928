package dimse

import (
	"container/heap"
	"container/list"
	"net/netip"
)

// waiting holds the half-open connections, by address and in the order of their arrival. It is
// bounded, and yet takes in everybody: where it is full, the oldest connection of the address
// that has most of them goes. A peer that means it has sent its request long before that, so a
// few addresses with many silent connections only ever displace their own. Entering, leaving
// and displacing take O(log n) of the number of addresses.
type waiting struct {
	limit  int // connections in all
	one    int // connections of one address
	n      int
	ticket uint64 // number of the newcomer before
	queues map[netip.Addr]*queue
	ranked ranking
}

// queue is the connections of one address, oldest first.
type queue struct {
	address netip.Addr
	seats   list.List // of *seat
	rank    int       // place in the ranking
}

// seat is the place of one connection in its queue.
type seat struct {
	a       *Association
	ticket  uint64
	queue   *queue
	element *list.Element
}

func newWaiting(limit int) *waiting {
	return &waiting{limit: limit, one: max(1, limit/2), queues: make(map[netip.Addr]*queue)}
}

// enter takes in a connection, and returns the one that has to go for it, if any.
func (w *waiting) enter(a *Association) (taken *seat, displaced *Association) {
	address := network(a.remote.Addr())
	q := w.queues[address]
	switch {
	case q != nil && q.seats.Len() >= w.one:
		displaced = w.displace(q)
	case w.n >= w.limit:
		displaced = w.displace(w.ranked[0])
	}
	if q = w.queues[address]; q == nil { // or it was the only one of its address that went
		q = &queue{address: address}
		w.queues[address] = q
		heap.Push(&w.ranked, q)
	}
	w.ticket++
	w.n++
	s := &seat{a: a, ticket: w.ticket, queue: q}
	s.element = q.seats.PushBack(s)
	heap.Fix(&w.ranked, q.rank)
	return s, displaced
}

func (w *waiting) displace(q *queue) *Association {
	oldest := q.oldest()
	w.leave(oldest)
	return oldest.a
}

// leave gives a seat back.
func (w *waiting) leave(s *seat) {
	q := s.queue
	q.seats.Remove(s.element)
	w.n--
	if q.seats.Len() > 0 {
		heap.Fix(&w.ranked, q.rank)
		return
	}
	heap.Remove(&w.ranked, q.rank)
	delete(w.queues, q.address)
}

func (q *queue) oldest() *seat {
	if front := q.seats.Front(); front != nil {
		return front.Value.(*seat)
	}
	return &seat{}
}

// ranking is a heap of the addresses: the one with most connections first, of several the one
// whose oldest has waited longest.
type ranking []*queue

// Len implements heap.Interface.
func (r ranking) Len() int { return len(r) }

// Less implements heap.Interface.
func (r ranking) Less(i, j int) bool {
	if a, b := r[i].seats.Len(), r[j].seats.Len(); a != b {
		return a > b
	}
	return r[i].oldest().ticket < r[j].oldest().ticket
}

// Swap implements heap.Interface.
func (r ranking) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].rank, r[j].rank = i, j
}

// Push implements heap.Interface.
func (r *ranking) Push(x any) {
	q := x.(*queue)
	q.rank = len(*r)
	*r = append(*r, q)
}

// Pop implements heap.Interface.
func (r *ranking) Pop() any {
	last := len(*r) - 1
	q := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return q
}
