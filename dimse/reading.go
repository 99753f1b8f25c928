package dimse

import (
	"errors"
	"fmt"
	"io"
	"time"

	"dcmgate/pdu"
)

// maxResponseData bounds the data set of a response, which is kept in memory: identifiers and
// attribute lists. Instances come as requests and are streamed.
const maxResponseData = 4 << 20

// readingState belongs to the goroutine that has the reading role.
type readingState struct {
	r        *pdu.Reader
	part     *pdu.DataReader // reused for every command set and data set
	inData   bool            // a P-DATA-TF has not been used up
	lostSync bool            // what follows cannot be told apart
	closing  bool            // waiting in Sta13 for the peer to close
	command  []byte          // the command set being read
	begun    time.Time       // when the message being read began
}

// nextOperation reads until there is an operation to serve; nil means that the association is
// over and the transport closed.
func (a *Association) nextOperation() *operation {
	for {
		switch a.fsm.current() {
		case sta1:
			return nil
		case sta13:
			a.awaitClose()
			return nil
		}
		op, err := a.readMessage()
		if err != nil {
			a.failed(err)
		} else if op != nil {
			return op
		}
	}
}

// readMessage reads one message. Requests that are to be served are returned with their data
// set unread; everything else is dealt with.
func (a *Association) readMessage() (*operation, error) {
	first, err := a.awaitCommand()
	if err != nil {
		return nil, err
	}
	nc := a.context(first.ContextID)
	if nc == nil {
		return nil, &protocolError{reason: pdu.AbortReasonInvalidParameterValue,
			what: fmt.Sprintf("message in presentation context %d, which was not accepted", first.ContextID)}
	}
	if !first.Command {
		return nil, &protocolError{reason: pdu.AbortReasonUnexpectedParameter, what: "data set without a command set"}
	}
	c, err := a.readCommand(first)
	if err != nil {
		return nil, err
	}
	if c.HasDataSet {
		if err := a.beginDataSet(nc.ID); err != nil {
			return nil, err
		}
	}
	switch {
	case c.CommandField == CCancelRQ:
		return nil, a.receiveCancel(c)
	case c.CommandField.IsResponse():
		return nil, a.receiveResponse(c)
	default:
		return a.admit(nc, c)
	}
}

// awaitCommand waits for the first fragment of a message, and handles PDUs that come instead.
func (a *Association) awaitCommand() (pdu.Fragment, error) {
	rd := &a.reading
	for {
		if a.late.Load() && a.overdue(time.Now()) {
			return pdu.Fragment{}, &TimeoutError{"a response", a.limits.DIMSETimeout}
		}
		if rd.inData {
			f, err := rd.r.Fragment()
			if err != io.EOF {
				rd.begun = time.Now()
				return f, err
			}
			rd.inData = false
		}
		a.stream.awaitMessage(rd.r.Buffered())
		if err := a.awaitPDU(); err != nil {
			return pdu.Fragment{}, err
		}
	}
}

// awaitPDU takes the next PDU between messages.
func (a *Association) awaitPDU() error {
	h, err := a.reading.r.Next()
	switch {
	case err != nil && a.stream.phase == phaseIdle && (err == errNudged || errors.As(err, new(*TimeoutError))):
		return a.idleExpired(err)
	case err != nil:
		return err
	case h.Type == pdu.TypePData:
		return a.enterData()
	}
	return a.receive(h)
}

// idleExpired decides what a wait that ended without a message means. The idle timeout only
// counts if nothing is outstanding: a response has its own time, and an operation being served
// takes what it takes.
func (a *Association) idleExpired(err error) error {
	switch {
	case a.overdue(time.Now()):
		return &TimeoutError{"a response", a.limits.DIMSETimeout}
	case a.outstanding() > 0:
		return nil
	case a.draining.Load():
		return a.abort(errDraining)
	case err == errNudged || a.limits.IdleTimeout < 0:
		return nil
	}
	return err
}

var errDraining = errors.New("the service is shutting down")

// outstanding counts operations of either direction that lack a final response.
func (a *Association) outstanding() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.incoming) + len(a.outgoing)
}

// awaitsResponses tells whether operations of this side are outstanding.
func (a *Association) awaitsResponses() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.outgoing) > 0
}

// enterData passes the arrival of P-DATA-TF through the state machine.
func (a *Association) enterData() error {
	if err := a.fire(evt10Data, unexpectedData); err != nil {
		return err
	}
	if s := a.fsm.current(); s != sta6 && s != sta7 {
		return errEnded
	}
	a.reading.inData = true
	return nil
}

var unexpectedData = &occurrence{reason: pdu.AbortReasonUnexpectedPDU, err: errors.New("unexpected P-DATA-TF")}

// takePDU reads one PDU of any type, outside of the data transfer phase.
func (a *Association) takePDU() error {
	h, err := a.reading.r.Next()
	if err != nil {
		return err
	}
	if h.Type == pdu.TypePData {
		return a.enterData()
	}
	return a.receive(h)
}

// receive decodes a PDU other than P-DATA-TF and passes it through the state machine.
func (a *Association) receive(h pdu.Header) error {
	p, err := a.reading.r.Decode()
	if err != nil {
		return err
	}
	o := &occurrence{pdu: p, reason: pdu.AbortReasonUnexpectedPDU, err: fmt.Errorf("unexpected %v", h.Type)}
	if abort, ok := p.(*pdu.Abort); ok {
		o.err = &AbortError{Source: abort.Source, Reason: abort.Reason, Remote: true}
	}
	if err := a.fire(eventOf(h.Type), o); err != nil {
		return err
	}
	return a.answerRelease()
}

