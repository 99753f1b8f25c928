package main

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"dcmgate/dimse"
	"dcmgate/transfer"
)

// sender counts what becomes of the instances of one send.
type sender struct {
	options *sendOptions
	files   *found
	bar     *bar

	mu     sync.Mutex
	report sendReport
}

// fail counts n instances that were not stored.
func (s *sender) fail(n int, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Failed += n
	s.report.Reasons[reason] += n
	s.advance()
}

// done counts an instance that the peer has answered for, or that could not
// be sent.
func (s *sender) done(item *transfer.Item, o transfer.Outcome) {
	switch {
	case o.Kind == transfer.LocalError:
		s.fail(1, fmt.Sprintf("%s: %v", s.files.paths[item], o.Err))
	case errors.As(o.Err, new(*dimse.LostError)):
		s.fail(1, explained(o.Err).Error())
	case o.Kind != transfer.Answered:
		s.fail(1, o.Err.Error())
	case !o.Status.Ok():
		s.fail(1, storeStatus(o.Status))
	default:
		s.mu.Lock()
		defer s.mu.Unlock()
		s.report.Sent++
		s.report.Bytes += item.Size
		if o.Status.Class() == dimse.ClassWarning {
			s.report.Warnings++
			s.report.Reasons[storeStatus(o.Status)]++
		}
		s.advance()
	}
}

// storeStatus names a status of C-STORE by code and in words.
func storeStatus(s dimse.Status) string {
	return fmt.Sprintf("%04XH %s", uint16(s), s.Meaning(dimse.CStoreRQ))
}

// advance moves the bar; s.mu is held.
func (s *sender) advance() {
	s.bar.set(int64(s.report.Sent+s.report.Failed), int64(len(s.files.items)+len(s.files.faults)))
}

// sendQueue hands the items of one proposal to several associations.
type sendQueue struct {
	*sender
	mu    sync.Mutex
	items []*transfer.Item
}

func (q *sendQueue) next() *transfer.Item {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return nil
	}
	item := q.items[0]
	q.items = q.items[1:]
	return item
}

// giveBack returns an item of which nothing was sent.
func (q *sendQueue) giveBack(item *transfer.Item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(q.items, item)
}

func (q *sendQueue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) == 0
}

// drain empties the queue and returns how many items it held.
func (q *sendQueue) drain() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.items)
	q.items = nil
	return n
}

// sendSource feeds one association from the queue. It is used by one
// goroutine.
type sendSource struct {
	queue    *sendQueue
	answered int
}

// Next implements transfer.Source.
func (s *sendSource) Next() (*transfer.Item, error) {
	if item := s.queue.next(); item != nil {
		return item, nil
	}
	return nil, io.EOF
}

// Ready implements transfer.Source; there is never anything to wait for.
func (s *sendSource) Ready() <-chan struct{} { return nil }

// Done implements transfer.Source.
func (s *sendSource) Done(item *transfer.Item, o transfer.Outcome) {
	if o.Kind == transfer.NotSent {
		s.queue.giveBack(item)
		return
	}
	if o.Kind == transfer.Answered {
		s.answered++
	}
	s.queue.done(item, o)
}
