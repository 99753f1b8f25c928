package dimse

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"dcmgate/dicom"
)

// Response is a response message. Data is its data set, read into memory; nil if it has none,
// and for C-STORE and C-ECHO, whose responses have none.
type Response struct {
	Command
	Data []byte
}

// Pending is an operation this side has invoked.
type Pending struct {
	a         *Association
	id        uint16
	contextID byte
	field     CommandField
	request   Command
	streams   bool // several responses are expected and wanted
	started   time.Time
	written   atomic.Bool
	heard     time.Time // end of the request or latest response; zero until written; guarded by Association.mu
	responses chan Response
	abandoned chan struct{}
	abandon   sync.Once
	over      bool // the final response has been returned; of the waiting goroutine
}

// responseBacklog is how many responses may wait for Next before reading stops, so that a slow
// consumer slows the peer down and costs no memory.
const responseBacklog = 16

// MessageID is the request's message ID.
func (p *Pending) MessageID() uint16 { return p.id }

// Next returns the next response; after the final one, io.EOF. If the association ends first
// the error is a *LostError. After ctx's error Next may be called again. It is for one
// goroutine at a time.
func (p *Pending) Next(ctx context.Context) (Response, error) {
	if p.over {
		return Response{}, io.EOF
	}
	select {
	case r := <-p.responses:
		return p.take(r), nil
	default:
	}
	select {
	case r := <-p.responses:
		return p.take(r), nil
	case <-ctx.Done():
		return Response{}, ctx.Err()
	case <-p.a.done:
	}
	select { // it may have come with the end
	case r := <-p.responses:
		return p.take(r), nil
	default:
		return Response{}, p.a.lost(p.written.Load())
	}
}

func (p *Pending) take(r Response) Response {
	p.over = r.Status.Class() != ClassPending
	return r
}

// Wait returns the final response and discards those before it. Errors are as of Next; the
// operation remains outstanding after ctx's, occupying the window until its response comes.
func (p *Pending) Wait(ctx context.Context) (Response, error) {
	for {
		r, err := p.Next(ctx)
		if err != nil || p.over {
			return r, err
		}
	}
}

// Cancel sends a C-CANCEL (PS3.7 9.3.2.3). The peer answers the operation with a final response
// all the same, usually FE00H.
func (p *Pending) Cancel(ctx context.Context) error {
	c := Command{CommandField: CCancelRQ, MessageIDBeingRespondedTo: p.id}
	return p.a.send(ctx, p.contextID, &c, nil, 0)
}

// Abandon discards the responses still to come, so that nobody has to wait for them.
func (p *Pending) Abandon() { p.abandon.Do(func() { close(p.abandoned) }) }

// Do invokes any operation: c with its message ID and data set flag filled in by the engine,
// and data up to io.EOF if it is not nil. It blocks until the window has room and the request
// is written; responses come from Next or Wait, which the caller must go on calling until the
// final one, or Abandon.
func (a *Association) Do(ctx context.Context, contextID byte, c Command, data io.Reader) (*Pending, error) {
	return a.invokeOperation(ctx, contextID, c, data, -1, true)
}

// StoreRequest is an instance to be sent.
type StoreRequest struct {
	ContextID      byte
	SOPClassUID    dicom.UID
	SOPInstanceUID dicom.UID
	Priority       Priority

	// Set for sub-operations of a C-MOVE (PS3.7 9.3.1.1).
	MoveOriginatorAETitle   string
	MoveOriginatorMessageID uint16

	Data io.Reader // the data set in the context's transfer syntax, without Part 10 header
	Size int64     // its length in bytes; -1 if not known
}

// StartStore writes a C-STORE request and returns without waiting for the response, for
// pipelining up to Window by one goroutine. It blocks while the window is full. Errors are
// ErrNoContext and *DataError, which are this side's, ctx's, and *LostError.
func (a *Association) StartStore(ctx context.Context, rq StoreRequest) (*Pending, error) {
	c := Command{
		CommandField:            CStoreRQ,
		AffectedSOPClassUID:     rq.SOPClassUID,
		AffectedSOPInstanceUID:  rq.SOPInstanceUID,
		Priority:                rq.Priority,
		MoveOriginatorAETitle:   rq.MoveOriginatorAETitle,
		MoveOriginatorMessageID: rq.MoveOriginatorMessageID,
	}
	return a.invokeOperation(ctx, rq.ContextID, c, rq.Data, rq.Size, false)
}

