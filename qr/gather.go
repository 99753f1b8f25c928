package qr

import (
	"context"
	"strings"
	"sync"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// Bounds of what is fetched for a retrieval.
const (
	maxMissing     = 20_000                 // instances
	stragglerQuiet = 3 * time.Second        // without an instance, after the upstream has said that it has sent them
	firstRound     = 250 * time.Millisecond // from an arrival to the sending of what has arrived, which is then doubled
	longestRound   = 2 * time.Second
	stragglerPoll  = 20 * time.Millisecond
)

// gathering brings to the gateway what a retrieval selects and only upstreams have. It asks the upstreams one after another
// which instances there are, and fetches the series that lack some; what arrives is sent on from the index, in rounds, while
// the rest is on its way. A nil *gathering gathers nothing.
type gathering struct {
	scp     *SCP
	query   *query
	level   Level // of the retrieval
	tally   *tally
	arrival chan struct{} // receives when something may have come; capacity 1
	cancel  context.CancelFunc
	over    chan struct{} // closed when nothing more is to come

	mu      sync.Mutex
	claimed keySet // what has been taken to be sent
	missing map[dicom.UID]*expected
	present keySet    // what an upstream has and the index had before
	last    time.Time // when one of these has arrived
	watched []dicom.UID
	failed  []string // names of upstreams and reasons
}

// expected is an instance that an upstream has.
type expected struct {
	series  dicom.UID
	arrived bool
}

// gather begins to gather for a retrieval, until stop; nil if there is nowhere to ask.
func (r *retrieval) gather(ctx context.Context) *gathering {
	if len(r.through) == 0 {
		return nil
	}
	g := &gathering{
		scp: r.scp, query: r.query, level: r.level, tally: r.tally,
		arrival: make(chan struct{}, 1), over: make(chan struct{}),
		claimed: newKeySet(), missing: map[dicom.UID]*expected{}, present: newKeySet(),
	}
	ctx, g.cancel = context.WithCancel(ctx)
	go func() {
		defer close(g.over)
		defer r.scp.gatherings.unwatch(g)
		for _, u := range r.through {
			if err := g.from(ctx, u); err != nil && ctx.Err() == nil {
				g.failure(u, err)
			}
		}
	}()
	return g
}

// stop ends the gathering.
func (g *gathering) stop() {
	if g != nil {
		g.cancel()
		<-g.over
	}
}

// rounds sends what arrives until nothing more is to come.
func (r *retrieval) rounds(ctx context.Context) error {
	g := r.gathering
	if g == nil {
		return nil
	}
	for wait := firstRound; ; wait = min(2*wait, longestRound) {
		last := g.await(ctx, wait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		pairs, err := r.census(ctx)
		if err == nil && len(pairs) > 0 {
			err = r.send(ctx, pairs)
		}
		if err != nil || last {
			g.giveUp()
			return err
		}
	}
}

// await waits for an arrival and then for others that follow it; true at the end of all.
func (g *gathering) await(ctx context.Context, gather time.Duration) (last bool) {
	select {
	case <-g.arrival:
	case <-g.over:
		return true
	case <-ctx.Done():
		return true
	}
	timer := time.NewTimer(gather)
	defer timer.Stop()
	select {
	case <-timer.C:
		return false
	case <-g.over:
	case <-ctx.Done():
	}
	return true
}

// claim tells whether an instance is to be sent now: each is once.
func (g *gathering) claim(uid dicom.UID) bool {
	if g == nil {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.claimed.add(string(uid)) {
		return false
	}
	delete(g.missing, uid)
	return true
}

// counts tells whether an instance in the index is yet to be sent, and whether it has to be counted for that: once.
func (g *gathering) counts(in *spool.Instance) (send, count bool) {
	if g == nil {
		return true, true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.claimed.has(string(in.SOPInstanceUID)) {
		return false, false
	}
	if count = g.missing[in.SOPInstanceUID] == nil; count {
		g.missing[in.SOPInstanceUID] = &expected{series: in.SeriesInstanceUID, arrived: true}
	}
	return true, count
}

// giveUp counts as failed what has not come.
func (g *gathering) giveUp() {
	reason := g.reason()
	g.mu.Lock()
	defer g.mu.Unlock()
	for uid := range g.missing {
		g.tally.fail(uid, reason)
	}
	clear(g.missing)
}

// reason is why something has not come.
func (g *gathering) reason() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.failed) > 0 {
		return g.failed[0]
	}
	return "not sent by the upstream"
}

// incomplete begins a comment that says which upstreams are to blame.
const incomplete = "incomplete; "

func (g *gathering) failure(u Upstream, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = append(g.failed, u.Name()+": "+reasonOf(err))
}

// shortfall says which upstreams could not be asked, or not to the end; "" if all could.
func (g *gathering) shortfall() string {
	if g == nil {
		return ""
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.failed) == 0 {
		return ""
	}
	return incomplete + strings.Join(g.failed, "; ")
}

// from gathers from one upstream. First all is listed, so that the counters are right soon.
func (g *gathering) from(ctx context.Context, u Upstream) error {
	wants, err := g.list(ctx, u)
	failures := 0
	for _, w := range wants {
		moved, fetched := u.Fetch(ctx, w)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g.stragglers(ctx, w.Series, moved)
		if fetched == nil {
			failures = 0
			continue
		}
		err = fetched
		if failures++; failures == 2 {
			break // the others would fare no better
		}
	}
	return err
}

// stragglers waits for what the upstream says that it has sent.
func (g *gathering) stragglers(ctx context.Context, series dicom.UID, moved int) {
	if moved == 0 {
		return
	}
	poll := time.NewTicker(stragglerPoll)
	defer poll.Stop()
	for begun := time.Now(); ; {
		g.mu.Lock()
		quiet, left := time.Since(g.last), 0
		for _, e := range g.missing {
			if e.series == series && !e.arrived {
				left++
			}
		}
		g.mu.Unlock()
		if left == 0 || min(quiet, time.Since(begun)) >= stragglerQuiet {
			return
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return
		}
	}
}

// has notes an instance that was here before.
func (g *gathering) has(uid dicom.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.missing[uid] == nil {
		g.present.add(string(uid))
	}
}

// lacks notes an instance to come; false if it is on its way to the destination.
func (g *gathering) lacks(uid, series dicom.UID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.claimed.has(string(uid)) {
		return false
	}
	if g.missing[uid] == nil { // else another upstream has not sent it
		g.missing[uid] = &expected{series: series}
		g.tally.expect()
	}
	return true
}

func (g *gathering) expecting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.missing)
}
