package dimse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

// Association is an association from either end. Whoever requested it, both sides may invoke
// operations on it as far as the negotiated roles go; its methods may be called concurrently.
//
// Inside, one goroutine at a time reads (see reading.go), and whoever writes holds the write
// lock for one whole message, since messages are not interleaved (PS3.8 annex E).
type Association struct {
	id        string
	remote    netip.AddrPort
	direction direction
	tls       *tls.ConnectionState
	limits    Timeouts
	offered   uint32 // longest P-DATA-TF to be received
	log       *slog.Logger
	metrics   *instruments
	service   Service // answers what the peer requests
	onClosed  func(AssociationSummary)
	sendCap   uint32 // this side's own bound of P-DATA-TF sent; 0 is none
	begun     time.Time

	fsm    machine
	stream *stream
	ctx    context.Context // ends with the association; services run under it
	cancel context.CancelFunc

	// Fixed when the association is established.
	rq       *pdu.AssociateRQ
	ac       *pdu.AssociateAC
	contexts []NegotiatedContext
	byID     [128]*NegotiatedContext // by half the ID, which is odd
	peerMax  uint32
	sendMax  uint32 // of P-DATA-TF sent: peerMax, or sendCap if that is shorter; 0 is no limit
	invoke   int    // operations this side may have outstanding
	perform  int    // operations the peer may have outstanding

	reading readingState
	roles   roles
	writing writingState

	mu       sync.Mutex
	err      error                 // why it ended; guarded by mu
	incoming map[uint16]*operation // not finally answered; guarded by mu
	outgoing map[uint16]*Pending   // not finally answered; guarded by mu
	lastID   uint16                // message ID given out last; guarded by mu
	watch    *time.Timer           // of the DIMSE timeout; guarded by mu
	watching bool                  // watch is running; guarded by mu
	late     atomic.Bool           // a response was found to be overdue

	slots     chan struct{} // a token per operation of ours outstanding
	serving   chan struct{} // a token per operation of the peer being served
	draining  atomic.Bool   // no new operations are begun
	hasty     atomic.Bool   // closing: do not wait long for the peer to close
	performed atomic.Int64  // operations answered
	invoked   atomic.Int64  // operations whose final response came
	strays    atomic.Int64

	done   chan struct{} // closed when the association has ended for its users
	closed chan struct{} // closed when the transport is closed and all goroutines are gone
}

var associationNumber atomic.Uint64

// closeWait is how long a closing server or Close waits for the peer to close after an A-ABORT.
const closeWait = 500 * time.Millisecond

// newAssociation makes an association in Sta1 on a connection.
func newAssociation(d direction, conn net.Conn, limits Timeouts, maxLength uint32, m *instruments, log *slog.Logger) *Association {
	a := &Association{
		id:        fmt.Sprintf("%c%d", directionNames[d][0], associationNumber.Add(1)),
		direction: d,
		limits:    limits,
		offered:   maxLength,
		log:       log,
		metrics:   m,
		begun:     time.Now(),
		fsm:       newMachine(d == outbound),
		incoming:  make(map[uint16]*operation),
		outgoing:  make(map[uint16]*Pending),
		done:      make(chan struct{}),
		closed:    make(chan struct{}),
	}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.stream = newStream(conn, limits, m.bytesReceived[d], m.bytesSent[d])
	a.reading.r = pdu.NewReader(a.stream, 0, pdu.Limits{MaxPDataLength: maxLength})
	a.reading.part = pdu.NewDataReader(a.reading.r, pdu.Fragment{Last: true}, a.advance)
	a.writing.lock = make(chan struct{}, 1)
	return a
}

// ID is a short name for logs, unique in the process.
func (a *Association) ID() string { return a.id }

// Remote is the peer's address; the zero value if the transport is not TCP.
func (a *Association) Remote() netip.AddrPort { return a.remote }

// TLS describes the transport's TLS connection; nil without TLS.
func (a *Association) TLS() *tls.ConnectionState { return a.tls }

// CallingAETitle is the requestor's AE title without padding.
func (a *Association) CallingAETitle() string { return pdu.TrimAETitle(a.rq.CallingAETitle) }

// CalledAETitle is the acceptor's AE title as the requestor gave it, without padding.
func (a *Association) CalledAETitle() string { return pdu.TrimAETitle(a.rq.CalledAETitle) }

// RQ is the A-ASSOCIATE-RQ; it must not be changed.
func (a *Association) RQ() *pdu.AssociateRQ { return a.rq }

// AC is the A-ASSOCIATE-AC with the extended negotiation and the results of all contexts; it
// must not be changed.
func (a *Association) AC() *pdu.AssociateAC { return a.ac }

// Contexts are the accepted presentation contexts in the order of the answer.
func (a *Association) Contexts() []NegotiatedContext {
	return append([]NegotiatedContext(nil), a.contexts...)
}

