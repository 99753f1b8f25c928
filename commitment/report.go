package commitment

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// line are the transactions of a peer that wait for an association of the keeper's own. One goroutine serves it, as long as
// there are any.
type line struct {
	peer string
	wake chan struct{}

	// Guarded by Keeper.mu.
	waiting  []*transaction
	until    time.Time // no association is requested before
	failures int       // of associations in a row
	problem  string    // why the last report failed; "" if it did not
}

// reportHere reports over the association of the request, if the peer does not release it first. turn takes one at a time.
func (k *Keeper) reportHere(t *transaction, a *dimse.Association, turn chan struct{}) {
	if k.mayReport(a, turn) {
		err := k.report(a, t, sameAssociation)
		<-turn
		if err == nil {
			return
		}
	}
	if k.ctx.Err() != nil {
		return // after the next start
	}
	if k.o.Dial(t.peer) == nil {
		k.giveUp(t, lostNoAddress)
		return
	}
	k.mu.Lock()
	k.stand(t)
	k.mu.Unlock()
}

// mayReport waits whether a peer releases the association it has asked over, and for its turn if it does not.
func (k *Keeper) mayReport(a *dimse.Association, turn chan struct{}) bool {
	timer := time.NewTimer(k.o.SameAssociation)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.Done():
		return false
	case <-k.ctx.Done():
		return false
	}
	select {
	case turn <- struct{}{}:
		return true
	case <-a.Done():
		return false
	case <-k.ctx.Done():
		return false
	}
}

// stand puts a transaction into the line of its peer. k.mu is held.
func (k *Keeper) stand(t *transaction) {
	l := k.lines[t.peer]
	if l == nil {
		l = &line{peer: t.peer, wake: make(chan struct{}, 1)}
		k.lines[t.peer] = l
		k.tasks.Go(func() { k.serve(l) })
	}
	l.waiting = append(l.waiting, t)
	l.poke()
}

// hurry reports at once to a peer that asks again. k.mu is held.
func (k *Keeper) hurry(t *transaction) {
	l := k.lines[t.peer]
	if l != nil && slices.Contains(l.waiting, t) {
		t.due, l.until = time.Time{}, time.Time{}
		l.poke()
	}
}

func (l *line) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// serve reports to a peer until its line is empty.
func (k *Keeper) serve(l *line) {
	for {
		batch, expired, wait := k.next(l)
		for _, t := range expired {
			k.giveUp(t, lostExpired)
		}
		switch {
		case wait < 0:
			return
		case len(batch) > 0:
			k.session(l, batch)
		default:
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-l.wake:
			case <-k.ctx.Done():
			}
			timer.Stop()
		}
		if k.ctx.Err() != nil {
			return
		}
	}
}

// next takes the transactions out of the line that are too old, unless the clock has jumped ahead, and lists those that are
// due, or says how long to wait. A negative wait says that the line is empty and gone.
func (k *Keeper) next(l *line) (batch, expired []*transaction, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.clock.Look()
	l.waiting = slices.DeleteFunc(l.waiting, func(t *transaction) bool {
		old := k.clock.Believed() && now.Sub(t.received) > k.terms.Load().maxAge
		if old {
			expired = append(expired, t)
		}
		return old
	})
	if len(l.waiting) == 0 {
		delete(k.lines, l.peer)
		return nil, expired, -1
	}
	if wait = l.until.Sub(now); wait > 0 {
		return nil, expired, wait
	}
	wait = k.o.RetryMax
	for _, t := range l.waiting {
		if left := t.due.Sub(now); left > 0 {
			wait = min(wait, left)
		} else {
			batch = append(batch, t)
		}
	}
	// One that the peer breaks down over must not keep the others waiting.
	slices.SortStableFunc(batch, func(a, b *transaction) int { return cmp.Compare(a.failures, b.failures) })
	return batch, expired, wait
}

// session reports what is due over an association of the keeper's own.
func (k *Keeper) session(l *line, batch []*transaction) {
	select {
	case k.sessions <- struct{}{}:
		defer func() { <-k.sessions }()
	case <-k.ctx.Done():
		return
	}
	err := k.reportAll(l, batch)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		l.failures, l.until = 0, time.Time{}
		return
	}
	l.failures++
	l.until = time.Now().Add(k.wait(l.failures))
}

// releaseTimeout bounds how long an association takes to end after the last report.
const releaseTimeout = 5 * time.Second

