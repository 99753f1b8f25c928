package dimse

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// operation is one the peer has invoked: the Request and the ResponseWriter of its service.
type operation struct {
	a        *Association
	rq       Request
	data     messageData
	response Command
	begun    time.Time
	answered atomic.Bool

	cancelled chan struct{} // nil: the operation cannot be cancelled
	isClosed  bool          // cancelled is closed; guarded by Association.mu
	hold      roleHold      // of the goroutine that serves it
}

// roleHold is what a serving goroutine has of the reading role.
type roleHold uint8

const (
	holdsRole roleHold = iota
	lentRole
	gaveRole
)

// admit takes up a request. What the engine refuses itself is answered here, after its data
// set has been drained; for anything else it waits until the peer's window has room.
func (a *Association) admit(nc *NegotiatedContext, c Command) (*operation, error) {
	if a.draining.Load() {
		return nil, a.turnAway()
	}
	traits, known := operations[c.CommandField]
	switch {
	case !known:
		return nil, a.refuse(nc, c, StatusUnrecognizedOperation, "")
	case traits.dataSet == dataSetRequired && !c.HasDataSet:
		return nil, a.refuse(nc, c, StatusProcessingFailure, "data set is missing")
	case traits.dataSet == dataSetForbidden && c.HasDataSet:
		return nil, a.refuse(nc, c, StatusProcessingFailure, "data set where there must be none")
	}
	op := a.newOperation(nc, c, traits)
	if !a.register(op) {
		return nil, a.refuse(nc, c, StatusDuplicateInvocation, "")
	}
	if a.overfull(op) {
		a.unregister(op)
		return nil, a.refuse(nc, c, StatusResourceLimitation, "more operations than were negotiated")
	}
	select {
	case a.serving <- struct{}{}:
		return op, nil
	case <-a.done:
		return nil, errEnded
	}
}

func (a *Association) newOperation(nc *NegotiatedContext, c Command, traits operationTraits) *operation {
	op := &operation{a: a, begun: a.reading.begun}
	op.rq = Request{Association: a, Context: *nc, Command: c}
	if c.HasDataSet {
		op.data.op = op
		op.rq.Data = &op.data
	}
	if traits.cancelable {
		op.cancelled = make(chan struct{})
		op.rq.Cancelled = op.cancelled
	}
	return op
}

// register makes the operation known to cancels; false if its message ID is in use.
func (a *Association) register(op *operation) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := op.rq.Command.MessageID
	if a.incoming[id] != nil {
		return false
	}
	a.incoming[id] = op
	return true
}

// unregister forgets an operation that is about to be answered: the peer may use its message
// ID again the moment it has the response. What the peer owes for a C-GET of ours it could
// not send meanwhile.
func (a *Association) unregister(op *operation) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if id := op.rq.Command.MessageID; a.incoming[id] == op {
		delete(a.incoming, id)
	}
	for _, p := range a.outgoing {
		if p.field == CGetRQ && !p.heard.IsZero() {
			p.heard = time.Now()
		}
	}
}

// overfull tells whether a request goes beyond the peer's window while a C-GET is being served.
// Waiting for room would keep the reader from the responses that the C-GET waits for.
func (a *Association) overfull(op *operation) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.incoming) <= a.perform {
		return false
	}
	for _, other := range a.incoming {
		if other != op && other.rq.Command.CommandField == CGetRQ {
			return true
		}
	}
	return false
}

// turnAway ends an association that goes on while the server shuts down, once what is being
// served has been answered.
func (a *Association) turnAway() error {
	for range cap(a.serving) {
		select {
		case a.serving <- struct{}{}:
		case <-a.done:
			return errEnded
		}
	}
	if err := a.abort(errDraining); err != nil {
		return err
	}
	return errEnded
}

// refuse answers a request without a service.
func (a *Association) refuse(nc *NegotiatedContext, c Command, status Status, comment string) error {
	if c.HasDataSet {
		if err := a.drain(); err != nil {
			return err
		}
	}
	rsp := responseTo(&c, Command{Status: status, ErrorComment: comment})
	if err := a.send(a.ctx, nc.ID, &rsp, nil, 0); err != nil {
		return errEnded
	}
	a.performed.Add(1)
	a.metrics.operation(inbound, c.CommandField, status.Class(), time.Since(a.reading.begun))
	return nil
}

// responseTo completes a response with what follows from its request.
func responseTo(rq *Command, c Command) Command {
	c.CommandField = rq.CommandField.Response()
	c.MessageIDBeingRespondedTo = rq.MessageID
	if c.AffectedSOPClassUID == "" {
		c.AffectedSOPClassUID = rq.AffectedSOPClassUID + rq.RequestedSOPClassUID // a request has one of them
	}
	if c.AffectedSOPInstanceUID == "" {
		c.AffectedSOPInstanceUID = rq.AffectedSOPInstanceUID + rq.RequestedSOPInstanceUID
	}
	return c
}