// Accepted finds the context in which this side may invoke operations of an abstract syntax
// with data sets in a transfer syntax. Either UID may be "" for any. Contexts for which this
// side is SCU go before those for which it is SCP only (whence notifications are sent).
func (a *Association) Accepted(abstract, transferSyntax dicom.UID) (contextID byte, ok bool) {
	for _, c := range a.contexts {
		if abstract != "" && c.AbstractSyntax != abstract || transferSyntax != "" && c.TransferSyntax != transferSyntax {
			continue
		}
		if c.SCU {
			return c.ID, true
		}
		if !ok {
			contextID, ok = c.ID, true
		}
	}
	return contextID, ok
}

// PeerMaximumLength is the longest P-DATA-TF the peer takes, in bytes behind the PDU header; 0
// is no limit.
func (a *Association) PeerMaximumLength() uint32 { return a.peerMax }

// Window is how many operations this side may have outstanding, at least 1.
func (a *Association) Window() int { return a.invoke }

// Done is closed when no more operations are possible.
func (a *Association) Done() <-chan struct{} { return a.done }

// Err is nil until Done is closed, then why the association ended: ErrReleased, *AbortError,
// or what happened to the transport.
func (a *Association) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Abort ends the association with an A-ABORT of the service-user; outstanding operations fail.
// It does not wait for the peer to close; Close does.
func (a *Association) Abort() error {
	return a.abort(errors.New("by request"))
}

func (a *Association) abort(why error) error {
	err := a.fire(evt15AbortRequest, &occurrence{err: why})
	var refused *stateError
	if errors.As(err, &refused) {
		return nil // it has ended, or is ending
	}
	return err
}

// Close aborts the association unless it has ended and returns when its connection is closed
// and none of its goroutines is left. It must not be called by a Service of the association.
func (a *Association) Close() error {
	a.hasty.Store(true)
	err := a.abort(errors.New("closed"))
	a.stream.hurry(closeWait)
	<-a.closed
	return err
}

// end records why the association ended, once, and tells everybody who waits.
func (a *Association) end(why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return
	}
	a.err = why
	if a.watch != nil {
		a.watch.Stop()
	}
	for _, p := range a.outgoing {
		a.metrics.operation(outbound, p.field, classNone, time.Since(p.started))
	}
	clear(a.outgoing)
	close(a.done)
	a.cancel()
}

// lost is the error of an operation that ends with the association.
func (a *Association) lost(written bool) error {
	return &LostError{RequestWritten: written, Err: a.Err()}
}

// establish takes over what was negotiated; requestor tells this side's part.
func (a *Association) establish(rq *pdu.AssociateRQ, ac *pdu.AssociateAC) {
	a.rq, a.ac = rq, ac
	requestor := a.direction == outbound
	a.contexts = negotiatedContexts(rq, ac, requestor)
	for i := range a.contexts {
		a.byID[a.contexts[i].ID>>1] = &a.contexts[i]
	}
	// An answer that grants more than was offered is cut like everything else.
	a.invoke, a.perform = windows(grantWindow(rq.AsyncOperationsWindow, ac.AsyncOperationsWindow))
	a.peerMax = ac.MaximumLength
	if !requestor {
		a.invoke, a.perform = a.perform, a.invoke
		a.peerMax = rq.MaximumLength
	}
	if a.sendMax = a.peerMax; a.sendMax == 0 || a.sendCap > 0 && a.sendCap < a.sendMax {
		a.sendMax = a.sendCap
	}
	a.slots = make(chan struct{}, a.invoke)
	a.serving = make(chan struct{}, a.perform)
	a.roles.wake = make(chan struct{}, a.perform+1)
}

// context finds an accepted context.
func (a *Association) context(id byte) *NegotiatedContext {
	if id&1 == 0 {
		return nil
	}
	return a.byID[id>>1]
}

// run reads and serves until the association is over and its transport closed.
func (a *Association) run() {
	a.metrics.associations[a.direction].Inc()
	a.roles.workers.Add(1)
	a.work(true)
	a.roles.workers.Wait()
	a.stop()
	a.metrics.associations[a.direction].Dec()
	a.metrics.ends[a.direction][endingOf(a.Err())].Inc()
	a.logEnd()
	close(a.closed)
}

// stop releases what may outlive the last goroutine.
func (a *Association) stop() {
	a.roles.stopLoan()
	a.cancel()
	a.stream.Close()
}

// endingOf sorts the reason of an end for the metric.
func endingOf(err error) ending {
	var abort *AbortError
	var timeout *TimeoutError
	switch {
	case errors.Is(err, ErrReleased):
		return endReleased
	case errors.As(err, &timeout):
		return endTimeout
	case errors.As(err, &abort) && abort.Remote:
		return endAbortedByPeer
	case errors.As(err, &abort):
		return endAborted
	}
	return endLost
}

// AssociationSummary is what there is to say about an association that is over.
type AssociationSummary struct {
	ID                       string
	Duration                 time.Duration
	Performed, Invoked       int64 // operations answered, and answers received
	BytesReceived, BytesSent int64
	Err                      error // see Association.Err
}

func (a *Association) summary() AssociationSummary {
	return AssociationSummary{
		ID: a.id, Duration: time.Since(a.begun),
		Performed: a.performed.Load(), Invoked: a.invoked.Load(),
		BytesReceived: a.stream.received.Load(), BytesSent: a.stream.sent.Load(),
		Err: a.Err(),
	}
}
