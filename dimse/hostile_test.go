package dimse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// short are timers that a test can wait for.
func short() ServerOptions {
	return ServerOptions{Timeouts: Timeouts{ARTIM: 200 * time.Millisecond, PDUTimeout: 200 * time.Millisecond,
		IdleTimeout: 200 * time.Millisecond, WriteTimeout: 200 * time.Millisecond, DIMSETimeout: 200 * time.Millisecond}}
}

const (
	user     = pdu.AbortSourceServiceUser
	provider = pdu.AbortSourceServiceProvider
)

// TestBeforeAssociation is what may come in Sta2 instead of an A-ASSOCIATE-RQ.
func TestBeforeAssociation(t *testing.T) {
	rq := encode(t, associateRQ())
	for name, c := range map[string]struct {
		send  []byte
		abort bool // AA-1 answers; otherwise AA-2 closes without a word
	}{
		"nothing":              {nil, false},
		"half a request":       {rq[:len(rq)/2], false},
		"garbage":              {[]byte("\xde\xad\xbe\xef garbage"), true},
		"HTTP":                 {[]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), true},
		"TLS":                  {[]byte("\x16\x03\x01\x02\x00\x01\x00"), true},
		"announces 4 GiB":      {[]byte("\x01\x00\xff\xff\xff\xff"), true},
		"too short":            {[]byte("\x01\x00\x00\x00\x00\x04abcd"), true},
		"A-ASSOCIATE-AC":       {encode(t, &pdu.AssociateAC{ProtocolVersion: 1, ApplicationContext: pdu.ApplicationContextName}), true},
		"A-ASSOCIATE-RJ":       {encode(t, &pdu.AssociateRJ{Result: 1, Source: 1, Reason: 1}), true},
		"P-DATA-TF":            {pdata(pdv(1, commandLast, echoRQ(1))), true},
		"A-RELEASE-RQ":         {encode(t, &pdu.ReleaseRQ{}), true},
		"A-RELEASE-RP":         {encode(t, &pdu.ReleaseRP{}), true},
		"A-ABORT":              {encode(t, &pdu.Abort{}), false},
		"request full of junk": {append(append([]byte("\x01\x00\x00\x00\x01\x00"), bytes.Repeat([]byte{0xEE}, 256)...), rq...), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, p := watchPipe(t, short())
				go p.send(c.send) // not all of which is read
				if c.abort {
					p.expectAbort(user, 0)
				}
				p.expectClose(false)
				w.idle(t)
			})
		})
	}
}

// TestTrickledRequest: ARTIM does not start again with every byte.
func TestTrickledRequest(t *testing.T) { synctest.Test(t, testTrickledRequest) }

func testTrickledRequest(t *testing.T) {
	w, p := watchPipe(t, short())
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, b := range encode(t, associateRQ()) {
			p.send([]byte{b})
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	start := time.Now()
	p.expectClose(false)
	close(stop)
	wg.Wait()
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	w.idle(t)
}

func TestRejections(t *testing.T) {
	h := HandlerFunc(func(ctx context.Context, rq *AssociationRequest) (*Acceptance, error) {
		switch rq.CallingAETitle() {
		case "UNKNOWN":
			return nil, RejectCallingAETitle("not under peers")
		case "BROKEN":
			return nil, errors.New("spool is full")
		case "PANIC":
			panic("bug")
		case "NIL":
			return nil, nil
		}
		if rq.CalledAETitle() != "DCMGATE" {
			return nil, RejectCalledAETitle("this is DCMGATE")
		}
		return acceptAll(Echo())(ctx, rq)
	})
	_, address := serve(t, h, ServerOptions{})
	for name, c := range map[string]struct {
		change func(*pdu.AssociateRQ)
		want   pdu.AssociateRJ
	}{
		"protocol version":    {func(rq *pdu.AssociateRQ) { rq.ProtocolVersion = 2 }, pdu.AssociateRJ{Result: 1, Source: 2, Reason: 2}},
		"application context": {func(rq *pdu.AssociateRQ) { rq.ApplicationContext = "1.2.3" }, pdu.AssociateRJ{Result: 1, Source: 1, Reason: 2}},
		"calling AE title":    {func(rq *pdu.AssociateRQ) { rq.CallingAETitle = "UNKNOWN" }, pdu.AssociateRJ{Result: 1, Source: 1, Reason: 3}},
		"called AE title":     {func(rq *pdu.AssociateRQ) { rq.CalledAETitle = "OTHER" }, pdu.AssociateRJ{Result: 1, Source: 1, Reason: 7}},
		"other error":         {func(rq *pdu.AssociateRQ) { rq.CallingAETitle = "BROKEN" }, pdu.AssociateRJ{Result: 2, Source: 3, Reason: 1}},
		"panic":               {func(rq *pdu.AssociateRQ) { rq.CallingAETitle = "PANIC" }, pdu.AssociateRJ{Result: 2, Source: 3, Reason: 1}},
		"no decision":         {func(rq *pdu.AssociateRQ) { rq.CallingAETitle = "NIL" }, pdu.AssociateRJ{Result: 2, Source: 3, Reason: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, address)
			rq := associateRQ()
			c.change(rq)
			p.send(encode(t, rq))
			v, _ := p.receive()
			if rj, ok := v.(*pdu.AssociateRJ); !ok || *rj != c.want {
				t.Fatalf("got %T %v, want %v", v, v, &c.want)
			}
			p.expectClose(true)
		})
	}
	d := &Dialer{}
	_, err := d.Dial(t.Context(), address, Proposal{CalledAETitle: "DCMGATE", CallingAETitle: "UNKNOWN", Contexts: contexts(ctImage)})
	var rejected *RejectError
	if !errors.As(err, &rejected) || !rejected.Permanent() || rejected.Reason != pdu.RejectUserCallingAETitleNotRecognized {
		t.Errorf("Dial: %v", err)
	}
}

