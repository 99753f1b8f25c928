package spool

import (
	"encoding/binary"
	"fmt"
	"sync"

	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

// ledger holds the figures that are written in the same transactions as what they count, so that they are exact after a
// crash without counting anything again. The committer alone changes it; the lock is for those who look.
type ledger struct {
	mu           sync.Mutex
	totals       totals
	destinations map[string]*destinationTotals
	segments     map[segment.ID]*segmentUse
	format       byte // of the index as it was loaded; 0 of a new one
	hold         bool // jobs that await commitment hold their instances back from eviction
}

// totals is the value of "m totals", in this order, 8 bytes each.
type totals struct {
	instances uint64 // stored
	bytes     uint64 // of their records
	evictable uint64 // bytes of records whose jobs are all done
	unrouted  uint64 // bytes of these that never had a job
	evicted   uint64 // custody records
	sequence  uint64 // last change
	pruned    uint64 // changes up to here are gone
	highest   uint64 // highest InstanceID
}

// destinationTotals is the value of "m d" destination, in this order. An active job is pending here. The last three are
// absent in an index of version 0.1.
type destinationTotals struct {
	pending, parked, delivered, dropped int64
	awaiting, committed, refused        int64
}

// of returns the counter of a state.
func (c *destinationTotals) of(s JobState) *int64 {
	switch s {
	case JobParked:
		return &c.parked
	case JobDelivered:
		return &c.delivered
	case JobDropped:
		return &c.dropped
	case JobAwaiting:
		return &c.awaiting
	case JobCommitted:
		return &c.committed
	case JobRefused:
		return &c.refused
	}
	return &c.pending
}

// segmentUse is the value of an l key: how far a segment is indexed, and what of it is in use.
type segmentUse struct {
	checkpoint segment.Checkpoint
	live       int64 // stored instances
	bytes      int64 // of their records
	done       int64 // instances whose jobs are all done
	doneBytes  int64 // of these
	newest     int64 // when the newest was received, Unix milliseconds
}

const (
	metaTotals      = "totals"
	metaFormat      = "format"
	metaHold        = "hold"
	metaDestination = "d"
)

// formatVersion is the version of the index as a whole, under "m format". Earlier ones are upgraded (upgrade.go).
const formatVersion = 3

func newLedger() *ledger {
	return &ledger{destinations: map[string]*destinationTotals{}, segments: map[segment.ID]*segmentUse{}}
}

func appendUint64s(b []byte, vs ...uint64) []byte {
	for _, v := range vs {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func (t *totals) append(b []byte) []byte {
	return appendUint64s(b, t.instances, t.bytes, t.evictable, t.unrouted, t.evicted, t.sequence, t.pruned, t.highest)
}

func (t *totals) decode(b []byte) error {
	d := decoder{b: b}
	for _, v := range [...]*uint64{&t.instances, &t.bytes, &t.evictable, &t.unrouted, &t.evicted, &t.sequence, &t.pruned, &t.highest} {
		*v = d.uint64()
	}
	return d.err()
}

func (c *destinationTotals) append(b []byte) []byte {
	return appendUint64s(b, uint64(c.pending), uint64(c.parked), uint64(c.delivered), uint64(c.dropped),
		uint64(c.awaiting), uint64(c.committed), uint64(c.refused))
}

func (c *destinationTotals) decode(b []byte) error {
	d := decoder{b: b}
	for _, v := range [...]*int64{&c.pending, &c.parked, &c.delivered, &c.dropped} {
		*v = int64(d.uint64())
	}
	if d.bad || len(d.b) == 0 {
		return d.err()
	}
	for _, v := range [...]*int64{&c.awaiting, &c.committed, &c.refused} {
		*v = int64(d.uint64())
	}
	return d.err()
}

func (u *segmentUse) append(b []byte) []byte {
	return appendUint64s(b, u.checkpoint.Generation, uint64(u.checkpoint.Offset), uint64(u.live), uint64(u.bytes),
		uint64(u.done), uint64(u.doneBytes), uint64(u.newest))
}

func decodeSegmentUse(b []byte) (*segmentUse, error) {
	d := decoder{b: b}
	u := &segmentUse{checkpoint: segment.Checkpoint{Generation: d.uint64(), Offset: int64(d.uint64())}}
	for _, v := range [...]*int64{&u.live, &u.bytes, &u.done, &u.doneBytes, &u.newest} {
		*v = int64(d.uint64())
	}
	return u, d.err()
}

// load reads the ledger from the index: a handful of keys per destination and segment.
func (l *ledger) load(db *badger.DB) error {
	return db.View(func(txn *badger.Txn) error {
		err := scan(txn, []byte{kindMeta}, nil, true, func(key, value []byte) (bool, error) {
			return true, l.loadMeta(string(key[1:]), value)
		})
		if err != nil {
			return err
		}
		return scan(txn, []byte{kindSegment}, nil, true, func(key, value []byte) (bool, error) {
			return true, l.loadSegment(key, value)
		})
	})
}

func (l *ledger) loadSegment(key, value []byte) error {
	u, err := decodeSegmentUse(value)
	if err != nil || len(key) != 5 {
		return fmt.Errorf("segment entry: %w", errBadRecord)
	}
	l.segments[segment.ID(binary.BigEndian.Uint32(key[1:]))] = u
	return nil
}

func (l *ledger) loadMeta(name string, value []byte) error {
	switch {
	case name == metaTotals:
		return l.totals.decode(value)
	case name == metaFormat:
		if len(value) == 1 && value[0] > formatVersion {
			return fmt.Errorf("index has format %d, of a newer version; this program knows formats up to %d: run the newer version, or make the index anew by this one with verify --rebuild, after which everything stored is delivered again", value[0], formatVersion)
		}
		if len(value) != 1 || value[0] == 0 {
			return fmt.Errorf("index has format %x, this program knows formats up to %d: rebuild it", value, formatVersion)
		}
		l.format = value[0]
	case name == metaHold:
		l.hold = len(value) == 1 && value[0] == 1
	case len(name) > 1 && name[:1] == metaDestination:
		c := new(destinationTotals)
		if err := c.decode(value); err != nil {
			return fmt.Errorf("counters of a destination: %w", err)
		}
		l.destinations[name[1:]] = c
	}
	return nil
}

// checkpoints is what Replay has to know.
func (l *ledger) checkpoints() map[segment.ID]segment.Checkpoint {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[segment.ID]segment.Checkpoint, len(l.segments))
	for id, u := range l.segments {
		out[id] = u.checkpoint
	}
	return out
}

// snapshot copies the totals.
func (l *ledger) snapshot() totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals
}

// use copies what is known of a segment.
func (l *ledger) use(id segment.ID) (segmentUse, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	u, ok := l.segments[id]
	if !ok {
		return segmentUse{}, false
	}
	return *u, true
}

// destinationCounts copies the counters of every destination.
func (l *ledger) destinationCounts() map[string]destinationTotals {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]destinationTotals, len(l.destinations))
	for name, c := range l.destinations {
		out[name] = *c
	}
	return out
}