// Store sends an instance and waits for the response.
func (a *Association) Store(ctx context.Context, rq StoreRequest) (Response, error) {
	p, err := a.StartStore(ctx, rq)
	if err != nil {
		return Response{}, err
	}
	return p.Wait(ctx)
}

// Echo verifies that the peer answers (PS3.4 annex A). It needs a context for Verification.
func (a *Association) Echo(ctx context.Context) (Status, error) {
	id, ok := a.Accepted(dicom.VerificationSOPClass, "")
	if !ok {
		return 0, fmt.Errorf("%w for Verification", ErrNoContext)
	}
	c := Command{CommandField: CEchoRQ, AffectedSOPClassUID: dicom.VerificationSOPClass}
	p, err := a.invokeOperation(ctx, id, c, nil, 0, false)
	if err != nil {
		return 0, err
	}
	r, err := p.Wait(ctx)
	return r.Status, err
}

// invokeOperation waits for room in the window, registers the operation and writes its request.
func (a *Association) invokeOperation(
	ctx context.Context, contextID byte, c Command, data io.Reader, size int64, streams bool,
) (*Pending, error) {
	if a.context(contextID) == nil {
		return nil, fmt.Errorf("%w with ID %d", ErrNoContext, contextID)
	}
	select {
	case a.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-a.done:
		return nil, a.lost(false)
	}
	p := newPending(a, contextID, c, streams)
	if !p.enlist() {
		return nil, a.lost(false)
	}
	p.request.HasDataSet = data != nil
	a.ensureReader()
	if err := a.send(ctx, contextID, &p.request, data, size); err != nil {
		return nil, p.unsent(ctx, err)
	}
	p.sent()
	return p, nil
}

func newPending(a *Association, contextID byte, c Command, streams bool) *Pending {
	p := &Pending{a: a, contextID: contextID, field: c.CommandField, request: c, streams: streams, started: time.Now()}
	backlog := 1
	if streams {
		backlog = responseBacklog
		p.abandoned = make(chan struct{})
	}
	p.responses = make(chan Response, backlog)
	return p
}

// enlist gives the operation a message ID that is not in use; false if the association has ended.
func (p *Pending) enlist() bool {
	a := p.a
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return false
	}
	for a.lastID++; a.lastID == 0 || a.outgoing[a.lastID] != nil; a.lastID++ {
	}
	p.id = a.lastID
	p.request.MessageID = p.id
	a.outgoing[p.id] = p
	return true
}

// unsent withdraws an operation whose request was not written, and says why.
func (p *Pending) unsent(ctx context.Context, err error) error {
	a := p.a
	a.mu.Lock()
	if a.outgoing[p.id] == p {
		delete(a.outgoing, p.id)
		<-a.slots
	}
	ended := a.err
	a.mu.Unlock()
	switch err.(type) {
	case *DataError:
		return err
	}
	if ended == nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return &LostError{Err: err}
}

// sent starts the wait for the response.
func (p *Pending) sent() {
	p.written.Store(true)
	a := p.a
	a.mu.Lock()
	defer a.mu.Unlock()
	p.heard = time.Now()
	if a.watching || a.limits.DIMSETimeout < 0 || a.err != nil {
		return
	}
	a.watching = true
	if a.watch == nil {
		a.watch = time.AfterFunc(a.limits.DIMSETimeout, a.checkResponses)
	} else {
		a.watch.Reset(a.limits.DIMSETimeout)
	}
}

