package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// fakeIntake is a spool whose steps can be made to fail.
type fakeIntake struct {
	mu                            sync.Mutex
	level                         spool.Level
	beginErr, writeErr, commitErr error
	outcome                       spool.StoreOutcome
	stored                        []fakeInstance
	aborted                       chan struct{} // receives for each Abort
}

type fakeInstance struct {
	in   spool.Incoming
	data []byte
	jobs []spool.JobSpec
}

func newFakeIntake() *fakeIntake {
	return &fakeIntake{outcome: spool.Stored, aborted: make(chan struct{}, 100)}
}

func (f *fakeIntake) Begin(in spool.Incoming) (intakeWriter, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.beginErr != nil {
		return nil, f.beginErr
	}
	return &fakeWriter{intake: f, instance: fakeInstance{in: in}}, nil
}

func (f *fakeIntake) Pressure() spool.Level {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.level
}

func (f *fakeIntake) setPressure(l spool.Level) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.level = l
}

func (f *fakeIntake) instances() []fakeInstance {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]fakeInstance(nil), f.stored...)
}

type fakeWriter struct {
	intake   *fakeIntake
	instance fakeInstance
}

func (w *fakeWriter) Write(p []byte) (int, error) {
	if w.intake.writeErr != nil {
		return 0, w.intake.writeErr
	}
	w.instance.data = append(w.instance.data, p...)
	return len(p), nil
}

func (w *fakeWriter) Commit(jobs []spool.JobSpec) (spool.Receipt, error) {
	if w.intake.commitErr != nil {
		return spool.Receipt{}, w.intake.commitErr
	}
	w.intake.mu.Lock()
	defer w.intake.mu.Unlock()
	w.instance.jobs = jobs
	w.intake.stored = append(w.intake.stored, w.instance)
	return spool.Receipt{Outcome: w.intake.outcome, Instance: spool.Instance{SOPInstanceUID: w.instance.in.SOPInstanceUID}}, nil
}

func (w *fakeWriter) Abort() { w.intake.aborted <- struct{}{} }

// serveReceiver runs a receiver on loopback and returns its address.
func serveReceiver(t *testing.T, cfg Config, in intake) string {
	t.Helper()
	return serveLogging(t, cfg, in, slog.New(slog.DiscardHandler))
}

