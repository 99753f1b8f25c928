package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/qr"
)

// fetches are the retrievals from an archive that are under way, each for all who want the same.
type fetches struct {
	mu     sync.Mutex
	active map[string]*fetch
	many   atomic.Int32  // their number
	moving chan struct{} // places that they may take
}

// fetch is a C-MOVE at the archive to the gateway.
type fetch struct {
	qr.Wanted
	cancel context.CancelFunc // when nobody wants it any more
	askers int                // guarded by fetches.mu
	heard  atomic.Int64       // when an instance has arrived last, in nanoseconds since 1970
	over   chan struct{}      // closed at the end
	moved  int                // instances that the archive says it has sent; negative if it does not say
	err    error

	association string // ID of the one with the archive, "" before there is one
}

// Fetch implements qr.Upstream. Whoever wants what is on its way already, or a part of it, shares that.
func (u *Upstream) Fetch(ctx context.Context, w qr.Wanted) (moved int, err error) {
	if u.life.Err() != nil {
		return 0, errEnding
	}
	f := u.join(w)
	select {
	case <-f.over:
	case <-ctx.Done():
		err = ctx.Err()
	}
	u.part(f)
	if err != nil {
		return 0, err
	}
	return f.moved, f.err
}

// join finds the fetch that brings what is wanted, or begins one.
func (u *Upstream) join(w qr.Wanted) *fetch {
	s := &u.fetches
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, key := range []string{keyOf(qr.Wanted{Study: w.Study, Series: w.Series}), keyOf(w)} {
		if f := s.active[key]; f != nil {
			f.askers++
			return f
		}
	}
	f := &fetch{Wanted: w, askers: 1, over: make(chan struct{})}
	var ctx context.Context
	ctx, f.cancel = context.WithCancel(u.life)
	s.active[keyOf(w)] = f
	s.many.Add(1)
	u.winding.Go(func() { u.move(ctx, f) })
	return f
}

// part is one who wants it less.
func (u *Upstream) part(f *fetch) {
	s := &u.fetches
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.askers--; f.askers == 0 {
		f.cancel()
		s.remove(f) // who comes later begins anew
	}
}

// remove takes a fetch out of those that can be joined. s.mu is held.
func (s *fetches) remove(f *fetch) {
	if key := keyOf(f.Wanted); s.active[key] == f {
		delete(s.active, key)
		s.many.Add(-1)
	}
}

func keyOf(w qr.Wanted) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\x00%s", w.Study, w.Series)
	for _, uid := range w.Instances {
		b.WriteString("\x00" + string(uid))
	}
	return b.String()
}

// Arrived implements qr.Upstream: the archive is at work.
func (u *Upstream) Arrived(study, series dicom.UID) {
	s := &u.fetches
	if s.many.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.active {
		if f.Study == study && f.Series == series {
			f.heard.Store(time.Now().UnixNano())
		}
	}
}

// move performs a fetch.
func (u *Upstream) move(ctx context.Context, f *fetch) {
	begun := time.Now()
	var wind func()
	f.moved, wind, f.err = u.perform(ctx, f)
	if f.err != nil && u.life.Err() != nil {
		f.err = errEnding
	}
	outcome, took := outcomeOf(f.err), time.Since(begun).Seconds()
	u.metrics.moves[outcome].Inc()
	if f.association != "" {
		u.o.Asked(Asked{Upstream: u.o.Name, Operation: dimse.CMoveRQ, SOPClass: qr.StudyRootMove, Identifier: qr.Audited(f.Identifier().Attributes), Count: f.moved, Err: f.err})
	}
	args := []any{"upstream", u.o.Name, "outcome", outcome, "instances", max(f.moved, 0), "seconds", took}
	if f.association != "" {
		args = append(args, "association", f.association)
	}
	switch {
	case f.err == nil:
		u.metrics.moveSeconds.Observe(took)
		u.o.Logger.Info("series fetched", args...)
	case outcome == outcomeCancelled:
		u.o.Logger.Info("series no longer wanted", args...)
	default:
		u.o.Logger.Warn("series not fetched", append(args, "error", f.err)...)
	}
	u.fetches.mu.Lock()
	u.fetches.remove(f)
	u.fetches.mu.Unlock()
	close(f.over)
	if wind != nil {
		wind()
	}
	f.cancel()
}

