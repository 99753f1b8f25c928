package spool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
)

// eviction is a spool whose clock and evictor the test moves: the background one finds nothing to do before.
func evictionSpool(t *testing.T, o Options) (*Spool, *clock) {
	t.Helper()
	c := newClock()
	o.Now = c.now
	return openSpool(t, t.TempDir(), o), c
}

func evictNow(t *testing.T, s *Spool) {
	t.Helper()
	flush(t, s)
	waitFor(t, func() bool { // the background evictor may be at it
		if _, err := s.evictPass(); err != nil {
			t.Fatal(err)
		}
		return true
	})
}

func TestUndeliveredIsNeverEvicted(t *testing.T) {
	o := small()
	o.Retention = time.Hour
	var mu sync.Mutex
	var told []Instance
	o.Evicted = func(list []Instance) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, list...)
	}
	s, c := evictionSpool(t, o)
	tpl := synth.NewTemplate(20_000, 1)
	var kept, gone []Receipt
	for i := range 12 {
		r := mustSend(t, s, tpl.Object(1, 1, i), to("cloud", "pacs")...)
		if i%3 == 0 {
			kept = append(kept, r)
		} else {
			gone = append(gone, r)
		}
	}
	deliverAll(t, s, "pacs")
	jobs := mustClaim(t, s, "cloud", 12)
	for i := range jobs {
		switch {
		case i == 0:
			_ = s.Complete(Park(jobs[i].Key(), "x", "parked is not delivered"))
		case i == 3: // stays claimed
		case i%3 == 0:
			_ = s.Complete(Retry(jobs[i].Key(), c.now().Add(100*time.Hour), "x", ""))
		default:
			_ = s.Complete(Delivered(jobs[i].Key(), 0))
		}
	}
	c.advance(48 * time.Hour)
	evictNow(t, s)
	for _, r := range kept {
		if len(dataSet(t, s, r.Instance.ID)) == 0 {
			t.Errorf("%v is gone", r.Instance.ID)
		}
	}
	for _, r := range gone {
		if _, err := s.Open(r.Instance.ID); !errors.Is(err, ErrEvicted) {
			t.Errorf("%v: %v", r.Instance.ID, err)
		}
		in, err := s.Instance(r.Instance.ID)
		if err != nil || in.State != InstanceEvicted || len(in.Metadata.Elements) != 0 || in.Digest != r.Instance.Digest {
			t.Errorf("custody record %+v, %v", in, err)
		}
	}
	mu.Lock()
	if len(told) != len(gone) {
		t.Errorf("told of %d evicted, want %d", len(told), len(gone))
	}
	for i := range told {
		if told[i].State != InstanceStored || len(told[i].Metadata.Elements) == 0 {
			t.Errorf("told of %+v, not as it was", told[i])
		}
	}
	mu.Unlock()
	st := s.Stats()
	if st.Instances != 4 || st.Evicted != 8 || st.EvictableBytes != 0 {
		t.Errorf("%+v", st)
	}
	n := 0
	for _, err := range s.Instances(kept[0].Instance.StudyInstanceUID, "") {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d in the study", n)
	}
	verifyClean(t, s)
}

func TestPoolIsBoundedByTheQuota(t *testing.T) {
	for _, tt := range []struct{ quota, pool, want int64 }{
		{0, 0, 2 << 30}, {4 << 30, 0, 1 << 30}, {100 << 30, 0, 2 << 30}, {4 << 30, 5 << 20, 5 << 20}, {4 << 30, -1, -1}, {3, 0, 1},
	} {
		if o := (Options{Quota: tt.quota, PoolBytes: tt.pool}).withDefaults(); o.PoolBytes != tt.want {
			t.Errorf("quota %d, pool %d: %d, want %d", tt.quota, tt.pool, o.PoolBytes, tt.want)
		}
	}
}

func TestQuotaEvictsOldestFirst(t *testing.T) {
	o := small()
	o.SegmentSize = 1 << 20
	o.Quota = 6 << 20
	s, _ := evictionSpool(t, o)
	tpl := synth.NewTemplate(100_000, 1)
	var all []Receipt
	for i := range 120 { // 12 MB
		all = append(all, mustSend(t, s, tpl.Object(1, i, i), to("cloud")...))
		if i%10 == 9 {
			deliverAll(t, s, "cloud")
			evictNow(t, s)
		}
	}
	st := s.Stats()
	if st.Bytes > o.Quota || st.Bytes < o.Quota/2 {
		t.Errorf("%d bytes under a quota of %d", st.Bytes, o.Quota)
	}
	evicted := true
	for _, r := range all {
		in, err := s.Instance(r.Instance.ID)
		if err != nil {
			t.Fatal(err)
		}
		if in.State == InstanceEvicted && !evicted {
			t.Errorf("%v was evicted before an older one", in.ID)
		}
		evicted = in.State == InstanceEvicted
	}
	// Those that were recycled are in the pool, or in use again.
	if n := len(s.payloads.Segments()); n >= 120*100_000/int(o.SegmentSize) {
		t.Errorf("%d segments are in use: none was recycled", n)
	}
	verifyClean(t, s)
}

