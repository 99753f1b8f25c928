package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dcmgate/dimse"
)

// DefaultReadAhead is the number of bytes read ahead of the next instance
// while a response is awaited.
const DefaultReadAhead = 128 << 10

// A Pump sends the items of a source over an association.
type Pump struct {
	Association Association
	Source      Source
	// Window bounds the unanswered requests; 0 means as many as negotiated.
	Window int
	// Converter converts what the peer does not take as it is stored; nil
	// leaves that unsent.
	Converter *Converter
	// Whole has instances converted to their end before the first byte is
	// sent, so that one that fails late does not cost the association.
	Whole bool
	// Limiter bounds the rate, together with all other pumps that share it.
	Limiter *Limiter
	// Linger is how long to wait for further items when all are answered and
	// the source has none.
	Linger time.Duration
	// Grace is how long responses are still awaited when the context ends.
	Grace time.Duration
	// ReadAhead bounds what is read ahead: of the next instance, and of the
	// present one for a peer that takes small fragments. Default
	// DefaultReadAhead, negative nothing.
	ReadAhead int
}

// Run pumps until the source ends with io.EOF, or has had nothing for the
// linger time, or the association ends, or ctx ends. Then no further item is
// taken, the responses under way are awaited, and Run returns: nil if the
// association is intact and may be released, else the error that ended it,
// having aborted it. Items are answered for through Source.Done.
func (p *Pump) Run(ctx context.Context) error {
	within, cancel := withGrace(ctx, p.Grace)
	defer cancel()
	defer p.interruptAt(within)()
	s := session{Pump: p, ctx: within, stop: ctx.Done(), window: p.window()}
	if s.window > 1 {
		s.completions = make(chan completion, s.window)
	}
	err := s.run()
	s.finish(err)
	return err
}

func (p *Pump) window() int {
	w := max(p.Association.Window(), 1)
	if p.Window > 0 {
		w = min(w, p.Window)
	}
	return w
}

// withGrace returns a context that ends grace later than ctx.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-within.Done():
		}
	})
	return within, func() { stop(); cancel() }
}

// interruptAt aborts the association when the grace is over: a request may be in the middle of its data set, which a peer
// that does not read holds up. What it returns ends that, and waits for an abort under way.
func (p *Pump) interruptAt(within context.Context) (done func()) {
	aborted := make(chan struct{})
	stop := context.AfterFunc(within, func() {
		defer close(aborted)
		_ = p.Association.Abort() // why the request failed is what counts
	})
	return func() {
		if !stop() {
			<-aborted
		}
	}
}

// session is one run of a pump. Only its goroutine touches it, apart from
// the waiters that send to completions.
type session struct {
	*Pump
	ctx         context.Context // of the operations: the caller's plus grace
	stop        <-chan struct{} // closed when no further item may be taken
	window      int
	completions chan completion // nil if the window is 1

	next     *prepared // taken and opened, not yet started
	sole     request   // the unanswered request if the window is 1
	inFlight int
	alone    bool // the request in flight wants no company
	ended    bool // the source has no more for us
	buffer   []byte
	lost     []*Item // sent at least in part when the association ended
}

// request is a request on the wire.
type request struct {
	item    *Item
	pending Pending
}

// completion is its end.
type completion struct {
	item     *Item
	response dimse.Response
	err      error
}

func (s *session) run() error {
	for {
		if err := s.fill(); err != nil {
			return err
		}
		switch {
		case s.inFlight > 0:
			if err := s.await(); err != nil {
				return err
			}
		case s.ended:
			return nil
		default:
			if more, err := s.idle(); !more {
				return err
			}
		}
	}
}

