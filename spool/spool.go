package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"dcmgate/internal/walltime"
	"dcmgate/spool/indexfile"
	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

// What the data directory holds.
const (
	segmentsDir = "segments"
	indexDir    = "index"
	oldIndexDir = "index.old"     // while a rebuild has not succeeded
	newIndexDir = "index.new"     // while it is under way
	salvageDir  = "index.salvage" // while it reads an old one that is damaged
	reserveName = "reserve"
)

// Spool is an open spool. Its methods may be called by many goroutines.
type Spool struct {
	dir string
	o   Options
	log *slog.Logger

	db        *badger.DB
	payloads  payloads
	ledger    *ledger
	health    *health
	clock     *walltime.Watch
	committer *committer
	pending   *pending
	stripes   stripes
	slots     slots
	ids       idSource
	pressure  *pressure
	reserve   *reserve
	room      *indexRoom
	metrics   *instruments
	recovery  Recovery
	damages   atomic.Pointer[indexfile.Report] // what the last look at the open index has found; nil before the first

	queuesMu sync.RWMutex
	queues   map[string]*queue

	custodyLow []byte // where the evictor looks for custody records to drop

	gate    sync.RWMutex // held shared by Commit, exclusively by Close
	closed  atomic.Bool
	closing chan struct{}
	tasks   sync.WaitGroup // the timer and the evictor
	rearm   chan struct{}  // tells the timer that a job began to wait
	relieve chan struct{}  // tells the evictor that room is wanted
}

// Recovery says what Open found.
type Recovery struct {
	Replayed      int           // records that had been acknowledged but not indexed
	ReplayedBytes int64         // of these
	Torn          int           // records that were being written, never acknowledged
	Damaged       int           // ranges that hold no whole record, left in place
	Unreadable    int           // whole records whose metadata cannot be understood, left in place
	Quarantined   []string      // files made for the torn ones
	Duration      time.Duration // of Open
}

// Open opens the spool in dir, creating it if need be, replays what was acknowledged but not indexed, and begins to
// work. One process at a time can have a spool open.
func Open(dir string, o Options) (*Spool, error) {
	return open(dir, o.withDefaults(), func(dir string, o segment.Options) (payloads, error) {
		store, err := segment.Open(dir, o)
		if err != nil {
			return nil, err
		}
		return segments{store}, nil
	})
}

type openPayloads func(string, segment.Options) (payloads, error)

func open(dir string, o Options, openSegments openPayloads) (*Spool, error) {
	began := time.Now()
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = checkFolders(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", explained(dir, err))
	}
	s := newSpool(dir, o)
	if err := s.openParts(openSegments); err != nil {
		s.closeParts()
		return nil, fmt.Errorf("open spool: %w", explained(dir, err))
	}
	if err := s.replay(); err != nil {
		s.committer.close()
		s.metrics.unregister()
		s.closeParts()
		return nil, fmt.Errorf("replay segments: %w", explained(dir, err))
	}
	s.start()
	s.recovery.Duration = time.Since(began)
	s.log.Info("spool opened", "replayed", s.recovery.Replayed, "torn", s.recovery.Torn, "damaged", s.recovery.Damaged,
		"unreadable", s.recovery.Unreadable, "seconds", s.recovery.Duration.Seconds())
	return s, nil
}

func newSpool(dir string, o Options) *Spool {
	return &Spool{
		dir:     dir,
		o:       o,
		log:     o.Logger,
		ledger:  newLedger(),
		health:  newHealth(o.Logger),
		clock:   walltime.New(o.Now, o.passed),
		pending: newPending(),
		slots:   make(slots, o.MaxPending),
		queues:  map[string]*queue{},
		closing: make(chan struct{}),
		rearm:   make(chan struct{}, 1),
		relieve: make(chan struct{}, 1),
	}
}

