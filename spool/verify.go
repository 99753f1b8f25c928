package spool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// maxProblems bounds what a Report lists.
const maxProblems = 1000

// Problem is one finding of Verify.
type Problem struct {
	ID             InstanceID
	SOPInstanceUID dicom.UID
	What           string
}

// Report is what Verify found.
type Report struct {
	Instances    int64 // read back
	Bytes        int64
	Problems     []Problem // the first 1000
	ProblemCount int64
	Duration     time.Duration
}

func (r *Report) problem(in *Instance, format string, args ...any) {
	r.ProblemCount++
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, Problem{in.ID, in.SOPInstanceUID, fmt.Sprintf(format, args...)})
	}
}

// Verify reads every stored instance back, compares it with its digest, reads the index through, and checks that
// index and segments agree. It may
// run while the spool works; what is stored or evicted meanwhile is left out. Instances that are damaged are marked
// (FlagDamaged), which is all that Verify changes: a copy that comes is stored in their place from then on. The error is
// of Verify itself; what is wrong with the spool is in the Report.
func (s *Spool) Verify(ctx context.Context, progress func(done, total int64)) (Report, error) {
	began := time.Now()
	var r Report
	if err := s.Flush(ctx); err != nil {
		return r, err
	}
	for _, d := range s.readThrough().Damages {
		r.problem(&Instance{}, "the index is damaged: %v", d)
	}
	err := s.verifyCounts(ctx, &r)
	if err == nil {
		err = s.verifyEntries(ctx, &r, progress)
	}
	r.Duration = time.Since(began)
	if err != nil {
		return r, fmt.Errorf("verify: %w", err)
	}
	return r, nil
}

// verifyCounts compares the counters with what they count, in one snapshot.
func (s *Spool) verifyCounts(ctx context.Context, r *Report) error {
	return s.db.View(func(txn *badger.Txn) error {
		said, counted := newLedger(), totals{}
		err := scan(txn, []byte{kindMeta}, nil, true, func(key, value []byte) (bool, error) {
			return true, said.loadMeta(string(key[1:]), value)
		})
		if err != nil {
			return err
		}
		err = scan(txn, []byte{kindEntry}, nil, true, func(_, value []byte) (bool, error) {
			in := new(Instance)
			if err := decodeEntry(value, in); err != nil {
				r.problem(in, "index entry cannot be understood")
				return true, nil
			}
			if in.State == InstanceStored {
				counted.instances++
				counted.bytes += uint64(in.location.Length)
			} else {
				counted.evicted++
			}
			return true, ctx.Err()
		})
		if err != nil {
			return err
		}
		compare := func(what string, said, counted uint64) {
			if said != counted {
				r.problem(&Instance{}, "index counts %d %s, there are %d", said, what, counted)
			}
		}
		compare("instances", said.totals.instances, counted.instances)
		compare("bytes", said.totals.bytes, counted.bytes)
		compare("custody records", said.totals.evicted, counted.evicted)
		return s.verifyJobCounts(ctx, txn, said, compare)
	})
}

func (s *Spool) verifyJobCounts(ctx context.Context, txn *badger.Txn, said *ledger, compare func(string, uint64, uint64)) error {
	counted := map[string]*destinationTotals{}
	err := scan(txn, []byte{kindJob}, nil, true, func(key, value []byte) (bool, error) {
		rec, err := decodeJob(value)
		if err != nil || len(key) < 10 {
			return true, ctx.Err()
		}
		name := string(key[9:])
		if counted[name] == nil {
			counted[name] = new(destinationTotals)
		}
		*counted[name].of(rec.state)++
		return true, ctx.Err()
	})
	for name, c := range said.destinations {
		have := counted[name]
		if have == nil {
			have = new(destinationTotals)
		}
		for _, state := range [...]JobState{JobPending, JobParked, JobDelivered, JobDropped, JobAwaiting, JobCommitted, JobRefused} {
			compare(state.String()+" jobs for "+name, uint64(*c.of(state)), uint64(*have.of(state)))
		}
	}
	return err
}

// verifyEntries reads back every stored instance, page by page, so that no snapshot of the index is held for hours.
func (s *Spool) verifyEntries(ctx context.Context, r *Report, progress func(done, total int64)) error {
	total := int64(s.ledger.snapshot().bytes)
	var done int64
	for start := []byte{kindEntry}; start != nil; {
		var page []*Instance
		var err error
		if page, start, err = s.entryPage(start); err != nil {
			return err
		}
		for _, in := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if in.State != InstanceStored {
				continue
			}
			if err := s.verifyInstance(in, r); err != nil {
				return err
			}
			if done += in.location.Length; progress != nil {
				progress(done, max(total, done))
			}
		}
	}
	return nil
}

func (s *Spool) entryPage(start []byte) (page []*Instance, next []byte, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{kindEntry}, start, true, func(key, value []byte) (bool, error) {
			in := new(Instance)
			if decodeEntry(value, in) == nil { // else verifyCounts has told
				page = append(page, in)
			}
			if len(page) == instancesPage {
				next = after(key)
			}
			return next == nil, nil
		})
	})
	return page, next, err
}

// verifyInstance checks one instance. Only failures to read the index are errors.
func (s *Spool) verifyInstance(in *Instance, r *Report) error {
	what, damaged := s.damageOf(in)
	if damaged != in.damaged() && (damaged || what == "") {
		if err := s.noteDamage(in, damaged); err != nil {
			return err
		}
	}
	if what == "" {
		var err error
		if what, err = s.strayKeys(in); err != nil {
			return err
		}
	}
	if what != "" {
		if now, err := s.instance(in.ID); errors.Is(err, ErrNotFound) || err == nil && now.State != InstanceStored {
			return nil // evicted meanwhile
		}
		r.problem(in, "%s", what)
	}
	r.Instances++
	r.Bytes += in.location.PayloadLength
	return nil
}

// damageOf reads the record and compares it with the index. damaged is false if it could not be read for another reason
// than its bytes.
func (s *Spool) damageOf(in *Instance) (what string, damaged bool) {
	if err := s.payloads.Verify(in.location); err != nil {
		return err.Error(), lost(err)
	}
	record, err := s.payloads.ReadRecord(in.location)
	if err != nil {
		return err.Error(), lost(err)
	}
	kept, err := instanceOfRecord(record)
	switch {
	case err != nil:
		return "metadata of the record cannot be understood", true
	case record.Digest != in.Digest:
		return "digest of the record is not that of the index", true
	case kept.ID != in.ID:
		return fmt.Sprintf("record belongs to instance %s", kept.ID), true
	}
	return "", false
}

// strayKeys looks for the keys that should lead to an instance.
func (s *Spool) strayKeys(in *Instance) (what string, err error) {
	k := in.identity()
	err = s.db.View(func(txn *badger.Txn) error {
		for name, key := range map[string][]byte{
			"place": placeKey(in.location.Segment, in.location.Offset), "tree": treeKey(k.study, k.series, in.ID),
		} {
			if _, ok, err := get(txn, key); err != nil || !ok {
				what = name + " key is missing"
				return err
			}
		}
		for _, j := range in.jobs {
			if _, ok, err := readJob(txn, in.ID, j.destination); err != nil || !ok {
				what = "job for " + j.destination + " is missing"
				return err
			}
		}
		return nil
	})
	return what, err
}
