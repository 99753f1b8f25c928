package spool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/spool/segment"
)

// small are options for a spool that takes little room and time.
func small() Options {
	return Options{SegmentSize: 4 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1}
}

func openSpool(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func incoming(o synth.Object) Incoming {
	return Incoming{
		SOPClassUID:       synth.CTImageStorage,
		SOPInstanceUID:    dicom.UID(o.SOPInstanceUID),
		TransferSyntaxUID: synth.ExplicitVRLittleEndian,
		CallingAETitle:    "CT1",
		CalledAETitle:     "DCMGATE",
		RemoteAddress:     "10.0.0.5:4242",
		AssociationID:     "a1",
	}
}

// send stores an object as an association would, in pieces.
func send(s *Spool, in Incoming, data []byte, jobs ...JobSpec) (Receipt, error) {
	w, err := s.Begin(in)
	if err != nil {
		return Receipt{}, err
	}
	defer w.Abort()
	for len(data) > 0 {
		n := min(len(data), 16<<10)
		if _, err := w.Write(data[:n]); err != nil {
			return Receipt{}, err
		}
		data = data[n:]
	}
	return w.Commit(jobs)
}

func mustSend(t testing.TB, s *Spool, o synth.Object, jobs ...JobSpec) Receipt {
	t.Helper()
	r, err := send(s, incoming(o), o.Data, jobs...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func to(names ...string) []JobSpec {
	var out []JobSpec
	for _, n := range names {
		out = append(out, JobSpec{Destination: n})
	}
	return out
}

func dataSet(t testing.TB, s *Spool, id InstanceID) []byte {
	t.Helper()
	r, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r.DataSet())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func flush(t testing.TB, s *Spool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := s.Flush(ctx); err != nil {
		t.Fatal(err)
	}
}

func verifyClean(t testing.TB, s *Spool) Report {
	t.Helper()
	r, err := s.Verify(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range r.Problems {
		t.Errorf("verify: %s %s: %s", p.ID, p.SOPInstanceUID, p.What)
	}
	return r
}

func mustClaim(t testing.TB, s *Spool, destination string, limit int) []Job {
	t.Helper()
	jobs, err := s.Claim(destination, limit)
	if err != nil {
		t.Fatal(err)
	}
	return jobs
}

func deliverAll(t testing.TB, s *Spool, destination string) int {
	t.Helper()
	n := 0
	for {
		jobs := mustClaim(t, s, destination, 100)
		if len(jobs) == 0 {
			flush(t, s)
			return n
		}
		for i := range jobs {
			if err := s.Complete(Delivered(jobs[i].Key(), 0)); err != nil {
				t.Fatal(err)
			}
		}
		n += len(jobs)
	}
}

// clock is a clock that tests move.
type clock struct{ ms atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ms.Store(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).UnixMilli())
	return c
}

func (c *clock) now() time.Time          { return time.UnixMilli(c.ms.Load()) }
func (c *clock) advance(d time.Duration) { c.ms.Add(d.Milliseconds()) }

// faulty is a segment store that fails on demand.
type faulty struct {
	segments
	mu     sync.Mutex
	commit func() error // asked before each Commit
	begin  func() error
	open   func() error // before each OpenPayload
	probe  func() error
	stats  func(*segment.Stats)
}

type faultyWriter struct {
	recordWriter
	f *faulty
}

func (f *faulty) set(change func()) {
	f.mu.Lock()
	change()
	f.mu.Unlock()
}

func (f *faulty) ask(fn *func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *fn == nil {
		return nil
	}
	return (*fn)()
}

func (f *faulty) Begin() (recordWriter, error) {
	if err := f.ask(&f.begin); err != nil {
		return nil, err
	}
	w, err := f.segments.Begin()
	if err != nil {
		return nil, err
	}
	return faultyWriter{w, f}, nil
}

func (f *faulty) OpenPayload(l segment.Location) (*segment.Payload, error) {
	if err := f.ask(&f.open); err != nil {
		return nil, err
	}
	return f.segments.OpenPayload(l)
}

func (f *faulty) Probe() error {
	if err := f.ask(&f.probe); err != nil {
		return err
	}
	return f.segments.Probe()
}

func (f *faulty) Stats() (segment.Stats, error) {
	st, err := f.segments.Stats()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stats != nil {
		f.stats(&st)
	}
	return st, err
}

func (w faultyWriter) Commit(meta []byte, digest [32]byte, header int, committed func(segment.Location)) (segment.Location, error) {
	if err := w.f.ask(&w.f.commit); err != nil {
		w.recordWriter.Abort()
		return segment.Location{}, err
	}
	return w.recordWriter.Commit(meta, digest, header, committed)
}

func openFaulty(t testing.TB, dir string, o Options) (*Spool, *faulty) {
	t.Helper()
	f := new(faulty)
	s, err := open(dir, o.withDefaults(), func(dir string, o segment.Options) (payloads, error) {
		store, err := segment.Open(dir, o)
		f.segments = segments{store}
		return f, err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrUnhealthy) {
			t.Error(err)
		}
	})
	return s, f
}

func sameBytes(t testing.TB, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes differ from the %d sent", len(got), len(want))
	}
}
