package segment

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// small are options under which a handful of records fills a segment.
func small() Options {
	return Options{SegmentSize: 2 << 20, AllocateStep: 512 << 10, PoolBytes: 8 << 20}
}

// content makes n reproducible bytes.
func content(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := 0; i+8 <= n; i += 8 {
		v := r.Uint64()
		for k := range 8 {
			b[i+k] = byte(v >> (8 * k))
		}
	}
	return b
}

// object is a record as a test knows it.
type object struct {
	payload []byte
	header  int
	meta    []byte
	at      Location
}

func (o *object) digest() [32]byte { return sha256.Sum256(o.payload[o.header:]) }

func newObject(seed uint64, size int) *object {
	return &object{payload: content(seed, size), header: min(size, 300), meta: fmt.Appendf(nil, "meta of %d", seed)}
}

func begin(t testing.TB, s *Store) *Writer {
	t.Helper()
	w, err := s.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// store commits o in pieces.
func store(t testing.TB, s *Store, o *object) {
	t.Helper()
	if err := tryStore(s, o); err != nil {
		t.Fatal(err)
	}
}

func tryStore(s *Store, o *object) error {
	w, err := s.Begin()
	if err != nil {
		return err
	}
	defer w.Abort()
	r := rand.New(rand.NewPCG(uint64(len(o.payload)), 2))
	for p := o.payload; len(p) > 0; {
		n := min(len(p), 1+r.IntN(200<<10))
		if _, err := w.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	o.at, err = w.Commit(o.meta, o.digest(), o.header, nil)
	return err
}

func openStore(t testing.TB, d disk, o Options) *Store {
	t.Helper()
	s, err := open(d, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// replayAll replays s and returns its records by location.
func replayAll(t testing.TB, s *Store, from map[ID]Checkpoint) (map[Location]Record, Report) {
	t.Helper()
	got := map[Location]Record{}
	report, err := s.Replay(from, func(r Record) error {
		r.Meta = bytes.Clone(r.Meta)
		got[r.Location] = r
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got, report
}

// ready opens and replays.
func ready(t testing.TB, d disk, o Options) *Store {
	t.Helper()
	s := openStore(t, d, o)
	replayAll(t, s, nil)
	return s
}

// expect reads o back in every way.
func expect(t testing.TB, s *Store, o *object) {
	t.Helper()
	p, err := s.OpenPayload(o.at)
	if err != nil {
		t.Fatalf("open %+v: %v", o.at, err)
	}
	defer p.Close()
	var b bytes.Buffer
	if n, err := p.WriteTo(&b); err != nil || n != p.Size() || !bytes.Equal(b.Bytes(), o.payload) {
		t.Fatalf("WriteTo: %d bytes, %v", n, err)
	}
	ds, err := io.ReadAll(p.DataSet())
	if err != nil || !bytes.Equal(ds, o.payload[o.header:]) {
		t.Fatalf("DataSet: %d bytes, %v", len(ds), err)
	}
	if err := s.Verify(o.at); err != nil {
		t.Fatal(err)
	}
	rec, err := s.ReadRecord(o.at)
	if err != nil || !bytes.Equal(rec.Meta, o.meta) || rec.Digest != o.digest() {
		t.Fatalf("ReadRecord: %q, %v", rec.Meta, err)
	}
}

// disks runs a test on the real file system and in memory.
func disks(t *testing.T, f func(t *testing.T, d disk)) {
	t.Run("directory", func(t *testing.T) { f(t, diskDir(t.TempDir())) })
	t.Run("memory", func(t *testing.T) { f(t, newMemDisk()) })
}

func TestRoundTrip(t *testing.T) {
	sizes := []int{0, 1, 299, 4031, 4032, 4033, 20 << 10, directSize - 1, directSize, bufferSize - headerSize - trailerSize,
		bufferSize - headerSize, bufferSize - 1, bufferSize, bufferSize + 1, 500_000, 1 << 20, 5 << 20}
	disks(t, func(t *testing.T, d disk) {
		s := ready(t, d, small())
		var objects []*object
		for i, n := range sizes {
			o := newObject(uint64(i), n)
			store(t, s, o)
			objects = append(objects, o)
		}
		for _, o := range objects {
			expect(t, s, o)
		}
		s.Close()
		s = openStore(t, d, small())
		got, report := replayAll(t, s, nil)
		if len(got) != len(objects) || report.Records != len(objects) || len(report.Damaged)+len(report.Torn) > 0 {
			t.Fatalf("replayed %d of %d: %+v", len(got), len(objects), report)
		}
		for _, o := range objects {
			if r := got[o.at]; !bytes.Equal(r.Meta, o.meta) || r.Digest != o.digest() {
				t.Errorf("%+v: %q", o.at, r.Meta)
			}
			expect(t, s, o)
		}
		n := 0
		if _, err := s.ScanAll(func(Record) error { n++; return nil }); err != nil || n != len(objects) {
			t.Errorf("scanned %d: %v", n, err)
		}
	})
}

func TestMetaOfAnySize(t *testing.T) {
	s := ready(t, newMemDisk(), small())
	for _, n := range []int{0, 1, 4096, MaxMeta} {
		for _, size := range []int{400, bufferSize - MaxMeta, bufferSize - 100, 300_000} {
			o := newObject(uint64(n), size)
			o.meta = content(9, n)
			store(t, s, o)
			expect(t, s, o)
		}
	}
	w := begin(t, s)
	defer w.Abort()
	if _, err := w.Commit(make([]byte, MaxMeta+1), [32]byte{}, 0, nil); err == nil {
		t.Error("metadata beyond the bound was taken")
	}
	if _, err := w.Commit(nil, [32]byte{}, 1, nil); err == nil {
		t.Error("a header longer than the payload was taken")
	}
}

func TestReplayLooksOnlyBehindCheckpoints(t *testing.T) {
	d := newMemDisk()
	s := ready(t, d, small())
	a, b := newObject(1, 5000), newObject(2, 5000)
	store(t, s, a)
	store(t, s, b)
	s.Close()
	d.fail = func(op, name string, off int64) error {
		if op == "read" && off >= a.at.Offset && off < b.at.Offset {
			return errors.New("looked before the checkpoint")
		}
		return nil
	}
	s = openStore(t, d, small())
	got, report := replayAll(t, s, map[ID]Checkpoint{a.at.Segment: a.at.Next()})
	if _, ok := got[b.at]; len(got) != 1 || !ok {
		t.Fatalf("%v", got)
	}
	if report.Ends[b.at.Segment] != b.at.Next() {
		t.Errorf("end %+v, want %+v", report.Ends[b.at.Segment], b.at.Next())
	}
	d.fail = nil
	c := newObject(3, 100)
	store(t, s, c)
	if c.at.Offset != b.at.Offset+b.at.Length {
		t.Errorf("went on at %d", c.at.Offset)
	}
}

func TestCommittedIsCalledInOrder(t *testing.T) {
	s := ready(t, diskDir(t.TempDir()), small())
	var mu sync.Mutex
	last := map[ID]int64{}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for k := range 40 {
				w, err := s.Begin()
				if err != nil {
					t.Error(err)
					return
				}
				o := newObject(uint64(i*100+k), []int{1000, 30000, 200_000}[(i+k)%3])
				w.Write(o.payload)
				o.at, err = w.Commit(o.meta, o.digest(), o.header, func(l Location) {
					mu.Lock()
					defer mu.Unlock()
					if want := max(last[l.Segment], firstRecord); l.Offset != want {
						t.Errorf("segment %d: %d after %d", l.Segment, l.Offset, want)
					}
					last[l.Segment] = l.Offset + l.Length
				})
				if err != nil {
					t.Error(err)
					return
				}
				expect(t, s, o)
			}
		})
	}
	wg.Wait()
	st, err := s.Stats()
	if err != nil || st.LanesLeased != 0 || st.LanesOpen == 0 || st.Allocated < st.RecordBytes || st.FreeBytes == 0 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestAbortGivesTheOffsetBack(t *testing.T) {
	disks(t, func(t *testing.T, d disk) {
		s := ready(t, d, small())
		a := newObject(1, 100)
		store(t, s, a)
		w := begin(t, s)
		w.Write(content(2, 3<<20))
		w.Abort()
		w.Abort()
		b := newObject(3, 100)
		store(t, s, b)
		if b.at.Segment != a.at.Segment || b.at.Offset != a.at.Offset+a.at.Length {
			t.Fatalf("%+v then %+v", a.at, b.at)
		}
		if _, err := w.Write(nil); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		s.Close()
		s = openStore(t, d, small())
		if got, report := replayAll(t, s, nil); len(got) != 2 || len(report.Damaged)+len(report.Torn) != 0 {
			t.Errorf("%d records, %+v", len(got), report)
		}
	})
}

// TestStaleRecords: a recycled segment is full of whole records, at exactly the offsets where records of the new
// generation begin, and none of them counts.
func TestStaleRecords(t *testing.T) {
	disks(t, func(t *testing.T, d disk) {
		s := ready(t, d, small())
		var old []*object
		for i := range 20 {
			o := newObject(uint64(i), 3000)
			store(t, s, o)
			old = append(old, o)
		}
		id := old[0].at.Segment
		if err := s.Recycle(id); !errors.Is(err, ErrInUse) {
			t.Fatal(err)
		}
		if err := s.Retire(id); err != nil {
			t.Fatal(err)
		}
		if err := s.Recycle(id); err != nil {
			t.Fatal(err)
		}
		if err := s.Recycle(id); !errors.Is(err, ErrGone) {
			t.Fatal(err)
		}
		a := newObject(100, 3000)
		store(t, s, a)
		if a.at.Segment != id || a.at.Offset != old[0].at.Offset || a.at.Generation <= old[0].at.Generation {
			t.Fatalf("not recycled: %+v", a.at)
		}
		w := begin(t, s)
		w.Write(content(7, 500_000)) // an aborted record over more stale ones
		w.Abort()
		for _, o := range old {
			if _, err := s.OpenPayload(o.at); !errors.Is(err, ErrGone) {
				t.Fatalf("stale record opened: %v", err)
			}
		}
		s.Close()
		s = openStore(t, d, small())
		got, report := replayAll(t, s, map[ID]Checkpoint{id: old[19].at.Next()})
		if _, ok := got[a.at]; len(got) != 1 || !ok || len(report.Damaged)+len(report.Torn) != 0 {
			t.Fatalf("%v %+v", got, report)
		}
		expect(t, s, a)
	})
}

// TestForgedRecord: a payload that imitates a record of its own segment is never taken for one, even when the walk
// has to look for records in the middle of a damaged one.
func TestForgedRecord(t *testing.T) {
	d := newMemDisk()
	s := ready(t, d, small())
	a := newObject(1, 100)
	store(t, s, a)
	fake := make([]byte, Alignment)
	h := header{identity: identity{id: a.at.Segment, generation: a.at.Generation}, length: Alignment}
	crc := h.put(fake)
	h.appendTrailer(fake[:headerSize], sha256.Sum256(nil), crc)
	evil := newObject(2, 0)
	evil.payload = append(make([]byte, Alignment-headerSize), fake...)
	store(t, s, evil)
	b := newObject(3, 100)
	store(t, s, b)
	s.Close()
	d.names[fileName(a.at.Segment, segmentSuffix)].corrupt(evil.at.Offset)
	s = openStore(t, d, small())
	got, report := replayAll(t, s, nil)
	if _, ok := got[b.at]; len(got) != 2 || !ok || len(report.Damaged) != 1 {
		t.Fatalf("%v %+v", got, report)
	}
}

// corrupt changes a byte, on the disk as in the cache.
func (n *memInode) corrupt(at int64) {
	n.data[at] ^= 0x5a
	n.stable = bytes.Clone(n.data)
}

func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name   string
		at     func(Location) int64
		torn   bool // when it is the last record
		header bool
	}{
		{"header", func(l Location) int64 { return l.Offset + 20 }, false, true},
		{"Part 10 header", func(l Location) int64 { return l.PayloadOffset() + 10 }, true, false},
		{"data set", func(l Location) int64 { return l.PayloadOffset() + 4000 }, true, false},
		{"meta", func(l Location) int64 { return l.PayloadOffset() + l.PayloadLength }, true, false},
		{"trailer", func(l Location) int64 { return l.PayloadOffset() + l.PayloadLength + 30 }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for victim := range 3 {
				d := newMemDisk()
				s := ready(t, d, small())
				objects := []*object{newObject(1, 9000), newObject(2, 5000), newObject(3, 7000)}
				for _, o := range objects {
					store(t, s, o)
				}
				bad := objects[victim]
				d.names[fileName(bad.at.Segment, segmentSuffix)].corrupt(c.at(bad.at))
				if err := s.Verify(bad.at); !errors.Is(err, ErrDamaged) {
					t.Fatalf("verify: %v", err)
				}
				s.Close()
				s = openStore(t, d, small())
				got, report := replayAll(t, s, nil)
				if _, ok := got[bad.at]; len(got) != 2 || ok {
					t.Fatalf("victim %d: got %d records", victim, len(got))
				}
				last := victim == 2
				wantDamaged, wantTorn := 1, 0
				if last {
					wantDamaged = 0
					if c.torn {
						wantTorn = 1
					}
				}
				if len(report.Damaged) != wantDamaged || len(report.Torn) != wantTorn || len(d.aside) != wantTorn {
					t.Errorf("victim %d: %+v", victim, report)
				}
				if wantDamaged == 1 {
					if r := report.Damaged[0]; r.Offset != bad.at.Offset || r.Length != bad.at.Length {
						t.Errorf("victim %d: %+v", victim, r)
					}
				}
				o := newObject(4, 6000)
				store(t, s, o)
				expect(t, s, o)
			}
		})
	}
}

func TestDamagedLabel(t *testing.T) {
	d := newMemDisk()
	s := ready(t, d, small())
	a := newObject(1, 9000)
	store(t, s, a)
	s.Close()
	d.names[fileName(a.at.Segment, segmentSuffix)].corrupt(17)
	s = openStore(t, d, small())
	got, report := replayAll(t, s, nil)
	if _, ok := got[a.at]; !ok || len(report.Damaged) != 1 {
		t.Fatalf("%v %+v", got, report)
	}
	expect(t, s, a)
	b := newObject(2, 100)
	store(t, s, b)
	if b.at.Segment == a.at.Segment {
		t.Error("wrote to a segment without a label")
	}
}

func TestFree(t *testing.T) {
	disks(t, func(t *testing.T, d disk) {
		s := ready(t, d, small())
		objects := []*object{newObject(1, 300_000), newObject(2, 300_000), newObject(3, 300_000)}
		for _, o := range objects {
			store(t, s, o)
		}
		mid := objects[1]
		p, err := s.OpenPayload(mid.at)
		if err != nil {
			t.Fatal(err)
		}
		before := s.Segments()[0].Allocated
		for range 2 {
			if err := s.Free(mid.at); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.OpenPayload(mid.at); !errors.Is(err, ErrGone) {
			t.Errorf("opened a freed record: %v", err)
		}
		b := make([]byte, len(mid.payload))
		if _, err := p.ReadAt(b, 0); err != nil || !bytes.Equal(b, mid.payload) {
			t.Errorf("freed under a reader: %v", err)
		}
		p.Close()
		p.Close()
		if after := s.Segments()[0].Allocated; before-after < 300_000 {
			t.Errorf("allocated %d, then %d", before, after)
		}
		for range 2 {
			if err := s.Free(mid.at); err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(mid.at); !errors.Is(err, ErrGone) {
				t.Error(err)
			}
		}
		s.Close()
		s = openStore(t, d, small())
		got, report := replayAll(t, s, nil)
		if len(got) != 2 || len(report.Damaged)+len(report.Torn) != 0 {
			t.Errorf("%d records, %+v", len(got), report)
		}
		expect(t, s, objects[0])
		expect(t, s, objects[2])
	})
}

func TestPinnedSegmentIsNotOverwritten(t *testing.T) {
	disks(t, func(t *testing.T, d disk) {
		s := ready(t, d, small())
		a := newObject(1, 100_000)
		store(t, s, a)
		p, err := s.OpenPayload(a.at)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Retire(a.at.Segment), s.Recycle(a.at.Segment)); err != nil {
			t.Fatal(err)
		}
		b := newObject(2, 100_000)
		store(t, s, b)
		if b.at.Segment == a.at.Segment {
			t.Fatal("overwrote a segment under a reader")
		}
		var got bytes.Buffer
		if _, err := p.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), a.payload) {
			t.Error(err)
		}
		p.Close()
		if _, err := p.ReadAt(make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		w := begin(t, s) // the lane of b
		defer w.Abort()
		c := newObject(3, 100)
		store(t, s, c)
		if c.at.Segment != a.at.Segment {
			t.Error("did not recycle it afterwards")
		}
	})
}

