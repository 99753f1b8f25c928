package dimse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

func TestEchoStoreRelease(t *testing.T) {
	noLeaks(t)
	into := newSink()
	_, address := serve(t, acceptAll(into.mux()), ServerOptions{})
	a := dial(t, address, nil)
	if status, err := a.Echo(t.Context()); err != nil || status != StatusSuccess {
		t.Fatalf("echo: %v, %v", status, err)
	}
	template := synth.NewTemplate(300<<10, 1)
	for i := range 5 {
		o := template.Object(1, 1, i)
		r, err := a.Store(t.Context(), storeRequest(ctContext(t, a), o))
		if err != nil || r.Status != StatusSuccess {
			t.Fatalf("store %d: %v, %v", i, r.Status, err)
		}
		if r.AffectedSOPInstanceUID != dicom.UID(o.SOPInstanceUID) || r.AffectedSOPClassUID != ctImage {
			t.Errorf("response names %q of class %q", r.AffectedSOPInstanceUID, r.AffectedSOPClassUID)
		}
		into.check(t, o)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Fatalf("release: %v", err)
	}
	if a.Err() != ErrReleased {
		t.Errorf("ended with %v", a.Err())
	}
	var lost *LostError
	if _, err := a.Echo(t.Context()); !errors.As(err, &lost) || lost.RequestWritten {
		t.Errorf("echo after release: %v", err)
	}
}

func TestStoreInAnySizeAndFragmentation(t *testing.T) {
	into := newSink()
	for _, maximum := range []uint32{64, 1018, 4096, 16384, 131072, 1 << 20} {
		_, address := serve(t, acceptAll(into.mux()), ServerOptions{MaximumLength: maximum})
		a := dial(t, address, func(d *Dialer, _ *Proposal) { d.MaximumLength = maximum })
		if got := a.PeerMaximumLength(); got != maximum {
			t.Errorf("peer's maximum length is %d, want %d", got, maximum)
		}
		for i, size := range []int{0, 1, 2, 57, 58, 59, 1012, 1013, 100_001} {
			o := synth.Object{SOPInstanceUID: "2.25." + string(rune('1'+i)), Data: bytes.Repeat([]byte{byte(i)}, size)}
			rq := storeRequest(ctContext(t, a), o)
			if i%2 == 1 {
				rq.Size = -1
			}
			if r, err := a.Store(t.Context(), rq); err != nil || r.Status != StatusSuccess {
				t.Fatalf("maximum %d, size %d: %v, %v", maximum, size, r.Status, err)
			}
			into.check(t, o)
		}
	}
}