func TestEmptyStudyLeavesNoKeys(t *testing.T) {
	o := small()
	o.Retention = time.Hour
	s, c := evictionSpool(t, o)
	mustSend(t, s, synth.NewTemplate(3000, 1).Object(1, 1, 1))
	flush(t, s)
	before := countKeys(t, s)
	for _, kind := range []byte{kindStudy, kindSeries, kindTree, kindPatient, kindName, kindDate, kindPlace} {
		if before[kind] == 0 {
			t.Errorf("no key of kind %c", kind)
		}
	}
	c.advance(3 * time.Hour)
	evictNow(t, s)
	afterwards := countKeys(t, s)
	for _, kind := range []byte{kindStudy, kindSeries, kindTree, kindPatient, kindName, kindAccession, kindDate, kindPlace} {
		if afterwards[kind] != 0 {
			t.Errorf("%d keys of kind %c left", afterwards[kind], kind)
		}
	}
	verifyClean(t, s)
}

func TestRestored(t *testing.T) {
	o := small()
	o.Retention = time.Hour
	s, c := evictionSpool(t, o)
	obj := synth.NewTemplate(3000, 1).Object(1, 1, 1)
	first := mustSend(t, s, obj, to("cloud", "pacs")...)
	deliverAll(t, s, "cloud")
	if n, err := s.Drop(context.Background(), JobFilter{Destination: "pacs"}, "not now"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	c.advance(3 * time.Hour)
	evictNow(t, s)
	again := mustSend(t, s, obj, to("cloud", "pacs", "new")...)
	if again.Outcome != Restored || again.Instance.Flags&FlagRestored == 0 {
		t.Fatalf("%v", again.Outcome)
	}
	flush(t, s)
	for name, want := range map[string]int{"cloud": 0, "pacs": 1, "new": 1} {
		if n := len(mustClaim(t, s, name, 10)); n != want {
			t.Errorf("%s: %d jobs, want %d", name, n, want)
		}
	}
	if c := s.Counts()["cloud"]; c != (JobCounts{Delivered: 1}) {
		t.Errorf("%+v", c)
	}
	if _, err := s.Instance(first.Instance.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("first copy's record: %v", err)
	}
	if r := mustSend(t, s, obj); r.Outcome != Duplicate || r.Instance.ID != again.Instance.ID {
		t.Errorf("third: %v", r.Outcome)
	}
	found, err := s.Lookup(dicom.UID(obj.StudyInstanceUID), dicom.UID(obj.SeriesInstanceUID), dicom.UID(obj.SOPInstanceUID))
	if err != nil || len(found) != 1 {
		t.Error(found, err)
	}
	sameBytes(t, dataSet(t, s, again.Instance.ID), obj.Data)
	verifyClean(t, s)
}

func TestReaderOutlivesEviction(t *testing.T) {
	o := small()
	o.Retention = time.Hour
	s, c := evictionSpool(t, o)
	tpl := synth.NewTemplate(50_000, 1)
	obj := tpl.Object(1, 1, 1)
	r := mustSend(t, s, obj)
	rd, err := s.Open(r.Instance.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	c.advance(3 * time.Hour)
	evictNow(t, s)
	if _, err := s.Open(r.Instance.ID); !errors.Is(err, ErrEvicted) {
		t.Error(err)
	}
	for i := range 100 { // overwrite whatever was given up
		mustSend(t, s, tpl.Object(2, 1, i))
	}
	b, err := io.ReadAll(rd.DataSet())
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, b, obj.Data)
}

func TestCustodyAndChangesAreBounded(t *testing.T) {
	o := small()
	o.Retention, o.CustodyRecords, o.ChangesKept = time.Hour, 5, 10
	s, c := evictionSpool(t, o)
	tpl := synth.NewTemplate(1000, 1)
	for i := range 20 {
		mustSend(t, s, tpl.Object(1, 1, i), to("cloud")...)
	}
	deliverAll(t, s, "cloud")
	c.advance(3 * time.Hour)
	evictNow(t, s)
	if err := s.purgePass(); err != nil {
		t.Fatal(err)
	}
	keys := countKeys(t, s)
	if keys[kindTombstone] != 5 || keys[kindEntry] != 5 || keys[kindJob] != 5 || keys[kindChange] != 10 || keys[kindVersions] != 5 {
		t.Errorf("%v", keys)
	}
	if _, err := s.Changes(0, 1); !errors.Is(err, ErrChangesPruned) {
		t.Error(err)
	}
	if got, err := s.Changes(30, 100); err != nil || len(got) != 10 {
		t.Error(len(got), err)
	}
	if c := s.Counts()["cloud"]; c != (JobCounts{Delivered: 5}) {
		t.Errorf("%+v", c)
	}
	c.advance(500 * 24 * time.Hour)
	if err := s.purgePass(); err != nil {
		t.Fatal(err)
	}
	if keys := countKeys(t, s); keys[kindTombstone] != 0 || keys[kindEntry] != 0 {
		t.Errorf("%v", keys)
	}
	verifyClean(t, s)
}

func countKeys(t *testing.T, s *Spool) map[byte]int {
	t.Helper()
	counts := map[byte]int{}
	txn := s.db.NewTransaction(false)
	defer txn.Discard()
	err := scan(txn, nil, nil, false, func(key, _ []byte) (bool, error) {
		counts[key[0]]++
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func TestPressure(t *testing.T) {
	o := small()
	o.MinFree = 100
	s, f := openFaulty(t, t.TempDir(), o)
	set := func(free int64) Level {
		f.set(func() {
			f.stats = func(st *segment.Stats) { st.FreeBytes, st.PoolBytes, st.TotalBytes = free, 0, 1<<40 }
		})
		s.pressure.next.Store(0)
		return s.Pressure()
	}
	if l := set(1 << 40); l != LevelNone {
		t.Fatal(l)
	}
	// Capacity is what is free and what is stored; so fill the spool to give the shares a meaning.
	tpl := synth.NewTemplate(100_000, 1)
	for i := range 100 {
		mustSend(t, s, tpl.Object(1, 1, i), to("cloud")...)
	}
	flush(t, s)
	stored := s.Stats().Bytes // undelivered: not evictable
	if l := set(stored); l != LevelNone {
		t.Errorf("half full: %v", l)
	}
	for _, step := range []struct {
		part int64 // of what is stored, in thousandths
		want Level
	}{{90, LevelSlow}, {115, LevelSlow}, {40, LevelReject}, {15, LevelFull}, {22, LevelFull}, {40, LevelReject}, {200, LevelNone}} {
		if l := set(stored*step.part/1000 + 100); l != step.want {
			t.Errorf("%d per mille free: %v, want %v", step.part, l, step.want)
		}
	}
	set(100)
	obj := tpl.Object(2, 1, 1)
	if _, err := s.Begin(incoming(obj)); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	deliverAll(t, s, "cloud") // what can be evicted counts as room, and goes
	if l := set(50); l == LevelFull {
		t.Error("full although everything may go")
	}
	waitFor(t, func() bool { return s.Stats().Instances < 100 })
}

// TestQuotaHoldsInABurst sends faster than the index follows, and then with writers that do not end.
func TestQuotaHoldsInABurst(t *testing.T) {
	o := small()
	o.Quota = 8 << 20
	s, _ := openFaulty(t, t.TempDir(), o)
	gate := make(chan struct{})
	release := sync.OnceFunc(func() { close(gate) })
	defer release()
	good := s.committer.commit
	replaceCommit(t, s, func(txn *badger.Txn) error { <-gate; return good(txn) })
	tpl := synth.NewTemplate(100_000, 1)
	var sent int64
	for i := 0; ; i++ {
		obj := tpl.Object(1, 1, i)
		r, err := send(s, incoming(obj), obj.Data, to("cloud")...)
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if sent += r.Instance.location.Length; sent > o.Quota {
			t.Fatalf("%d bytes taken under a quota of %d", sent, o.Quota)
		}
	}
	if sent < o.Quota*9/10 {
		t.Errorf("refused at %d bytes of %d", sent, o.Quota)
	}
	release()
	deliverAll(t, s, "cloud")
	if n := s.pressure.unindexed.Load(); n != 0 {
		t.Errorf("%d bytes unindexed after a flush", n)
	}
	evictNow(t, s)

	room := o.Quota - s.Stats().Bytes + s.Stats().EvictableBytes
	s.pressure.evaluate(s)
	var open []*Writer
	for begun := int64(0); ; {
		w, err := s.Begin(incoming(tpl.Object(2, 1, len(open))))
		if errors.Is(err, ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		defer w.Abort()
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		open = append(open, w)
		if begun += 1 << 20; begun > room+1<<20 {
			t.Fatalf("%d bytes begun in a room of %d", begun, room)
		}
	}
	for _, w := range open {
		w.Abort()
	}
	s.pressure.evaluate(s)
	if l := s.Pressure(); l == LevelFull {
		t.Error("full after all writers have given up")
	}
	if n := s.pressure.unindexed.Load(); n != 0 {
		t.Errorf("%d bytes unindexed without a writer", n)
	}
}

// The reserve is held while a disk is full, given when the index needs a table, and held again later.
func TestReserveIsGivenToTheIndex(t *testing.T) {
	o := small()
	o.ReserveBytes = 1 << 20
	s, f := openFaulty(t, t.TempDir(), o)
	if !exists(s.reserve.path) {
		t.Fatal("no reserve")
	}
	f.set(func() { f.begin = func() error { return segment.ErrNoSpace } })
	obj := synth.NewTemplate(1000, 1).Object(1, 1, 1)
	if _, err := s.Begin(incoming(obj)); !errors.Is(err, ErrFull) {
		t.Fatal(err)
	}
	if s.Pressure() != LevelFull || !exists(s.reserve.path) {
		t.Error("not full, or the reserve is given for nothing")
	}
	err := s.adjust(func(x *tx) error {
		x.onDurable(func() {
			s.room.used = memTableSize
			s.room.free = func() (int64, error) {
				if exists(s.reserve.path) {
					return 0, nil
				}
				return 1 << 40, nil
			}
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.adjust(func(*tx) error { return nil }); err != nil || exists(s.reserve.path) {
		t.Errorf("the index was not given the reserve: %v", err)
	}
	f.set(func() { f.begin = nil })
	s.pressure.refuse.Store(0)
	s.pressure.next.Store(0)
	if s.Pressure() == LevelFull || !exists(s.reserve.path) {
		t.Error("still full, or the reserve is not held again")
	}
	mustSend(t, s, obj)
}

func TestStatsAreOfWhatIsThere(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	before := time.Now().Add(-time.Second)
	obj := synth.NewTemplate(10_000, 1).Object(1, 1, 1)
	mustSend(t, s, obj, to("cloud")...)
	flush(t, s)
	st := s.Stats()
	if st.Instances != 1 || st.Bytes < int64(len(obj.Data)) || st.EvictableBytes != 0 || !st.Healthy || st.Oldest.Before(before) || st.Sequence != 1 || st.AllocatedBytes < st.Bytes {
		t.Errorf("%+v", st)
	}
}

// What an eviction removes fits behind what a transaction holds already, though every study has all the keys it may have.
func TestLargestEvictionFits(t *testing.T) {
	s := openSpool(t, t.TempDir(), small())
	long := strings.Repeat("x", maxTextKey-4)
	r := studyRecord{first: 1}
	for i := range maxTextKeys {
		kind := byte(kindPatient) // two keys each
		if i < maxKeyDates {
			kind = kindDate
		}
		r.textKeys = append(r.textKeys, fmt.Sprintf("%c%s%03d", kind, long, i))
	}
	for i := range maxModalities {
		r.modalities = append(r.modalities, fmt.Sprintf("%s%02d", long[:14], i))
	}
	err := s.adjust(func(tx *tx) error {
		for i := 0; !tx.full(); i++ {
			tx.set(entryKey(InstanceID(i)), make([]byte, 100))
		}
		for i := range evictBatch {
			tx.studies[hashOf(fmt.Sprint(i))] = &r
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A jump of the clock is told once, by how much, for as long as it is not believed.
func TestClockAhead(t *testing.T) {
	clock, o := newClock(), small()
	var passed atomic.Int64
	var lines strings.Builder
	o.Now, o.passed, o.Logger = clock.now, func() time.Duration { return time.Duration(passed.Load()) }, slog.New(slog.NewTextHandler(&lines, nil))
	s := newSpool(t.TempDir(), o.withDefaults())
	for _, step := range []struct {
		set, pass, ahead time.Duration
		said             string // "" for nothing
	}{
		{0, time.Minute, 0, ""}, {9000 * time.Hour, time.Minute, 9000 * time.Hour, "jumped ahead"}, {0, time.Hour, 9000 * time.Hour, ""},
		{-9000 * time.Hour, time.Minute, 0, "set back"}, {0, time.Minute, 0, ""}, {-2 * time.Hour, time.Minute, 0, "set back"},
		{2 * time.Hour, time.Minute, 2 * time.Hour, "jumped ahead"}, {0, 24 * time.Hour, 0, "believed again"},
	} {
		lines.Reset()
		clock.advance(step.set + step.pass)
		passed.Add(int64(step.pass))
		s.lookAtClock()
		if said := lines.String(); s.ClockAhead() != step.ahead || (step.said == "") != (said == "") || !strings.Contains(said, step.said) {
			t.Errorf("%+v: ahead by %v, said %q", step, s.ClockAhead(), said)
		}
	}
}
