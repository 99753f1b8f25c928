package forwarder

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

// peer is a scripted destination, and the dialer that reaches it. Its zero
// value accepts everything, one request at a time and without delay.
type peer struct {
	window  int                       // granted; 0 means 1
	admits  int                       // associations at once; 0 any number
	serves  int                       // the same, but it lets further requests wait
	delay   time.Duration             // before each answer
	latency time.Duration             // of establishing an association
	dial    func(n int) error         // fails dials
	refuses func(transfer.Pair) bool  // no context for the pair
	store   func(uid dicom.UID) reply // nil stores all

	mu       sync.Mutex
	dials    []time.Time
	proposed [][]pdu.PresentationContext
	open     int
	most     int // open at once
	stored   map[dicom.UID]int
	order    []dicom.UID
	echoes   int
	alive    []*link
	queue    []chan struct{} // requests that wait, first come first served
}

// reply is what the destination does with a request.
type reply struct {
	status dimse.Status
	breaks error // the association ends
	lost   bool  // stored, but the association ends before the answer
}

var errPeerAborts = &dimse.AbortError{Remote: true, Source: pdu.AbortSourceServiceUser}

func (p *peer) Dial(ctx context.Context, d Destination, contexts []pdu.PresentationContext) (transfer.Association, error) {
	if p.latency > 0 {
		time.Sleep(p.latency)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.dials)
	p.dials = append(p.dials, time.Now())
	p.proposed = append(p.proposed, contexts)
	if p.dial != nil {
		if err := p.dial(n); err != nil {
			return nil, err
		}
	}
	for p.serves > 0 && p.open >= p.serves {
		if err := p.wait(ctx); err != nil {
			return nil, err
		}
	}
	if p.admits > 0 && p.open >= p.admits {
		return nil, &dimse.RejectError{Result: 2, Source: 3, Reason: 2}
	}
	l := &link{peer: p, contexts: map[transfer.Pair]byte{}, done: make(chan struct{})}
	for _, c := range contexts {
		pair := transfer.Pair{SOPClassUID: dicom.UID(c.AbstractSyntax), TransferSyntaxUID: dicom.UID(c.TransferSyntaxes[0])}
		if p.refuses == nil || !p.refuses(pair) {
			l.contexts[pair] = c.ID
		}
	}
	p.open++
	p.most = max(p.most, p.open)
	p.alive = append(p.alive, l)
	return l, nil
}

// wait waits until an association has ended. The lock is given up meanwhile.
func (p *peer) wait(ctx context.Context) error {
	turn := make(chan struct{})
	p.queue = append(p.queue, turn)
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	p.do(func() {
		if i := slices.Index(p.queue, turn); i >= 0 {
			p.queue = slices.Delete(p.queue, i, i+1)
		}
	})
	return ctx.Err()
}

// ended lets the first waiting request look whether it is its turn.
func (p *peer) ended() {
	p.open--
	if len(p.queue) > 0 {
		close(p.queue[0])
		p.queue = p.queue[1:]
	}
}

func (p *peer) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *peer) dialed() (n int) { p.do(func() { n = len(p.dials) }); return n }
func (p *peer) holds() (n int)  { p.do(func() { n = len(p.stored) }); return n }
func (p *peer) opened() (n int) { p.do(func() { n = p.open }); return n }

// endAll ends all associations.
func (p *peer) endAll(err error) {
	var alive []*link
	p.do(func() { alive, p.alive = p.alive, nil })
	for _, l := range alive {
		l.end(err)
	}
}

// link is an association with a peer.
type link struct {
	peer     *peer
	contexts map[transfer.Pair]byte

	mu   sync.Mutex
	err  error
	done chan struct{}
}

func (l *link) Accepted(abstract, ts dicom.UID) (byte, bool) {
	id, ok := l.contexts[transfer.Pair{SOPClassUID: abstract, TransferSyntaxUID: ts}]
	return id, ok
}

func (l *link) ID() string            { return "o1" }
func (l *link) Window() int           { return max(l.peer.window, 1) }
func (l *link) Done() <-chan struct{} { return l.done }

func (l *link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

func (l *link) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
		close(l.done)
		l.peer.do(l.peer.ended)
	}
}

func (l *link) Release(context.Context) error { l.end(dimse.ErrReleased); return nil }
func (l *link) Close() error                  { return l.Abort() }
func (l *link) Abort() error                  { l.end(errors.New("aborted here")); return nil }

func (l *link) Echo(context.Context) (dimse.Status, error) {
	l.peer.do(func() { l.peer.echoes++ })
	return 0, l.Err()
}

func (l *link) StartStore(ctx context.Context, rq dimse.StoreRequest) (transfer.Pending, error) {
	if _, err := io.Copy(io.Discard, rq.Data); err != nil {
		return nil, err
	}
	if err := l.Err(); err != nil {
		return nil, &dimse.LostError{Err: err}
	}
	return &answer{l, rq.SOPInstanceUID, time.Now().Add(l.peer.delay)}, nil
}

// answer is what becomes of a request.
type answer struct {
	link *link
	uid  dicom.UID
	due  time.Time
}

func (a *answer) Wait(ctx context.Context) (r dimse.Response, err error) {
	timer := time.NewTimer(time.Until(a.due))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.link.done:
	case <-ctx.Done():
		return r, ctx.Err()
	}
	if err := a.link.Err(); err != nil {
		return r, &dimse.LostError{RequestWritten: true, Err: err}
	}
	p := a.link.peer
	var what reply
	p.do(func() {
		if p.store != nil {
			what = p.store(a.uid)
		}
		if what.breaks == nil && (what.status == 0 || what.status.Class() == dimse.ClassWarning) {
			if p.stored == nil {
				p.stored = map[dicom.UID]int{}
			}
			p.stored[a.uid]++
			p.order = append(p.order, a.uid)
		}
	})
	if what.lost && what.breaks == nil {
		what.breaks = errPeerAborts
	}
	if what.breaks != nil {
		a.link.end(what.breaks)
		return r, &dimse.LostError{RequestWritten: true, Err: what.breaks}
	}
	r.Status = what.status
	return r, nil
}
