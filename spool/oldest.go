package spool

import (
	"math"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// oldestWaiting is how many waiting jobs beyond the window are looked at for the oldest: they stand in the order of their
// next attempt, so the oldest may be any of them.
const oldestWaiting = 20_000

// OldestJobs says since when the oldest job of a destination has been there: when its instance was received. Zero means
// that there is none. Of more than 20000 jobs that wait for their next attempt, or for commitment, those that have it, or
// are asked for, soonest are looked at.
type OldestJobs struct {
	Pending  time.Time
	Active   time.Time
	Parked   time.Time // refused ones included: a person has to act
	Awaiting time.Time // delivered, but not committed to (PS3.4 J)
}

// OldestJobs looks every destination's queue through. It costs some seeks in the index each.
func (s *Spool) OldestJobs() map[string]OldestJobs {
	out := map[string]OldestJobs{}
	for _, q := range s.allQueues() {
		if c := q.jobCounts(); c.Pending+c.Active+c.Parked+c.Refused+c.Awaiting > 0 {
			out[q.name] = q.oldest()
		}
	}
	return out
}

// none is no instance's ID, and above every one.
const none = InstanceID(math.MaxUint64)

func (q *queue) oldest() OldestJobs {
	pending, active, parkedFrom := q.oldestInMemory()
	parked, awaiting := none, none
	low, _, awaited := q.awaitingFrom()
	// An index that cannot be read fails louder elsewhere.
	_ = q.db.View(func(txn *badger.Txn) error {
		for _, beyond := range pending.beyond {
			pending.id = min(pending.id, first(txn, beyond.prefix, beyond.start, beyond.limit))
		}
		if parkedFrom.any {
			parked = first(txn, queuePrefix(kindParked, q.name), parkedKey(q.name, parkedFrom.id), 1)
		}
		if awaited {
			awaiting = first(txn, queuePrefix(kindAwaiting, q.name), awaitingKey(q.name, low, 0), oldestWaiting)
		}
		return nil
	})
	if parked != none {
		q.parkedNotBefore(parkedFrom, parked)
	}
	return OldestJobs{Pending: pending.id.received(), Active: active.received(), Parked: parked.received(), Awaiting: awaiting.received()}
}

func (id InstanceID) received() time.Time {
	if id == none {
		return time.Time{}
	}
	return id.time()
}

// oldestPending is the oldest job in memory, and where in the index an older one may be.
type oldestPending struct {
	id     InstanceID
	beyond []stretch
}

// stretch is a part of the index, of which limit keys are looked at.
type stretch struct {
	prefix, start []byte
	limit         int
}

// parkedMark spares the way over the places of jobs that are parked no more. The queue's lock guards it.
type parkedMark struct {
	id    InstanceID // none parked is older
	moved int        // counts the jobs that were parked
	any   bool       // of a copy: whether there are any
}

func (q *queue) oldestInMemory() (pending oldestPending, active InstanceID, parked parkedMark) {
	q.mu.Lock()
	defer q.mu.Unlock()
	pending.id, active = none, none
	for _, w := range []*window{q.ready, q.waiting, q.due} {
		for id := range w.slots {
			pending.id = min(pending.id, id)
		}
	}
	for id := range q.unindexed {
		if q.leases[id] == nil {
			pending.id = min(pending.id, id)
		}
	}
	for id := range q.leases {
		active = min(active, id)
	}
	if !q.ready.open {
		pending.beyond = q.readyBeyond()
	}
	if !q.waiting.open {
		pending.beyond = append(pending.beyond, stretch{queuePrefix(kindWaiting, q.name), after(waitingKey(q.name, q.waiting.horizon)), oldestWaiting})
	}
	parked = q.parked
	parked.any = q.counts.parked+q.counts.refused > 0
	return pending, active, parked
}

// readyBeyond names the places of the oldest ready job of each class beyond the window.
func (q *queue) readyBeyond() (list []stretch) {
	horizon := q.ready.horizon
	for class := horizon.class; class <= PriorityLow.class(); class++ {
		start := readyKey(q.name, position{class: class})
		if class == horizon.class {
			start = after(readyKey(q.name, horizon))
		}
		list = append(list, stretch{append(queuePrefix(kindReady, q.name), class), start, 1})
	}
	return list
}

// first gives the least ID among the first keys of a stretch.
func first(txn *badger.Txn, prefix, start []byte, limit int) InstanceID {
	least := none
	_ = scan(txn, prefix, start, false, func(key, _ []byte) (bool, error) {
		least = min(least, idAt(key[len(key)-8:]))
		limit--
		return limit > 0, nil
	})
	return least
}

// park notes that a job needs a person. It is called with the lock held.
func (q *queue) park(id InstanceID) {
	q.parked.id = min(q.parked.id, id)
	q.parked.moved++
}

// parkedNotBefore notes what a search found, unless jobs were parked meanwhile.
func (q *queue) parkedNotBefore(searched parkedMark, id InstanceID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.parked.moved == searched.moved {
		q.parked.id = id
	}
}
