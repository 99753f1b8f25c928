package spool

import (
	"encoding/binary"
	"fmt"
	"time"

	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

// Bounds of one transaction. Badger takes 15 % of a memtable and about 26,000 entries; an operation is never split, so a
// new transaction begins at half of that. The largest operation, an instance with MaxJobs jobs, fits into the other half.
const (
	maxTxBytes   = memTableSize * 15 / 200
	maxTxEntries = 8000
)

// write is one key to be set, or deleted if value is nil.
type write struct{ key, value []byte }

// tx is a transaction under way: what the operations of a batch do to the index, and to the ledger with it. It keeps
// what it writes, so that a commit that failed can be tried again. Only the committer has one.
type tx struct {
	txn    *badger.Txn
	ledger *ledger
	now    time.Time
	quiet  bool // no changes

	writes       []write
	bytes        int
	destinations map[string]struct{} // whose counters changed
	segments     map[segment.ID]struct{}
	studies      map[hash8]*studyRecord
	series       map[seriesID]*seriesRecord
	after        []func() // run once durable, in order
	err          error    // of a Set, which says that the bounds above are wrong
}

func newTx(db *badger.DB, l *ledger, now time.Time) *tx {
	return &tx{
		txn:          db.NewTransaction(true),
		ledger:       l,
		now:          now,
		destinations: map[string]struct{}{},
		segments:     map[segment.ID]struct{}{},
		studies:      map[hash8]*studyRecord{},
		series:       map[seriesID]*seriesRecord{},
	}
}

// full tells that the next operation belongs into another transaction.
func (t *tx) full() bool { return t.bytes > maxTxBytes || len(t.writes) > maxTxEntries }

// empty tells that there is nothing to be made durable.
func (t *tx) empty() bool {
	return len(t.writes)+len(t.destinations)+len(t.segments)+len(t.studies)+len(t.series) == 0
}

func (t *tx) set(key, value []byte) {
	if value == nil {
		value = []byte{}
	}
	t.record(write{key, value})
}

func (t *tx) delete(key []byte) { t.record(write{key: key}) }

func (t *tx) record(w write) {
	t.writes = append(t.writes, w)
	t.bytes += len(w.key) + len(w.value) + 32
	if err := w.to(t.txn); err != nil && t.err == nil {
		t.err = fmt.Errorf("extend transaction: %w", err)
	}
}

// memTableBytes bounds what a transaction takes of a memtable, or of its log. There Badger adds to key and value 20 bytes at most, here
// 11 and a node of 23 and 4 for each level, of which it has one and a half on the average: 40. Not much more is counted, as a
// memtable that is taken for full before it is keeps what makes room waiting.
func memTableBytes(writes []write) (n int64) {
	const each = 56
	n = 512
	for _, w := range writes {
		n += int64(len(w.key)+len(w.value)) + each
	}
	return n
}

func (w write) to(txn *badger.Txn) error {
	if w.value == nil {
		return txn.Delete(w.key)
	}
	return txn.Set(w.key, w.value)
}

// onDurable has fn called by the committer once the transaction is on disk.
func (t *tx) onDurable(fn func()) { t.after = append(t.after, fn) }

// finish adds the records that are written once per transaction.
func (t *tx) finish() error {
	t.finishTree()
	l := t.ledger
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range t.destinations {
		t.set(metaKey(metaDestination+name), l.destinations[name].append(nil))
	}
	for id := range t.segments {
		if u, ok := l.segments[id]; ok {
			t.set(segmentKey(id), u.append(nil))
		} else {
			t.delete(segmentKey(id))
		}
	}
	t.set(metaKey(metaTotals), l.totals.append(nil))
	return t.err
}

// total changes the totals under the ledger's lock.
func (t *tx) total(change func(*totals)) {
	t.ledger.mu.Lock()
	change(&t.ledger.totals)
	t.ledger.mu.Unlock()
}

// count moves a job of a destination between states; 0 stands for "did not exist" and "no longer exists".
func (t *tx) count(destination string, from, to JobState) {
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	c := t.ledger.destinations[destination]
	if c == nil {
		c = new(destinationTotals)
		t.ledger.destinations[destination] = c
	}
	if from != 0 {
		*c.of(from)--
	}
	if to != 0 {
		*c.of(to)++
	}
	t.destinations[destination] = struct{}{}
}

// segmentUse changes the accounts of the segment that l lies in. A new generation begins with empty accounts, and what
// belongs to an earlier one, whose file was taken away, changes nothing in it.
func (t *tx) segmentUse(l segment.Location, change func(*segmentUse)) {
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	u := t.ledger.segments[l.Segment]
	if u != nil && u.checkpoint.Generation > l.Generation {
		return
	}
	if u == nil || u.checkpoint.Generation != l.Generation {
		u = &segmentUse{checkpoint: segment.Checkpoint{Generation: l.Generation}}
		t.ledger.segments[l.Segment] = u
	}
	change(u)
	t.segments[l.Segment] = struct{}{}
}

// checkpoint notes that everything up to the end of l is indexed by this transaction. Operations come in the order in
// which the records of a segment became durable.
func (t *tx) checkpoint(l segment.Location) {
	t.segmentUse(l, func(u *segmentUse) {
		if next := l.Next(); next.Offset > u.checkpoint.Offset {
			u.checkpoint = next
		}
	})
}

// forgetSegment drops the accounts of a segment that was recycled, unless they are of a later generation already: a writer may take it
// from the pool at once.
func (t *tx) forgetSegment(id segment.ID, generation uint64) {
	t.ledger.mu.Lock()
	defer t.ledger.mu.Unlock()
	if u := t.ledger.segments[id]; u != nil && u.checkpoint.Generation > generation {
		return
	}
	delete(t.ledger.segments, id)
	t.segments[id] = struct{}{}
}

// change appends to the change sequence. It has no gaps because only durable transactions move the ledger, and the next
// one is not begun before.
func (t *tx) change(kind ChangeKind, id InstanceID) {
	if t.quiet {
		return
	}
	var seq uint64
	t.total(func(c *totals) { c.sequence++; seq = c.sequence })
	t.set(changeKey(seq), appendChange(nil, kind, id, t.now))
}

func appendChange(b []byte, kind ChangeKind, id InstanceID, at time.Time) []byte {
	b = appendID(append(b, byte(kind)), id)
	return binary.BigEndian.AppendUint64(b, uint64(at.UnixMilli()))
}

// entry reads an instance as this transaction sees it.
func (t *tx) entry(id InstanceID) (*Instance, error) { return readEntry(t.txn, id) }

// readEntry reads an index entry; ErrNotFound if there is none.
func readEntry(txn *badger.Txn, id InstanceID) (*Instance, error) {
	value, ok, err := get(txn, entryKey(id))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrNotFound
	}
	in := new(Instance)
	if err := decodeEntry(value, in); err != nil {
		return nil, fmt.Errorf("entry of instance %s: %w", id, err)
	}
	return in, nil
}