// openParts opens segments and index and starts the committer, which replay needs. The segments come first: theirs is
// the lock of the directory, whose error says what to do, and without it the index may be another process's, or about to
// be rebuilt by one.
func (s *Spool) openParts(openSegments openPayloads) (err error) {
	s.payloads, err = openSegments(filepath.Join(s.dir, segmentsDir), segment.Options{
		SegmentSize:  s.o.SegmentSize,
		AllocateStep: s.o.AllocateStep,
		MaxLanes:     s.o.MaxWriters,
		PoolBytes:    s.o.PoolBytes,
		Now:          s.o.Now,
	})
	if err != nil {
		s.payloads = nil
		return err
	}
	if err := s.recoverIndexSwap(); err != nil {
		return err
	}
	s.reserve = newReserve(filepath.Join(s.dir, reserveName), s.o.ReserveBytes)
	s.room = newIndexRoom(filepath.Join(s.dir, indexDir), s.reserve)
	s.room.pool = s.giveFromPool
	if s.db, err = openIndex(s.room, s.log); err != nil {
		return err
	}
	if err := s.ledger.load(s.db); err != nil {
		return err
	}
	if err := s.markFormat(); err != nil {
		return err
	}
	if err := s.upgradeIndex(); err != nil {
		return err
	}
	s.ids.raise(InstanceID(s.ledger.snapshot().highest))
	for name, counts := range s.ledger.destinationCounts() {
		s.queues[name] = newQueue(name, s.db, &s.o, counts)
	}
	s.pressure = newPressure(s.o)
	s.committer = newCommitter(s.db, s.ledger, s.health, s.o.Now)
	s.committer.room = s.room.forWrite
	s.committer.onSpace = s.pressure.noSpace
	s.metrics = newInstruments(s)
	s.committer.observe = s.metrics.indexed
	go s.committer.run()
	return s.applyEvictAfter()
}

// errNoIndex says that there are instances without an index: replaying them all would bring back what was evicted.
var errNoIndex = advise("there are segments but no index of them: put it back, if it was moved or its file system is not mounted; else make it anew with verify --rebuild")

// errNoSegments says that an index has instances, and there is no segment at all. To begin anew beside it would leave two spools
// in one place once the segments are found.
var errNoSegments = advise("there are no segments, and the index has instances in them: put them back, if they were moved or their file system is not mounted; " +
	"if they are lost, verify --rebuild makes an index without them")

// markFormat writes the format of a new index. An index that is new beside segments that are not was lost.
func (s *Spool) markFormat() error {
	var known bool
	err := s.db.View(func(txn *badger.Txn) (err error) {
		_, known, err = get(txn, metaKey(metaFormat))
		return err
	})
	if err != nil || known {
		return err
	}
	if err := s.expectNoRecords(); err != nil {
		return err
	}
	return writeFormat(s.db)
}

// errFound ends a scan at its first record.
var errFound = errors.New("there is a record")

// expectNoRecords looks into the segments: their sizes tell nothing, since space is reserved ahead. What was being
// written when a process died was never acknowledged and does not count; damage does.
func (s *Spool) expectNoRecords() error {
	report, err := s.payloads.ScanAll(func(segment.Record) error { return errFound })
	if errors.Is(err, errFound) || err == nil && len(report.Damaged) > 0 {
		return fmt.Errorf("%s: %w", s.dir, errNoIndex)
	}
	return err
}

func writeFormat(db *badger.DB) error {
	err := db.Update(func(txn *badger.Txn) error { return txn.Set(metaKey(metaFormat), []byte{formatVersion}) })
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}

// start begins the background work.
func (s *Spool) start() {
	if free, err := s.room.free(); err != nil {
		s.log.Warn("no room for the reserve", "error", err)
	} else if err := s.reserve.hold(free); err != nil {
		s.log.Warn("no room for the reserve", "error", err)
	}
	s.pressure.evaluate(s)
	s.tasks.Go(s.watchDue)
	s.tasks.Go(s.runEvictor)
	s.tasks.Go(s.probeSegments)
	s.tasks.Go(s.hastenLate)
	s.tasks.Go(s.watchIndex)
	if s.o.PrepareRate > 0 {
		s.tasks.Go(s.prepareSegments)
	}
}

