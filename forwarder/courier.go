package forwarder

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"dcmgate/transfer"
)

// A courier serves one destination. Its run goroutine claims jobs into the
// feed and decides how many workers there are; each worker drives one
// association and takes from the feed what its association can carry.
type courier struct {
	Destination
	queue     Queue
	dialer    Dialer
	converter *transfer.Converter
	log       *slog.Logger
	metrics   destinationInstruments
	random    func() float64

	limiter *transfer.Limiter
	kicks   chan struct{} // wakes the run goroutine
	sent    atomic.Int64  // bytes read for sending

	tenure context.Context // over once another courier is to take over, or none
	retire func()          // ends it

	mu         sync.Mutex // guards what follows; never held during I/O
	feed       feed
	served     map[transfer.Pair]int // workers that carry the pair
	recent     recentPairs
	breaker    breaker
	control    *controller
	workers    int       // goroutines
	running    int       // workers that may still take jobs
	open       int       // associations established
	serving    int       // of these, not about to be released
	ends       int       // associations that ceased to serve
	stalled    []*worker // whose requests are not answered promptly: see stall.go
	idle       []*worker // wait for a job, the last to begin waiting last
	claimed    int       // jobs leased and not completed
	more       bool      // the queue may hold claimable jobs
	echoDue    bool      // a C-ECHO is to show whether the destination works: see askEcho
	due        time.Time // when a job sent back for later comes due
	polled     time.Time // when the queue was last asked
	paused     bool      // by the calendar
	stopping   bool
	quit       <-chan struct{} // closed when run is to end
	window     int             // granted at the last negotiation
	limit      Rate            // at present
	calendar   Calendar
	limitUntil time.Time     // the calendar need not be asked before
	grace      time.Duration // for what is under way when run is to end

	waitingSince time.Time     // the feed has not been empty since
	answerTook   time.Duration // to the last association request that nothing held up
	sampledAt    time.Time
	sampledBytes int64
	answers      int     // of success since then
	goodput      float64 // bytes per second, smoothed

	ledger ledger
	asker  *asker // nil: commitment is not asked for
}

// Times of the courier's own. Work is signalled; the poll only makes up for
// a signal that a queue forgot.
const (
	pollInterval   = time.Second
	claimRetry     = time.Second
	releaseTimeout = 5 * time.Second
	// The calendar is by the wall clock, which may be set.
	calendarInterval = time.Minute
	maxPassed        = 64 // jobs that may overtake one that needs another association
)

// run serves the destination until ctx ends, or the courier's tenure: then it
// takes no further job and waits for what is under way, however long that takes.
// In the end all leases are handed back.
func (c *courier) run(ctx context.Context) error {
	var workers errgroup.Group
	c.begin(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil && c.tenure.Err() == nil {
		select {
		case <-ctx.Done():
		case <-c.tenure.Done():
		case <-c.queue.Ready(c.Name):
			c.expectMore()
		case <-c.kicks:
		case <-timer.C:
		}
		if ctx.Err() == nil && c.tenure.Err() == nil {
			timer.Reset(time.Until(c.step(ctx, &workers)))
		}
	}
	c.stop()
	err := workers.Wait()
	c.stop() // what the workers gave back
	return err
}

func (c *courier) begin(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quit = ctx.Done()
}

// kick wakes the run goroutine.
func (c *courier) kick() {
	select {
	case c.kicks <- struct{}{}:
	default:
	}
}

func (c *courier) expectMore() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.more = true
}

// step does what is due and returns when to come again at the latest.
func (c *courier) step(ctx context.Context, workers *errgroup.Group) time.Time {
	now := time.Now()
	next := now.Add(pollInterval)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	sooner(c.follow(now))
	dial, claim, again := c.admit(now)
	sooner(again)
	if claim {
		sooner(c.refill(now))
	}
	if dial {
		for _, w := range c.recruit(now) {
			workers.Go(func() error { w.run(ctx); return nil })
		}
	}
	sooner(c.askWhenDue(ctx, now, workers))
	sooner(c.measure(now))
	return next
}

