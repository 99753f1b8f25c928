package spool

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// op is something that changes the index. apply runs in the committer's goroutine and is never split between
// transactions; an error means that the index cannot be read, and ends the committer. failed is called instead of what
// apply gave to tx.onDurable if the operation did not become durable; the spool is closing or broken then.
type op interface {
	apply(t *tx) error
	failed(err error)
}

const (
	// batchDelay is the least time between two transactions, so that under load the disk's syncs go to payloads and not
	// to the index; where transactions are slow it is batchShare times what the last one took, up to batchDelayMax, so
	// that the index has a small part of the disk's time whatever the disk (at 2.5 ms each and 10 ms between them it had a
	// quarter, and CT came in a quarter slower). After a quiet moment an operation does not wait, nor does one that
	// somebody waits for.
	batchDelay    = 10 * time.Millisecond
	batchDelayMax = 100 * time.Millisecond
	batchShare    = 16
	// fullBatch is the number of operations that ends the wait.
	fullBatch = 2048

	retryInterval = 250 * time.Millisecond
	retryMax      = 5 * time.Second

	// hangs is how long a transaction may take before the committer counts as stuck: no disk that works needs it.
	hangs = 2 * time.Minute
)

// committer is the only writer of the index.
type committer struct {
	db      *badger.DB
	ledger  *ledger
	now     func() time.Time
	health  *health
	room    func(bytes int64, relief bool) error // asked before each transaction, which takes so much of a memtable; an error puts it off
	onSpace func()                               // told when the disk is full
	commit  func(*badger.Txn) error              // replaced by tests that break the disk
	observe func(time.Duration, int)             // duration and operations of a durable transaction

	quiet bool // write no changes: while an index is rebuilt

	mu      sync.Mutex
	queue   []op
	urgent  bool
	closing bool
	broken  error

	wake chan struct{}
	stop chan struct{} // ends the retries of a failing write
	done chan struct{}

	began atomic.Pointer[time.Time] // when what is under way began; nil between transactions and attempts

	lastEnd time.Time
	delay   time.Duration // from lastEnd to the next transaction
}

func newCommitter(db *badger.DB, l *ledger, h *health, now func() time.Time) *committer {
	return &committer{
		db:      db,
		ledger:  l,
		now:     now,
		health:  h,
		room:    func(int64, bool) error { return nil },
		onSpace: func() {},
		commit:  func(txn *badger.Txn) error { return txn.Commit() },
		observe: func(time.Duration, int) {},
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
	}
}

// relief is an operation that makes room, or that the evictor waits for. Such do not keep to the order while there is no room for
// others.
type relief interface{ relieves() bool }

// enqueue hands an operation over; order is kept. urgent ends the wait for company. After close the operation fails at
// once: what it stands for is in a segment, or will be done again.
func (c *committer) enqueue(o op, urgent bool) {
	c.mu.Lock()
	if c.closing || c.broken != nil {
		err := c.broken
		c.mu.Unlock()
		if err == nil {
			err = ErrClosed
		}
		o.failed(err)
		return
	}
	c.queue = append(c.queue, o)
	c.urgent = c.urgent || urgent
	poke := urgent || len(c.queue) == 1 || len(c.queue) == fullBatch
	c.mu.Unlock()
	if poke {
		c.poke()
	}
}

// enqueueWith is enqueue, and calls announce when the operation has its place in the order and nothing that announce
// leads to can come before it.
func (c *committer) enqueueWith(o op, announce func()) {
	c.mu.Lock()
	if c.closing || c.broken != nil {
		err := c.broken
		c.mu.Unlock()
		announce()
		if err == nil {
			err = ErrClosed
		}
		o.failed(err)
		return
	}
	c.queue = append(c.queue, o)
	poke := len(c.queue) == 1 || len(c.queue) == fullBatch
	announce()
	c.mu.Unlock()
	if poke {
		c.poke()
	}
}

func (c *committer) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// close lets the committer finish what it has been given and waits for it. A write that keeps failing is given up.
func (c *committer) close() {
	c.mu.Lock()
	if !c.closing {
		c.closing = true
		close(c.stop)
	}
	c.mu.Unlock()
	c.poke()
	<-c.done
}

// run is the committer's goroutine.
func (c *committer) run() {
	defer close(c.done)
	for {
		batch, more := c.gather()
		if err := c.write(batch); err != nil {
			c.breakDown(err)
			return
		}
		if !more {
			return
		}
	}
}

// gather waits for operations and takes them all. more is false when the last have been taken.
func (c *committer) gather() (batch []op, more bool) {
	for {
		c.mu.Lock()
		ready := len(c.queue) >= fullBatch || c.urgent || c.closing
		wait := c.delay - time.Since(c.lastEnd)
		if (len(c.queue) > 0 && (ready || wait <= 0)) || c.closing {
			batch, c.queue, c.urgent = c.queue, nil, false
			closing := c.closing
			c.mu.Unlock()
			return batch, !closing
		}
		empty := len(c.queue) == 0
		c.mu.Unlock()
		c.pause(empty, wait)
	}
}

// pause waits for a reason to look again: somebody called, or the batch has waited long enough.
func (c *committer) pause(empty bool, wait time.Duration) {
	if empty {
		<-c.wake
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.wake:
	case <-timer.C:
	}
}

