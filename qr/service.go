package qr

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

// Options are what an SCP is made of.
type Options struct {
	Index      Index
	AETitle    string                // answered as Retrieve AE Title (0008,0054)
	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
	// Converter converts what is retrieved to a transfer syntax that is accepted where its own is not; nil converts nothing.
	Converter *transfer.Converter
	// Destination returns how to reach an application entity that instances can be moved to; nil if it is not known. A nil
	// function knows none.
	Destination func(aeTitle string) Dial
	// Upstreams are asked for what is not in the index, on behalf of callers that may.
	Upstreams []Upstream
	Audit     Auditor // nil tells nobody
}

// SCP answers queries and performs retrievals. Its methods may be called by many goroutines.
type SCP struct {
	o       Options
	terms   atomic.Pointer[terms]
	metrics *instruments

	retrievals turns // of those under way
	gatherings gatherings
	held       holdings
}

// New makes an SCP. It starts nothing.
func New(o Options) *SCP {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Audit == nil {
		o.Audit = nobody{}
	}
	s := &SCP{o: o, metrics: newInstruments(o.Registerer)}
	s.Use(o.AETitle, o.Upstreams, nil)
	return s
}

// terms are what can change of the options.
type terms struct {
	aeTitle   string
	upstreams []Upstream
	heard     []Upstream // that are told of arrivals
}

// Use changes AETitle and Upstreams of the options for what is asked from now on. former are upstreams that are not asked any
// more, but still fetch for who has asked before.
func (s *SCP) Use(aeTitle string, upstreams, former []Upstream) {
	s.metrics.foresee(upstreams)
	s.terms.Store(&terms{aeTitle, upstreams, slices.Concat(upstreams, former)})
}

// DefaultMaxMatches is how many matches a query may have where nothing else is configured.
const DefaultMaxMatches = 10_000

// Caller is who queries over an association, and how far it may go.
type Caller struct {
	AETitle     string
	Association string // its ID, for the log
	Address     string // for the audit trail
	// MaxMatches ends a query that has more with A700; 0 is DefaultMaxMatches.
	MaxMatches int
	// CharacterSet is what identifiers that name no Specific Character Set are in; "" is the default repertoire.
	CharacterSet string
	// Granted is what Negotiate answered.
	Granted []pdu.ExtendedNegotiation
	// MoveTo are the AE titles it may move instances to; empty is all that are known.
	MoveTo []string
	// Upstream lets its queries go on to the upstreams.
	Upstream bool
}

// Find makes the C-FIND service for one association.
func (s *SCP) Find(c Caller) dimse.Service {
	if c.MaxMatches == 0 {
		c.MaxMatches = DefaultMaxMatches
	}
	return &find{SCP: s, caller: c}
}

// find is the service C-FIND for a caller.
type find struct {
	*SCP
	caller Caller
}

// outcome is what there is to say about a query that is over.
type outcome struct {
	begun   time.Time
	query   *query      // nil if it was refused
	keys    []Attribute // asked for, if they could be read
	model   string
	matches int
	beyond  int // of these, what only upstreams have
	status  dimse.Status
	comment string // with success: what is missing
	refused *refusal
	err     error // why there was no final answer, or what failed here
}

// ServeDIMSE implements dimse.Service.
func (f *find) ServeDIMSE(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
	o := outcome{begun: time.Now(), status: dimse.StatusSuccess}
	f.answer(ctx, w, rq, &o)
	final := dimse.Command{Status: o.status, ErrorComment: o.comment}
	if o.refused != nil {
		final.OffendingElements, final.ErrorComment = o.refused.elements, o.refused.comment
	}
	if !errors.Is(o.err, errUnanswered) {
		if err := w.Respond(final, nil); err != nil {
			o.err = errors.Join(errUnanswered, err)
		}
	}
	f.account(&o)
	f.o.Audit.Asked(f.caller, Asked{
		Operation: dimse.CFindRQ, SOPClass: rq.Context.AbstractSyntax, Identifier: Audited(o.keys), Matches: o.matches, Status: o.status,
	})
}

// errUnanswered marks that the association ended before the final answer.
var errUnanswered = errors.New("association ended")