// follow applies the calendar and returns when to look at it again.
func (c *courier) follow(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Before(c.limitUntil) {
		return c.limitUntil
	}
	rate, change := c.calendar.At(now)
	c.limitUntil = now.Add(calendarInterval)
	if !change.IsZero() && change.Before(c.limitUntil) {
		c.limitUntil = change
	}
	if rate == c.limit {
		return c.limitUntil
	}
	c.log.Info("rate limit changed", "rate", rate.String())
	c.limit = rate
	c.metrics.rate.Set(gaugeRate(rate))
	c.paused = rate == Paused
	if c.paused {
		c.releaseFeed()
		c.wakeAll()
	} else {
		c.more = true
		c.limiter.SetRate(int64(rate))
	}
	return c.limitUntil
}

// admit asks the breaker whether associations may be dialled and jobs
// claimed: while it makes us wait for a dial, associations that are open go
// on. An open breaker whose time has come goes half-open once the
// associations of before have ended.
func (c *courier) admit(now time.Time) (dial, claim bool, again time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused || c.stopping {
		return false, false, time.Time{}
	}
	if c.breaker.state == BreakerOpen && c.workers > 0 {
		return false, false, time.Time{} // the last worker kicks
	}
	before := c.breaker.state
	dial, again = c.breaker.admit(now)
	if c.breaker.state != before {
		c.more = true
		c.metrics.breaker.Set(float64(c.breaker.state))
	}
	return dial, dial || c.open > 0 && c.breaker.state == BreakerClosed, again
}

// room returns how many jobs the feed should be given now. Enough to keep
// all associations busy, few enough that an urgent job does not wait long
// behind those already claimed.
func (c *courier) room() int {
	if c.breaker.state == BreakerHalfOpen {
		if c.claimed == 0 {
			return 1
		}
		return 0
	}
	high := 2*c.share()*(c.running-len(c.stalled)+1) + 16
	if len(c.feed.entries) > high/2 {
		return 0
	}
	return high - len(c.feed.entries)
}

// share is the number of instances an association has on its plate at once.
func (c *courier) share() int { return max(c.window, 2) }

// refill claims jobs. It returns when to try again.
func (c *courier) refill(now time.Time) time.Time {
	c.mu.Lock()
	if !c.due.IsZero() && !now.Before(c.due) {
		c.more, c.due = true, time.Time{}
	}
	if now.Sub(c.polled) >= pollInterval {
		c.more = true
	}
	room, again := c.room(), c.due
	if !c.more {
		room = 0
	}
	c.mu.Unlock()
	if room == 0 {
		return again
	}
	jobs, err := c.queue.Claim(c.Name, room)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.polled = now
	if err != nil {
		c.ledger.warn(c.log, now, "claim", "cannot claim jobs", "error", err)
		return now.Add(claimRetry)
	}
	c.more = len(jobs) == room
	c.accept(now, jobs)
	if c.more && len(c.feed.entries) == 0 {
		return now // all were refused here and now
	}
	return again
}

// accept puts claimed jobs into the feed, except those in a transfer syntax
// that the destination is configured not to get.
func (c *courier) accept(now time.Time, jobs []Job) {
	options := transfer.PlanOptions{TransferSyntaxes: c.TransferSyntaxes, Convert: c.Convert}
	for _, job := range jobs {
		c.claimed++
		e := &entry{Job: job, alone: c.breaker.state == BreakerHalfOpen}
		if !options.Allowed(job.Pair) {
			c.complete(c.parked(now, e, failure{class: classNotProposed, Detail: job.Pair.String()}))
			continue
		}
		c.feed.add(e)
		c.announce(e)
	}
	if len(c.idle) > 0 && len(c.feed.entries) >= c.share() {
		c.wakeIdle(len(c.idle) - 1) // idle with work piling up: see worker.mustMakeRoom
	}
	c.noteWaiting(now)
}

// noteWaiting keeps the time since when jobs have been waiting.
func (c *courier) noteWaiting(now time.Time) {
	switch {
	case len(c.feed.entries) == 0:
		c.waitingSince = time.Time{}
	case c.waitingSince.IsZero():
		c.waitingSince = now
	}
}

// announce wakes the worker that began to wait last and can carry e, so that
// others may linger to their end. If no worker at all can, any one is woken:
// it may have to make room.
func (c *courier) announce(e *entry) {
	for i := len(c.idle) - 1; i >= 0; i-- {
		if w := c.idle[i]; w.carries[e.Pair] {
			c.wakeIdle(i)
			return
		}
	}
	if len(c.idle) > 0 && c.served[e.Pair] == 0 {
		c.wakeIdle(len(c.idle) - 1)
	}
}

