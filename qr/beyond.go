package qr

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dimse"
)

// Bounds of what is taken from an upstream for one query.
const (
	relayBacklog = 16   // matches that wait to be sent to the caller
	maxUseless   = 1000 // that nobody has asked for, or that are beyond what the caller may have
)

// beyond puts a query to the upstreams while the gateway's own matches are sent, and merges what they answer into one
// stream, each match once; those of the gateway win. A nil *beyond has no upstreams.
type beyond struct {
	query    *query
	metrics  *instruments
	allowed  int // matches that the caller may have
	stop     func()
	answered chan relayed // closed when all have answered
	known    keySet

	mu     sync.Mutex
	failed []string // names and reasons
}

// relayed is a match that an upstream has answered.
type relayed struct {
	upstream string
	id       *Identifier
	key      string
	partly   bool
}

// askUpstreams begins to put a query to the upstreams; nil if there is none for this caller. The caller of it calls stop.
func (f *find) askUpstreams(ctx context.Context, q *query) *beyond {
	upstreams := f.upstreams()
	if len(upstreams) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	b := &beyond{
		query: q, metrics: f.metrics, allowed: f.caller.MaxMatches,
		answered: make(chan relayed, relayBacklog*len(upstreams)), known: newKeySet(),
	}
	question := q.question()
	var asking sync.WaitGroup
	for _, u := range upstreams {
		asking.Go(func() { b.failure(ctx, u, b.ask(ctx, u, question)) })
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		asking.Wait()
		close(b.answered)
	}()
	b.stop = func() { cancel(); <-closed }
	return b
}

// upstreams are those that are asked for a caller.
func (f *find) upstreams() (asked []Upstream) { return f.caller.upstreams(f.terms.Load().upstreams) }

func (c *Caller) upstreams(all []Upstream) (asked []Upstream) {
	if !c.Upstream {
		return nil
	}
	for _, u := range all {
		if u.AETitle() != c.AETitle {
			asked = append(asked, u)
		}
	}
	return asked
}

var errUseless = &Unavailable{Reason: "answers what was not asked for"}

// ask takes the answers of one upstream.
func (b *beyond) ask(ctx context.Context, u Upstream, question Question) error {
	taken, useless := 0, 0
	for m, err := range u.Find(ctx, question) {
		if err != nil {
			return err
		}
		id, key, ok := b.query.relay(m)
		if !ok {
			b.metrics.relayed(u.Name(), relayUseless)
			useless++
		}
		if taken++; useless > maxUseless || taken > b.allowed+maxUseless {
			return errUseless
		}
		if !ok {
			continue
		}
		select {
		case b.answered <- relayed{u.Name(), id, key, m.Partly}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// failure notes why an answer is not complete, unless the query is over anyway.
func (b *beyond) failure(ctx context.Context, u Upstream, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = append(b.failed, u.Name()+": "+reasonOf(err))
}

// reasonOf is an error of an upstream in few words.
func reasonOf(err error) string {
	var u *Unavailable
	if errors.As(err, &u) {
		return u.Reason
	}
	return dimse.Diagnose(err, "the archive").Words
}

// own notes a match of the gateway's own, which hides those of the upstreams.
func (b *beyond) own(e *entity) {
	if b != nil {
		b.known.add(b.query.level.key(e))
	}
}

// each gives the matches that only upstreams have, until give fails.
func (b *beyond) each(ctx context.Context, aeTitle string, give func(id *Identifier, partly bool) error) error {
	if b == nil {
		return nil
	}
	for {
		var r relayed
		var more bool
		select {
		case r, more = <-b.answered:
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil || !more {
			return err
		}
		if !b.known.add(r.key) {
			b.metrics.relayed(r.upstream, relayDuplicate)
			continue
		}
		r.id.set(Attribute{Tag: tagRetrieveAETitle, VR: "AE", Values: []string{aeTitle}})
		r.id.CharacterSet = answerCharset(b.query.charset, r.id)
		if err := give(r.id, r.partly); err != nil {
			return err
		}
		b.metrics.relayed(r.upstream, relayPassed)
	}
}

// shortfall says which upstreams have not answered to the end; "" if all have.
func (b *beyond) shortfall() string {
	if b == nil {
		return ""
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.failed) == 0 {
		return ""
	}
	return incomplete + strings.Join(b.failed, "; ")
}

// keySet remembers keys by a hash of 64 bits: of a million keys two are taken for one with a probability of 1 in 30 million.
type keySet struct {
	seed maphash.Seed
	seen map[uint64]struct{}
}

func newKeySet() keySet { return keySet{maphash.MakeSeed(), map[uint64]struct{}{}} }

// add tells whether the key is new.
func (s *keySet) add(key string) bool {
	h := maphash.String(s.seed, key)
	if _, known := s.seen[h]; known {
		return false
	}
	s.seen[h] = struct{}{}
	return true
}

// has tells whether the key was added.
func (s *keySet) has(key string) bool {
	_, known := s.seen[maphash.String(s.seed, key)]
	return known
}

// What becomes of an upstream's matches, which is a label of metrics.
const (
	relayPassed    = "passed"
	relayDuplicate = "duplicate"
	relayUseless   = "useless"
)

func (m *instruments) relayed(upstream, outcome string) {
	m.upstreamAnswers.WithLabelValues(upstream, outcome).Inc()
}

func newUpstreamAnswers(register func(prometheus.CounterOpts, []string) *prometheus.CounterVec) *prometheus.CounterVec {
	return register(prometheus.CounterOpts{
		Name: "dcmgate_upstream_answers_total",
		Help: "Matches that upstreams have answered to C-FIND requests: passed to the caller, duplicate of another match, or useless, which is not what was asked for.",
	}, []string{"upstream", "outcome"})
}

// foresee makes the series of upstreams.
func (m *instruments) foresee(upstreams []Upstream) {
	for _, u := range upstreams {
		for _, o := range []string{relayPassed, relayDuplicate, relayUseless} {
			m.upstreamAnswers.WithLabelValues(u.Name(), o)
		}
	}
}

// tooMany is how a query ends that has more matches than its caller may have.
func tooMany(n int) error {
	return &refusal{status: dimse.StatusOutOfResources, comment: fmt.Sprintf("more than %d matches; narrow the query", n)}
}
