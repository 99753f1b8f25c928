package forwarder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
	"dcmgate/spool"
	"dcmgate/transfer"
)

// archive is a destination on loopback: the real engine, with faults to
// order.
type archive struct {
	window uint16
	// admit may reject an association, numbered from 0.
	admit func(n int) error
	// admitRQ is admit by what is requested.
	admitRQ func(*dimse.AssociationRequest) error
	// receive may do something else than answer success to the nth instance.
	receive func(n int, rq *dimse.Request) dimse.Status

	mu           sync.Mutex
	associations int
	instances    int
	digests      map[dicom.UID][32]byte
	copies       map[dicom.UID]int
}

// serve runs the archive until the test ends and returns its address.
func (a *archive) serve(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a.serveOn(t, l)
	return l.Addr().String()
}

func (a *archive) serveOn(t testing.TB, l net.Listener) {
	t.Helper()
	a.digests, a.copies = map[dicom.UID][32]byte{}, map[dicom.UID]int{}
	server, err := dimse.NewServer(dimse.HandlerFunc(a.associate), dimse.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
}

func (a *archive) associate(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	a.mu.Lock()
	n := a.associations
	a.associations++
	a.mu.Unlock()
	if a.admit != nil {
		if err := a.admit(n); err != nil {
			return nil, err
		}
	}
	if a.admitRQ != nil {
		if err := a.admitRQ(rq); err != nil {
			return nil, err
		}
	}
	return &dimse.Acceptance{
		Results: dimse.Negotiate(rq.RQ, func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
			return offered[0], pdu.ContextAccepted
		}),
		Service:               dimse.Mux{dimse.CStoreRQ: dimse.StoreFunc(a.store), dimse.CEchoRQ: dimse.Echo()},
		AsyncOperationsWindow: &pdu.AsyncOperationsWindow{Invoked: a.window, Performed: 1},
	}, nil
}

