package spool

import (
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Stats are figures for people and metrics.
type Stats struct {
	Instances      int64 // stored
	Evicted        int64 // custody records
	Bytes          int64 // of the records of stored instances
	EvictableBytes int64 // of these, of instances whose jobs are all done
	AllocatedBytes int64 // that segments take on disk, the pool included
	PoolBytes      int64 // of segments kept to be written again
	IndexBytes     int64
	FreeBytes      int64 // of the file system
	TotalBytes     int64 // of the file system
	Segments       int
	Lanes          int       // segments being written
	Unindexed      int       // instances that are durable but not in the index yet
	Sequence       uint64    // of the last change
	Oldest         time.Time // when the oldest stored instance was received; zero if there is none
	Pressure       Level
	Healthy        bool
}

// Stats gathers the figures. It costs a look at the file system and one key of the index.
func (s *Spool) Stats() Stats {
	t := s.ledger.snapshot()
	out := Stats{
		Instances:      int64(t.instances),
		Evicted:        int64(t.evicted),
		Bytes:          int64(t.bytes),
		EvictableBytes: int64(t.evictable),
		Sequence:       t.sequence,
		Unindexed:      s.pending.len(),
		Pressure:       s.Pressure(),
		Healthy:        s.Health() == nil,
		Oldest:         s.oldest(),
	}
	lsm, vlog := s.db.Size()
	out.IndexBytes = lsm + vlog
	if seg, err := s.payloads.Stats(); err == nil {
		out.AllocatedBytes, out.PoolBytes = seg.Allocated, seg.PoolBytes
		out.FreeBytes, out.TotalBytes = seg.FreeBytes, seg.TotalBytes
		out.Segments, out.Lanes = seg.Segments, seg.LanesOpen
	}
	return out
}

// oldest looks at the first place of the oldest segment.
func (s *Spool) oldest() (at time.Time) {
	for _, info := range s.payloads.Segments() {
		if use, ok := s.ledger.use(info.ID); !ok || use.live == 0 {
			continue
		}
		_ = s.db.View(func(txn *badger.Txn) error {
			return scan(txn, placeKey(info.ID, 0)[:5], nil, true, func(_, value []byte) (bool, error) {
				if len(value) == 8 {
					at = idAt(value).time()
				}
				return false, nil
			})
		})
		return at
	}
	return at
}

// Health returns nil while durable writes succeed, else what failed last.
func (s *Spool) Health() error { return s.health.err() }

// Alive returns nil as long as the spool does its work or, while the disk fails or is full, tries to: an error is one that
// only a new start can mend, as the index cannot be read any more, or hangs.
func (s *Spool) Alive() error {
	err := s.committer.alive(hangs)
	if errors.Is(err, errHangs) && s.room.lacking() {
		return nil // it waits for room
	}
	return err
}

// Quiet is for how long nobody has been storing; 0 while somebody is. What can wait does, so as to leave the disk to those
// who store.
func (s *Spool) Quiet() time.Duration { return s.payloads.Quiet() }
