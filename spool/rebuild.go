package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"dcmgate/spool/indexfile"
	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

// RebuildReport says what Rebuild did.
type RebuildReport struct {
	Instances    int64 // found whole in the segments
	Jobs         int64 // of these, as decided when they were stored
	OldIndexRead bool  // all of the old index, so that outcomes and custody records were taken over
	OldDamages   int   // parts of the old index that are damaged; what the others say was taken over
	OutcomesKept int64 // jobs whose later state was taken over
	CustodyKept  int64 // records of evicted instances taken over
	Missing      int64 // instances that the old index has and the segments do not
	Unreadable   int   // whole records whose metadata cannot be understood
	Damaged      int   // ranges of segments that hold no whole record
	Duration     time.Duration
}

// Rebuild makes a new index of a spool that is not open, from its segments alone, and puts it in the place of the old one
// when it is complete; until then the old one stays. What the segments cannot know is taken over from the old index where
// that can be read: how jobs ended and what was evicted. Otherwise jobs without a known outcome are pending again, so
// that instances may be sent twice, and the change sequence begins anew at a higher number.
func Rebuild(ctx context.Context, dir string, o Options, progress func(done, total int64)) (RebuildReport, error) {
	began := time.Now()
	o = o.withDefaults()
	o.Registerer = nil
	s := newSpool(dir, o)
	r := &rebuild{s: s, ctx: ctx, progress: progress}
	err := r.run()
	r.report.Duration = time.Since(began)
	if err != nil {
		return r.report, fmt.Errorf("rebuild index: %w", err)
	}
	return r.report, nil
}

// rebuild is the work of Rebuild: a spool on a new index that takes on every record as if it were replayed.
type rebuild struct {
	s           *Spool
	ctx         context.Context
	progress    func(done, total int64)
	done, total int64
	report      RebuildReport
}

func (r *rebuild) run() error {
	s := r.s
	if err := checkReplaceable(s.dir); err != nil {
		return err
	}
	store, err := segment.Open(filepath.Join(s.dir, segmentsDir), segment.Options{SegmentSize: s.o.SegmentSize, AllocateStep: s.o.AllocateStep, PoolBytes: s.o.PoolBytes})
	if err != nil {
		return err
	}
	s.payloads = segments{store} // and with it the lock: nobody has the spool open
	if err = s.recoverIndexSwap(); err == nil {
		err = r.build()
	}
	if cerr := s.closeParts(); err == nil {
		err = cerr
	}
	if rerr := os.RemoveAll(filepath.Join(s.dir, salvageDir)); err == nil {
		err = rerr
	}
	if err != nil {
		return err
	}
	return s.swapIndex()
}

// build fills a new index.
func (r *rebuild) build() (err error) {
	s := r.s
	path := filepath.Join(s.dir, newIndexDir)
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	s.reserve = newReserve(filepath.Join(s.dir, reserveName), s.o.ReserveBytes)
	s.room = newIndexRoom(path, s.reserve)
	s.room.pool = s.giveFromPool
	if s.db, err = openIndex(s.room, s.log); err != nil {
		return err
	}
	if err := writeFormat(s.db); err != nil {
		return err
	}
	s.pressure, s.metrics = newPressure(s.o), newInstruments(s)
	s.committer = newCommitter(s.db, s.ledger, s.health, s.o.Now)
	s.committer.room = s.room.forWrite
	s.committer.quiet = true
	go s.committer.run()
	defer s.committer.close()
	if err := r.scan(); err != nil {
		return err
	}
	if err := r.mergeOld(); err != nil {
		return err
	}
	return s.flush()
}

// scan takes on every whole record.
func (r *rebuild) scan() error {
	if stats, err := r.s.payloads.Stats(); err == nil {
		r.total = stats.RecordBytes
	}
	report, err := r.s.payloads.ScanAll(r.record)
	if err != nil {
		return err
	}
	for _, err := range report.Late {
		tellLate(r.s.log, err)
	}
	r.report.Damaged = len(report.Damaged)
	return r.s.flush()
}

func (r *rebuild) record(rec segment.Record) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if r.done += rec.Location.Length; r.progress != nil {
		r.progress(r.done, max(r.total, r.done))
	}
	before := r.s.recovery
	if err := r.s.replayRecord(rec); err != nil {
		return err
	}
	r.report.Unreadable += r.s.recovery.Unreadable - before.Unreadable
	if r.s.recovery.Replayed > before.Replayed {
		r.report.Instances++
	}
	return nil
}