// TestViolations is what may go wrong on an established association, and how it is aborted.
func TestViolations(t *testing.T) {
	noLeaks(t)
	w := serveWatched(t, ServerOptions{})
	noField := element(0, 0x0110, 2, "\x01\x00")
	interleaved := pdata(pdv(storeContext, commandLast, storeRQ(1)), pdv(storeContext, dataMore, []byte("12")))
	for name, c := range map[string]struct {
		send   []byte
		source pdu.AbortSource
		reason pdu.AbortReason
	}{
		"second A-ASSOCIATE-RQ":        {encode(t, associateRQ()), provider, pdu.AbortReasonUnexpectedPDU},
		"A-ASSOCIATE-AC":               {encode(t, &pdu.AssociateAC{ProtocolVersion: 1, ApplicationContext: pdu.ApplicationContextName}), provider, pdu.AbortReasonUnexpectedPDU},
		"A-ASSOCIATE-RJ":               {encode(t, &pdu.AssociateRJ{Result: 1, Source: 1, Reason: 1}), provider, pdu.AbortReasonUnexpectedPDU},
		"A-RELEASE-RP":                 {encode(t, &pdu.ReleaseRP{}), provider, pdu.AbortReasonUnexpectedPDU},
		"unknown PDU type":             {[]byte{0x42, 0, 0, 0, 0, 4, 1, 2, 3, 4}, provider, pdu.AbortReasonUnrecognizedPDU},
		"PDV beyond its PDU":           {[]byte{4, 0, 0, 0, 0, 8, 0, 0, 1, 0, 1, 3, 9, 9}, provider, pdu.AbortReasonInvalidParameterValue},
		"P-DATA-TF longer than agreed": {[]byte{4, 0, 0x7F, 0, 0, 0}, provider, pdu.AbortReasonInvalidParameterValue},
		"unknown context":              {pdata(pdv(99, commandLast, echoRQ(1))), provider, pdu.AbortReasonInvalidParameterValue},
		"even context":                 {pdata(pdv(2, commandLast, echoRQ(1))), provider, pdu.AbortReasonInvalidParameterValue},
		"data set first":               {pdata(pdv(storeContext, dataLast, []byte("12"))), provider, pdu.AbortReasonUnexpectedParameter},
		"command set without field":    {pdata(pdv(echoContext, commandLast, []byte(noField))), provider, pdu.AbortReasonInvalidParameterValue},
		"garbage command set":          {pdata(pdv(echoContext, commandLast, []byte("garbage"))), provider, pdu.AbortReasonInvalidParameterValue},
		"endless command set":          {bytes.Repeat(pdata(pdv(echoContext, commandMore, make([]byte, 10000))), 8), provider, pdu.AbortReasonInvalidParameterValue},
		"command instead of data set":  {pdata(pdv(storeContext, commandLast, storeRQ(1)), pdv(storeContext, commandLast, storeRQ(2))), provider, pdu.AbortReasonUnexpectedParameter},
		"data set in other context":    {pdata(pdv(storeContext, commandLast, storeRQ(1)), pdv(echoContext, dataLast, []byte("12"))), provider, pdu.AbortReasonUnexpectedParameter},
		"context changes in data set":  {append(bytes.Clone(interleaved), pdata(pdv(echoContext, dataLast, []byte("12")))...), provider, pdu.AbortReasonInvalidParameterValue},
		"command inside data set":      {append(bytes.Clone(interleaved), pdata(pdv(storeContext, commandLast, storeRQ(2)))...), provider, pdu.AbortReasonInvalidParameterValue},
		"request inside data set":      {append(bytes.Clone(interleaved), encode(t, associateRQ())...), provider, pdu.AbortReasonUnexpectedPDU},
		"release inside data set":      {append(bytes.Clone(interleaved), encode(t, &pdu.ReleaseRQ{})...), user, 0},
		"release before data set":      {append(pdata(pdv(storeContext, commandLast, storeRQ(1))), encode(t, &pdu.ReleaseRQ{})...), user, 0},
		"release inside command set":   {append(pdata(pdv(storeContext, commandMore, storeRQ(1)[:20])), encode(t, &pdu.ReleaseRQ{})...), user, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := connect(t, w.address)
			p.associate(associateRQ())
			p.send(c.send)
			p.expectAbort(c.source, c.reason)
			p.send(bytes.Repeat([]byte{0xEE}, 100_000)) // what is on the way must not cost us the abort
			p.expectClose(true)
		})
	}
	t.Cleanup(func() { w.idle(t) })
}

