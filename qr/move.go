package qr

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

const (
	maxMoves        = 32              // retrievals under way at once, of all callers
	pendingInterval = 4 * time.Second // the longest a caller hears nothing
)

// Move makes the C-MOVE service for one association.
func (s *SCP) Move(c Caller) dimse.Service { return &move{SCP: s, caller: c} }

// move is the service C-MOVE for a caller.
type move struct {
	*SCP
	caller Caller
}

// moveOutcome is what there is to say about a retrieval that is over.
type moveOutcome struct {
	begun       time.Time
	destination string
	model       string
	level       Level
	tally       *tally // nil if it was refused
	status      dimse.Status
	comment     string
	refused     *refusal
	err         error // why there was no final answer, or what failed here
}

// ServeDIMSE implements dimse.Service.
func (m *move) ServeDIMSE(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
	o := moveOutcome{begun: time.Now(), destination: strings.TrimSpace(rq.Command.MoveDestination)}
	r, err := m.prepare(rq, &o)
	if err == nil {
		err = m.perform(ctx, w, rq, r, &o)
	}
	m.judge(&o, err)
	if !errors.Is(o.err, errUnanswered) {
		if err := m.conclude(w, rq, &o); err != nil {
			o.err = errors.Join(errUnanswered, err)
		}
	}
	m.account(&o)
	if r != nil {
		r.closing.Wait()
	}
}

// prepare reads the request and holds it to the rules.
func (m *move) prepare(rq *dimse.Request, o *moveOutcome) (*retrieval, error) {
	model, ok := moveModelOf(rq.Context.AbstractSyntax)
	if !ok {
		return nil, &refusal{status: dimse.StatusSOPClassNotSupported, comment: "no retrieve model"}
	}
	o.model = model.name
	id, err := m.caller.identifier(rq)
	if err != nil {
		return nil, err
	}
	r := &retrieval{index: m.o.Index, request: transfer.Item{
		Priority:                rq.Command.Priority,
		MoveOriginatorAETitle:   m.caller.AETitle,
		MoveOriginatorMessageID: rq.Command.MessageID,
	}}
	if r.query, o.level, err = newRetrieval(model, id); err != nil {
		return nil, err
	}
	if r.dial, err = m.destination(o.destination); err != nil {
		return nil, err
	}
	return r, nil
}

// destination finds how to reach an application entity that the caller may move instances to.
func (m *move) destination(aeTitle string) (Dial, error) {
	if len(m.caller.MoveTo) > 0 && !slices.Contains(m.caller.MoveTo, aeTitle) {
		return nil, &refusal{status: dimse.StatusMoveDestinationUnknown, comment: "not a destination for this caller"}
	}
	if m.o.Destination != nil {
		if dial := m.o.Destination(aeTitle); dial != nil {
			return dial, nil
		}
	}
	return nil, &refusal{status: dimse.StatusMoveDestinationUnknown, comment: "no peer of that AE title has an address here"}
}

// perform counts and sends, and tells the caller how far it is.
func (m *move) perform(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request, r *retrieval, o *moveOutcome) error {
	select {
	case m.moves <- struct{}{}:
		defer func() { <-m.moves }()
	default:
		return &refusal{status: dimse.StatusUnableToPerformSubOps, comment: "too many retrievals at once; try again"}
	}
	ctx, stop := cancelable(ctx, rq.Cancelled)
	defer stop()
	r.tally = newTally(m.metrics)
	o.tally = r.tally
	pairs, err := r.census(ctx)
	if err != nil && ctx.Err() == nil {
		o.err = err
		return &refusal{status: dimse.StatusUnableToCalculateMatches, comment: "the index cannot be read; see the gateway's log"}
	}
	if err != nil {
		return ctx.Err()
	}
	sending, abandon := context.WithCancel(ctx)
	defer abandon()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(sending, pairs)
	}()
	err = r.report(w, done)
	if err != nil {
		abandon()
		<-done
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return r.failure()
}

// report sends a pending response when a count has changed, as fast as the caller takes them, and from time to time, so
// that it does not take the gateway for dead while a destination is slow.
func (r *retrieval) report(w dimse.ResponseWriter, done <-chan struct{}) error {
	tick := time.NewTicker(pendingInterval)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-r.tally.changed:
		case <-tick.C:
		}
		select {
		case <-done:
			return nil // the final response says it all
		default:
		}
		c := dimse.Command{Status: dimse.StatusPending}
		r.tally.counters(&c, true)
		if err := w.Respond(c, nil); err != nil {
			return errors.Join(errUnanswered, err)
		}
	}
}

// judge finds the status to end with.
func (m *move) judge(o *moveOutcome, err error) {
	switch {
	case err == nil:
		o.status, o.comment = o.tally.verdict()
	case errors.As(err, &o.refused):
		o.status, o.comment = o.refused.status, o.refused.comment
	case errors.Is(err, errUnanswered):
		o.err = err
	case errors.Is(err, context.Canceled):
		o.status = dimse.StatusCancel
	default:
		o.status, o.comment, o.err = dimse.StatusUnableToProcess, "retrieval failed; see the gateway's log", err
	}
}

// conclude sends the final response, with the UIDs of what failed if anything did.
func (m *move) conclude(w dimse.ResponseWriter, rq *dimse.Request, o *moveOutcome) error {
	final := dimse.Command{Status: o.status, ErrorComment: o.comment}
	if o.refused != nil {
		final.OffendingElements = o.refused.elements
		return w.Respond(final, nil)
	}
	o.tally.counters(&final, o.status == dimse.StatusCancel)
	var data io.Reader
	if o.tally.failed > 0 {
		id := Identifier{Attributes: []Attribute{{Tag: tagFailedSOPInstanceUIDList, VR: "UI", Values: o.tally.failedUIDs}}}
		encoded, err := id.Encode(rq.Context.TransferSyntax)
		if err != nil {
			return err
		}
		data = bytes.NewReader(encoded)
	}
	return w.Respond(final, data)
}

// account writes the one line of a retrieval and counts it.
func (m *move) account(o *moveOutcome) {
	label := statusLabel(o.status)
	args := []any{"association", m.caller.Association, "peer", pdu.Printable(m.caller.AETitle), "destination", pdu.Printable(o.destination),
		"model", o.model, "level", o.level.String()}
	if t := o.tally; t != nil {
		args = append(args, "instances", t.total, "completed", t.completed, "failed", t.failed, "warnings", t.warnings)
	}
	args = append(args, "status", o.status.String(), "seconds", time.Since(o.begun).Seconds())
	if o.comment != "" {
		args = append(args, "reason", o.comment)
	}
	if errors.Is(o.err, errUnanswered) {
		label = unanswered
	}
	if o.err != nil {
		args = append(args, "error", o.err)
	}
	m.metrics.moves.WithLabelValues(label).Inc()
	switch {
	case label == unanswered:
		m.o.Logger.Warn("retrieval not answered to its end", args...)
	case o.err != nil:
		m.o.Logger.Error("retrieval failed", args...)
	case o.refused != nil:
		m.o.Logger.Warn("retrieval refused", args...)
	case o.status.Class() == dimse.ClassFailure || o.status.Class() == dimse.ClassWarning:
		m.o.Logger.Warn("retrieval incomplete", args...)
	default:
		m.o.Logger.Info("retrieval answered", args...)
	}
}
