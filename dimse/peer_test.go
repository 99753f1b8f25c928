package dimse

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

// scripted is a peer that does as it is told, right or wrong.
type scripted struct {
	t    testing.TB
	conn net.Conn
	r    *pdu.Reader
}

func connect(t testing.TB, address string) *scripted {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return script(t, conn)
}

func script(t testing.TB, conn net.Conn) *scripted {
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil { // a hang fails the test
		t.Fatal(err)
	}
	return &scripted{t: t, conn: conn, r: pdu.NewReader(conn, 0, pdu.Limits{})}
}

// send writes bytes; that the other side has closed by then is not the script's concern.
func (p *scripted) send(parts ...[]byte) {
	for _, b := range parts {
		if _, err := p.conn.Write(b); err != nil {
			return
		}
	}
}

func encode(t testing.TB, v pdu.PDU) []byte {
	t.Helper()
	b, err := v.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// receive returns the next PDU; of P-DATA-TF, the command in it.
func (p *scripted) receive() (pdu.PDU, *Command) {
	p.t.Helper()
	h, err := p.r.Next()
	if err != nil {
		p.t.Fatalf("waiting for a PDU: %v", err)
	}
	if h.Type != pdu.TypePData {
		v, err := p.r.Decode()
		if err != nil {
			p.t.Fatal(err)
		}
		return v, nil
	}
	f, err := p.r.Fragment()
	if err != nil || !f.Command || !f.Last {
		p.t.Fatalf("expected a command set: %+v, %v", f, err)
	}
	set, err := io.ReadAll(p.r)
	if err != nil {
		p.t.Fatal(err)
	}
	c, err := ParseCommand(set)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.r.Skip(); err != nil {
		p.t.Fatal(err)
	}
	return nil, &c
}

// receiveOrEnd is receive for a peer that may be left without a word.
func (p *scripted) receiveOrEnd() (pdu.PDU, error) {
	if _, err := p.r.Next(); err != nil {
		return nil, err
	}
	return p.r.Decode()
}

// response returns the next response, which must be a P-DATA-TF of its own.
func (p *scripted) response() Command {
	p.t.Helper()
	v, c := p.receive()
	if c == nil {
		p.t.Fatalf("expected a response, got %T %v", v, v)
	}
	return *c
}

func (p *scripted) expectAbort(source pdu.AbortSource, reason pdu.AbortReason) {
	p.t.Helper()
	v, _ := p.receive()
	abort, ok := v.(*pdu.Abort)
	if !ok || abort.Source != source || abort.Reason != reason {
		p.t.Fatalf("got %T %v, want an abort by %v: %v", v, v, source, reason)
	}
}

// expectClose waits for the other side's close. ours says whether this side closes first.
func (p *scripted) expectClose(ours bool) {
	p.t.Helper()
	if ours {
		if c, ok := p.conn.(interface{ CloseWrite() error }); ok {
			_ = c.CloseWrite()
		}
	}
	_, err := p.r.Next()
	for err == nil { // AA-7 answers what comes after the end by more aborts
		if v, derr := p.r.Decode(); derr != nil || v.Type() != pdu.TypeAbort {
			p.t.Fatalf("expected the connection to be closed, got %v, %v", v, derr)
		}
		_, err = p.r.Next()
	}
	if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
		p.t.Fatalf("expected the connection to be closed: %v", err)
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

func associateRQ() *pdu.AssociateRQ {
	return &pdu.AssociateRQ{
		ProtocolVersion: pdu.ProtocolVersion1, CalledAETitle: "DCMGATE", CallingAETitle: "SCRIPT",
		ApplicationContext:   pdu.ApplicationContextName,
		PresentationContexts: contexts(dicom.VerificationSOPClass, ctImage, studyRootFind),
		UserInformation:      pdu.UserInformation{MaximumLength: 16384, ImplementationClassUID: "1.2.3"},
	}
}

// Context IDs of associateRQ.
const (
	echoContext  = 1
	storeContext = 3
	findContext  = 5
)

func (p *scripted) associate(rq *pdu.AssociateRQ) *pdu.AssociateAC {
	p.t.Helper()
	p.send(encode(p.t, rq))
	v, _ := p.receive()
	ac, ok := v.(*pdu.AssociateAC)
	if !ok {
		p.t.Fatalf("expected A-ASSOCIATE-AC, got %T %v", v, v)
	}
	return ac
}

// pdv is a presentation data value item; kind is its message control header.
func pdv(context byte, kind byte, data []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(data)+2))
	return append(append(b, context, kind), data...)
}

// Message control headers, PS3.8 E.2.
const (
	dataMore, commandMore, dataLast, commandLast = 0, 1, 2, 3
)

func pdata(items ...[]byte) []byte {
	var body []byte
	for _, i := range items {
		body = append(body, i...)
	}
	b := binary.BigEndian.AppendUint32([]byte{byte(pdu.TypePData), 0}, uint32(len(body)))
	return append(b, body...)
}

func echoRQ(id uint16) []byte {
	c := Command{CommandField: CEchoRQ, MessageID: id, AffectedSOPClassUID: dicom.VerificationSOPClass}
	return c.Append(nil)
}

func storeRQ(id uint16) []byte {
	c := Command{CommandField: CStoreRQ, MessageID: id, AffectedSOPClassUID: ctImage, AffectedSOPInstanceUID: "2.25.1", HasDataSet: true}
	return c.Append(nil)
}

func findRQ(id uint16) []byte {
	c := Command{CommandField: CFindRQ, MessageID: id, AffectedSOPClassUID: studyRootFind, HasDataSet: true}
	return c.Append(nil)
}

func cancelRQ(id uint16) []byte {
	c := Command{CommandField: CCancelRQ, MessageIDBeingRespondedTo: id}
	return c.Append(nil)
}

// watched is a server that tells how its services' reads and its associations end.
type watched struct {
	address string
	server  *Server
	reads   chan error
	ends    chan AssociationSummary
}

func serveWatched(t testing.TB, o ServerOptions) *watched {
	w, h := newWatched()
	w.server, w.address = serve(t, h, o)
	return w
}

func newWatched() (*watched, Handler) {
	w := &watched{reads: make(chan error, 100), ends: make(chan AssociationSummary, 100)}
	service := Mux{CEchoRQ: Echo(), CFindRQ: find(-1, nil), CStoreRQ: StoreFunc(func(_ context.Context, rq *Request) (Status, string) {
		_, err := io.Copy(io.Discard, rq.Data)
		w.reads <- err
		return StatusSuccess, ""
	})}
	return w, HandlerFunc(func(ctx context.Context, rq *AssociationRequest) (*Acceptance, error) {
		acceptance, err := acceptAll(service)(ctx, rq)
		acceptance.Closed = func(s AssociationSummary) { w.ends <- s }
		return acceptance, err
	})
}

// idle waits until all places are given back.
func (w *watched) idle(t testing.TB) {
	t.Helper()
	eventually(t, "all places given back", func() bool {
		d := w.server.admission
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.taken == 0 && d.echoes == 0 && d.halfOpen.n == 0 && len(d.placed) == 0 && len(d.associated) == 0
	})
}