// answer sends the matches and finds the status to end with.
func (f *find) answer(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request, o *outcome) {
	q, err := f.read(rq, o)
	if err != nil {
		f.refuse(o, err)
		return
	}
	o.query = q
	ctx, stop := cancelable(ctx, rq.Cancelled)
	defer stop()
	beyond := f.askUpstreams(ctx, q)
	if beyond != nil {
		defer beyond.stop()
	}
	give := func(id *Identifier, partly bool) error {
		if o.matches == f.caller.MaxMatches {
			return tooMany(o.matches)
		}
		if err := f.send(w, rq, q.level, id, partly); err != nil {
			return err
		}
		o.matches++
		return ctx.Err() // an answer may have taken its time
	}
	aeTitle := f.terms.Load().aeTitle
	for e, err := range q.matches(ctx, f.o.Index, aeTitle) {
		var id *Identifier
		whole := false
		if err == nil {
			id, whole = e.answer()
			err = e.search.err
		}
		if err == nil {
			err = give(id, q.partly || !whole)
		}
		if err != nil {
			f.refuse(o, err)
			return
		}
		beyond.own(e)
	}
	own := o.matches
	err = beyond.each(ctx, aeTitle, give)
	o.beyond = o.matches - own
	if err != nil {
		f.refuse(o, err)
		return
	}
	o.comment = beyond.shortfall()
}

// cancelable is a context that ends with a C-CANCEL, too.
func cancelable(ctx context.Context, cancelled <-chan struct{}) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-cancelled:
			cancel(errCancelled)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

var errCancelled = errors.New("cancelled by the caller")

// read takes the identifier off the connection and makes a query of it.
func (f *find) read(rq *dimse.Request, o *outcome) (*query, error) {
	m, ok := modelOf(dimse.CFindRQ, rq.Context.AbstractSyntax)
	if !ok {
		return nil, &refusal{status: dimse.StatusSOPClassNotSupported, comment: "no query model"}
	}
	o.model = m.name
	id, err := f.caller.identifier(rq)
	if err != nil {
		return nil, err
	}
	o.keys = id.Attributes
	return newQuery(m, id, extensionsOf(f.caller.Granted, m.find))
}

// identifier takes the identifier of a request off the connection.
func (c *Caller) identifier(rq *dimse.Request) (*Identifier, error) {
	var data bytes.Buffer
	if _, err := io.Copy(&data, io.LimitReader(rq.Data, MaxIdentifier+1)); err != nil {
		return nil, errors.Join(errUnanswered, err)
	}
	id, err := ParseIdentifier(data.Bytes(), rq.Context.TransferSyntax, c.CharacterSet)
	if err != nil {
		var format *dicom.FormatError
		if errors.As(err, &format) && format.Tag != 0 {
			return nil, mismatch(format.Tag, "cannot be read: "+format.Reason)
		}
		return nil, &refusal{status: dimse.StatusDataSetMismatch, comment: "identifier cannot be read"}
	}
	return id, nil
}

// send answers with one match.
func (f *find) send(w dimse.ResponseWriter, rq *dimse.Request, level Level, id *Identifier, partly bool) error {
	status := dimse.StatusPending
	if partly {
		status = dimse.StatusPendingWarning
	}
	data, err := id.Encode(rq.Context.TransferSyntax)
	if err != nil {
		return err
	}
	if err := w.Respond(dimse.Command{Status: status}, bytes.NewReader(data)); err != nil {
		return errors.Join(errUnanswered, err)
	}
	f.metrics.answers.WithLabelValues(level.String()).Inc()
	return nil
}

// refuse finds the status for what ended a query early.
func (f *find) refuse(o *outcome, err error) {
	switch {
	case errors.As(err, &o.refused):
		o.status = o.refused.status
	case errors.Is(err, errUnanswered):
		o.err = err
	case errors.Is(err, context.Canceled):
		o.status = dimse.StatusCancel
	default:
		o.status, o.err = dimse.StatusUnableToProcess, err
		o.refused = &refusal{status: o.status, comment: "query failed; see the gateway's log"}
	}
}

// account writes the one line of a query and counts it.
func (f *find) account(o *outcome) {
	level, label := Level(0), statusLabel(o.status)
	args := []any{"association", f.caller.Association, "peer", pdu.Printable(f.caller.AETitle), "model", o.model}
	if o.query != nil {
		level = o.query.level
		args = append(args, "level", level.String(), "keys", strings.Join(o.query.keyNames, ","), "matches", o.matches)
	}
	if len(f.upstreams()) > 0 {
		args = append(args, "beyond", o.beyond)
	}
	took := time.Since(o.begun)
	args = append(args, "status", o.status.String(), "seconds", took.Seconds())
	if o.refused != nil {
		args = append(args, "reason", o.refused.comment)
	}
	if o.comment != "" {
		args = append(args, "reason", o.comment)
	}
	if errors.Is(o.err, errUnanswered) {
		label = unanswered
	}
	if o.err != nil {
		args = append(args, "error", o.err)
	}
	f.metrics.query(level, label, took)
	switch {
	case o.status == dimse.StatusUnableToProcess:
		f.o.Logger.Error("query failed", args...)
	case o.refused != nil:
		f.o.Logger.Warn("query refused", args...)
	case label == unanswered:
		f.o.Logger.Warn("query not answered to its end", args...)
	case o.comment != "":
		f.o.Logger.Warn("query answered in part", args...)
	default:
		f.o.Logger.Info("query answered", args...)
	}
}
