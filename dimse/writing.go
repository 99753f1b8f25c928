package dimse

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"dcmgate/pdu"
)

// writingState belongs to the holder of the write lock.
type writingState struct {
	lock    chan struct{} // a token is the lock, so that waiting for it can be given up
	command []byte        // the command set being encoded
	event   occurrence    // of the P-DATA request; reused
	message message
}

// message is what a P-DATA request sends.
type message struct {
	contextID byte
	command   *Command
	data      io.Reader // nil: none
	size      int64     // bytes to take from data, or -1 up to its end
}

func (a *Association) lockWriter(ctx context.Context) error {
	select {
	case a.writing.lock <- struct{}{}:
		return nil
	default:
	}
	select {
	case a.writing.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-a.done:
		return a.Err()
	}
}

func (a *Association) unlockWriter() { <-a.writing.lock }

// burst is a pdu.Writer that can be lent to one association after another.
type burst struct {
	*pdu.Writer
	target io.Writer
}

// Write passes a burst on to the association that has the writer.
func (b *burst) Write(p []byte) (int, error) { return b.target.Write(p) }

// burstSize holds a CT image of 512 x 512 with its command, so that a typical instance leaves
// in one write; burstSmall is for messages without a data set.
const (
	burstSize  = 576 << 10
	burstSmall = 4 << 10
)

func newBurst(size int) func() any {
	return func() any {
		b := &burst{}
		b.Writer = pdu.NewWriter(b, size)
		return b
	}
}

var (
	largeBursts = sync.Pool{New: newBurst(burstSize)}
	smallBursts = sync.Pool{New: newBurst(burstSmall)}
)

// withBurst lends f a writer of the association's. One that holds an error or half a message
// is not used again.
func (a *Association) withBurst(pool *sync.Pool, f func(*burst) error) error {
	b := pool.Get().(*burst)
	b.target = a.stream
	err := f(b)
	if err == nil {
		b.target = nil
		pool.Put(b)
	}
	return err
}

func (a *Association) writePDU(p pdu.PDU) error {
	return a.withBurst(&smallBursts, func(b *burst) error {
		if err := b.PDU(p); err != nil {
			return err
		}
		return b.Flush()
	})
}

// writeMessage writes a message in as few bursts as its size allows, command and data together.
func (a *Association) writeMessage(m *message) error {
	a.writing.command = m.command.Append(a.writing.command[:0])
	pool := &smallBursts
	if m.data != nil {
		pool = &largeBursts
	}
	return a.withBurst(pool, func(b *burst) error {
		if err := b.Command(m.contextID, a.writing.command, a.sendMax); err != nil {
			return err
		}
		if m.data != nil {
			if _, err := b.Data(m.contextID, m.data, m.size, a.sendMax); err != nil {
				if b.Err() == nil {
					return &DataError{err}
				}
				return err
			}
		}
		return b.Flush()
	})
}

// send writes one message. After an error the association has ended, except when waiting for
// the lock was given up with ctx.
func (a *Association) send(ctx context.Context, contextID byte, c *Command, data io.Reader, size int64) error {
	if err := a.lockWriter(ctx); err != nil {
		return err
	}
	defer a.unlockWriter()
	w := &a.writing
	w.message = message{contextID, c, data, size}
	w.event = occurrence{message: &w.message}
	err := a.fire(evt9DataRequest, &w.event)
	w.message = message{}
	if err == nil {
		return nil
	}
	return a.sendFailed(err)
}

// sendFailed ends the association for a message that was not sent whole. The write lock is held.
func (a *Association) sendFailed(err error) error {
	switch e := err.(type) {
	case *stateError:
		if ended := a.Err(); ended != nil {
			return ended
		}
		return e // released or being released: the association itself is well
	case *DataError:
		a.awaitResponses()
		a.note(a.fire(evt15AbortRequest, &occurrence{err: err, locked: true}))
		return e
	}
	if errors.Is(err, errCut) {
		return a.Err() // whoever aborts is waiting for the lock
	}
	if !a.stream.broken.Load() { // the message could not be framed
		a.note(a.fire(evt15AbortRequest, &occurrence{err: err, locked: true}))
		return err
	}
	a.note(a.fire(evt17TransportClosed, &occurrence{err: err}))
	a.ensureReader()
	return a.Err()
}

// awaitResponses waits for the responses to what this side has sent whole, for as long as a peer may take to release, unless
// somebody aborts: an instance whose response is cut off is sent again. The write lock is held.
func (a *Association) awaitResponses() {
	timer := time.NewTimer(a.limits.ARTIM)
	defer timer.Stop()
	look := time.NewTicker(responsesLook)
	defer look.Stop()
	for a.awaits() {
		select {
		case <-look.C:
		case <-timer.C:
			return
		case <-a.done:
			return
		}
	}
}

// responsesLook is how often it is looked whether a response has come, which is seldom waited for so.
const responsesLook = 10 * time.Millisecond

// awaits tells whether an operation with one response has been sent and is not answered.
func (a *Association) awaits() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.outgoing {
		if !p.streams && p.written.Load() {
			return a.err == nil
		}
	}
	return false
}