// serve runs the service and sees to it that the operation is answered. The caller has the
// reading role; the result tells whether it still has it.
func (a *Association) serve(op *operation) (reading bool) {
	defer func() { <-a.serving }()
	if op.rq.Data == nil {
		op.passRole()
	}
	a.call(op)
	err := op.finish()
	if !op.answered.Load() {
		if err == nil {
			_ = op.Respond(op.unanswered(), nil) // an error is the association's end
		} else {
			a.metrics.operation(inbound, op.rq.Command.CommandField, classNone, time.Since(op.begun))
		}
		a.unregister(op)
	}
	switch op.hold {
	case lentRole:
		return a.reclaim()
	case holdsRole:
		return true
	}
	return false
}

// call runs the service behind a recover: a bug in one operation must cost no more than that.
func (a *Association) call(op *operation) {
	defer func() {
		if p := recover(); p != nil {
			a.metrics.panics.Inc()
			a.log.Error("service panicked", "association", a.id, "operation", op.rq.Command.CommandField.Operation(),
				"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		}
	}()
	a.service.ServeDIMSE(a.ctx, op, &op.rq)
}

// unanswered is the response to an operation whose service gave none.
func (op *operation) unanswered() Command {
	op.a.mu.Lock()
	defer op.a.mu.Unlock()
	if op.isClosed {
		return Command{Status: StatusCancel}
	}
	return Command{Status: StatusProcessingFailure}
}

// cancel delivers a C-CANCEL. Association.mu is held.
func (op *operation) cancel() {
	if !op.isClosed {
		op.isClosed = true
		close(op.cancelled)
	}
}

// passRole lets others read once the request has been received completely.
func (op *operation) passRole() {
	if op.a.perform == 1 && op.cancelled == nil && !op.a.awaitsResponses() {
		op.hold = lentRole
		op.a.lend()
		return
	}
	op.hold = gaveRole
	op.a.handOver()
}

// finish drains what the service has left of the data set, keeping the role: the goroutine is
// about to read on anyway.
func (op *operation) finish() error {
	if op.rq.Data == nil || op.data.over {
		return op.data.failure
	}
	op.data.over = true
	if err := op.a.drain(); err != nil {
		op.a.failed(err)
		return err
	}
	return nil
}

// Respond implements ResponseWriter.
func (op *operation) Respond(c Command, data io.Reader) error {
	a := op.a
	if op.answered.Load() {
		return ErrOperationEnded
	}
	if op.rq.Data != nil && !op.data.over {
		if _, err := op.data.WriteTo(io.Discard); err != nil {
			return err
		}
	}
	op.response = responseTo(&op.rq.Command, c)
	op.response.HasDataSet = data != nil
	final := c.Status.Class() != ClassPending
	if final {
		op.answered.Store(true)
		a.unregister(op)
	}
	err := a.send(a.ctx, op.rq.Context.ID, &op.response, data, -1)
	if final {
		op.settle(err)
	}
	return err
}

// settle accounts for the final response, and answers a release that waited for it.
func (op *operation) settle(err error) {
	a, class := op.a, op.response.Status.Class()
	if err != nil {
		class = classNone
	} else {
		a.performed.Add(1)
	}
	a.metrics.operation(inbound, op.rq.Command.CommandField, class, time.Since(op.begun))
	if err := a.answerRelease(); err != nil {
		a.note(err)
	}
}

// messageData is the data set of a request as its service reads it.
type messageData struct {
	op      *operation
	over    bool
	failure error // why it ended early
}

// Read implements io.Reader.
func (d *messageData) Read(p []byte) (int, error) {
	if d.over {
		return 0, d.end()
	}
	part := d.op.a.reading.part
	n, err := part.Read(p)
	if part.Done() {
		d.complete()
		if n > 0 {
			err = nil
		}
	} else if err != nil {
		err = d.fail(err)
	}
	return n, err
}

// WriteTo implements io.WriterTo. w gets slices of the receive buffer and must not keep them.
func (d *messageData) WriteTo(w io.Writer) (int64, error) {
	if d.over {
		return 0, d.failure
	}
	part := d.op.a.reading.part
	n, err := part.WriteTo(w)
	if part.Done() {
		d.complete()
	} else if part.Err() != nil {
		err = d.fail(err)
	}
	return n, err
}

func (d *messageData) end() error {
	if d.failure != nil {
		return d.failure
	}
	return io.EOF
}

// complete lets reading go on behind the data set.
func (d *messageData) complete() {
	d.over = true
	d.op.passRole()
}

// fail ends the association for what happened inside the data set, and leaves the rest to
// another goroutine.
func (d *messageData) fail(err error) error {
	a := d.op.a
	d.over = true
	if err = a.interrupted(err); err != nil {
		a.failed(err)
	}
	if d.failure = a.Err(); d.failure == nil {
		d.failure = err
	}
	d.op.hold = gaveRole
	a.handOver()
	return d.failure
}

// noService refuses everything, on associations that were dialled without a service.
var noService = ServiceFunc(func(_ context.Context, w ResponseWriter, _ *Request) {
	_ = w.Respond(Command{Status: StatusUnrecognizedOperation}, nil)
})