// readVersions reads what is stored under the UIDs. A malformed value counts as none: the worst that follows is that a
// duplicate is stored again.
func readVersions(txn *badger.Txn, k identity) ([]version, error) {
	value, ok, err := get(txn, versionsKey(k))
	if err != nil || !ok {
		return nil, err
	}
	vs, _ := decodeVersions(value)
	return vs, nil
}

// readJob reads a job; ok is false if there is none or it cannot be understood.
func readJob(txn *badger.Txn, id InstanceID, destination string) (r jobRecord, ok bool, err error) {
	value, ok, err := get(txn, jobKey(id, destination))
	if err != nil || !ok {
		return jobRecord{}, false, err
	}
	r, err = decodeJob(value)
	return r, err == nil, nil
}

// putJob writes a job's record, moves its queue key and counts it. old is nil for a new job.
func (t *tx) putJob(id InstanceID, destination string, old, now *jobRecord) {
	from := JobState(0)
	if old != nil {
		from = old.state
		if key := queueKey(id, destination, old); key != nil {
			t.delete(key)
		}
	}
	if key := queueKey(id, destination, now); key != nil {
		t.set(key, nil)
	}
	t.set(jobKey(id, destination), now.append(nil))
	t.count(destination, from, now.state)
}

// queueKey is the key under which a job is queued, nil if it is not.
func queueKey(id InstanceID, destination string, r *jobRecord) []byte {
	switch {
	case r.state.waitsForPerson():
		return parkedKey(destination, id)
	case r.state == JobAwaiting:
		return awaitingKey(destination, r.due, id)
	case r.state != JobPending:
		return nil
	case r.due != 0:
		return waitingKey(destination, r.position(id))
	}
	return readyKey(destination, r.position(id))
}

// position is where the job stands in its queue.
func (r *jobRecord) position(id InstanceID) position {
	return position{due: r.due, class: r.class, id: id}
}

// othersOpen tells whether a job of the instance for another destination is not done.
func (t *tx) othersOpen(in *Instance, except string) (bool, error) {
	for _, j := range in.jobs {
		if j.destination == except {
			continue
		}
		r, ok, err := readJob(t.txn, in.ID, j.destination)
		if err != nil {
			return false, err
		}
		if ok && !t.done(r.state) {
			return true, nil
		}
	}
	return false, nil
}

// done tells that a job in this state no longer holds its instance back from eviction.
func (t *tx) done(s JobState) bool { return s.terminal() || s == JobAwaiting && !t.ledger.hold }

// moveJob writes a job's new record and keeps the account of what may be evicted.
func (t *tx) moveJob(in *Instance, destination string, old, now *jobRecord) error {
	t.putJob(in.ID, destination, old, now)
	if t.done(old.state) == t.done(now.state) || in.State != InstanceStored {
		return nil
	}
	open, err := t.othersOpen(in, destination)
	if err != nil || open {
		return err
	}
	if t.done(now.state) {
		t.accountDone(in, 1)
	} else {
		t.accountDone(in, -1)
	}
	return nil
}

// accountDone notes that the instance became evictable (sign 1) or ceased to be (sign -1).
func (t *tx) accountDone(in *Instance, sign int64) {
	t.segmentUse(in.location, func(u *segmentUse) {
		u.done += sign
		u.doneBytes += sign * in.location.Length
	})
	t.total(func(c *totals) {
		c.evictable += uint64(sign * in.location.Length)
		if in.unrouted() {
			c.unrouted += uint64(sign * in.location.Length)
		}
	})
}
