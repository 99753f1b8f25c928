package spool

import (
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

const (
	// maxWait is longer than any job is made to wait: the configuration bounds retry.max to a day, and commitment.timeout
	// to seven. One that is due later was given its time by a clock that was ahead.
	maxWait = 8 * 24 * time.Hour
	// lateBatch is how many jobs one operation gives another time.
	lateBatch = 500
)

// hastenLate is the goroutine that looks for such jobs, at the start and every minute: it costs a seek or two a destination.
func (s *Spool) hastenLate() {
	for {
		if err := s.hasten(); err != nil && !errors.Is(err, ErrClosed) {
			s.log.Error("jobs that wait too long cannot be made due", "error", err)
		}
		if !s.rest(evictEvery) {
			return
		}
	}
}

// hasten makes the jobs due that wait for a time which is further away than any job waits: the clock has been set back.
func (s *Spool) hasten() error {
	total := 0
	for _, q := range s.allQueues() {
		for _, kind := range [...]byte{kindWaiting, kindAwaiting} {
			n, err := s.hastenQueue(q, kind)
			total += n
			if err != nil {
				return err
			}
		}
	}
	if total > 0 {
		s.log.Warn("jobs waited for a time that the clock will not tell soon; they are due now", "jobs", total)
	}
	return nil
}

func (s *Spool) hastenQueue(q *queue, kind byte) (total int, err error) {
	now := s.o.Now()
	from := now.Add(maxWait).UnixMilli()
	start := waitingKey(q.name, position{due: from})
	if kind == kindAwaiting {
		start = awaitingKey(q.name, from, 0)
	}
	for start != nil {
		var late []position
		err := s.db.View(func(txn *badger.Txn) error {
			next := start
			start = nil
			return scan(txn, queuePrefix(kind, q.name), next, false, func(key, _ []byte) (bool, error) {
				if _, p, ok := queueEntry(key); ok {
					late = append(late, p)
				}
				if len(late) == lateBatch {
					start = after(key)
					return false, nil
				}
				return true, nil
			})
		})
		if err != nil || len(late) == 0 {
			return total, err
		}
		o := &adjustOp{done: make(chan error, 1), adjust: func(t *tx) error {
			n, err := q.hasten(t, late, now)
			total += n
			return err
		}}
		s.committer.enqueue(o, true)
		if err := s.awaitAtWork(o.done); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// hasten makes jobs due that are still at their place in the queue; it tells how many.
func (q *queue) hasten(t *tx, late []position, at time.Time) (n int, err error) {
	for _, p := range late {
		old, ok, err := readJob(t.txn, p.id, q.name)
		if err != nil {
			return n, err
		}
		if !ok || old.due != p.due || old.state != JobPending && old.state != JobAwaiting || !q.hold(p.id) {
			continue // it has moved on, or its outcome will move it
		}
		now := old
		now.due = max(at.UnixMilli(), 1)
		t.putJob(p.id, q.name, &old, &now)
		t.onDurable(func() {
			q.moved(p.id, old.state, &now)
			if now.state == JobAwaiting {
				q.awaits(now.due)
			}
		})
		n++
	}
	return n, nil
}
