package spool

import (
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// windowSize is how many jobs of a destination are held ready in memory, and how many are read at once when they have
// been claimed. Tests make it smaller.
const windowSize = 2048

// lease is a claimed job.
type lease struct {
	slot       slot
	in         *Instance
	completing bool // its outcome is on the way to the index
}

// queue is one destination's jobs as far as claiming them goes. Every pending job is in exactly one place: a window, due,
// a lease, or beyond a window's horizon in the index or among the unindexed.
type queue struct {
	name string
	db   *badger.DB
	now  func() time.Time
	size int // of the windows

	mu        sync.Mutex
	ready     *window
	waiting   *window
	due       *window // waiting jobs whose time has come, by class and age; never trimmed
	unindexed map[InstanceID]*slot
	leases    map[InstanceID]*lease
	counts    destinationTotals
	awaiting  awaitingMark
	parked    parkedMark

	signal chan struct{}
}

func newQueue(name string, db *badger.DB, o *Options, counts destinationTotals) *queue {
	q := &queue{
		name:      name,
		db:        db,
		now:       o.Now,
		size:      o.window,
		ready:     newWindow(o.window),
		waiting:   newWindow(o.window),
		due:       newWindow(windowSize),
		unindexed: map[InstanceID]*slot{},
		leases:    map[InstanceID]*lease{},
		counts:    counts,
		signal:    make(chan struct{}, 1),
	}
	q.due.open = true
	if counts.pending > 0 {
		q.wake()
	} else {
		q.ready.open, q.waiting.open = true, true
	}
	return q
}

func (q *queue) wake() {
	select {
	case q.signal <- struct{}{}:
	default:
	}
}

// arrive adds the job of an instance that is durable but not indexed.
func (q *queue) arrive(in *Instance, class uint8) {
	q.mu.Lock()
	s := slot{position: position{class: class, id: in.ID}, in: in}
	q.unindexed[in.ID] = &s
	q.counts.pending++
	q.ready.push(s)
	q.mu.Unlock()
	q.wake()
}

// carried counts a job that was delivered with an earlier copy of the instance.
func (q *queue) carried(state JobState) {
	q.mu.Lock()
	*q.counts.of(state)++
	q.mu.Unlock()
}

// purged forgets a job whose record is gone. A claim of it ends here; its outcome is of no interest.
func (q *queue) purged(id InstanceID, state JobState) {
	q.mu.Lock()
	delete(q.leases, id)
	q.forget(id)
	*q.counts.of(state)--
	q.mu.Unlock()
}

// indexed notes that the index has the instance's job now.
func (q *queue) indexed(id InstanceID) {
	q.mu.Lock()
	delete(q.unindexed, id)
	q.mu.Unlock()
}

// claim leases up to limit jobs. Leases whose instance is nil have to be looked up by the caller.
func (q *queue) claim(limit int) ([]*lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []*lease
	for len(out) < limit {
		if err := q.refill(); err != nil {
			return out, err
		}
		s, ok := q.first()
		if !ok {
			return out, nil
		}
		l := &lease{slot: s, in: s.in}
		q.leases[s.id] = l
		out = append(out, l)
	}
	if q.ready.peek() != nil || q.due.peek() != nil || !q.ready.open {
		q.wake()
	}
	return out, nil
}

// first takes the job that goes first out of the windows.
func (q *queue) first() (slot, bool) {
	r, d := q.ready.peek(), q.due.peek()
	switch {
	case r == nil && d == nil:
		return slot{}, false
	case d == nil || r != nil && (position{class: r.class, id: r.id}).compare(position{class: d.class, id: d.id}) < 0:
		s := *r
		q.ready.pop()
		return s, true
	}
	s := *d
	q.due.pop()
	return s, true
}

// refill promotes waiting jobs that are due and reads the index where a window has run empty. If more than a window of
// jobs is due at once, they are promoted in the order in which they became due: priority and age rule within a window.
func (q *queue) refill() error {
	if q.ready.exhausted() {
		if err := q.fill(q.ready, kindReady); err != nil {
			return err
		}
	}
	now := q.now().UnixMilli()
	for len(q.due.slots) < windowSize {
		if q.waiting.exhausted() {
			if err := q.fill(q.waiting, kindWaiting); err != nil {
				return err
			}
		}
		s := q.waiting.peek()
		if s == nil || s.due > now {
			return nil
		}
		promoted := *s
		q.waiting.pop()
		// The due window orders by class and age; the job's place in the index stays under its due time.
		promoted.due, promoted.fromDue = 0, true
		q.due.push(promoted)
	}
	return nil
}

// fill reads on from a window's horizon until it has something or the end is reached. It holds the queue's lock, so an
// arrival is either among the unindexed now, or durable in what is read, or comes later by arrive.
func (q *queue) fill(w *window, kind byte) error {
	for w.exhausted() {
		from, slots := w.horizon, make([]slot, 0, 64)
		last, end, err := q.read(kind, from, &slots)
		if err != nil {
			return err
		}
		if kind == kindReady {
			for _, s := range q.unindexed {
				if s.compare(from) > 0 && (end || s.compare(last) <= 0) {
					slots = append(slots, *s)
				}
			}
		}
		w.horizon, w.open = last, end
		for _, s := range slots {
			if _, leased := q.leases[s.id]; !leased {
				w.push(s)
			}
		}
	}
	return nil
}

// read takes up to a window of keys of a kind behind a position. end is set if there are no more; else last is where to
// go on.
func (q *queue) read(kind byte, from position, slots *[]slot) (last position, end bool, err error) {
	prefix := queuePrefix(kind, q.name)
	var start []byte
	if from != (position{}) {
		start = readyKey(q.name, from)
		if kind == kindWaiting {
			start = waitingKey(q.name, from)
		}
		start = after(start)
	}
	end, last = true, from
	err = q.db.View(func(txn *badger.Txn) error {
		return scan(txn, prefix, start, false, func(key, _ []byte) (bool, error) {
			if _, p, ok := queueEntry(key); ok {
				*slots = append(*slots, slot{position: p})
				last = p
			}
			end = len(*slots) < q.size
			return end, nil
		})
	})
	return last, end, err
}

// identify notes the instance of a lease once it has been looked up.
func (q *queue) identify(l *lease, in *Instance) {
	q.mu.Lock()
	l.in = in
	q.mu.Unlock()
}

// release hands a lease back: the job is ready again where it was.
func (q *queue) release(id InstanceID) bool {
	q.mu.Lock()
	l := q.leases[id]
	ok := l != nil && !l.completing
	if ok {
		q.giveBack(l)
	}
	q.mu.Unlock()
	if ok {
		q.wake()
	}
	return ok
}

func (q *queue) giveBack(l *lease) {
	delete(q.leases, l.slot.id)
	if l.slot.fromDue {
		q.due.push(l.slot)
	} else {
		q.ready.push(l.slot)
	}
}

// hold keeps a job from being claimed until moved is called for it, for an operation that changes it unasked. It refuses
// if the job is claimed.
func (q *queue) hold(id InstanceID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.leases[id] != nil {
		return false
	}
	q.leases[id] = &lease{slot: slot{position: position{id: id}}, completing: true}
	q.forget(id)
	return true
}

func (q *queue) forget(id InstanceID) {
	q.ready.forget(id)
	q.waiting.forget(id)
	q.due.forget(id)
}

// completing marks a lease as ended; its instance is what the outcome is recorded with.
func (q *queue) completing(id InstanceID) (*Instance, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.leases[id]
	if l == nil || l.completing {
		return nil, false
	}
	l.completing = true
	return l.in, true
}

// moved follows a job whose new record is durable. The job was claimed or held, so it is in no window.
func (q *queue) moved(id InstanceID, from JobState, now *jobRecord) {
	q.mu.Lock()
	delete(q.leases, id)
	*q.counts.of(from)--
	*q.counts.of(now.state)++
	if now.state == JobParked || now.state == JobRefused {
		q.park(id)
	}
	if now.state == JobPending {
		w := q.ready
		if now.due != 0 {
			w = q.waiting
		}
		w.push(slot{position: now.position(id)})
	}
	q.mu.Unlock()
	if now.state == JobPending {
		q.wake()
	}
}

// settled ends a completing lease whose outcome changed nothing.
func (q *queue) settled(id InstanceID) {
	q.mu.Lock()
	delete(q.leases, id)
	q.mu.Unlock()
}

// leased tells whether a job is claimed.
func (q *queue) leased(id InstanceID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, ok := q.leases[id]
	return ok
}

// nextDue tells when the first waiting job becomes due, 0 if none waits in memory.
func (q *queue) nextDue() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := q.waiting.peek(); s != nil {
		return s.due
	}
	return 0
}

// jobCounts gives the exact numbers.
func (q *queue) jobCounts() JobCounts {
	q.mu.Lock()
	defer q.mu.Unlock()
	active := int64(len(q.leases))
	return JobCounts{
		Pending:   q.counts.pending - active,
		Active:    active,
		Parked:    q.counts.parked,
		Delivered: q.counts.delivered,
		Dropped:   q.counts.dropped,
		Awaiting:  q.counts.awaiting,
		Committed: q.counts.committed,
		Refused:   q.counts.refused,
	}
}