// fill starts requests until the window is full or the source has nothing.
func (s *session) fill() error {
	for s.inFlight < s.window && !s.alone {
		if isClosed(s.stop) {
			s.ended = true
			s.drop(Outcome{Kind: NotSent})
			return nil
		}
		if s.next == nil && !s.take() {
			return nil
		}
		if s.next == nil {
			continue // it could not be opened and is answered for
		}
		if s.next.item.Alone && s.inFlight > 0 {
			return nil
		}
		if err := s.start(); err != nil {
			return err
		}
	}
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// take takes the next item from the source into s.next, unless it fails at
// once. It reports whether there was one.
func (s *session) take() bool {
	if s.ended {
		return false
	}
	item, err := s.Source.Next()
	if err != nil {
		s.ended = true
		return false
	}
	if item == nil {
		return false
	}
	contextID, to, ok := s.Converter.context(s.Association, item.Pair)
	if !ok {
		s.Source.Done(item, Outcome{Kind: NoContext, Err: s.Converter.noContext(item.Pair)})
		return true
	}
	if s.next, err = s.open(item, contextID, to); err != nil {
		s.next = nil
		s.Source.Done(item, unsent(err))
		return true
	}
	s.lend(s.next)
	return true
}

// prefetch uses the time until the next response to take the next item and
// read its head. A payload that fails here fails without touching the
// association.
func (s *session) prefetch() {
	if s.ReadAhead < 0 || s.next != nil || isClosed(s.stop) {
		return
	}
	for s.next == nil && s.take() {
	}
	if s.next == nil {
		return
	}
	if err := s.next.readAhead(); err != nil {
		s.drop(unsent(err))
	}
}

// unsent is the outcome of an item that cannot be read, or whose conversion the end of the run has ended.
func unsent(err error) Outcome {
	if errors.Is(err, context.Canceled) {
		return Outcome{Kind: NotSent, Err: err}
	}
	return Outcome{Kind: LocalError, Err: err}
}

// lend gives the item the session's buffer. One is enough: the item taken
// before has been written when the next one is taken.
func (s *session) lend(p *prepared) {
	if s.buffer == nil && s.ReadAhead >= 0 {
		size := s.ReadAhead
		if size == 0 {
			size = DefaultReadAhead
		}
		s.buffer = make([]byte, size)
	}
	p.buffer = s.buffer
}

// drop answers for the item that was taken but will not be sent.
func (s *session) drop(o Outcome) {
	if s.next != nil {
		s.next.close()
		s.Source.Done(s.next.item, o)
		s.next = nil
	}
}

// start writes the request for s.next. The writing takes as long as the peer
// takes to read it.
func (s *session) start() error {
	p := s.next
	s.next = nil
	item := p.item
	p.ctx, p.limiter = s.ctx, s.Limiter
	pending, err := s.Association.StartStore(s.ctx, dimse.StoreRequest{
		ContextID:               p.contextID,
		SOPClassUID:             item.SOPClassUID,
		SOPInstanceUID:          item.SOPInstanceUID,
		Priority:                item.Priority,
		MoveOriginatorAETitle:   item.MoveOriginatorAETitle,
		MoveOriginatorMessageID: item.MoveOriginatorMessageID,
		Data:                    p,
		Size:                    p.size,
	})
	p.close()
	if err != nil {
		return s.startFailed(p, err)
	}
	s.inFlight++
	s.alone = item.Alone
	if s.completions == nil {
		s.sole = request{item, pending}
		return nil
	}
	go func() { // finish or await receives what it sends; the channel has room
		response, err := pending.Wait(s.ctx)
		s.completions <- completion{item, response, err}
	}()
	return nil
}

// startFailed ends the association over a request that could not be written,
// telling the instance's own trouble from the association's.
func (s *session) startFailed(p *prepared, err error) error {
	_ = s.Association.Abort() // it may be in the middle of a message
	if p.err != nil && !errors.Is(p.err, context.Canceled) {
		err = fmt.Errorf("read instance %s: %w", p.item.SOPInstanceUID, p.err)
		s.Source.Done(p.item, Outcome{Kind: LocalError, Err: err})
		return &LocalAbortError{err}
	}
	if p.sent == 0 {
		s.Source.Done(p.item, Outcome{Kind: NotSent, Err: err}) // the association had ended before
		return err
	}
	s.lost = append(s.lost, p.item)
	return err
}

// A LocalAbortError says that an association had to be aborted because the
// instance being sent could not be read to its end.
type LocalAbortError struct{ Err error }

func (e *LocalAbortError) Error() string { return "association aborted: " + e.Err.Error() }

// Unwrap returns the error of the payload.
func (e *LocalAbortError) Unwrap() error { return e.Err }

// await waits for a response or, with room in the window, for another item.
func (s *session) await() error {
	if s.inFlight == s.window || s.alone {
		s.prefetch()
	}
	if s.completions == nil {
		response, err := s.sole.pending.Wait(s.ctx)
		return s.completed(completion{s.sole.item, response, err})
	}
	var ready <-chan struct{}
	if s.inFlight < s.window && !s.alone && s.next == nil && !s.ended {
		ready = s.Source.Ready()
	}
	select {
	case c := <-s.completions:
		return s.completed(c)
	case <-ready:
		return nil
	}
}

// completed answers for an item, or returns the error that ended the
// association.
func (s *session) completed(c completion) error {
	s.inFlight--
	if c.err != nil {
		_ = s.Association.Abort()
		s.lost = append(s.lost, c.item)
		return c.err
	}
	s.alone = false
	s.Source.Done(c.item, Outcome{Kind: Answered, Status: c.response.Status})
	return nil
}

// idle waits for an item, with nothing in flight. It reports false when the
// pump shall end, with the error that ended the association, if one did.
func (s *session) idle() (more bool, err error) {
	linger := time.NewTimer(s.Linger)
	defer linger.Stop()
	select {
	case <-s.Source.Ready():
		return true, nil
	case <-linger.C:
		return false, nil
	case <-s.stop:
		return false, nil
	case <-s.Association.Done():
		return false, s.Association.Err()
	}
}

// finish answers for everything that is left when the association has ended
// with err. Without an error nothing can be in flight.
func (s *session) finish(err error) {
	for s.completions != nil && s.inFlight > 0 {
		_ = s.completed(<-s.completions) // responses that came before the end still count
	}
	for _, item := range s.lost {
		s.Source.Done(item, Outcome{Kind: Interrupted, Err: err, Unanswered: len(s.lost)})
	}
	s.drop(Outcome{Kind: NotSent, Err: err})
}