// TestMessageCutShort is how a peer may leave in the middle of a data set: the service's read
// fails and nothing is answered.
func TestMessageCutShort(t *testing.T) {
	begin := append(pdata(pdv(storeContext, commandLast, storeRQ(1))), pdata(pdv(storeContext, dataMore, make([]byte, 5000)))...)
	var abort *AbortError
	for name, c := range map[string]struct {
		leave func(p *scripted)
		check func(err error) bool
	}{
		"abort":      {func(p *scripted) { p.send(encode(t, &pdu.Abort{Source: 2, Reason: 1})) }, func(err error) bool { return errors.As(err, &abort) && abort.Remote }},
		"disconnect": {func(p *scripted) { _ = p.conn.Close() }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) }},
		"half a PDU": {func(p *scripted) {
			p.send(pdata(pdv(storeContext, dataLast, make([]byte, 99)))[:50])
			_ = p.conn.Close()
		},
			func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) }},
		"stall":          {func(p *scripted) { p.expectAbort(user, 0) }, func(err error) bool { return errors.As(err, new(*TimeoutError)) }},
		"stall in a PDU": {func(p *scripted) { p.send([]byte{4, 0, 0}); p.expectAbort(user, 0) }, func(err error) bool { return errors.As(err, new(*TimeoutError)) }},
		"stall in a PDV": {func(p *scripted) {
			p.send(pdata(pdv(storeContext, dataLast, make([]byte, 99)))[:50])
			p.expectAbort(user, 0)
		}, func(err error) bool { return errors.As(err, new(*TimeoutError)) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, p := watchPipe(t, short())
				p.associate(associateRQ())
				p.send(begin)
				c.leave(p)
				if err := <-w.reads; err == nil || !c.check(err) {
					t.Errorf("the service's read failed with %v", err)
				}
				_ = p.conn.Close()
				if end := <-w.ends; !c.check(end.Err) || end.Performed != 0 {
					t.Errorf("the association ended with %v after %d operations", end.Err, end.Performed)
				}
				w.idle(t)
			})
		})
	}
}

// TestTrickledMessage: bytes that keep coming within PDUTimeout do not keep a PDU alive for
// longer than that.
func TestTrickledMessage(t *testing.T) { synctest.Test(t, testTrickledMessage) }

func testTrickledMessage(t *testing.T) {
	w, p := watchPipe(t, short())
	p.associate(associateRQ())
	p.send(pdata(pdv(storeContext, commandLast, storeRQ(1))))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, b := range pdata(pdv(storeContext, dataLast, make([]byte, 4000))) {
			p.send([]byte{b})
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	})
	p.expectAbort(user, 0)
	close(stop)
	wg.Wait()
	p.expectClose(true)
	if err := <-w.reads; !errors.As(err, new(*TimeoutError)) {
		t.Errorf("read failed with %v", err)
	}
}

// TestMinimumRate drives the accounting without waiting: a peer that keeps each PDU's time but
// sends next to nothing.
func TestMinimumRate(t *testing.T) {
	s := &stream{limits: Timeouts{}.withDefaults(time.Minute)}
	s.awaitMessage(1)
	for i := range 100 {
		s.beginPDU()
		if err := s.account(7, nil, time.Second); err != nil {
			if i < 30 {
				t.Fatalf("after %d s: %v", i, err)
			}
			return
		}
	}
	t.Error("7 bytes per second went on for 100 s")
}

// TestSlowServiceIsNotThePeersFault: time a service takes between reads is not the peer's.
func TestSlowServiceIsNotThePeersFault(t *testing.T) { synctest.Test(t, testSlowService) }

func testSlowService(t *testing.T) {
	o := short()
	o.WriteTimeout = time.Minute
	service := StoreFunc(func(_ context.Context, rq *Request) (Status, string) {
		buf := make([]byte, 10_000)
		for {
			_, err := rq.Data.Read(buf)
			if err == io.EOF {
				return StatusSuccess, ""
			}
			if err != nil {
				return StatusProcessingFailure, err.Error()
			}
			time.Sleep(10 * time.Millisecond) // 250 ms for a PDU
		}
	})
	_, conn := pipe(t, acceptAll(service), o)
	p := script(t, conn)
	p.associate(associateRQ())
	p.send(pdata(pdv(storeContext, commandLast, storeRQ(1))))
	for _, kind := range []byte{dataMore, dataMore, dataLast} {
		p.send(pdata(pdv(storeContext, kind, make([]byte, 250_000))))
	}
	if c := p.response(); c.Status != StatusSuccess {
		t.Errorf("%v %s", c.Status, c.ErrorComment)
	}
}

func TestIdleAssociationIsAborted(t *testing.T) { synctest.Test(t, testIdleAssociationIsAborted) }

func testIdleAssociationIsAborted(t *testing.T) {
	w, p := watchPipe(t, short())
	p.associate(associateRQ())
	p.expectAbort(user, 0)
	p.expectClose(true)
	if end := <-w.ends; !errors.As(end.Err, new(*TimeoutError)) {
		t.Errorf("ended with %v", end.Err)
	}
	w.idle(t)
}

