package spool

import (
	"encoding/binary"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// ChangeKind says what happened to an instance.
type ChangeKind uint8

// Kinds of change.
const (
	ChangeStored ChangeKind = iota + 1
	ChangeNewVersion
	ChangeRestored
	ChangeEvicted
)

// String names the kind.
func (k ChangeKind) String() string {
	switch k {
	case ChangeStored:
		return "stored"
	case ChangeNewVersion:
		return "new version"
	case ChangeRestored:
		return "restored"
	case ChangeEvicted:
		return "evicted"
	}
	return "unknown"
}

// Change is one entry of the change sequence: 1, 2, 3 and so on without gaps, in the order in which changes became
// visible. A reader that remembers the last number it has seen can neither miss nor repeat one.
type Change struct {
	Sequence uint64
	Kind     ChangeKind
	ID       InstanceID
	At       time.Time
}

// Changes returns up to limit changes behind a sequence number, in order. ErrChangesPruned if some of them are no longer
// kept.
func (s *Spool) Changes(behind uint64, limit int) ([]Change, error) {
	if behind < s.ledger.snapshot().pruned {
		return nil, ErrChangesPruned
	}
	var out []Change
	err := s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{kindChange}, changeKey(behind+1), true, func(key, value []byte) (bool, error) {
			if len(out) >= limit {
				return false, nil
			}
			d := decoder{b: value}
			c := Change{Kind: ChangeKind(d.byte()), ID: InstanceID(d.uint64()), At: timeOfMilli(int64(d.uint64()))}
			if d.bad || len(key) != 9 {
				return false, errBadRecord
			}
			c.Sequence = binary.BigEndian.Uint64(key[1:])
			out = append(out, c)
			return true, nil
		})
	})
	if err == nil && len(out) > 0 && out[0].Sequence != behind+1 {
		return nil, ErrChangesPruned
	}
	return out, err
}