// write makes a batch durable, in as many transactions as it takes. While there is no room for it, what makes room goes first,
// and comes in from the queue. It does not return before there is room, as nobody may send what would ask for it.
func (c *committer) write(batch []op) error {
	defer c.idle()
	for short := false; short || len(batch) > 0; {
		c.busy()
		err := c.room(0, false)
		if err == nil {
			if short { // and all that was written meanwhile is
				short = false
				c.health.indexWritten()
			}
			if len(batch) == 0 {
				continue
			}
			if batch, err = c.transaction(batch, len(batch), false); err != nil {
				return err
			}
			continue
		}
		short = true
		c.failing(err)
		if first := reliefFirst(batch); first > 0 && c.room(0, true) == nil {
			if batch, err = c.transaction(batch, first, true); err != nil {
				return err
			}
			continue
		}
		more, ok := c.await()
		if !ok {
			return failAll(batch, fmt.Errorf("%w: write the index: %w", ErrUnhealthy, err))
		}
		batch = append(batch, more...)
	}
	return nil
}

// reliefFirst puts what makes room before the rest, and counts it.
func reliefFirst(batch []op) (n int) {
	slices.SortStableFunc(batch, func(a, b op) int { return cmp.Compare(rank(a), rank(b)) })
	for n < len(batch) && rank(batch[n]) == 0 {
		n++
	}
	return n
}

func rank(o op) int {
	if r, ok := o.(relief); ok && r.relieves() {
		return 0
	}
	return 1
}

// await waits for room, or for an operation that may make some, and takes what has come in; not ok: the committer is closed.
func (c *committer) await() (more []op, ok bool) {
	c.idle()
	timer := time.NewTimer(retryInterval)
	defer timer.Stop()
	select {
	case <-c.wake:
		if !c.sleep(batchDelay) { // for company
			return nil, false
		}
	case <-timer.C:
	case <-c.stop:
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	more, c.queue, c.urgent = c.queue, nil, false
	return more, true
}

// transaction makes some of the first operations of a batch durable, at least one, and gives the rest. After an error all have
// failed.
func (c *committer) transaction(batch []op, first int, relief bool) (rest []op, err error) {
	t := newTx(c.db, c.ledger, c.now())
	t.quiet = c.quiet
	n := 0
	for n < first && !t.full() {
		if err := batch[n].apply(t); err != nil {
			t.txn.Discard()
			return nil, failAll(batch, err)
		}
		n++
	}
	began := time.Now()
	if err := c.persist(t, relief); err != nil {
		return nil, failAll(batch, err)
	}
	c.lastEnd = time.Now()
	took := c.lastEnd.Sub(began)
	c.delay = min(max(batchDelay, batchShare*took), batchDelayMax)
	c.observe(took, n)
	for _, fn := range t.after {
		fn()
	}
	return batch[n:], nil
}

// failing notes an error that puts transactions off.
func (c *committer) failing(err error) {
	c.health.indexFailed(fmt.Errorf("write the index: %w", err))
	if errors.Is(err, syscall.ENOSPC) {
		c.onSpace()
	}
}

func failAll(batch []op, err error) error {
	for _, o := range batch {
		o.failed(err)
	}
	return err
}

// persist commits a transaction. A failure turns the spool red and is tried again until it succeeds or the spool is
// closed: the instances concerned are durable in their segments and stay pending meanwhile. The writes are repeated in a
// transaction of their own, as Badger gives up the one that failed.
func (c *committer) persist(t *tx, relief bool) error {
	if t.empty() {
		t.txn.Discard()
		return nil
	}
	if err := t.finish(); err != nil {
		t.txn.Discard()
		return err
	}
	bytes := memTableBytes(t.writes)
	err := c.try(t.txn, bytes)
	for wait := retryInterval; err != nil; wait = min(2*wait, retryMax) {
		c.failing(err)
		if !c.sleep(wait) {
			return fmt.Errorf("%w: write the index: %w", ErrUnhealthy, err)
		}
		err = c.again(t.writes, bytes)
	}
	if !relief { // which says nothing of others
		c.health.indexWritten()
	}
	return nil
}

func (c *committer) again(writes []write, bytes int64) error {
	txn := c.db.NewTransaction(true)
	defer txn.Discard()
	for _, w := range writes {
		if err := w.to(txn); err != nil {
			return err
		}
	}
	return c.try(txn, bytes)
}

// try commits if there is room for it. That for others was there when its operations were applied; if it has gone since, the
// transaction takes of what is left to those that make room, as they cannot go before it any more.
func (c *committer) try(txn *badger.Txn, bytes int64) error {
	if err := c.room(bytes, true); err != nil {
		txn.Discard()
		return err
	}
	return c.commit(txn)
}

func (c *committer) sleep(d time.Duration) bool {
	c.idle()
	defer c.busy()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.stop:
		return false
	}
}

func (c *committer) busy() {
	now := time.Now()
	c.began.Store(&now)
}

func (c *committer) idle() { c.began.Store(nil) }

// alive is an error if the committer has ended before its time, or hangs. One whose writes fail is alive: it tries again.
func (c *committer) alive(after time.Duration) error {
	c.mu.Lock()
	err := c.broken
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if began := c.began.Load(); began != nil && time.Since(*began) > after {
		return fmt.Errorf("%w, for %v so far", errHangs, time.Since(*began).Round(time.Second))
	}
	return nil
}

var errHangs = errors.New("a transaction of the index hangs")

// breakDown ends the committer for good: everything queued and to come fails.
func (c *committer) breakDown(err error) {
	c.health.indexFailed(err)
	c.mu.Lock()
	c.broken = err
	left := c.queue
	c.queue = nil
	c.mu.Unlock()
	for _, o := range left {
		o.failed(err)
	}
}

// flushOp is durable when everything before it is.
type flushOp struct{ done chan error }

func (o *flushOp) apply(t *tx) error {
	t.onDurable(func() { o.done <- nil })
	return nil
}

func (o *flushOp) failed(err error) { o.done <- err }