// TestPeerThatDoesNotClose costs ARTIM and no more.
func TestPeerThatDoesNotClose(t *testing.T) { synctest.Test(t, testPeerThatDoesNotClose) }

func testPeerThatDoesNotClose(t *testing.T) {
	w, p := watchPipe(t, short())
	p.associate(associateRQ())
	p.send(encode(t, &pdu.ReleaseRQ{}))
	if v, _ := p.receive(); v.Type() != pdu.TypeReleaseRP {
		t.Fatalf("got %v", v)
	}
	p.expectClose(false)
	w.idle(t)
}

// TestAfterTheEnd: what comes in Sta13 is ignored or answered by A-ABORT, as the table says.
func TestAfterTheEnd(t *testing.T) {
	w := serveWatched(t, ServerOptions{})
	p := connect(t, w.address)
	p.associate(associateRQ())
	p.send(encode(t, &pdu.ReleaseRQ{}), pdata(pdv(echoContext, commandLast, echoRQ(1))), encode(t, associateRQ()))
	if v, _ := p.receive(); v.Type() != pdu.TypeReleaseRP {
		t.Fatalf("got %v", v)
	}
	p.expectAbort(provider, pdu.AbortReasonUnexpectedPDU) // AA-7, for the A-ASSOCIATE-RQ only
	p.expectClose(true)
	w.idle(t)
}

func TestAnyFragmentation(t *testing.T) {
	w := serveWatched(t, ServerOptions{})
	command, data := storeRQ(1), bytes.Repeat([]byte("ab"), 500)
	empty := pdv(storeContext, commandMore, nil)
	for name, bytes := range map[string][]byte{
		"mixed in one PDU":    pdata(pdv(storeContext, commandLast, command), pdv(storeContext, dataLast, data)),
		"two messages in one": pdata(pdv(storeContext, commandLast, command), pdv(storeContext, dataLast, data), pdv(echoContext, commandLast, echoRQ(2))),
		"command in pieces":   append(pdata(pdv(storeContext, commandMore, command[:7]), empty), pdata(empty, pdv(storeContext, commandLast, command[7:]), pdv(storeContext, dataMore, data[:1]), pdv(storeContext, dataLast, data[1:]))...),
		"empty last fragment": pdata(pdv(storeContext, commandLast, command), pdv(storeContext, dataMore, data), pdv(storeContext, dataLast, nil)),
		"empty data set":      pdata(pdv(storeContext, commandLast, command), pdv(storeContext, dataLast, nil)),
		"unknown header bits": pdata(pdv(storeContext, commandLast|0xF0, command), pdv(storeContext, dataLast|0xF0, data)),
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, w.address)
			p.associate(associateRQ())
			for _, b := range bytes { // a byte at a time
				p.send([]byte{b})
			}
			if c := p.response(); c.CommandField != CStoreRSP || c.Status != StatusSuccess || c.MessageIDBeingRespondedTo != 1 {
				t.Fatalf("%+v", c)
			}
			if strings.HasPrefix(name, "two") {
				if c := p.response(); c.CommandField != CEchoRSP || c.MessageIDBeingRespondedTo != 2 {
					t.Fatalf("%+v", c)
				}
			}
			p.send(encode(t, &pdu.ReleaseRQ{}))
			if v, _ := p.receive(); v.Type() != pdu.TypeReleaseRP {
				t.Fatalf("got %v", v)
			}
		})
	}
}

func TestBadMessagesAreAnswered(t *testing.T) {
	w := serveWatched(t, ServerOptions{})
	echoWithData := Command{CommandField: CEchoRQ, MessageID: 1, HasDataSet: true}
	storeWithout := Command{CommandField: CStoreRQ, MessageID: 2, AffectedSOPClassUID: ctImage}
	unknown := Command{CommandField: 0x0666, MessageID: 3, HasDataSet: true}
	strayResponse := Command{CommandField: CStoreRSP, MessageIDBeingRespondedTo: 77, HasDataSet: true}
	p := connect(t, w.address)
	rq := associateRQ()
	rq.AsyncOperationsWindow = &pdu.AsyncOperationsWindow{Invoked: 3, Performed: 1}
	p.associate(rq)
	expect := func(id uint16, status Status) {
		t.Helper()
		if c := p.response(); c.MessageIDBeingRespondedTo != id || c.Status != status {
			t.Errorf("got %v for message %d, want %v for %d", c.Status, c.MessageIDBeingRespondedTo, status, id)
		}
	}
	data := pdv(storeContext, dataLast, make([]byte, 100))
	p.send(pdata(pdv(echoContext, commandLast, echoWithData.Append(nil)), pdv(echoContext, dataLast, make([]byte, 100))))
	expect(1, StatusProcessingFailure)
	p.send(pdata(pdv(storeContext, commandLast, storeWithout.Append(nil))))
	expect(2, StatusProcessingFailure)
	p.send(pdata(pdv(storeContext, commandLast, unknown.Append(nil)), data))
	expect(3, StatusUnrecognizedOperation)
	p.send(pdata(pdv(storeContext, commandLast, strayResponse.Append(nil)), data)) // ignored
	p.send(pdata(pdv(findContext, commandLast, cancelRQ(55))))                     // ignored

	// A message ID that is in use: the find goes on until it is cancelled.
	p.send(pdata(pdv(findContext, commandLast, findRQ(9)), pdv(findContext, dataLast, nil)))
	p.send(pdata(pdv(storeContext, commandLast, storeRQ(9)), data))
	for c := p.response(); c.Status != StatusDuplicateInvocation; c = p.response() {
		if c.Status != StatusPending {
			t.Fatalf("%+v", c)
		}
		skipDataSet(t, p)
	}
	p.send(pdata(pdv(findContext, commandLast, cancelRQ(9))))
	for c := p.response(); c.Status != StatusCancel; c = p.response() {
		skipDataSet(t, p)
	}
	p.send(pdata(pdv(echoContext, commandLast, echoRQ(9))))
	expect(9, StatusSuccess)
}