func (a *archive) store(_ context.Context, rq *dimse.Request) (dimse.Status, string) {
	a.mu.Lock()
	n := a.instances
	a.instances++
	a.mu.Unlock()
	if a.receive != nil {
		if status := a.receive(n, rq); status != dimse.StatusSuccess {
			return status, ""
		}
	}
	digest := sha256.New()
	if _, err := io.Copy(digest, rq.Data); err != nil {
		return dimse.StatusProcessingFailure, ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	uid := rq.Command.AffectedSOPInstanceUID
	a.digests[uid] = [32]byte(digest.Sum(nil))
	a.copies[uid]++
	return dimse.StatusSuccess, ""
}

// fill opens a spool and stores n instances of various sizes with a job each.
func fill(t testing.TB, n int, sizes ...int) (*spool.Spool, map[dicom.UID][32]byte) {
	t.Helper()
	return fillIn(t, t.TempDir(), n, sizes...)
}

func fillIn(t testing.TB, dir string, n int, sizes ...int) (*spool.Spool, map[dicom.UID][32]byte) {
	t.Helper()
	s, err := spool.Open(dir, spool.Options{SegmentSize: 16 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	digests := map[dicom.UID][32]byte{}
	templates := make([]*synth.Template, len(sizes))
	for i, size := range sizes {
		templates[i] = synth.NewTemplate(size, uint64(i))
	}
	for i := range n {
		o := templates[i%len(sizes)].Object(1, 1, i)
		store(t, s, o)
		digests[dicom.UID(o.SOPInstanceUID)] = sha256.Sum256(o.Data)
	}
	return s, digests
}

// store commits an instance with a job.
func store(t testing.TB, s *spool.Spool, o synth.Object) {
	t.Helper()
	storeAs(t, s, o, transfer.Pair{SOPClassUID: synth.CTImageStorage, TransferSyntaxUID: synth.ExplicitVRLittleEndian})
}

func storeAs(t testing.TB, s *spool.Spool, o synth.Object, pair transfer.Pair) {
	t.Helper()
	w, err := s.Begin(spool.Incoming{
		SOPClassUID: pair.SOPClassUID, SOPInstanceUID: dicom.UID(o.SOPInstanceUID),
		TransferSyntaxUID: pair.TransferSyntaxUID, CallingAETitle: "CT1", CalledAETitle: "DCMGATE",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = w.Write(o.Data); err == nil {
		_, err = w.Commit([]spool.JobSpec{{Destination: "cloud"}})
	}
	if err != nil {
		t.Fatal(err)
	}
}

// deliver forwards until the spool has no open job for the destination.
func deliver(t testing.TB, s *spool.Spool, d Destination) {
	t.Helper()
	d.Name, d.CalledAETitle = "cloud", "CLOUD"
	f, err := New(Options{
		Queue: FromSpool(s), Dialer: &DIMSE{CallingAETitle: "DCMGATE"},
		Destinations: []Destination{d}, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(2 * time.Millisecond) {
		counts := s.Counts()["cloud"]
		if counts.Pending+counts.Active == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not delivered in time: %+v, %+v", counts, f.Status())
		}
	}
}

// quick are retries that do not keep a test waiting.
var quick = Policy{
	Backoff: Backoff{Initial: 20 * time.Millisecond, Max: 100 * time.Millisecond},
	Redial:  Backoff{Initial: 5 * time.Millisecond, Max: 20 * time.Millisecond},
	Probe:   Backoff{Initial: 20 * time.Millisecond, Max: 50 * time.Millisecond},
}

func TestFromSpoolToArchive(t *testing.T) {
	for _, window := range []uint16{1, 8} {
		a := &archive{window: window}
		address := a.serve(t)
		s, sent := fill(t, 40, 1000, 20_000, 300_000, 1_500_000)
		deliver(t, s, Destination{Address: address})
		a.check(t, sent)
		for uid, n := range a.copies {
			if n != 1 {
				t.Errorf("window %d: %s arrived %d times", window, uid, n)
			}
		}
	}
}

// TestDamagedBytesAreNotDelivered changes a byte of some instances on disk, all sizes and ends of them: the destination
// gets all others, none of them charged, and of the damaged ones no whole.
func TestDamagedBytesAreNotDelivered(t *testing.T) {
	for _, window := range []uint16{1, 8} {
		a := &archive{window: window}
		address := a.serve(t)
		dir := t.TempDir()
		s, sent := fillIn(t, dir, 60, 1000, 20_000, 300_000, 1_500_000)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		var damaged []spool.Job
		claimed, err := s.Claim("cloud", 60)
		if err != nil || len(claimed) != 60 {
			t.Fatal(len(claimed), err)
		}
		for i := range claimed {
			j := &claimed[i]
			if i%11 < 2 {
				damaged = append(damaged, *j)
				flip(t, dir, &j.Instance, []int64{1, j.Instance.Size / 2}[i%11])
				delete(sent, j.Instance.SOPInstanceUID)
			}
			if err := s.Complete(spool.Release(j.Key())); err != nil {
				t.Fatal(err)
			}
		}
		deliver(t, s, Destination{Address: address})
		a.check(t, sent)
		if err := s.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := s.Counts()["cloud"], (spool.JobCounts{Parked: int64(len(damaged)), Delivered: int64(len(sent))}); got != want {
			t.Errorf("window %d: %+v, want %+v", window, got, want)
		}
		jobs, _, err := s.Jobs(spool.JobFilter{}, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for i := range jobs {
			j := &jobs[i]
			switch {
			case j.State == spool.JobDelivered && j.Attempts != 0:
				t.Errorf("window %d: %s was charged", window, j.Instance.SOPInstanceUID)
			case j.State == spool.JobParked && (j.Code != "damaged" || j.Instance.Flags&spool.FlagDamaged == 0):
				t.Errorf("window %d: %+v", window, j)
			}
		}
	}
}

// flip changes the byte of an instance's data set that is so far from its end.
func flip(t *testing.T, dir string, in *spool.Instance, fromEnd int64) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "segments", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		// The UID stands in the File Meta Information, in the first block of the record.
		at := bytes.Index(data, []byte(in.SOPInstanceUID))
		if at < 0 {
			continue
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		start := int64(at) - int64(at)%4096 + 64 + in.HeaderLength
		offset := start + in.Size - fromEnd
		if _, err := f.WriteAt([]byte{data[offset] ^ 0x40}, offset); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatalf("%s is in no segment", in.SOPInstanceUID)
}

// check compares what arrived with what was sent, byte for byte.
func (a *archive) check(t *testing.T, sent map[dicom.UID][32]byte) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for uid, digest := range sent {
		if a.digests[uid] != digest {
			t.Errorf("%s did not arrive intact", uid)
		}
	}
	if len(a.digests) != len(sent) {
		t.Errorf("%d instances arrived, %d were sent", len(a.digests), len(sent))
	}
}

// TestFaultyArchive delivers through everything a destination can do wrong.
func TestFaultyArchive(t *testing.T) {
	for _, window := range []uint16{1, 8} {
		a := &archive{window: window}
		a.admit = func(n int) error {
			switch n % 7 {
			case 3:
				return dimse.RejectCongestion("")
			case 5:
				return errors.New("closed for lunch")
			}
			return nil
		}
		a.receive = func(n int, rq *dimse.Request) dimse.Status {
			switch n % 61 {
			case 17: // in the middle of the data set
				_, _ = io.CopyN(io.Discard, rq.Data, 500)
				_ = rq.Association.Abort()
			case 31: // stall
				<-rq.Association.Done()
			case 43:
				return dimse.StatusOutOfResources
			case 53:
				return dimse.StatusProcessingFailure
			case 59: // stored, but the answer is lost
				time.AfterFunc(time.Millisecond, func() { _ = rq.Association.Abort() })
			}
			return dimse.StatusSuccess
		}
		address := a.serve(t)
		s, sent := fill(t, 150, 2000, 40_000)
		deliver(t, s, Destination{
			Address: address, Policy: quick, Linger: 100 * time.Millisecond,
			Timeouts: dimse.Timeouts{DIMSETimeout: 300 * time.Millisecond},
		})
		a.check(t, sent)
		if n := s.Counts()["cloud"].Delivered; n != 150 {
			t.Errorf("window %d: %d delivered: %+v", window, n, s.Counts())
		}
	}
}

// TestArchiveAppearsLate starts with nobody at the destination's address.
func TestArchiveAppearsLate(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := &archive{window: 8}
	later := a.serve(t)
	// A proxy that refuses a few times before it lets connections through.
	var pipes sync.WaitGroup
	pipes.Go(func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if n < 10 {
				_ = c.Close()
				continue
			}
			pipes.Go(func() { pipe(c, later) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		pipes.Wait()
	})
	s, sent := fill(t, 50, 10_000)
	deliver(t, s, Destination{Address: l.Addr().String(), Policy: quick, Linger: 100 * time.Millisecond})
	a.check(t, sent)
}

// pipe connects c with address until either side closes.
func pipe(c net.Conn, address string) {
	defer c.Close()
	other, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer other.Close()
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(other, c)
		_ = other.Close()
		close(done)
	}()
	_, _ = io.Copy(c, other)
	_ = c.Close()
	<-done
}

// TestStopAndGoOn stops the forwarder again and again while it delivers.
func TestStopAndGoOn(t *testing.T) {
	a := &archive{window: 8}
	address := a.serve(t)
	s, sent := fill(t, 200, 20_000)
	d := Destination{Name: "cloud", CalledAETitle: "CLOUD", Address: address}
	for range 10 {
		f, err := New(Options{Queue: FromSpool(s), Dialer: &DIMSE{CallingAETitle: "DCMGATE"}, Destinations: []Destination{d}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(10))*time.Millisecond)
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		if err := s.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := s.Counts()["cloud"].Active; n != 0 {
			t.Errorf("%d leases are left", n)
		}
	}
	deliver(t, s, d)
	a.check(t, sent)
	for uid, n := range a.copies {
		if n != 1 {
			t.Errorf("%s arrived %d times, although no response was lost", uid, n)
		}
	}
}
