package forwarder

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/transfer"
)

// memQueue is a queue in memory. It is as strict as the contract allows: a
// result for a job that is not leased is an error of the test.
type memQueue struct {
	t *testing.T

	mu     sync.Mutex
	jobs   []*memJob
	ready  map[string]chan struct{}
	opened func(Job) (io.ReadCloser, error) // instead of size bytes
}

type memJob struct {
	Job
	leased     bool
	done       bool
	verdict    Verdict
	results    int // other than released
	at         time.Time
	status     uint16
	code       string
	reason     string
	unreadable bool
	finished   time.Time
}

func newMemQueue(t *testing.T) *memQueue {
	return &memQueue{t: t, ready: map[string]chan struct{}{}}
}

// add enqueues n jobs of size bytes each and returns their IDs.
func (q *memQueue) add(destination string, pair transfer.Pair, n, size int) (first, last uint64) {
	q.mu.Lock()
	first = uint64(len(q.jobs) + 1)
	for range n {
		id := uint64(len(q.jobs) + 1)
		q.jobs = append(q.jobs, &memJob{Job: Job{
			ID: id, Destination: destination, SOPInstanceUID: uidOf(id), Pair: pair,
			Size: int64(size), Received: time.Now(),
		}})
		last = id
	}
	q.mu.Unlock()
	q.signal(destination)
	return first, last
}

func uidOf(id uint64) dicom.UID { return dicom.UID(fmt.Sprintf("1.2.3.%d", id)) }

func (q *memQueue) signal(destination string) {
	select {
	case q.channel(destination) <- struct{}{}:
	default:
	}
}

func (q *memQueue) channel(destination string) chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ready[destination] == nil {
		q.ready[destination] = make(chan struct{}, 1)
	}
	return q.ready[destination]
}

func (q *memQueue) Ready(destination string) <-chan struct{} { return q.channel(destination) }

func (q *memQueue) Claim(destination string, limit int) (claimed []Job, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	var due []*memJob
	for _, j := range q.jobs {
		if j.Destination == destination && !j.leased && !j.done && !j.at.After(now) {
			due = append(due, j)
		}
	}
	slices.SortStableFunc(due, func(a, b *memJob) int { return cmp.Compare(b.Urgency, a.Urgency) })
	for _, j := range due[:min(limit, len(due))] {
		j.leased = true
		claimed = append(claimed, j.Job)
	}
	return claimed, nil
}

func (q *memQueue) Complete(results ...Result) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range results {
		j := q.jobs[r.Job.ID-1]
		if !j.leased {
			q.t.Errorf("job %d is completed but not leased", j.ID)
			return errors.New("not leased")
		}
		j.leased = false
		j.verdict = r.Verdict
		if r.Verdict == Released {
			continue
		}
		j.results++
		j.status, j.code, j.reason, j.unreadable, j.at = r.Status, r.Code, r.Reason, r.Unreadable, r.At
		if r.Verdict == RetryLater {
			j.Attempts++
			continue
		}
		j.done, j.finished = true, time.Now()
	}
	return nil
}

func (q *memQueue) Open(j Job) (io.ReadCloser, error) {
	if q.opened != nil {
		return q.opened(j)
	}
	return io.NopCloser(bytes.NewReader(make([]byte, j.Size))), nil
}

// job returns a copy of a job's record.
func (q *memQueue) job(id uint64) memJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	return *q.jobs[id-1]
}

// count returns how many jobs satisfy f.
func (q *memQueue) count(f func(*memJob) bool) (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range q.jobs {
		if f(j) {
			n++
		}
	}
	return n
}

func isDelivered(j *memJob) bool { return j.done && j.verdict == Delivered }
func isParked(j *memJob) bool    { return j.done && j.verdict == Parked }
func isOpen(j *memJob) bool      { return !j.done }
func isLeased(j *memJob) bool    { return j.leased }