func skipDataSet(t *testing.T, p *scripted) {
	if _, err := p.r.Next(); err != nil {
		t.Fatal(err)
	}
	if err := p.r.Skip(); err != nil {
		t.Fatal(err)
	}
}

// TestReleaseWaitsForAnswers: the peer asks for release while an operation is being served.
func TestReleaseWaitsForAnswers(t *testing.T) {
	noLeaks(t)
	release := make(chan struct{})
	service := StoreFunc(func(_ context.Context, rq *Request) (Status, string) {
		_, _ = io.Copy(io.Discard, rq.Data)
		<-release
		return StatusSuccess, ""
	})
	_, address := serve(t, acceptAll(service), ServerOptions{})
	p := connect(t, address)
	p.associate(associateRQ())
	p.send(pdata(pdv(storeContext, commandLast, storeRQ(1)), pdv(storeContext, dataLast, []byte("12"))), encode(t, &pdu.ReleaseRQ{}))
	close(release)
	if c := p.response(); c.Status != StatusSuccess {
		t.Fatalf("%+v", c)
	}
	if v, _ := p.receive(); v.Type() != pdu.TypeReleaseRP {
		t.Fatalf("got %v", v)
	}
	p.expectClose(true)
}

// TestAbortIsNoticedWhileServing: a service that waits on its context learns of the abort,
// though with a window of one nothing but the loan's end makes anybody read.
func TestAbortIsNoticedWhileServing(t *testing.T) {
	noLeaks(t)
	gone := make(chan struct{})
	service := StoreFunc(func(ctx context.Context, rq *Request) (Status, string) {
		_, _ = io.Copy(io.Discard, rq.Data)
		<-ctx.Done()
		close(gone)
		return StatusSuccess, ""
	})
	_, address := serve(t, acceptAll(service), ServerOptions{})
	p := connect(t, address)
	p.associate(associateRQ())
	p.send(pdata(pdv(storeContext, commandLast, storeRQ(1)), pdv(storeContext, dataLast, []byte("12"))), encode(t, &pdu.Abort{}))
	select {
	case <-gone:
	case <-time.After(2 * time.Minute):
		t.Fatal("the service was never told")
	}
}

// TestReleaseCollisionAsAcceptor goes through Sta10 and Sta12.
func TestReleaseCollisionAsAcceptor(t *testing.T) {
	noLeaks(t)
	released := make(chan error, 1)
	associations := make(chan *Association, 1)
	service := ServiceFunc(func(_ context.Context, w ResponseWriter, rq *Request) {
		_ = w.Respond(Command{}, nil)
		associations <- rq.Association
	})
	_, address := serve(t, acceptAll(service), ServerOptions{})
	p := connect(t, address)
	p.associate(associateRQ())
	p.send(pdata(pdv(echoContext, commandLast, echoRQ(1))))
	p.response()
	a := <-associations
	go func() { released <- a.Release(context.Background()) }()
	if v, _ := p.receive(); v.Type() != pdu.TypeReleaseRQ {
		t.Fatalf("got %v", v)
	}
	p.send(encode(t, &pdu.ReleaseRQ{})) // AR-8: Sta10
	eventually(t, "Sta10", func() bool { return a.fsm.current() == sta10 })
	p.send(encode(t, &pdu.ReleaseRP{})) // AR-10: Sta12, then AR-4
	if v, _ := p.receive(); v.Type() != pdu.TypeReleaseRP {
		t.Fatalf("got %v", v)
	}
	p.expectClose(true)
	if err := <-released; err != nil {
		t.Error(err)
	}
}

// scriptedAcceptor listens for one association of a Dialer.
func scriptedAcceptor(t *testing.T, act func(p *scripted)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		act(script(t, conn))
	}()
	return l.Addr().String()
}

// accept answers the request with all contexts accepted; window 0 leaves that item out.
func (p *scripted) accept(window uint16) {
	v, _ := p.receive()
	rq := v.(*pdu.AssociateRQ)
	ac := pdu.NewAssociateAC(rq)
	ac.ProtocolVersion, ac.ApplicationContext = pdu.ProtocolVersion1, pdu.ApplicationContextName
	ac.Results = Negotiate(rq, firstOffered)
	ac.MaximumLength = 16384
	if window > 0 {
		ac.AsyncOperationsWindow = &pdu.AsyncOperationsWindow{Invoked: window, Performed: 1}
	}
	p.send(encode(p.t, ac))
}