func TestPoolIsBounded(t *testing.T) {
	d := newMemDisk()
	o := small()
	o.PoolBytes = o.SegmentSize
	s := ready(t, d, o)
	var ids []ID
	for i := range 6 {
		a := newObject(uint64(i), 1_700_000)
		store(t, s, a)
		ids = append(ids, a.at.Segment)
	}
	for _, id := range ids {
		if err := s.Retire(id); err != nil {
			t.Fatal(err)
		}
		if err := s.Recycle(id); err != nil && !errors.Is(err, ErrGone) {
			t.Fatal(err)
		}
	}
	st, _ := s.Stats()
	if st.Segments != 0 || st.PoolSegments == 0 || st.PoolBytes > o.PoolBytes || len(d.names) != st.PoolSegments {
		t.Errorf("%+v, %d files", st, len(d.names))
	}
	s.Close()
	s = ready(t, d, o)
	if again, _ := s.Stats(); again.PoolSegments != st.PoolSegments || again.Segments != 0 {
		t.Errorf("after a restart %+v", again)
	}
}

func TestTooManyWriters(t *testing.T) {
	o := small()
	o.MaxLanes = 2
	s := openStore(t, newMemDisk(), o)
	if _, err := s.Begin(); !errors.Is(err, ErrNotReplayed) {
		t.Error(err)
	}
	replayAll(t, s, nil)
	a, b := begin(t, s), begin(t, s)
	if _, err := s.Begin(); !errors.Is(err, ErrTooManyWriters) {
		t.Error(err)
	}
	a.Abort()
	c := begin(t, s)
	c.Abort()
	s.Close()
	if _, err := b.Write([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	b.Abort()
	if _, err := s.Begin(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestDirectoryLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "segments")
	s, err := Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, small())
	var locked *LockError
	if !errors.As(err, &locked) || locked.Dir != dir || !errors.Is(err, ErrLocked) {
		t.Fatalf("%v", err)
	}
	s.Close()
	s.Close()
	s, err = Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := os.Stat(filepath.Join(dir, lockName)); err != nil {
		t.Error(err)
	}
}

func TestPrepare(t *testing.T) {
	disks(t, func(t *testing.T, d disk) {
		if m, ok := d.(*memDisk); ok {
			m.space = 1 << 30
		}
		o := small()
		o.PoolBytes = 2 * o.SegmentSize
		var clock atomic.Int64
		o.Now = func() time.Time { return time.UnixMilli(clock.Load()) }
		s := ready(t, d, o)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		none := func(when string) {
			t.Helper()
			if ok, err := s.Prepare(t.Context(), 1<<40); ok || err != nil {
				t.Errorf("%s: %t, %v", when, ok, err)
			}
		}
		none("just opened")
		clock.Add(1999)
		if q := s.Quiet(); q != 1999*time.Millisecond {
			t.Errorf("quiet for %v", q)
		}
		none("a moment ago")
		clock.Add(1)
		if ok, err := s.Prepare(ctx, 1<<40); ok || !errors.Is(err, context.Canceled) {
			t.Errorf("%t, %v", ok, err)
		}
		w := begin(t, s)
		clock.Add(5000)
		if q := s.Quiet(); q != 0 {
			t.Errorf("quiet for %v while a writer is open", q)
		}
		none("while a writer is open")
		w.Abort()
		none("just after a writer")
		clock.Add(2000)
		for want := 1; want <= 3; want++ {
			ok, err := s.Prepare(t.Context(), 1<<40)
			if ok != (want <= 2) || err != nil {
				t.Errorf("%d: %t, %v", want, ok, err)
			}
		}
		if st, _ := s.Stats(); st.PoolSegments != 2 || st.PoolBytes < 2*o.SegmentSize {
			t.Errorf("%+v", st)
		}
		for i := range 4 {
			a := newObject(uint64(i), 1_700_000)
			store(t, s, a)
			expect(t, s, a)
		}
		if st, _ := s.Stats(); st.PoolSegments != 0 {
			t.Errorf("%+v", st)
		}
	})
}

func TestOptions(t *testing.T) {
	if o, err := (Options{}).withDefaults(); err != nil || o.SegmentSize != 128<<20 || o.PoolBytes != 2<<30 {
		t.Errorf("defaults %+v, %v", o, err)
	}
	for _, o := range []Options{{SegmentSize: 1}, {SegmentSize: 3<<20 + 1}, {AllocateStep: 5}, {MaxLanes: -1}} {
		if s, err := Open(t.TempDir(), o); err == nil {
			s.Close()
			t.Errorf("%+v was taken", o)
		}
	}
}
