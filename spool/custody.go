package spool

import (
	"encoding/binary"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// purgeBatch is how many custody records or changes one operation drops at most.
const purgeBatch = 256

// purgePass bounds the custody records by number and age, the change sequence by length, and the requests for commitment.
func (s *Spool) purgePass() error {
	if err := s.purgeTransactions(); err != nil {
		return err
	}
	for !s.closed.Load() {
		if s.health.indexErr() != nil {
			return nil // what room there is belongs to eviction
		}
		o := &purgeOp{s: s, done: make(chan error, 1)}
		if err := s.findPurgeable(o); err != nil {
			return err
		}
		if len(o.keys) == 0 && o.changes == 0 {
			return nil
		}
		s.committer.enqueue(o, true)
		if err := s.awaitAtWork(o.done); err != nil {
			return err
		}
		if o.handled > 0 {
			s.custodyLow = o.keys[o.handled-1]
		}
	}
	return ErrClosed
}

// findPurgeable fills an operation with what is over the bounds. Custody records go in the order of their eviction, so
// that the scan can begin where the last one ended and meets no deleted keys.
func (s *Spool) findPurgeable(o *purgeOp) error {
	t := s.ledger.snapshot()
	if t.sequence-t.pruned > uint64(s.o.ChangesKept) {
		o.changes = int(min(t.sequence-t.pruned-uint64(s.o.ChangesKept), purgeBatch))
	}
	surplus := int64(t.evicted) - s.o.CustodyRecords
	deadline := s.o.Now().Add(-s.o.CustodyAge).UnixMilli()
	return s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{kindTombstone}, s.custodyLow, false, func(key, _ []byte) (bool, error) {
			if len(key) != 17 {
				return true, nil
			}
			old := s.clock.Believed() && int64(binary.BigEndian.Uint64(key[1:])) < deadline
			if !old && int64(len(o.keys)) >= surplus || len(o.keys) == purgeBatch {
				return false, nil
			}
			o.keys = append(o.keys, slices.Clone(key))
			return true, nil
		})
	})
}

// purgeOp drops custody records and old changes.
type purgeOp struct {
	s       *Spool
	keys    [][]byte // of the tombstones
	handled int      // of these; the rest did not fit into the transaction
	changes int
	done    chan error
}

func (o *purgeOp) apply(t *tx) error {
	for _, key := range o.keys {
		if o.handled > 0 && t.full() {
			break
		}
		if err := o.purge(t, key); err != nil {
			return err
		}
		o.handled++
	}
	for range o.changes {
		t.total(func(c *totals) { c.pruned++ })
		t.delete(changeKey(t.ledger.snapshot().pruned))
	}
	t.onDurable(func() { o.done <- nil })
	return nil
}

func (o *purgeOp) purge(t *tx, key []byte) error {
	in, err := t.entry(idAt(key[9:]))
	if err != nil || in.State != InstanceEvicted {
		t.delete(key)
		return skipMissing(err)
	}
	return o.s.purge(t, in, in.identity())
}

func (o *purgeOp) failed(err error) { o.done <- err }

// relieves is true as the evictor waits for it.
func (*purgeOp) relieves() bool { return true }
