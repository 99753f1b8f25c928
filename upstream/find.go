package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// queryPatience is how many times the query timeout a question may wait for answers in all.
const queryPatience = 10

// Find implements qr.Upstream. Answers that cannot be read are yielded as empty identifiers.
func (u *Upstream) Find(ctx context.Context, q qr.Question) iter.Seq2[qr.Match, error] {
	return func(yield func(qr.Match, error) bool) {
		asking, stop := context.WithCancel(ctx)
		defer stop()
		s := &search{Upstream: u, ctx: asking, question: q, begun: time.Now(), matches: make(chan qr.Match), over: make(chan struct{})}
		u.winding.Go(s.run)
		for {
			select {
			case m := <-s.matches:
				if !yield(m, nil) {
					return
				}
				continue
			case <-s.over:
			case <-ctx.Done():
			}
			break
		}
		if err := ctx.Err(); err != nil {
			yield(qr.Match{}, err)
		} else if s.err != nil {
			yield(qr.Match{}, s.err)
		}
	}
}

// search is a question that is put to the archive, in a goroutine of its own, so that who asks need not wait for its end.
type search struct {
	*Upstream
	ctx      context.Context
	question qr.Question
	begun    time.Time
	matches  chan qr.Match
	partly   bool          // the archive does not match all that was asked for
	asked    bool          // it was put over an association
	count    int           // answers
	over     chan struct{} // closed when there will be no more matches
	err      error         // set before that
}

func (s *search) run() {
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	defer context.AfterFunc(s.life, stop)()
	var wind func()
	wind, s.err = s.put(ctx)
	if s.err != nil && s.ctx.Err() == nil && s.life.Err() != nil {
		s.err = errEnding
	}
	s.metrics.queries[outcomeOf(s.err)].Inc()
	if s.err == nil {
		s.metrics.seconds.Observe(time.Since(s.begun).Seconds())
	}
	if s.asked {
		s.o.Asked(Asked{Upstream: s.o.Name, Operation: dimse.CFindRQ, SOPClass: s.question.SOPClass, Identifier: qr.Audited(s.question.Identifier.Attributes), Count: s.count, Err: s.err})
	}
	close(s.over)
	if wind != nil {
		wind()
	}
}

// refusal is a final status that is not success.
type refusal struct{ status dimse.Status }

func (r *refusal) Error() string { return "answered " + r.status.String() }

func outcomeOf(err error) string {
	switch {
	case err == nil:
		return outcomeAnswered
	case err == context.Canceled, err == context.DeadlineExceeded, err == errEnding:
		return outcomeCancelled
	case errors.As(err, new(*refusal)), err == errModel:
		return outcomeRefused
	case err == errHours, err == errBreaker, err == errBusy:
		return outcomeSkipped
	}
	return outcomeUnavailable
}

// put asks and passes the answers on. wind ends the conversation, if one has begun.
func (s *search) put(ctx context.Context) (wind func(), err error) {
	q, ok := s.question.In(s.o.Models)
	if !ok {
		return nil, errModel
	}
	c, err := s.begin(ctx, dimse.Proposal{Contexts: proposing(q.SOPClass), ExtendedNegotiations: extensions(q)})
	if err != nil {
		return nil, err
	}
	idle := func() { c.over(nil, false) }
	pc, ok := c.contextFor(q.SOPClass)
	if !ok {
		s.answered() // it lives
		return idle, refused("does not accept the query's SOP class", nil)
	}
	if q, err = s.adapt(q, c.granted(q.SOPClass)); err != nil {
		s.answered()
		return idle, err
	}
	data, err := q.Identifier.Labelled(s.o.CharacterSet).Encode(pc.TransferSyntax)
	if err != nil {
		s.breaker.Withdrawn()
		return idle, err
	}
	s.asked = true
	p, err := c.association.Do(ctx, pc.ID, dimse.Command{CommandField: dimse.CFindRQ, AffectedSOPClassUID: q.SOPClass}, bytes.NewReader(data))
	if err != nil {
		return func() { c.abandon() }, s.ended(ctx, err)
	}
	final, err := s.collect(ctx, c, p, pc)
	switch {
	case err != nil && s.ctx.Err() != nil, err != nil && s.life.Err() != nil:
		s.breaker.Withdrawn()
		return func() { c.over(p, true) }, ctx.Err()
	case err != nil:
		return func() { c.abandon() }, s.ended(ctx, err)
	}
	s.answered()
	if final != dimse.StatusSuccess {
		return idle, refused(fmt.Sprintf("answers %04XH", uint16(final)), &refusal{final})
	}
	return idle, nil
}

func refused(reason string, err error) error {
	if err == nil {
		err = &refusal{dimse.StatusSOPClassNotSupported}
	}
	return &qr.Unavailable{Reason: reason, Err: err}
}

// abandon ends a conversation in the middle of an operation.
func (c *conversation) abandon() {
	defer c.leavePlace()
	c.association.Close()
}

// extensions are proposed where the question is in need of them.
func extensions(q qr.Question) []pdu.ExtendedNegotiation {
	information := make([]byte, 3) // PS3.4 table C.5-1
	for i, wanted := range [...]bool{q.Relational, q.DateTime, q.Fuzzy} {
		if wanted {
			information[i] = 1
		}
	}
	if !q.Relational && !q.DateTime && !q.Fuzzy {
		return nil
	}
	return []pdu.ExtendedNegotiation{{SOPClassUID: string(q.SOPClass), Information: information}}
}

// adapt puts the question so that it needs no more than what was granted.
func (s *search) adapt(q qr.Question, granted []byte) (qr.Question, error) {
	has := func(at int) bool { return at < len(granted) && granted[at] == 1 }
	if q.Relational && !has(0) {
		return q, refused("grants no relational queries", nil)
	}
	if q.DateTime && !has(1) {
		q = q.Apart()
	}
	s.partly = q.Fuzzy && !has(2)
	return q, nil
}

// collect passes the matches on and returns the final status.
func (s *search) collect(ctx context.Context, c *conversation, p *dimse.Pending, pc dimse.NegotiatedContext) (dimse.Status, error) {
	var waited time.Duration
	for {
		begun := time.Now()
		r, err := c.next(ctx, p, s.o.QueryTimeout)
		if err != nil {
			return 0, err
		}
		if r.Status.Class() != dimse.ClassPending {
			return r.Status, nil
		}
		s.count++
		if waited += time.Since(begun); waited > queryPatience*s.o.QueryTimeout {
			return 0, &dimse.TimeoutError{Waiting: "the last response", Limit: queryPatience * s.o.QueryTimeout}
		}
		m := qr.Match{Identifier: &qr.Identifier{}, Partly: s.partly || r.Status == dimse.StatusPendingWarning}
		if id, err := qr.ParseIdentifier(r.Data, pc.TransferSyntax, s.o.CharacterSet); err == nil {
			m.Identifier = id
		}
		select {
		case s.matches <- m:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}