// reportAll reports until the association ends; the error says why it did.
func (k *Keeper) reportAll(l *line, batch []*transaction) error {
	dial := k.o.Dial(l.peer)
	if dial == nil { // never: Dial does not change
		return errors.New("no address")
	}
	a, err := dial(k.ctx, dimse.Proposal{Contexts: []pdu.PresentationContext{Context(1)}, RoleSelections: []pdu.RoleSelection{ReportingRole()}})
	if err != nil {
		k.metrics.reports.WithLabelValues(ownAssociation, reportFailed).Inc()
		k.trouble(l, describe(err))
		return err
	}
	defer a.Close()
	for _, t := range batch {
		err := k.report(a, t, ownAssociation)
		if err == nil || k.ctx.Err() != nil {
			k.step(l, t, err)
			continue
		}
		k.trouble(l, describe(err))
		k.step(l, t, err)
		if a.Err() != nil || errors.Is(err, dimse.ErrNoContext) {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(k.ctx, releaseTimeout)
	defer cancel()
	_ = a.Release(ctx) // everything was answered; how it ends does not matter
	return nil
}

// step takes a transaction out of the line that has been reported, and puts off another.
func (k *Keeper) step(l *line, t *transaction, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		l.problem = ""
		l.waiting = slices.DeleteFunc(l.waiting, func(o *transaction) bool { return o == t })
		return
	}
	t.failures++
	t.due = time.Now().Add(k.wait(t.failures))
}

// wait is how long after so many failures in a row.
func (k *Keeper) wait(failures int) time.Duration {
	wait := k.o.RetryInitial
	for ; failures > 1 && wait < k.o.RetryMax; failures-- {
		wait *= 2
	}
	return min(wait, k.o.RetryMax)
}

// report makes and sends the result of a transaction. nil says that the peer has taken it, and that it is over.
func (k *Keeper) report(a *dimse.Association, t *transaction, way string) error {
	result, counts, err := k.result(t.peer, t.uid)
	if errors.Is(err, spool.ErrNotFound) { // reported meanwhile
		k.leave(t)
		return nil
	}
	if err != nil {
		k.o.Logger.Error("commitment request cannot be looked up", "association", a.ID(), "peer", pdu.Printable(t.peer), "error", err)
		return errNotLookedUp
	}
	err = Report(k.ctx, a, result)
	if k.o.Reported != nil && k.ctx.Err() == nil {
		k.o.Reported(t.peer, a, result, err)
	}
	var refused *dimse.StatusError
	switch {
	case errors.As(err, &refused):
		k.metrics.reports.WithLabelValues(way, reportRefused).Inc()
		return err
	case err != nil:
		k.metrics.reports.WithLabelValues(way, reportFailed).Inc()
		return err
	}
	k.forget(t)
	k.metrics.reported(way, counts)
	level, message := slog.LevelInfo, "commitment reported"
	if len(result.Failed) > 0 {
		level, message = slog.LevelWarn, "commitment reported with failures"
	}
	k.o.Logger.Log(k.ctx, level, message, "peer", pdu.Printable(t.peer), "association", a.ID(), "over", way,
		"committed", len(result.Committed), "unknown", counts[unknown], "conflict", counts[conflict], "damaged", counts[damaged],
		"seconds", time.Since(t.received).Seconds())
	return nil
}

var errNotLookedUp = errors.New("the spool's index cannot be read")

// describe says what kept a report from being taken, and what to do about it.
func describe(err error) string {
	var refused *dimse.StatusError
	switch {
	case errors.As(err, &refused):
		return "the peer answered the report with " + refused.Error()
	case errors.Is(err, dimse.ErrNoContext):
		return "the peer does not accept storage commitment from us; have reports from our AE title allowed there"
	case errors.Is(err, errNotLookedUp):
		return err.Error()
	}
	d := dimse.Diagnose(err, "the peer")
	if d.Advice == "" {
		return d.Words
	}
	return d.Words + "; " + d.Advice
}

// trouble remembers why a peer is not being reported to, and logs what is new.
func (k *Keeper) trouble(l *line, problem string) {
	if k.ctx.Err() != nil {
		return
	}
	k.mu.Lock()
	known := l.problem == problem
	l.problem = problem
	waiting := len(l.waiting)
	k.mu.Unlock()
	if !known {
		k.o.Logger.Warn("commitment cannot be reported; will be tried again", "peer", pdu.Printable(l.peer), "transactions", waiting, "reason", problem)
	}
}

// Why a result is given up.
const (
	lostNoAddress = "no_address"
	lostExpired   = "expired"
)

var lostAdvice = map[string]string{
	lostNoAddress: "the peer has ended the association it asked over and has no address here; set its address under peers",
	lostExpired:   "the peer has not taken the result in time; see why reports to it fail",
}

// giveUp ends a transaction without the peer having been told. It keeps its instances, and may ask again.
func (k *Keeper) giveUp(t *transaction, why string) {
	k.forget(t)
	k.metrics.lost.WithLabelValues(why).Inc()
	k.o.Logger.Warn("commitment result given up", "peer", pdu.Printable(t.peer), "reason", lostAdvice[why])
}

// PeerStatus is how reporting to a peer goes that has not taken all results yet.
type PeerStatus struct {
	Peer    string    // AE title
	Waiting int       // results
	Oldest  time.Time // request
	Problem string    // why the last report was not taken; "" if none was tried
	Next    time.Time // no report before
}

// Status lists the peers that are still to be reported to over associations of the keeper's own, by AE title.
func (k *Keeper) Status() []PeerStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := make([]PeerStatus, 0, len(k.lines))
	for _, l := range k.lines {
		if len(l.waiting) == 0 {
			continue
		}
		s := PeerStatus{Peer: l.peer, Waiting: len(l.waiting), Problem: l.problem, Oldest: l.waiting[0].received, Next: l.waiting[0].due}
		for _, t := range l.waiting {
			if t.received.Before(s.Oldest) {
				s.Oldest = t.received
			}
			if t.due.Before(s.Next) {
				s.Next = t.due
			}
		}
		if l.until.After(s.Next) {
			s.Next = l.until
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b PeerStatus) int { return cmp.Compare(a.Peer, b.Peer) })
	return list
}