func serveLogging(t *testing.T, cfg Config, in intake, log *slog.Logger) string {
	t.Helper()
	server, err := dimse.NewServer(newReceiver(cfg, in, log, nil), dimse.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// ctContexts proposes CT images, and C-ECHO.
var ctContexts = []pdu.PresentationContext{
	{ID: 1, AbstractSyntax: string(ctImageStorage), TransferSyntaxes: []string{string(explicit)}},
	{ID: 3, AbstractSyntax: string(dicom.VerificationSOPClass), TransferSyntaxes: []string{string(implicit)}},
}

func dialReceiver(t *testing.T, address string, contexts []pdu.PresentationContext) (*dimse.Association, error) {
	t.Helper()
	d := dimse.Dialer{LocalAETitle: "CT1"}
	a, err := d.Dial(t.Context(), address, dimse.Proposal{CalledAETitle: "DCMGATE", Contexts: contexts, AsyncOperationsWindow: 4})
	if err == nil {
		t.Cleanup(func() { a.Close() })
	}
	return a, err
}

func storeRequest(n int, data []byte) dimse.StoreRequest {
	return dimse.StoreRequest{
		ContextID: 1, SOPClassUID: ctImageStorage, SOPInstanceUID: dicom.UID(fmt.Sprintf("1.2.3.%d", n)),
		Data: bytes.NewReader(data), Size: int64(len(data)),
	}
}

func TestStoreKeepsBytesAndOrigin(t *testing.T) {
	cfg := Default()
	cfg.Destinations = []Destination{{Name: "a", Priority: PriorityReceived}, {Name: "b", Priority: PriorityLow}}
	in := newFakeIntake()
	a, err := dialReceiver(t, serveReceiver(t, cfg, in), ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("0123456789"), 100_000)
	rq := storeRequest(1, data)
	rq.Priority = dimse.Priority(spool.PriorityHigh)
	rq.MoveOriginatorAETitle, rq.MoveOriginatorMessageID = "PACS", 7
	rsp, err := a.Store(t.Context(), rq)
	if err != nil || rsp.Status != dimse.StatusSuccess {
		t.Fatalf("got %v, %v", rsp.Status, err)
	}
	got := in.instances()
	if len(got) != 1 || !bytes.Equal(got[0].data, data) {
		t.Fatalf("%d instances stored", len(got))
	}
	w := got[0].in
	if w.SOPInstanceUID != "1.2.3.1" || w.SOPClassUID != ctImageStorage || w.TransferSyntaxUID != explicit ||
		w.CallingAETitle != "CT1" || w.CalledAETitle != "DCMGATE" || w.RemoteAddress != "127.0.0.1" ||
		w.Priority != spool.PriorityHigh || w.MoveOriginatorAETitle != "PACS" || w.MoveOriginatorMessageID != 7 || w.AssociationID == "" {
		t.Errorf("origin %+v", w)
	}
	jobs := []spool.JobSpec{{Destination: "a", Priority: spool.PriorityHigh}, {Destination: "b", Priority: spool.PriorityLow}}
	if fmt.Sprint(got[0].jobs) != fmt.Sprint(jobs) {
		t.Errorf("jobs %v, want %v", got[0].jobs, jobs)
	}
}

// TestStoreStatuses makes each step fail in turn: never is success answered.
func TestStoreStatuses(t *testing.T) {
	noSpace := fmt.Errorf("write segment: %w", syscall.ENOSPC)
	for _, row := range []struct {
		name    string
		break_  func(*fakeIntake)
		request func(*dimse.StoreRequest)
		want    dimse.Status
		aborted bool
	}{
		{"all well", func(*fakeIntake) {}, nil, dimse.StatusSuccess, false},
		{"full", func(f *fakeIntake) { f.beginErr = spool.ErrFull }, nil, dimse.StatusOutOfResources, false},
		{"unhealthy", func(f *fakeIntake) { f.beginErr = fmt.Errorf("%w: EIO", spool.ErrUnhealthy) }, nil, dimse.StatusOutOfResources, false},
		{"closing", func(f *fakeIntake) { f.beginErr = spool.ErrClosed }, nil, dimse.StatusOutOfResources, false},
		{"begin fails", func(f *fakeIntake) { f.beginErr = errors.New("bug") }, nil, dimse.StatusProcessingFailure, false},
		{"disk full in the middle", func(f *fakeIntake) { f.writeErr = noSpace }, nil, dimse.StatusOutOfResources, true},
		{"I/O error in the middle", func(f *fakeIntake) { f.writeErr = syscall.EIO }, nil, dimse.StatusProcessingFailure, true},
		{"disk full at the sync", func(f *fakeIntake) { f.commitErr = noSpace }, nil, dimse.StatusOutOfResources, false},
		{"sync fails", func(f *fakeIntake) { f.commitErr = syscall.EIO }, nil, dimse.StatusProcessingFailure, false},
		{"odd but usable UID", func(*fakeIntake) {}, func(rq *dimse.StoreRequest) { rq.SOPInstanceUID = "01.x.2" }, dimse.StatusSuccess, false},
		{"UID with control characters", func(*fakeIntake) {}, func(rq *dimse.StoreRequest) { rq.SOPInstanceUID = "1.2\n3" }, dimse.StatusInvalidSOPInstance, false},
		{"no instance UID", func(*fakeIntake) {}, func(rq *dimse.StoreRequest) { rq.SOPInstanceUID = "" }, dimse.StatusInvalidSOPInstance, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			in := newFakeIntake()
			row.break_(in)
			a, err := dialReceiver(t, serveReceiver(t, Default(), in), ctContexts)
			if err != nil {
				t.Fatal(err)
			}
			rq := storeRequest(1, make([]byte, 300<<10))
			if row.request != nil {
				row.request(&rq)
			}
			rsp, err := a.Store(t.Context(), rq)
			if err != nil || rsp.Status != row.want {
				t.Fatalf("got %v, %v, want %v", rsp.Status, err, row.want)
			}
			if got := len(in.aborted) > 0; got != row.aborted {
				t.Errorf("aborted %v, want %v", got, row.aborted)
			}
			// The association goes on: what was left unread has been drained.
			if status, err := a.Echo(t.Context()); err != nil || status != dimse.StatusSuccess {
				t.Errorf("echo afterwards: %v, %v", status, err)
			}
		})
	}
}

func TestDisconnectInTheMiddleAborts(t *testing.T) {
	in := newFakeIntake()
	a, err := dialReceiver(t, serveReceiver(t, Default(), in), ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	rq := storeRequest(1, nil)
	rq.Size = 10 << 20
	rq.Data = io.MultiReader(bytes.NewReader(make([]byte, 5<<20)), failingReader{})
	if _, err := a.Store(t.Context(), rq); err == nil {
		t.Fatal("want an error")
	}
	<-in.aborted
	if n := len(in.instances()); n != 0 {
		t.Errorf("%d instances stored", n)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("the sender is unplugged") }

func TestPressureTurnsSendersAway(t *testing.T) {
	in := newFakeIntake()
	in.setPressure(spool.LevelReject)
	address := serveReceiver(t, Default(), in)
	_, err := dialReceiver(t, address, ctContexts)
	var rejected *dimse.RejectError
	if !errors.As(err, &rejected) || rejected.Result != pdu.RejectedTransient || rejected.Reason != pdu.RejectPresentationTemporaryCongestion {
		t.Fatalf("got %v, want a transient rejection", err)
	}
	a, err := dialReceiver(t, address, ctContexts[1:])
	if err != nil {
		t.Fatalf("an association for C-ECHO alone: %v", err)
	}
	if status, err := a.Echo(t.Context()); err != nil || status != dimse.StatusSuccess {
		t.Errorf("echo: %v, %v", status, err)
	}
}

func TestBulkSendersAreSlowedDown(t *testing.T) {
	in := newFakeIntake()
	in.setPressure(spool.LevelSlow)
	r := newReceiver(Default(), in, slog.New(slog.DiscardHandler), nil)
	s := newStorage(r, &dimse.AssociationRequest{RQ: &pdu.AssociateRQ{}})
	request := func() *dimse.Request {
		return &dimse.Request{
			Context: dimse.NegotiatedContext{AbstractSyntax: ctImageStorage, TransferSyntax: explicit, SCP: true},
			Command: dimse.Command{AffectedSOPClassUID: ctImageStorage, AffectedSOPInstanceUID: "1.2"},
			Data:    bytes.NewReader(nil),
		}
	}
	// An ended context would end any delay at once, so a few instances on a
	// live one show that there is none for them.
	for range bulkAfter {
		if status, _ := s.store(t.Context(), request()); status != dimse.StatusSuccess {
			t.Fatal(status)
		}
	}
	begun := time.Now()
	s.store(t.Context(), request())
	if took := time.Since(begun); took < bulkDelay {
		t.Errorf("instance %d was answered after %v, want at least %v", bulkAfter+1, took, bulkDelay)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	s.store(ended, request()) // returns
}

func TestOverlapIsBoundedAndOwnWriterIsNeverLent(t *testing.T) {
	r := newReceiver(Default(), newFakeIntake(), slog.New(slog.DiscardHandler), nil)
	rq := &dimse.AssociationRequest{RQ: &pdu.AssociateRQ{}}
	greedy, modest := newStorage(r, rq), newStorage(r, rq)
	take := func(s *storage) func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		release, err := s.reserve(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return release
	}
	var held []func()
	for range 1 + overlapping {
		held = append(held, take(greedy))
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := greedy.reserve(ended); err == nil {
		t.Fatal("more writers than allowed")
	}
	first := take(modest) // its own
	if _, err := modest.reserve(ended); err == nil {
		t.Fatal("a second writer although none is left")
	}
	first()
	second := take(modest) // the own one is back, however many the other holds
	second()
	for _, release := range held {
		release()
	}
	if len(r.overlap) != 0 || len(greedy.own) != 0 {
		t.Errorf("not given back: %d shared, %d own", len(r.overlap), len(greedy.own))
	}
}

func TestTallyCountsByStatus(t *testing.T) {
	tl := newTally(nil)
	for _, s := range []dimse.Status{dimse.StatusSuccess, dimse.StatusSuccess, dimse.StatusOutOfResources, 0x1234} {
		tl.count(s)
	}
	if got := tl.status(); got.Instances != 2 || got.Refused != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestMeter(t *testing.T) {
	now := time.Unix(1000, 0)
	m := meter{now: func() time.Time { return now }}
	for range 10 {
		m.add(50)
		now = now.Add(time.Second)
	}
	if got := m.perSecond(); got != 50 {
		t.Errorf("got %g per second, want 50", got)
	}
	now = now.Add(time.Minute)
	if got := m.perSecond(); got != 0 {
		t.Errorf("after a minute: got %g per second, want 0", got)
	}
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestNewVersionsAreLogged: one warning that names the instance, repetitions
// counted.
func TestNewVersionsAreLogged(t *testing.T) {
	var out lockedBuffer
	in := newFakeIntake()
	in.outcome = spool.NewVersion
	address := serveLogging(t, configure(t, ""), in, slog.New(slog.NewTextHandler(&out, nil)))
	a, err := dialReceiver(t, address, ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		if r, err := a.Store(t.Context(), storeRequest(n, []byte("data"))); err != nil || r.Status != dimse.StatusSuccess {
			t.Fatal(r.Status, err)
		}
	}
	text := out.String()
	if strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "other content under known UIDs") ||
		!strings.Contains(text, "sop_instance_uid="+string(storeRequest(0, nil).SOPInstanceUID)) {
		t.Errorf("got\n%s", text)
	}
}

func TestTroubleIsNotRepeated(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	now := time.Unix(0, 0)
	tr := newTrouble()
	tr.now = func() time.Time { return now }
	for range 5 {
		tr.report(log, "room", "out of resources")
	}
	if got := bytes.Count(out.Bytes(), []byte("out of resources")); got != 1 {
		t.Errorf("logged %d times, want 1", got)
	}
	now = now.Add(repeatAfter)
	tr.report(log, "room", "out of resources")
	if !bytes.Contains(out.Bytes(), []byte("repeated=4")) {
		t.Errorf("got %s, want the repetitions counted", out.String())
	}
}