func TestPipelinedStoresOverlap(t *testing.T) {
	noLeaks(t)
	const window = 4
	var busy, most atomic.Int32
	all := make(chan struct{})
	service := StoreFunc(func(ctx context.Context, rq *Request) (Status, string) {
		_, _ = io.Copy(io.Discard, rq.Data)
		if n := busy.Add(1); n == window {
			most.Store(n)
			close(all)
		}
		select {
		case <-all:
		case <-ctx.Done():
		}
		return StatusSuccess, ""
	})
	_, address := serve(t, acceptAll(service), ServerOptions{})
	a := dial(t, address, func(_ *Dialer, p *Proposal) { p.AsyncOperationsWindow = window })
	if a.Window() != window {
		t.Fatalf("window is %d", a.Window())
	}
	template := synth.NewTemplate(40<<10, 1)
	var pending []*Pending
	for i := range window {
		p, err := a.StartStore(t.Context(), storeRequest(ctContext(t, a), template.Object(1, 1, i)))
		if err != nil {
			t.Fatal(err)
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if r, err := p.Wait(t.Context()); err != nil || r.Status != StatusSuccess {
			t.Fatal(r.Status, err)
		}
	}
	if most.Load() != window {
		t.Errorf("%d operations overlapped", most.Load())
	}
}

func TestConcurrentStoresOnOneAssociation(t *testing.T) {
	for _, window := range []uint16{0, 8} {
		into := newSink()
		_, address := serve(t, acceptAll(into.mux()), ServerOptions{})
		a := dial(t, address, func(_ *Dialer, p *Proposal) { p.AsyncOperationsWindow = window })
		template := synth.NewTemplate(70<<10, 7)
		var wg sync.WaitGroup
		for g := range 6 {
			wg.Go(func() {
				for i := range 20 {
					o := template.Object(1, g+1, i)
					if r, err := a.Store(t.Context(), storeRequest(ctContext(t, a), o)); err != nil || !r.Status.Ok() {
						t.Errorf("%v, %v", r.Status, err)
						return
					}
					into.check(t, o)
				}
			})
		}
		wg.Wait()
		if err := a.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestUnreadDataIsDrained(t *testing.T) {
	refuse := StoreFunc(func(context.Context, *Request) (Status, string) { return StatusOutOfResources, "disk full" })
	early := ServiceFunc(func(_ context.Context, w ResponseWriter, rq *Request) {
		_, _ = rq.Data.Read(make([]byte, 10))
		if err := w.Respond(Command{Status: StatusOutOfResources, ErrorComment: "disk full"}, nil); err != nil {
			panic(err)
		}
		if err := w.Respond(Command{}, nil); err != ErrOperationEnded {
			panic("second final response")
		}
	})
	nothing := ServiceFunc(func(context.Context, ResponseWriter, *Request) {})
	bug := ServiceFunc(func(context.Context, ResponseWriter, *Request) { panic("bug") })
	for name, c := range map[string]struct {
		service Service
		want    Status
	}{
		"refused": {refuse, StatusOutOfResources}, "early": {early, StatusOutOfResources},
		"no response": {nothing, StatusProcessingFailure}, "panic": {bug, StatusProcessingFailure},
	} {
		t.Run(name, func(t *testing.T) {
			_, address := serve(t, acceptAll(Mux{CStoreRQ: c.service, CEchoRQ: Echo()}), ServerOptions{})
			a := dial(t, address, nil)
			template := synth.NewTemplate(900<<10, 1)
			for i := range 3 {
				r, err := a.Store(t.Context(), storeRequest(ctContext(t, a), template.Object(1, 1, i)))
				if err != nil || r.Status != c.want {
					t.Fatalf("%v, %v", r.Status, err)
				}
			}
			if status, err := a.Echo(t.Context()); err != nil || status != StatusSuccess {
				t.Errorf("echo afterwards: %v, %v", status, err)
			}
		})
	}
}

func TestSourceFailureAbortsAndSaysSo(t *testing.T) {
	_, address := serve(t, acceptAll(newSink().mux()), ServerOptions{})
	a := dial(t, address, nil)
	broken := errors.New("disk read error")
	rq := StoreRequest{ContextID: ctContext(t, a), SOPClassUID: ctImage, SOPInstanceUID: "2.25.1", Size: 1 << 20,
		Data: io.MultiReader(bytes.NewReader(make([]byte, 700<<10)), &failingReader{broken})}
	_, err := a.Store(t.Context(), rq)
	var data *DataError
	if !errors.As(err, &data) || !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	<-a.Done()
	var abort *AbortError
	if !errors.As(a.Err(), &abort) || abort.Remote {
		t.Errorf("association ended with %v", a.Err())
	}
}

// TestSourceFailureLosesNoResponses: two instances are with the peer when the third cannot be read. Their responses come before the
// association is aborted.
func TestSourceFailureLosesNoResponses(t *testing.T) {
	goOn := make(chan struct{})
	slow := StoreFunc(func(ctx context.Context, rq *Request) (Status, string) {
		if _, err := io.Copy(io.Discard, rq.Data); err != nil {
			return StatusProcessingFailure, err.Error()
		}
		select {
		case <-goOn:
		case <-ctx.Done():
		}
		return StatusSuccess, ""
	})
	_, address := serve(t, acceptAll(Mux{CStoreRQ: slow}), ServerOptions{})
	a := dial(t, address, func(_ *Dialer, p *Proposal) { p.AsyncOperationsWindow = 4 })
	template := synth.NewTemplate(20<<10, 1)
	var sent []*Pending
	for i := range 2 {
		p, err := a.StartStore(t.Context(), storeRequest(ctContext(t, a), template.Object(1, 1, i)))
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, p)
	}
	broken := errors.New("disk read error")
	answer := time.AfterFunc(100*time.Millisecond, func() { close(goOn) })
	defer answer.Stop()
	_, err := a.StartStore(t.Context(), StoreRequest{ContextID: ctContext(t, a), SOPClassUID: ctImage, SOPInstanceUID: "2.25.1", Size: 1 << 20, Data: &failingReader{broken}})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	for _, p := range sent {
		if r, err := p.Wait(t.Context()); err != nil || r.Status != StatusSuccess {
			t.Errorf("%v, %v", r.Status, err)
		}
	}
	<-a.Done()
	if !errors.Is(a.Err(), broken) {
		t.Errorf("association ended with %v", a.Err())
	}
}

// An abort does not wait for responses that this side waits for after such a failure.
func TestAbortEndsTheWaitForResponses(t *testing.T) {
	got, ended := make(chan struct{}), make(chan error, 1)
	silent := StoreFunc(func(ctx context.Context, rq *Request) (Status, string) {
		_, _ = io.Copy(io.Discard, rq.Data)
		close(got)
		<-ctx.Done()
		ended <- rq.Association.Err()
		return StatusSuccess, ""
	})
	_, address := serve(t, acceptAll(Mux{CStoreRQ: silent}), ServerOptions{})
	a := dial(t, address, func(d *Dialer, p *Proposal) { p.AsyncOperationsWindow, d.Timeouts.ARTIM = 4, time.Hour })
	if _, err := a.StartStore(t.Context(), storeRequest(ctContext(t, a), synth.NewTemplate(20<<10, 1).Object(1, 1, 1))); err != nil {
		t.Fatal(err)
	}
	<-got
	broken := errors.New("disk read error")
	failed := make(chan error, 1)
	go func() {
		_, err := a.StartStore(t.Context(), StoreRequest{ContextID: ctContext(t, a), SOPClassUID: ctImage, SOPInstanceUID: "2.25.1", Size: 1 << 20, Data: &failingReader{broken}})
		failed <- err
	}()
	select {
	case err := <-failed:
		t.Errorf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := a.Abort(); err != nil {
		t.Error(err)
	}
	var abort *AbortError
	if err := <-ended; !errors.As(err, &abort) || !abort.Remote {
		t.Errorf("the peer is not told: %v", err)
	}
}

type failingReader struct{ err error }

func (r *failingReader) Read([]byte) (int, error) { return 0, r.err }

// find answers a C-FIND with n pending responses, or until it is cancelled.
func find(n int, started chan<- struct{}) Service {
	return ServiceFunc(func(ctx context.Context, w ResponseWriter, rq *Request) {
		_, _ = io.Copy(io.Discard, rq.Data)
		if started != nil {
			started <- struct{}{}
		}
		for i := 0; i != n; i++ {
			select {
			case <-rq.Cancelled:
				_ = w.Respond(Command{Status: StatusCancel}, nil)
				return
			case <-ctx.Done():
				return
			default:
			}
			if w.Respond(Command{Status: StatusPending}, bytes.NewReader([]byte{1, 2, 3, 4})) != nil {
				return
			}
		}
		_ = w.Respond(Command{Status: StatusSuccess}, nil)
	})
}

const studyRootFind = dicom.UID("1.2.840.10008.5.1.4.1.2.2.1")

func dialFind(t *testing.T, address string) (*Association, byte) {
	a := dial(t, address, func(_ *Dialer, p *Proposal) { p.Contexts = contexts(studyRootFind) })
	id, ok := a.Accepted(studyRootFind, "")
	if !ok {
		t.Fatal("not accepted")
	}
	return a, id
}

func TestStreamedResponses(t *testing.T) {
	noLeaks(t)
	const n = 100
	_, address := serve(t, acceptAll(Mux{CFindRQ: find(n, nil)}), ServerOptions{})
	a, id := dialFind(t, address)
	p, err := a.Do(t.Context(), id, Command{CommandField: CFindRQ, AffectedSOPClassUID: studyRootFind}, bytes.NewReader(make([]byte, 20)))
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		r, err := p.Next(t.Context())
		if err != nil || r.Status != StatusPending || !bytes.Equal(r.Data, []byte{1, 2, 3, 4}) {
			t.Fatalf("response %d: %v %v, %v", i, r.Status, r.Data, err)
		}
	}
	if r, err := p.Next(t.Context()); err != nil || r.Status != StatusSuccess {
		t.Fatalf("final: %v, %v", r.Status, err)
	}
	if _, err := p.Next(t.Context()); err != io.EOF {
		t.Errorf("after the final response: %v", err)
	}
}

func TestCancelReachesTheOperation(t *testing.T) {
	noLeaks(t)
	started := make(chan struct{}, 1)
	s, address := serve(t, acceptAll(Mux{CFindRQ: find(-1, started)}), ServerOptions{})
	a, id := dialFind(t, address)
	for range 3 {
		p, err := a.Do(t.Context(), id, Command{CommandField: CFindRQ, AffectedSOPClassUID: studyRootFind}, bytes.NewReader(make([]byte, 20)))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Cancel(t.Context()); err != nil { // at once: the service may not have begun
			t.Fatal(err)
		}
		if r, err := p.Wait(t.Context()); err != nil || r.Status != StatusCancel {
			t.Fatalf("%v, %v", r.Status, err)
		}
		<-started
		if err := p.Cancel(t.Context()); err != nil { // of an operation that is over
			t.Fatal(err)
		}
	}
	_ = s
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCancelOfServiceThatDoesNotAnswer(t *testing.T) {
	quiet := ServiceFunc(func(_ context.Context, _ ResponseWriter, rq *Request) {
		_, _ = io.Copy(io.Discard, rq.Data)
		<-rq.Cancelled
	})
	_, address := serve(t, acceptAll(Mux{CFindRQ: quiet}), ServerOptions{})
	a, id := dialFind(t, address)
	p, err := a.Do(t.Context(), id, Command{CommandField: CFindRQ, AffectedSOPClassUID: studyRootFind}, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Cancel(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := p.Wait(t.Context()); err != nil || r.Status != StatusCancel {
		t.Errorf("%v, %v", r.Status, err)
	}
}

func TestAbandonedResponsesDoNotBlock(t *testing.T) {
	_, address := serve(t, acceptAll(Mux{CFindRQ: find(200, nil), CEchoRQ: Echo()}), ServerOptions{})
	a := dial(t, address, func(_ *Dialer, p *Proposal) { p.Contexts = contexts(studyRootFind, dicom.VerificationSOPClass) })
	p, err := a.Do(t.Context(), 1, Command{CommandField: CFindRQ, AffectedSOPClassUID: studyRootFind}, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	p.Abandon()
	if status, err := a.Echo(t.Context()); err != nil || status != StatusSuccess {
		t.Errorf("%v, %v", status, err)
	}
}

// TestSubOperationsOnTheSameAssociation is what C-GET does: the acceptor stores to the requestor.
func TestSubOperationsOnTheSameAssociation(t *testing.T) {
	noLeaks(t)
	template := synth.NewTemplate(200<<10, 3)
	const n = 10
	get := ServiceFunc(func(ctx context.Context, w ResponseWriter, rq *Request) {
		_, _ = io.Copy(io.Discard, rq.Data)
		id, ok := rq.Association.Accepted(ctImage, "")
		for i := 0; ok && i < n; i++ {
			if r, err := rq.Association.Store(ctx, storeRequest(id, template.Object(1, 1, i))); err != nil || !r.Status.Ok() {
				_ = w.Respond(Command{Status: StatusUnableToPerformSubOps}, nil)
				return
			}
			left := uint16(n - i - 1)
			_ = w.Respond(Command{Status: StatusPending, NumberOfRemainingSuboperations: &left}, nil)
		}
		_ = w.Respond(Command{Status: StatusSuccess}, nil)
	})
	const studyRootGet = dicom.UID("1.2.840.10008.5.1.4.1.2.2.3")
	_, address := serve(t, acceptAll(Mux{CGetRQ: get}), ServerOptions{})
	into := newSink()
	a := dial(t, address, func(_ *Dialer, p *Proposal) {
		p.Contexts = contexts(studyRootGet, ctImage)
		p.RoleSelections = []pdu.RoleSelection{{SOPClassUID: string(ctImage), SCP: true}}
		p.Service = into.mux()
	})
	for _, c := range a.Contexts() {
		if c.AbstractSyntax == ctImage && (c.SCU || !c.SCP) {
			t.Errorf("roles: SCU %v, SCP %v", c.SCU, c.SCP)
		}
	}
	p, err := a.Do(t.Context(), 1, Command{CommandField: CGetRQ, AffectedSOPClassUID: studyRootGet}, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Wait(t.Context()); err != nil || r.Status != StatusSuccess {
		t.Fatalf("%v, %v", r.Status, err)
	}
	for i := range n {
		into.check(t, template.Object(1, 1, i))
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestUnknownOperationAndUnknownContext(t *testing.T) {
	_, address := serve(t, acceptAll(Mux{}), ServerOptions{})
	a := dial(t, address, nil)
	p, err := a.Do(t.Context(), 1, Command{CommandField: 0x0777}, bytes.NewReader(make([]byte, 100)))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := p.Wait(t.Context()); err != nil || r.Status != StatusUnrecognizedOperation {
		t.Errorf("unknown command field: %v, %v", r.Status, err)
	}
	if status, err := a.Echo(t.Context()); err != nil || status != StatusUnrecognizedOperation {
		t.Errorf("operation without service: %v, %v", status, err)
	}
	if _, err := a.Store(t.Context(), StoreRequest{ContextID: 99}); !errors.Is(err, ErrNoContext) {
		t.Errorf("unknown context: %v", err)
	}
}

// TestCloseInterruptsReads: neither end's Close waits for a data set that does not come.
func TestCloseInterruptsReads(t *testing.T) {
	noLeaks(t)
	w := serveWatched(t, ServerOptions{})
	p := connect(t, w.address)
	p.associate(associateRQ())
	p.send(pdata(pdv(storeContext, commandLast, storeRQ(1)), pdv(storeContext, dataMore, make([]byte, 100))))
	eventually(t, "the data set to be read", func() bool {
		w.server.mu.Lock()
		defer w.server.mu.Unlock()
		for a := range w.server.open {
			return a.outstanding() == 1
		}
		return false
	})
	if err := w.server.Close(); err != nil {
		t.Error(err)
	}
	var abort *AbortError
	if err := <-w.reads; !errors.As(err, &abort) || abort.Remote {
		t.Errorf("the service's read failed with %v", err)
	}
	p.expectAbort(user, 0)
}

// TestGivingUpOnAResponse: ctx ends a wait, not the operation; the association stays usable and
// a release waits for what is outstanding.
func TestGivingUpOnAResponse(t *testing.T) {
	noLeaks(t)
	answer := make(chan struct{})
	slow := StoreFunc(func(_ context.Context, rq *Request) (Status, string) {
		_, _ = io.Copy(io.Discard, rq.Data)
		<-answer
		return StatusSuccess, ""
	})
	_, address := serve(t, acceptAll(Mux{CStoreRQ: slow, CEchoRQ: Echo()}), ServerOptions{})
	a := dial(t, address, nil)
	p, err := a.StartStore(t.Context(), storeRequest(ctContext(t, a), synth.NewTemplate(10_000, 1).Object(1, 1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	given, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Wait(given); !errors.Is(err, context.Canceled) {
		t.Errorf("wait: %v", err)
	}
	if _, err := a.Echo(given); !errors.Is(err, context.Canceled) { // the window is full
		t.Errorf("echo: %v", err)
	}
	released := make(chan error, 1)
	go func() { released <- a.Release(t.Context()) }()
	close(answer)
	if r, err := p.Wait(t.Context()); err != nil || r.Status != StatusSuccess {
		t.Errorf("waiting again: %v, %v", r.Status, err)
	}
	if err := <-released; err != nil {
		t.Error(err)
	}
}

// TestDIMSETimeoutIsPerResponse: responses that keep coming keep the operation alive.
func TestDIMSETimeoutIsPerResponse(t *testing.T) { synctest.Test(t, testDIMSETimeoutIsPerResponse) }

func testDIMSETimeoutIsPerResponse(t *testing.T) {
	step := make(chan struct{})
	slow := ServiceFunc(func(_ context.Context, w ResponseWriter, rq *Request) {
		_, _ = io.Copy(io.Discard, rq.Data)
		for range 4 {
			_ = w.Respond(Command{Status: StatusPending}, nil)
			<-step
		}
		_ = w.Respond(Command{}, nil)
	})
	a := dialPipe(t, acceptAll(Mux{CFindRQ: slow}), func(d *Dialer, p *Proposal) {
		p.Contexts = contexts(studyRootFind)
		d.DIMSETimeout = 400 * time.Millisecond
	})
	p, err := a.Do(t.Context(), 1, Command{CommandField: CFindRQ, AffectedSOPClassUID: studyRootFind}, bytes.NewReader(nil))
	if err != nil {
		t.Fatal(err)
	}
	for range 4 { // together longer than the timeout
		if r, err := p.Next(t.Context()); err != nil || r.Status != StatusPending {
			t.Fatalf("%v, %v", r.Status, err)
		}
		time.Sleep(150 * time.Millisecond)
		step <- struct{}{}
	}
	if r, err := p.Wait(t.Context()); err != nil || r.Status != StatusSuccess {
		t.Errorf("%v, %v", r.Status, err)
	}
}