func (c *courier) wakeIdle(i int) {
	w := c.idle[i]
	c.idle = append(c.idle[:i], c.idle[i+1:]...)
	w.waiting = false
	w.signal()
}

// wakeAll lets every waiting worker look around, because it is to end.
func (c *courier) wakeAll() {
	for len(c.idle) > 0 {
		c.wakeIdle(len(c.idle) - 1)
	}
}

// recruit makes the workers that are lacking.
func (c *courier) recruit(now time.Time) []*worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.breaker.state == BreakerHalfOpen && c.workers == 0 && len(c.feed.entries) == 0 && c.claimed == 0 {
		return []*worker{c.newWorker(true)}
	}
	var crew []*worker
	if c.echoDue && c.breaker.state == BreakerClosed && c.workers < c.seats(now) && len(c.stalled) == 0 {
		c.echoDue = false
		crew = append(crew, c.newWorker(true))
	}
	for range c.lacking(now) {
		crew = append(crew, c.newWorker(false))
	}
	if len(crew) > 0 && len(c.feed.entries) > 0 {
		c.waitingSince = now // see whether these are enough
	}
	return crew
}

// lacking returns how many workers to start.
func (c *courier) lacking(now time.Time) int {
	waiting := len(c.feed.entries)
	if waiting == 0 || c.paused || c.breaker.state == BreakerOpen || len(c.stalled) > 0 {
		return 0
	}
	if c.open == 0 || c.breaker.state == BreakerHalfOpen {
		return max(min(1, c.seats(now))-c.workers, 0) // the first shows whether the destination is there
	}
	wanted := c.control.wanted(now, waiting, c.share())
	if now.Sub(c.waitingSince) >= sampleInterval || c.feed.orphan(c.served) != nil {
		wanted = max(wanted, c.running+1)
	}
	wanted = min(wanted, c.control.allowed(now))
	return max(min(wanted-c.running, c.seats(now)-c.workers), 0)
}

// seats is how many workers there may be, those whose associations are being
// released included: one for each association, but that of the asker.
func (c *courier) seats(now time.Time) int {
	bound := c.control.bound(now)
	if c.asker != nil && (c.asker.busy || c.asker.due) {
		bound--
	}
	return bound
}

// measure feeds the controller and returns when to measure again.
func (c *courier) measure(now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == 0 && c.goodput == 0 {
		c.sampledAt, c.sampledBytes, c.answers = now, c.sent.Load(), 0
		return time.Time{}
	}
	elapsed := now.Sub(c.sampledAt)
	if elapsed < c.control.interval(c.answers/max(c.open, 1)) {
		if elapsed < hurryInterval {
			return c.sampledAt.Add(hurryInterval)
		}
		return c.sampledAt.Add(sampleInterval)
	}
	sent := c.sent.Load()
	rate := float64(sent-c.sampledBytes) / elapsed.Seconds()
	c.sampledAt, c.sampledBytes, c.answers = now, sent, 0
	if c.goodput += smoothing * (rate - c.goodput); c.goodput < 1 {
		c.goodput = 0
	}
	before := c.control.allowed(now)
	c.control.sample(now, rate, len(c.feed.entries) > 0 && len(c.stalled) == 0 && c.running >= before)
	if allowed := c.control.allowed(now); allowed != before {
		c.metrics.allowed.Set(float64(allowed))
		c.kick()
	}
	return now.Add(c.control.interval(hurryAnswers))
}

// releaseFeed hands the leases of the waiting jobs back.
func (c *courier) releaseFeed() {
	for _, e := range c.feed.drain() {
		c.complete(c.released(e))
	}
	c.noteWaiting(time.Time{})
	c.more = true
}

// halted reports whether no further job may be taken.
func (c *courier) halted() bool {
	return c.stopping || c.paused || c.breaker.state == BreakerOpen
}

// stop makes all workers end and hands back what waits.
func (c *courier) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopping = true
	c.releaseFeed()
	c.wakeAll()
}

// planOptions is the destination's policy about contexts. The latest pairs
// are the likeliest to follow.
func (c *courier) planOptions() transfer.PlanOptions {
	also := slices.Clone(c.recent)
	slices.Reverse(also)
	return transfer.PlanOptions{TransferSyntaxes: c.TransferSyntaxes, Convert: c.Convert, Also: also}
}