// mergeOld takes over what only the old index knows. That it cannot be opened or read through is no failure: it is why
// people rebuild.
func (r *rebuild) mergeOld() error {
	for _, q := range r.s.allQueues() {
		r.report.Jobs += q.jobCounts().Pending + q.jobCounts().Delivered
	}
	if !exists(filepath.Join(r.s.dir, indexDir)) {
		return r.restartChanges(0)
	}
	old, room, err := r.openOld()
	if errors.Is(err, syscall.ENOSPC) { // it can be read once there is room
		return err
	}
	if err != nil {
		r.s.log.Warn("the old index cannot be opened: outcomes of jobs are not known", "error", err)
		return r.restartChanges(0)
	}
	defer closeIndex(old, room, r.s.log)
	ledger := newLedger()
	err = ledger.load(old)
	if err == nil {
		err = r.keepHold(ledger.hold)
	}
	if err == nil {
		err = r.mergeEntries(old)
	}
	if err == nil {
		err = r.mergeEnquiries(old)
	}
	var broken *mergeError
	if errors.As(err, &broken) {
		return broken.err
	}
	if err != nil {
		r.s.log.Warn("the old index cannot be read through: some outcomes of jobs are not known", "error", err)
	}
	r.report.OldIndexRead = err == nil && r.report.OldDamages == 0
	return r.restartChanges(ledger.totals.sequence)
}

// openOld opens the old index; of one that is damaged a copy without what is damaged.
func (r *rebuild) openOld() (*badger.DB, *indexRoom, error) {
	path, copied := filepath.Join(r.s.dir, indexDir), filepath.Join(r.s.dir, salvageDir)
	report, err := indexfile.Check(path)
	if err == nil && report.Count > 0 {
		r.report.OldDamages = report.Count
		_, err = indexfile.Salvage(path, copied)
		path = copied
	}
	if err != nil {
		return nil, nil, err
	}
	room := newIndexRoom(path, r.s.reserve)
	old, err := openIndex(room, r.s.log)
	return old, room, err
}

// keepHold takes over what evictions wait for, before any job does.
func (r *rebuild) keepHold(hold bool) error {
	if !hold {
		return nil
	}
	err := r.s.adjust(func(t *tx) error {
		t.setHold(hold)
		return nil
	})
	if err != nil {
		return &mergeError{err}
	}
	return nil
}

// mergeError is a failure of the new index, not of the old one.
type mergeError struct{ err error }

func (e *mergeError) Error() string { return e.err.Error() }

// restartChanges lets the change sequence begin behind the old one, so that its readers notice and start again. Where the
// old one is not known, milliseconds of the day serve: no sequence grows that fast for long.
func (r *rebuild) restartChanges(old uint64) error {
	if old == 0 {
		old = uint64(r.s.o.Now().UnixMilli())
	}
	return r.s.adjust(func(t *tx) error {
		t.total(func(c *totals) { c.sequence, c.pruned = old, old })
		t.set(metaKey(metaFormat), []byte{formatVersion})
		return nil
	})
}

// adjustOp runs a function in the committer.
type adjustOp struct {
	adjust func(t *tx) error
	done   chan error
	relief bool // the evictor waits for it
}

// adjust runs a function in the committer and waits until its work is durable, and what it has given to tx.onDurable done, or
// the index cannot be written.
func (s *Spool) adjust(fn func(t *tx) error) error {
	o := &adjustOp{adjust: fn, done: make(chan error, 1)}
	s.committer.enqueue(o, true)
	return s.await(o.done)
}

func (o *adjustOp) apply(t *tx) error {
	if err := o.adjust(t); err != nil {
		return err
	}
	t.onDurable(func() { o.done <- nil })
	return nil
}

func (o *adjustOp) failed(err error) { o.done <- err }

func (o *adjustOp) relieves() bool { return o.relief }

// mergeBatch is how many entries and jobs of the old index one operation takes; a single entry may bring MaxJobs more.
const mergeBatch = 512

// mergeEntries walks the old index.
func (r *rebuild) mergeEntries(old *badger.DB) error {
	var batch []mergeItem
	size := 0
	err := old.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{kindEntry}, nil, true, func(_, value []byte) (bool, error) {
			in := new(Instance)
			if err := decodeEntry(value, in); err != nil {
				return true, nil // the segments have told what they know of it
			}
			batch = append(batch, mergeItem{in, oldJobs(txn, in)})
			if size += 1 + len(in.jobs); size < mergeBatch {
				return true, nil
			}
			err := r.mergeItems(batch)
			batch, size = batch[:0], 0
			return true, err
		})
	})
	return errors.Join(err, r.mergeItems(batch))
}

