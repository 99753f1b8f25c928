package spool

import (
	"fmt"
	"path/filepath"
	"time"

	"dcmgate/spool/indexfile"
)

// readThroughEvery is how often the tables of the index are read through while it is open. A compaction writes what it
// has read with new checksums, right or wrong: damage that is found late cannot be told from what is true.
const readThroughEvery = 24 * time.Hour

// CheckIndex reads the index of the spool in dir through, that nobody has open. It says what is damaged, and what to do.
func CheckIndex(dir string) error { return checkIndex(filepath.Join(dir, indexDir)) }

func checkIndex(path string) error {
	report, err := indexfile.Check(path)
	if err != nil {
		return fmt.Errorf("read the index through: %w", err)
	}
	if err := report.Err(); err != nil {
		return advise("%s: the index is damaged (%w); the instances are not, they are in the segments: see to the disk (the kernel's log), then make the index anew with verify --rebuild", path, err)
	}
	return nil
}

// readThrough reads the tables of the open index through.
func (s *Spool) readThrough() indexfile.Report {
	r := indexfile.CheckTables(filepath.Join(s.dir, indexDir), func() (ids []uint64) {
		for _, t := range s.db.Tables() {
			ids = append(ids, t.ID)
		}
		return ids
	})
	if old := s.damages.Swap(&r); r.Count > 0 && (old == nil || old.Count != r.Count) {
		s.log.Error("the index is damaged", "parts", r.Count, "first", r.Damages[0])
	}
	return r
}

// watchIndex reads the index through once a day. Damage refuses nothing: what is received is safe in the segments, from
// which the index can be made anew at a time that suits.
func (s *Spool) watchIndex() {
	for s.rest(s.o.readThroughEvery) {
		s.readThrough()
	}
}

// IndexDamage is what the last look at the index, by Verify or the daily one, has found damaged; nil if nothing.
func (s *Spool) IndexDamage() error {
	if r := s.damages.Load(); r != nil {
		return r.Err()
	}
	return nil
}

// indexDamages is how many parts of the index the last look found damaged.
func (s *Spool) indexDamages() float64 {
	if r := s.damages.Load(); r != nil {
		return float64(r.Count)
	}
	return 0
}