// perform waits for a place and has the archive move. wind ends the conversation, if one has begun.
func (u *Upstream) perform(ctx context.Context, f *fetch) (moved int, wind func(), err error) {
	if !slices.Contains(u.o.Models, qr.StudyRootFind) {
		return 0, nil, errModel
	}
	select {
	case u.fetches.moving <- struct{}{}:
	case <-ctx.Done():
		return 0, nil, ctx.Err()
	}
	leave := func() { <-u.fetches.moving }
	c, err := u.begin(ctx, dimse.Proposal{Contexts: proposing(qr.StudyRootMove)})
	if err != nil {
		leave()
		return 0, nil, err
	}
	f.association = c.association.ID()
	moved, end, err := c.fetch(ctx, f)
	return moved, func() { end(); leave() }, err
}

// fetch sends the C-MOVE and follows it to its end.
func (c *conversation) fetch(ctx context.Context, f *fetch) (moved int, wind func(), err error) {
	idle := func() { c.over(nil, false) }
	pc, ok := c.contextFor(qr.StudyRootMove)
	if !ok {
		c.answered()
		return 0, idle, refused("does not accept C-MOVE", nil)
	}
	data, err := f.Identifier().Encode(pc.TransferSyntax)
	if err != nil {
		c.breaker.Withdrawn()
		return 0, idle, err
	}
	command := dimse.Command{CommandField: dimse.CMoveRQ, AffectedSOPClassUID: qr.StudyRootMove, MoveDestination: c.o.CallingAETitle}
	p, err := c.association.Do(ctx, pc.ID, command, bytes.NewReader(data))
	if err != nil {
		return 0, c.abandon, c.ended(ctx, err)
	}
	final, err := c.follow(ctx, p, f)
	switch {
	case err != nil && ctx.Err() != nil:
		c.breaker.Withdrawn()
		return 0, func() { c.over(p, true) }, ctx.Err()
	case err != nil:
		return 0, c.abandon, c.ended(ctx, err)
	}
	c.answered()
	moved = movedOf(final)
	if final.Status.Ok() {
		return moved, idle, nil
	}
	return moved, idle, refused(fmt.Sprintf("answers %04XH to C-MOVE", uint16(final.Status)), &refusal{final.Status})
}

// follow waits for the final response: as long as there are others, or instances arrive.
func (c *conversation) follow(ctx context.Context, p *dimse.Pending, f *fetch) (dimse.Response, error) {
	f.heard.Store(time.Now().UnixNano())
	for {
		quiet := time.Since(time.Unix(0, f.heard.Load()))
		r, err := c.next(ctx, p, max(c.o.MoveTimeout-quiet, time.Millisecond))
		switch {
		case errors.As(err, new(*dimse.TimeoutError)) && ctx.Err() == nil:
			if time.Since(time.Unix(0, f.heard.Load())) >= c.o.MoveTimeout {
				return r, err
			}
		case err != nil, r.Status.Class() != dimse.ClassPending:
			return r, err
		default:
			f.heard.Store(time.Now().UnixNano())
		}
	}
}

// movedOf is how many instances an archive says that it has sent.
func movedOf(r dimse.Response) int {
	if r.NumberOfCompletedSuboperations == nil {
		return -1
	}
	n := int(*r.NumberOfCompletedSuboperations)
	if r.NumberOfWarningSuboperations != nil {
		n += int(*r.NumberOfWarningSuboperations)
	}
	return n
}