// answerRelease issues the A-RELEASE response once the peer has asked for release and nothing
// is being served. In Sta8 that is also called when an operation has been answered.
func (a *Association) answerRelease() error {
	switch a.fsm.current() {
	case sta8, sta9, sta12:
	default:
		return nil
	}
	a.mu.Lock()
	busy := len(a.incoming)
	a.mu.Unlock()
	if busy > 0 {
		return nil
	}
	if err := a.lockWriter(a.ctx); err != nil {
		return errEnded
	}
	defer a.unlockWriter()
	err := a.fire(evt14ReleaseResponse, nil)
	if errors.As(err, new(*stateError)) {
		return nil // somebody else has answered it
	}
	return err
}

// readCommand reads a command set that begins with the fragment first.
func (a *Association) readCommand(first pdu.Fragment) (Command, error) {
	rd := &a.reading
	rd.part.Reset(first)
	rd.command = rd.command[:0]
	for {
		if len(rd.command) == cap(rd.command) {
			if len(rd.command) > MaxCommandLength {
				return Command{}, &protocolError{reason: pdu.AbortReasonInvalidParameterValue, what: "command set longer than 65536 bytes"}
			}
			grown := make([]byte, len(rd.command), min(2*cap(rd.command)+512, MaxCommandLength+1))
			copy(grown, rd.command)
			rd.command = grown
		}
		n, err := rd.part.Read(rd.command[len(rd.command):cap(rd.command)])
		rd.command = rd.command[:len(rd.command)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return Command{}, a.interrupted(err)
		}
	}
	c, err := ParseCommand(rd.command)
	if err != nil {
		return c, &protocolError{reason: pdu.AbortReasonInvalidParameterValue, what: "malformed message", err: err}
	}
	return c, nil
}

// beginDataSet goes to the first fragment of the data set that a command announced.
func (a *Association) beginDataSet(contextID byte) error {
	rd := &a.reading
	for {
		if rd.inData {
			f, err := rd.r.Fragment()
			if err == nil {
				if f.Command || f.ContextID != contextID {
					return &protocolError{reason: pdu.AbortReasonUnexpectedParameter,
						what: "command set or other presentation context where a data set was announced"}
				}
				rd.part.Reset(f)
				return nil
			}
			if err != io.EOF {
				return err
			}
			rd.inData = false
		}
		h, err := a.advance()
		if err != nil {
			return err
		}
		if h.Type != pdu.TypePData {
			return a.interrupted(&pdu.InterruptedError{Header: h})
		}
	}
}

// advance goes to the next PDU inside a message.
func (a *Association) advance() (pdu.Header, error) {
	a.reading.inData = false
	a.stream.beginPDU()
	h, err := a.reading.r.Next()
	if err != nil {
		return h, err
	}
	if h.Type == pdu.TypePData {
		err = a.enterData()
	}
	return h, err
}

// interrupted handles a PDU that comes inside a message. An A-RELEASE-RQ is no violation by
// the state table, but what remains of the message will not come: the local user aborts.
func (a *Association) interrupted(err error) error {
	var other *pdu.InterruptedError
	if !errors.As(err, &other) {
		return err
	}
	if other.Header.Type != pdu.TypeReleaseRQ {
		if err := a.receive(other.Header); err != nil {
			return err
		}
		return errEnded
	}
	if _, err := a.reading.r.Decode(); err != nil {
		return err
	}
	o := &occurrence{reason: pdu.AbortReasonUnexpectedPDU, err: errors.New("release inside a message")}
	if err := a.fire(evt12ReleaseRQ, o); err != nil {
		return err
	}
	if err := a.abort(errors.New("release inside a message")); err != nil {
		return err
	}
	return errEnded
}

// drain reads the rest of the data set that beginDataSet began.
func (a *Association) drain() error {
	_, err := a.reading.part.WriteTo(io.Discard)
	return a.interrupted(err)
}

// collect reads a data set into memory.
func (a *Association) collect() ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(a.reading.part, maxResponseData+1))
	if err != nil {
		return nil, a.interrupted(err)
	}
	if len(b) > maxResponseData {
		return nil, &protocolError{reason: pdu.AbortReasonNotSpecified, what: fmt.Sprintf("data set of a response exceeds %d bytes", maxResponseData)}
	}
	return b, nil
}

// stray counts a message about an operation that is not outstanding. It is no violation: a
// cancel may cross the final response it wanted to prevent.
func (a *Association) stray(hasData bool) error {
	a.strays.Add(1)
	a.metrics.strays.Inc()
	if hasData {
		return a.drain()
	}
	return nil
}

// receiveCancel delivers a C-CANCEL-RQ.
func (a *Association) receiveCancel(c Command) error {
	a.mu.Lock()
	op := a.incoming[c.MessageIDBeingRespondedTo]
	known := op != nil && op.cancelled != nil
	if known {
		op.cancel()
	}
	a.mu.Unlock()
	if !known {
		return a.stray(c.HasDataSet)
	}
	if c.HasDataSet {
		return a.drain()
	}
	return nil
}