// TestReleaseCollisionAsRequestor goes through Sta9 and Sta11.
func TestReleaseCollisionAsRequestor(t *testing.T) {
	noLeaks(t)
	address := scriptedAcceptor(t, func(p *scripted) {
		p.accept(0)
		if v, _ := p.receive(); v.Type() != pdu.TypeReleaseRQ {
			t.Errorf("got %v", v)
		}
		p.send(encode(t, &pdu.ReleaseRQ{}))
		if v, _ := p.receive(); v.Type() != pdu.TypeReleaseRP {
			t.Errorf("got %v", v)
		}
		p.send(encode(t, &pdu.ReleaseRP{}))
	})
	a := dial(t, address, nil)
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRequestorsFailures(t *testing.T) {
	var rejected *RejectError
	var abort *AbortError
	for name, c := range map[string]struct {
		act   func(p *scripted)
		check func(error) bool
	}{
		"rejected": {func(p *scripted) {
			p.receive()
			p.send(encode(t, &pdu.AssociateRJ{Result: 2, Source: 3, Reason: 2}))
			p.expectClose(false)
		}, func(err error) bool { return errors.As(err, &rejected) && !rejected.Permanent() }},
		"aborted": {func(p *scripted) { p.receive(); p.send(encode(t, &pdu.Abort{Source: 2, Reason: 1})) },
			func(err error) bool { return errors.As(err, &abort) && abort.Remote && abort.Reason == 1 }},
		"closed": {func(p *scripted) { p.receive() }, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) || isReset(err) }},
		"garbage": {func(p *scripted) {
			p.receive()
			p.send([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
			p.expectAbort(provider, pdu.AbortReasonUnrecognizedPDU)
		},
			func(err error) bool {
				return errors.As(err, &abort) && !abort.Remote && errors.As(err, new(*pdu.FormatError))
			}},
		"release instead": {func(p *scripted) {
			p.receive()
			p.send(encode(t, &pdu.ReleaseRQ{}))
			p.expectAbort(provider, pdu.AbortReasonUnexpectedPDU)
		},
			func(err error) bool { return errors.As(err, &abort) && !abort.Remote }},
		"silence": {func(p *scripted) { p.receive(); p.expectAbort(user, 0) }, func(err error) bool { return errors.As(err, new(*TimeoutError)) }},
	} {
		t.Run(name, func(t *testing.T) {
			d := &Dialer{LocalAETitle: "TESTER"}
			if name == "silence" {
				d.ARTIM = 300 * time.Millisecond
			}
			_, err := d.Dial(t.Context(), scriptedAcceptor(t, c.act), Proposal{CalledAETitle: "X", Contexts: contexts(ctImage)})
			if err == nil || !c.check(err) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		address := scriptedAcceptor(t, func(p *scripted) { p.receive(); cancel(); p.expectAbort(user, 0) })
		_, err := (&Dialer{}).Dial(ctx, address, Proposal{CalledAETitle: "X", Contexts: contexts(ctImage)})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

// TestLostOperations: what a pending operation learns when its association ends.
func TestLostOperations(t *testing.T) {
	noLeaks(t)
	read := func(p *scripted) { p.accept(2); p.receive(); skipDataSet(t, p); p.receive(); skipDataSet(t, p) }
	for name, act := range map[string]func(p *scripted){
		"abort":      func(p *scripted) { read(p); p.send(encode(t, &pdu.Abort{})) },
		"disconnect": func(p *scripted) { read(p) },
		"release":    func(p *scripted) { read(p); p.send(encode(t, &pdu.ReleaseRQ{})); p.receive() },
		"silence":    func(p *scripted) { read(p); p.expectAbort(user, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			a := dial(t, scriptedAcceptor(t, act), func(d *Dialer, p *Proposal) {
				p.AsyncOperationsWindow = 2
				if name == "silence" {
					d.DIMSETimeout = 300 * time.Millisecond
				}
			})
			var pending []*Pending
			for range 2 {
				rq := StoreRequest{ContextID: ctContext(t, a), SOPClassUID: ctImage, SOPInstanceUID: "2.25.1", Data: strings.NewReader("data"), Size: 4}
				p, err := a.StartStore(t.Context(), rq)
				if err != nil {
					t.Fatal(err)
				}
				pending = append(pending, p)
			}
			for _, p := range pending {
				_, err := p.Wait(t.Context())
				var lost *LostError
				if !errors.As(err, &lost) || !lost.RequestWritten {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

// TestPeerThatDoesNotRead: a burst that is not taken ends the association.
func TestPeerThatDoesNotRead(t *testing.T) {
	noLeaks(t)
	stop := make(chan struct{})
	address := scriptedAcceptor(t, func(p *scripted) { p.accept(0); <-stop })
	defer close(stop)
	a := dial(t, address, func(d *Dialer, _ *Proposal) { d.WriteTimeout = 200 * time.Millisecond })
	rq := StoreRequest{ContextID: ctContext(t, a), SOPClassUID: ctImage, SOPInstanceUID: "2.25.1", Data: endless{}, Size: 1 << 30}
	_, err := a.Store(t.Context(), rq)
	var lost *LostError
	if !errors.As(err, &lost) || lost.RequestWritten || !errors.As(err, new(*TimeoutError)) {
		t.Errorf("got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestAbortDuringLargeMessage: Abort does not wait for a message in progress, and what the
// peer sees is whole PDUs and then the A-ABORT.
func TestAbortDuringLargeMessage(t *testing.T) {
	noLeaks(t)
	started, checked := make(chan struct{}), make(chan struct{})
	address := scriptedAcceptor(t, func(p *scripted) {
		defer close(checked)
		p.accept(0)
		p.receive()
		for first := true; ; first = false {
			h, err := p.r.Next()
			if err != nil {
				t.Errorf("no A-ABORT: %v", err)
				return
			}
			if h.Type == pdu.TypeAbort {
				return
			}
			if err := p.r.Skip(); err != nil {
				t.Errorf("PDU cut short: %v", err)
				return
			}
			if first {
				close(started)
			}
		}
	})
	a := dial(t, address, nil)
	sent := make(chan error, 1)
	go func() {
		_, err := a.Store(context.Background(), StoreRequest{ContextID: 3, SOPClassUID: ctImage, SOPInstanceUID: "2.25.1", Data: endless{}, Size: 1 << 40})
		sent <- err
	}()
	<-started
	if err := a.Abort(); err != nil {
		t.Error(err)
	}
	var lost *LostError
	if err := <-sent; !errors.As(err, &lost) || lost.RequestWritten {
		t.Errorf("store: %v", err)
	}
	<-checked
}

func TestNothingAccepted(t *testing.T) {
	none := HandlerFunc(func(_ context.Context, rq *AssociationRequest) (*Acceptance, error) { return &Acceptance{}, nil })
	_, address := serve(t, none, ServerOptions{})
	a := dial(t, address, nil)
	if _, ok := a.Accepted(ctImage, ""); ok || len(a.Contexts()) != 0 {
		t.Error("a context was accepted")
	}
	for _, r := range a.AC().Results {
		if r.Result != pdu.ContextUserRejection {
			t.Errorf("%+v", r)
		}
	}
	if _, err := a.Echo(t.Context()); !errors.Is(err, ErrNoContext) {
		t.Error(err)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestHastyPeers send more before they have their answer: a violation in Sta3.
func TestHastyPeers(t *testing.T) {
	w := serveWatched(t, ServerOptions{})
	for name, c := range map[string]struct {
		more  []byte
		abort bool
	}{
		"P-DATA-TF":      {pdata(pdv(echoContext, commandLast, echoRQ(1))), true},
		"second request": {encode(t, associateRQ()), true},
		"garbage":        {[]byte("garbage"), true},
		"A-ABORT":        {encode(t, &pdu.Abort{}), false},
	} {
		t.Run(name, func(t *testing.T) {
			p := connect(t, w.address)
			p.send(append(encode(t, associateRQ()), c.more...))
			if v, _ := p.receiveOrEnd(); c.abort && (v == nil || v.Type() != pdu.TypeAbort) {
				t.Errorf("got %v", v)
			}
			p.expectClose(true)
		})
	}
	w.idle(t)
}

// getService is a C-GET that stores an instance to the requestor, waits for the answer, and says how that went.
func getService(outcomes chan<- error) Service {
	object := synth.NewTemplate(2000, 3).Object(1, 1, 1)
	return Mux{CEchoRQ: Echo(), CGetRQ: ServiceFunc(func(ctx context.Context, w ResponseWriter, rq *Request) {
		_, _ = io.Copy(io.Discard, rq.Data)
		_, err := rq.Association.Store(ctx, storeRequest(storeContext, object))
		outcomes <- err
		_ = w.Respond(Command{Status: StatusSuccess}, nil)
	})}
}

// beginGet sends a C-GET request and takes the sub-operation's; it returns the command of that.
func (p *scripted) beginGet(id uint16) Command {
	p.t.Helper()
	rq := associateRQ()
	rq.RoleSelections = []pdu.RoleSelection{{SOPClassUID: string(ctImage), SCP: true}}
	p.associate(rq)
	c := Command{CommandField: CGetRQ, MessageID: id, AffectedSOPClassUID: studyRootFind, HasDataSet: true}
	p.send(pdata(pdv(findContext, commandLast, c.Append(nil)), pdv(findContext, dataLast, nil)))
	_, set := p.fragment()
	store, err := ParseCommand(set)
	if err != nil || store.CommandField != CStoreRQ {
		p.t.Fatalf("%+v, %v", store, err)
	}
	for f, _ := p.fragment(); !f.Last; f, _ = p.fragment() { // the data set
	}
	return store
}

// fragment receives a P-DATA-TF of one fragment.
func (p *scripted) fragment() (pdu.Fragment, []byte) {
	p.t.Helper()
	if h, err := p.r.Next(); err != nil || h.Type != pdu.TypePData {
		p.t.Fatalf("%v, %v", h, err)
	}
	f, err := p.r.Fragment()
	if err != nil {
		p.t.Fatal(err)
	}
	data, err := io.ReadAll(p.r)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.r.Skip(); err != nil {
		p.t.Fatal(err)
	}
	return f, data
}

func storeRSP(id uint16, status Status) []byte {
	c := Command{CommandField: CStoreRSP, MessageIDBeingRespondedTo: id, AffectedSOPClassUID: ctImage, Status: status}
	return pdata(pdv(storeContext, commandLast, c.Append(nil)))
}

// A requestor of C-GET answers its sub-operation with anything but what it should: other message IDs, other operations,
// pending statuses, garbage. None of it stands for an answer, and none of it keeps the operation waiting for longer.
func TestAnswersToSubOperationsThatAreNone(t *testing.T) {
	noLeaks(t)
	strange := Command{CommandField: CEchoRSP, Status: StatusSuccess}
	for _, row := range []struct {
		name    string
		instead func(id uint16) []byte
	}{
		{"unknown message IDs", func(id uint16) []byte { return storeRSP(id+1, StatusSuccess) }},
		{"pending", func(id uint16) []byte { return storeRSP(id, StatusPending) }},
		{"the response of another operation", func(id uint16) []byte {
			strange.MessageIDBeingRespondedTo = id
			return pdata(pdv(storeContext, commandLast, strange.Append(nil)))
		}},
		{"cancels of what is not there", func(id uint16) []byte { return pdata(pdv(storeContext, commandLast, cancelRQ(77))) }},
		{"requests beyond the window", func(id uint16) []byte { return pdata(pdv(echoContext, commandLast, echoRQ(1000))) }},
	} {
		outcomes := make(chan error, 1)
		_, address := serve(t, acceptAll(getService(outcomes)), ServerOptions{Timeouts: Timeouts{DIMSETimeout: 300 * time.Millisecond}})
		p := connect(t, address)
		store := p.beginGet(7)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for p.conn.SetWriteDeadline(time.Now().Add(5*time.Second)) == nil {
				if _, err := p.conn.Write(row.instead(store.MessageID)); err != nil {
					return
				}
			}
		}()
		go func() { _, _ = io.Copy(io.Discard, p.conn) }() // and what it is answered
		select {
		case err := <-outcomes:
			if !errors.As(err, new(*LostError)) || !errors.As(err, new(*TimeoutError)) {
				t.Errorf("%s: %v", row.name, err)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s: waited for without end", row.name)
		}
		_ = p.conn.Close()
		<-stop
	}
}

// What comes beyond the window while a C-GET is served is refused at once: the reader has to go on, for the answers that
// the C-GET waits for come behind it.
func TestRequestBeyondTheWindowDuringAGet(t *testing.T) {
	noLeaks(t)
	outcomes := make(chan error, 1)
	_, address := serve(t, acceptAll(getService(outcomes)), ServerOptions{})
	p := connect(t, address)
	store := p.beginGet(7)
	p.send(pdata(pdv(echoContext, commandLast, echoRQ(8))))
	if r := p.response(); r.MessageIDBeingRespondedTo != 8 || r.Status != StatusResourceLimitation || r.ErrorComment == "" {
		t.Errorf("%+v", r)
	}
	p.send(storeRSP(store.MessageID, StatusSuccess))
	if err := <-outcomes; err != nil {
		t.Error(err)
	}
	if r := p.response(); r.CommandField != CGetRSP || r.MessageIDBeingRespondedTo != 7 || r.Status != StatusSuccess {
		t.Errorf("%+v", r)
	}
	p.send(pdata(pdv(echoContext, commandLast, echoRQ(8))))
	if r := p.response(); r.Status != StatusSuccess {
		t.Errorf("afterwards: %+v", r)
	}
}

// A C-GET takes what its sub-operations take: while they come, its response is not overdue.
func TestSubOperationsKeepAGetAlive(t *testing.T) { synctest.Test(t, testSubOperationsKeepAGetAlive) }

func testSubOperationsKeepAGetAlive(t *testing.T) {
	object := synth.NewTemplate(2000, 3).Object(1, 1, 1)
	service := ServiceFunc(func(ctx context.Context, w ResponseWriter, rq *Request) {
		_, _ = io.Copy(io.Discard, rq.Data)
		for range 5 {
			if _, err := rq.Association.Store(ctx, storeRequest(storeContext, object)); err != nil {
				t.Error(err)
			}
			time.Sleep(200 * time.Millisecond)
		}
		if rq.Command.MessageID == 1 {
			_ = w.Respond(Command{Status: StatusSuccess}, nil)
			return
		}
		<-ctx.Done() // nothing any more
	})
	a := dialPipe(t, acceptAll(service), func(d *Dialer, p *Proposal) {
		d.DIMSETimeout = 700 * time.Millisecond
		p.Contexts = contexts(dicom.VerificationSOPClass, ctImage, studyRootFind)
		p.RoleSelections = []pdu.RoleSelection{{SOPClassUID: string(ctImage), SCP: true}}
		p.Service = newSink().mux()
	})
	for _, answered := range []bool{true, false} {
		p, err := a.Do(t.Context(), findContext, Command{CommandField: CGetRQ, AffectedSOPClassUID: studyRootFind}, bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(t.Context()); (err == nil) != answered || err != nil && !errors.As(err, new(*TimeoutError)) {
			t.Errorf("answered %v: %v", answered, err)
		}
	}
}
