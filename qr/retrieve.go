package qr

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
	"dcmgate/transfer"
)

const (
	pendingInterval = 4 * time.Second        // the longest a caller hears nothing, but for what is being sent to it meanwhile
	pendingPause    = 100 * time.Millisecond // between two pending responses, so that telling costs little of the doing
	cancelPatience  = 75 * time.Millisecond  // for sub-operations to end when the retrieval is cancelled
)

// Move makes the C-MOVE service for one association.
func (s *SCP) Move(c Caller) dimse.Service {
	return &retrieve{SCP: s, caller: c, operation: dimse.CMoveRQ}
}

// Get makes the C-GET service for one association. Sub-operations go over it in the contexts for which this side has the
// SCU role.
func (s *SCP) Get(c Caller) dimse.Service {
	return &retrieve{SCP: s, caller: c, operation: dimse.CGetRQ}
}

// retrieve is the service C-MOVE or C-GET for a caller.
type retrieve struct {
	*SCP
	caller    Caller
	operation dimse.CommandField
}

// retrieveOutcome is what there is to say about a retrieval that is over.
type retrieveOutcome struct {
	begun       time.Time
	destination string // of a C-MOVE
	model       string
	level       Level
	keys        []Attribute // asked for, if they could be read
	tally       *tally      // nil if it was refused
	status      dimse.Status
	comment     string
	missing     string // which upstreams could not be asked
	refused     *refusal
	err         error // why there was no final answer, or what failed here
}

// ServeDIMSE implements dimse.Service.
func (m *retrieve) ServeDIMSE(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
	o := retrieveOutcome{begun: time.Now(), destination: strings.TrimSpace(rq.Command.MoveDestination)}
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
	m.audit(rq, &o)
	if r != nil {
		r.closing.Wait()
	}
}

// prepare reads the request and holds it to the rules.
func (m *retrieve) prepare(rq *dimse.Request, o *retrieveOutcome) (*retrieval, error) {
	model, ok := modelOf(m.operation, rq.Context.AbstractSyntax)
	if !ok {
		return nil, &refusal{status: dimse.StatusSOPClassNotSupported, comment: "no retrieve model"}
	}
	o.model = model.name
	id, err := m.caller.identifier(rq)
	if err != nil {
		return nil, err
	}
	o.keys = id.Attributes
	r := &retrieval{
		index: m.o.Index, converter: m.o.Converter, request: transfer.Item{Priority: rq.Command.Priority},
		told: func(in *spool.Instance, ok bool) { m.o.Audit.Sent(m.caller, o.destination, in, ok) },
	}
	if r.query, o.level, err = newRetrieval(model, id); err != nil {
		return nil, err
	}
	r.scp, r.level, r.through = m.SCP, o.level, m.caller.upstreams(m.terms.Load().upstreams)
	if m.operation == dimse.CGetRQ {
		r.send = r.sendBack(rq.Association)
		return r, nil
	}
	r.request.MoveOriginatorAETitle, r.request.MoveOriginatorMessageID = m.caller.AETitle, rq.Command.MessageID
	dial, err := m.destination(o.destination)
	if err != nil {
		return nil, err
	}
	r.send = r.sendTo(dial)
	return r, nil
}

// perform counts and sends, and tells the caller how far it is.
func (m *retrieve) perform(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request, r *retrieval, o *retrieveOutcome) error {
	end, ok := m.retrievals.take(m.caller.AETitle)
	if !ok {
		return &refusal{status: dimse.StatusUnableToPerformSubOps, comment: "too many retrievals at once; try again"}
	}
	defer end()
	ctx, stop := cancelable(ctx, rq.Cancelled)
	defer stop()
	r.tally = newTally(m.metrics.suboperations[m.operation])
	o.tally = r.tally
	done := make(chan error, 1)
	r.closing.Go(func() { done <- r.run(ctx) })
	err := r.report(ctx, w, done)
	if err == nil {
		o.missing = r.gathering.shortfall()
	}
	return err
}