// replay takes on what became durable after the last transaction of the index.
func (s *Spool) replay() error {
	report, err := s.payloads.Replay(s.ledger.checkpoints(), s.replayRecord)
	if err != nil {
		return err
	}
	s.recovery.Torn, s.recovery.Damaged = len(report.Torn), len(report.Damaged)
	for _, r := range report.Torn {
		log := s.log.With("segment", r.Segment, "offset", r.Offset, "bytes", r.Length)
		switch {
		case r.NotCopied != nil:
			log.Warn("torn record could not be set aside", "error", r.NotCopied)
		case r.File == "":
			log.Warn("torn record without a header; nothing is set aside")
		default:
			log.Warn("torn record set aside", "file", filepath.Join(s.dir, segmentsDir, segment.QuarantineDir, r.File))
			s.recovery.Quarantined = append(s.recovery.Quarantined, r.File)
		}
	}
	for _, err := range report.Late {
		tellLate(s.log, err)
	}
	for _, r := range report.Damaged {
		s.log.Error("damaged range in a segment", "segment", r.Segment, "offset", r.Offset, "bytes", r.Length, "reason", r.Reason)
	}
	if err := s.forgetMissing(); err != nil {
		return err
	}
	return s.flush()
}

// forgetMissing drops the accounts of segments that are no more: recycled just before a crash. One that instances should
// be in was taken away by somebody; Verify names them.
func (s *Spool) forgetMissing() error {
	present := map[segment.ID]bool{}
	for _, info := range s.payloads.Segments() {
		present[info.ID] = true
	}
	if len(present) == 0 && s.ledger.snapshot().instances > 0 {
		return fmt.Errorf("%s: %w", filepath.Join(s.dir, segmentsDir), errNoSegments)
	}
	for id := range s.ledger.checkpoints() {
		use, _ := s.ledger.use(id)
		switch {
		case present[id]:
		case use.live > 0:
			s.log.Error("segment is missing", "segment", id, "instances", use.live)
		default:
			err := s.adjust(func(t *tx) error {
				t.forgetSegment(id, use.checkpoint.Generation)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Spool) replayRecord(r segment.Record) error {
	in, err := instanceOfRecord(r)
	if err != nil {
		s.recovery.Unreadable++
		s.log.Error("record with unreadable metadata", "segment", r.Location.Segment, "offset", r.Location.Offset)
		in = &Instance{location: r.Location}
		s.committer.enqueue(checkpointOp{in}, false)
		return nil
	}
	known, err := s.knows(in)
	if err != nil {
		return err
	}
	if known {
		s.committer.enqueue(checkpointOp{in}, false)
		return nil
	}
	if err := s.slots.acquire(s); err != nil {
		return err
	}
	s.ids.raise(in.ID)
	s.recovery.Replayed++
	s.recovery.ReplayedBytes += r.Location.Length
	s.adopt(in, kindOfFlags(in.Flags))
	return nil
}

// knows tells whether the index has a replayed instance already.
func (s *Spool) knows(in *Instance) (known bool, err error) {
	err = s.db.View(func(txn *badger.Txn) (err error) {
		_, known, err = get(txn, entryKey(in.ID))
		return err
	})
	return known, err
}

// Recovery says what Open found.
func (s *Spool) Recovery() Recovery { return s.recovery }

// Close finishes what was committed and completed, and closes the spool. Claims end without an outcome. Open Readers
// must be closed by their owners; open Writers are aborted. Safe to call twice.
func (s *Spool) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.closing)
	s.gate.Lock()
	defer s.gate.Unlock()
	s.tasks.Wait()
	s.committer.close()
	s.metrics.unregister()
	return s.closeParts()
}

func (s *Spool) closeParts() error {
	var errs []error
	if s.db != nil {
		errs = append(errs, closeIndex(s.db, s.room, s.log))
	}
	if s.payloads != nil { // last: who gets its lock finds the index free
		errs = append(errs, s.payloads.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}

// queue gives a destination's queue, making it if it is new.
func (s *Spool) queue(name string) *queue {
	s.queuesMu.RLock()
	q := s.queues[name]
	s.queuesMu.RUnlock()
	if q != nil {
		return q
	}
	s.queuesMu.Lock()
	defer s.queuesMu.Unlock()
	if q = s.queues[name]; q == nil {
		q = newQueue(name, s.db, &s.o, destinationTotals{})
		s.queues[name] = q
	}
	return q
}

// allQueues lists the queues there are.
func (s *Spool) allQueues() []*queue {
	s.queuesMu.RLock()
	defer s.queuesMu.RUnlock()
	out := make([]*queue, 0, len(s.queues))
	for _, q := range s.queues {
		out = append(out, q)
	}
	return out
}