// mergeEnquiries takes over what peers are still to be told.
func (r *rebuild) mergeEnquiries(old *badger.DB) error {
	var failed error
	err := eachEnquiry(r.ctx, old, func(e Enquiry) bool {
		if failed = r.s.KeepEnquiry(e); failed != nil {
			failed = &mergeError{failed}
		}
		return failed == nil
	})
	return errors.Join(failed, err)
}

// oldJobs reads what the old index has of an instance's jobs.
func oldJobs(txn *badger.Txn, in *Instance) map[string]jobRecord {
	jobs := map[string]jobRecord{}
	for _, j := range in.jobs {
		if rec, ok, err := readJob(txn, in.ID, j.destination); err == nil && ok {
			jobs[j.destination] = rec
		}
	}
	return jobs
}

func (r *rebuild) mergeItems(items []mergeItem) error {
	if err := r.ctx.Err(); err != nil {
		return &mergeError{err}
	}
	err := r.s.adjust(func(t *tx) error {
		for i := range items {
			o := mergeOp{mergeItem: items[i], report: &r.report}
			if err := o.apply(t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return &mergeError{err}
	}
	return nil
}

// mergeItem is an entry of the old index with its jobs.
type mergeItem struct {
	in   *Instance
	jobs map[string]jobRecord
}

// mergeOp brings one entry of the old index into the new one.
type mergeOp struct {
	mergeItem
	report *RebuildReport
}

func (o *mergeOp) apply(t *tx) error {
	found, err := t.entry(o.in.ID)
	if err == ErrNotFound {
		return o.keepCustody(t)
	}
	if err != nil {
		return err
	}
	for destination, old := range o.jobs {
		now, ok, err := readJob(t.txn, found.ID, destination)
		if err != nil {
			return err
		}
		if !ok || now == old {
			continue
		}
		if err := t.moveJob(found, destination, &now, &old); err != nil {
			return err
		}
		o.report.OutcomesKept++
	}
	if o.in.State != InstanceEvicted {
		return nil
	}
	open, err := t.othersOpen(found, "")
	if err != nil || open {
		return err
	}
	o.report.CustodyKept++
	o.report.Instances--
	return t.bury(found)
}

// keepCustody enters an instance whose bytes are gone: as a rule since it was evicted.
func (o *mergeOp) keepCustody(t *tx) error {
	in := o.in
	if in.State != InstanceEvicted {
		o.report.Missing++
		in.State, in.Evicted, in.Metadata = InstanceEvicted, t.now, Metadata{}
	} else {
		o.report.CustodyKept++
	}
	k := in.identity()
	vs, err := readVersions(t.txn, k)
	if err != nil {
		return err
	}
	t.putVersions(k, len(vs) > 0, setVersion(vs, in.version()))
	t.set(entryKey(in.ID), appendEntry(nil, in))
	t.set(tombstoneKey(in), nil)
	for destination, r := range o.jobs {
		if !r.state.terminal() && r.state != JobAwaiting { // it can never be sent
			r.state, r.due, r.code, r.reason = JobDropped, 0, "missing", "the record is no longer in the segments"
		}
		t.putJob(in.ID, destination, nil, &r)
	}
	t.total(func(c *totals) {
		c.evicted++
		c.highest = max(c.highest, uint64(in.ID))
	})
	return nil
}

// swapIndex puts the new index into the place of the old one. Each step can be the last before a crash;
// recoverIndexSwap knows them all.
func (s *Spool) swapIndex() error {
	index, old, fresh := filepath.Join(s.dir, indexDir), filepath.Join(s.dir, oldIndexDir), filepath.Join(s.dir, newIndexDir)
	if err := os.Rename(index, old); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Rename(fresh, index); err != nil {
		return err
	}
	if err := settleName(s.dir, s.log); err != nil {
		return err
	}
	return os.RemoveAll(old)
}

// recoverIndexSwap finishes or undoes a swap that a crash interrupted. A new index is complete if the old one was moved
// away for it, and worthless otherwise.
func (s *Spool) recoverIndexSwap() error {
	if err := os.RemoveAll(filepath.Join(s.dir, salvageDir)); err != nil {
		return err
	}
	index, old, fresh := filepath.Join(s.dir, indexDir), filepath.Join(s.dir, oldIndexDir), filepath.Join(s.dir, newIndexDir)
	if exists(index) {
		if exists(old) { // a loss of power must not bring back the names of before once it is gone
			if err := settleName(s.dir, s.log); err != nil {
				return err
			}
		}
		return errors.Join(os.RemoveAll(old), os.RemoveAll(fresh))
	}
	switch {
	case exists(old) && exists(fresh):
		return s.swapIndex()
	case exists(old):
		return os.Rename(old, index)
	}
	return os.RemoveAll(fresh)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