// checkResponses runs when a response may be overdue, which with a busy association is seldom:
// the timer is not touched per operation. The reader ends the association: at its next message,
// or at once if it waits for one.
func (a *Association) checkResponses() {
	late := a.overdue(time.Now())
	if a.late.Store(late); late {
		a.stream.nudge(0)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.watching = len(a.outgoing) > 0 && a.err == nil; !a.watching {
		return
	}
	next := a.limits.DIMSETimeout
	if oldest, ok := a.oldestWait(); ok {
		next = max(time.Until(oldest.Add(next)), time.Millisecond)
	}
	if late {
		next = closeWait // the reader may have missed it
	}
	a.watch.Reset(next)
}

// overdue tells whether a response has been waited for too long.
func (a *Association) overdue(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	oldest, ok := a.oldestWait()
	return ok && a.limits.DIMSETimeout > 0 && now.Sub(oldest) >= a.limits.DIMSETimeout
}

// oldestWait is when the longest wait for a response began. While sub-operations of a C-GET are
// performed here, its response is not waited for. a.mu is held.
func (a *Association) oldestWait() (oldest time.Time, ok bool) {
	for _, p := range a.outgoing {
		if p.heard.IsZero() || p.field == CGetRQ && len(a.incoming) > 0 {
			continue
		}
		if !ok || p.heard.Before(oldest) {
			oldest, ok = p.heard, true
		}
	}
	return oldest, ok
}

// receiveResponse delivers a response to the operation it answers.
func (a *Association) receiveResponse(c Command) error {
	a.mu.Lock()
	p := a.outgoing[c.MessageIDBeingRespondedTo]
	if p != nil && p.field.Response() != c.CommandField {
		p = nil
	}
	a.mu.Unlock()
	if p == nil {
		return a.stray(c.HasDataSet)
	}
	r := Response{Command: c}
	if c.HasDataSet {
		var err error
		if r.Data, err = p.receiveData(); err != nil {
			return err
		}
	}
	if c.Status.Class() == ClassPending {
		return p.deliverPending(r)
	}
	p.conclude(r)
	return nil
}

func (p *Pending) receiveData() ([]byte, error) {
	if p.streams {
		return p.a.collect()
	}
	return nil, p.a.drain()
}

func (p *Pending) deliverPending(r Response) error {
	if !p.streams {
		return nil // a pending status of an operation that has none: wait on, but no longer for it
	}
	p.a.mu.Lock()
	p.heard = time.Now()
	p.a.mu.Unlock()
	select {
	case p.responses <- r:
	case <-p.abandoned:
	case <-p.a.done:
		return errEnded
	}
	return nil
}

// conclude takes the final response: the operation no longer counts for the window.
func (p *Pending) conclude(r Response) {
	a := p.a
	a.mu.Lock()
	listed := a.outgoing[p.id] == p
	delete(a.outgoing, p.id)
	a.mu.Unlock()
	if !listed {
		return // the association has ended meanwhile
	}
	a.invoked.Add(1)
	a.metrics.operation(outbound, p.field, r.Status.Class(), time.Since(p.started))
	select {
	case p.responses <- r:
	case <-p.abandoned:
	case <-a.done:
	}
	<-a.slots
}

// Release ends the association in order: it waits for the outstanding operations of this side,
// and for those of the peer to be answered, sends A-RELEASE-RQ and waits for the answer, at most ARTIM. If that fails the association is
// aborted. It returns nil if the association was released, by whomever.
func (a *Association) Release(ctx context.Context) error {
	if err := a.requestRelease(ctx); err != nil {
		a.note(a.abort(err))
	}
	timer := time.NewTimer(a.limits.ARTIM)
	defer timer.Stop()
	select {
	case <-a.done:
	case <-ctx.Done():
		a.note(a.abort(ctx.Err()))
	case <-timer.C:
		a.note(a.abort(&TimeoutError{"the A-RELEASE-RP", a.limits.ARTIM}))
	}
	<-a.done
	if err := a.Err(); err != ErrReleased {
		return err
	}
	return nil
}

// awaitAnswers waits until operations of the peer that are being served have been answered, such as a report of storage
// commitment that the caller has just been told of: nothing may be sent behind the A-RELEASE-RQ (PS3.8 table 9-10, Sta7). A
// service that does not end is waited for as long as the peer may take to release.
func (a *Association) awaitAnswers(ctx context.Context) error {
	timer := time.NewTimer(a.limits.ARTIM)
	defer timer.Stop()
	held := 0
	defer func() {
		for range held {
			<-a.serving
		}
	}()
	for range cap(a.serving) {
		select {
		case a.serving <- struct{}{}:
			held++
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-a.done:
			return nil
		}
	}
	return nil
}

func (a *Association) requestRelease(ctx context.Context) error {
	for range cap(a.slots) {
		select {
		case a.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-a.done:
			return nil
		}
	}
	if err := a.awaitAnswers(ctx); err != nil {
		return err
	}
	if err := a.lockWriter(ctx); err != nil {
		return err
	}
	defer a.unlockWriter()
	err := a.fire(evt11ReleaseRequest, nil)
	if _, ok := err.(*stateError); ok {
		return nil // the peer's release, or an abort, was first
	}
	if err == nil {
		a.ensureReader()
	}
	return err
}