// report sends a pending response when a count has changed, and from time to time, so that the caller does not take the
// gateway for dead while matches are counted or a destination is slow. It returns how the retrieval has ended; of one that
// is cancelled what does not end soon is not waited for.
func (r *retrieval) report(ctx context.Context, w dimse.ResponseWriter, done <-chan error) error {
	tick := time.NewTicker(pendingInterval)
	defer tick.Stop()
	pause := time.NewTimer(0)
	defer pause.Stop()
	ready := pause.C
	for {
		var changed <-chan struct{}
		if ready == nil {
			changed = r.tally.changed
		}
		select {
		case err := <-done:
			return err // the final response says it all
		case <-ctx.Done():
			return cancelled(ctx, done)
		case <-ready:
			ready = nil
			continue
		case <-changed:
		case <-tick.C:
		}
		c := dimse.Command{Status: dimse.StatusPending}
		r.tally.counters(&c, true)
		if err := w.Respond(c, nil); err != nil {
			return errors.Join(errUnanswered, err)
		}
		pause.Reset(pendingPause)
		ready = pause.C
	}
}

// cancelled gives the sub-operations of a retrieval a moment to end.
func cancelled(ctx context.Context, done <-chan error) error {
	patience := time.NewTimer(cancelPatience)
	defer patience.Stop()
	select {
	case err := <-done:
		return err
	case <-patience.C:
		return ctx.Err()
	}
}

// judge finds the status to end with.
func (m *retrieve) judge(o *retrieveOutcome, err error) {
	switch {
	case err == nil:
		o.status, o.comment = o.verdict()
	case errors.As(err, new(*countError)):
		o.refused = &refusal{status: dimse.StatusUnableToCalculateMatches, comment: "the index cannot be read; see the gateway's log"}
		o.status, o.comment, o.err = o.refused.status, o.refused.comment, err
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

// verdict is that of the tally, but that nothing selected is no success where an upstream might have it.
func (o *retrieveOutcome) verdict() (status dimse.Status, comment string) {
	status, comment = o.tally.verdict()
	switch {
	case o.missing == "" || status != dimse.StatusSuccess:
		return status, comment
	case o.tally.expected() == 0:
		return dimse.StatusUnableToCalculateMatches, o.missing
	}
	return status, o.missing
}

// conclude sends the final response, with the UIDs of what failed if anything did.
func (m *retrieve) conclude(w dimse.ResponseWriter, rq *dimse.Request, o *retrieveOutcome) error {
	final := dimse.Command{Status: o.status, ErrorComment: o.comment}
	if o.refused != nil {
		final.OffendingElements = o.refused.elements
		return w.Respond(final, nil)
	}
	var data io.Reader
	if failed := o.tally.counters(&final, o.status == dimse.StatusCancel); len(failed) > 0 {
		id := Identifier{Attributes: []Attribute{{Tag: tagFailedSOPInstanceUIDList, VR: "UI", Values: failed}}}
		encoded, err := id.Encode(rq.Context.TransferSyntax)
		if err != nil {
			return err
		}
		data = bytes.NewReader(encoded)
	}
	return w.Respond(final, data)
}

// account writes the one line of a retrieval and counts it.
func (m *retrieve) account(o *retrieveOutcome) {
	label := statusLabel(o.status)
	args := []any{"operation", m.operation.Operation(), "association", m.caller.Association, "peer", pdu.Printable(m.caller.AETitle)}
	if m.operation == dimse.CMoveRQ {
		args = append(args, "destination", pdu.Printable(o.destination))
	}
	args = append(args, "model", o.model, "level", o.level.String())
	if o.tally != nil {
		args = append(args, o.tally.attributes()...)
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
	m.metrics.retrievals[m.operation].WithLabelValues(label).Inc()
	switch {
	case label == unanswered:
		m.o.Logger.Warn("retrieval not answered to its end", args...)
	case o.err != nil:
		m.o.Logger.Error("retrieval failed", args...)
	case o.refused != nil:
		m.o.Logger.Warn("retrieval refused", args...)
	case o.status.Class() == dimse.ClassFailure || o.status.Class() == dimse.ClassWarning || o.missing != "":
		m.o.Logger.Warn("retrieval incomplete", args...)
	default:
		m.o.Logger.Info("retrieval answered", args...)
	}
}

func (m *retrieve) audit(rq *dimse.Request, o *retrieveOutcome) {
	asked := Asked{
		Operation: m.operation, SOPClass: rq.Context.AbstractSyntax, Identifier: Audited(o.keys), Destination: o.destination, Status: o.status,
	}
	if o.tally != nil {
		asked.Matches, asked.Failed = o.tally.expected(), o.tally.failures()
	}
	m.o.Audit.Asked(m.caller, asked)
}
