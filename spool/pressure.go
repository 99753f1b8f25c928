package spool

import (
	"sync"
	"sync/atomic"
	"time"

	"dcmgate/spool/segment"
)

// Level grades back-pressure. Each step asks more of senders; none loses an instance.
type Level int32

// Levels of back-pressure.
const (
	LevelNone   Level = iota // room enough
	LevelSlow                // answer bulk senders more slowly
	LevelReject              // refuse new associations transiently
	LevelFull                // Begin answers ErrFull
)

// String names the level.
func (l Level) String() string {
	switch l {
	case LevelSlow:
		return "slow"
	case LevelReject:
		return "reject"
	case LevelFull:
		return "full"
	}
	return "none"
}

// Thresholds of the levels: a share of what the spool may use at most, or this many bytes, whichever is less. A level is
// left only when there is a quarter more room than would enter it, so that it does not flutter.
const (
	slowShare, rejectShare, fullShare = 10, 20, 50 // 1/n
	slowBytes, rejectBytes, fullBytes = 8 << 30, 4 << 30, 1 << 30
	hysteresisPercent                 = 125
	// Eviction begins when there is less present room than is needed to leave the first level, and ends when there is
	// half as much again as would enter it: as long as it keeps up, nobody is slowed.
	evictBelowPercent, evictUntilPercent = hysteresisPercent, 150
	// evaluateEvery bounds how long Begin trusts the last look at the disk: at 1 GB/s this is 50 MB.
	evaluateEvery = 50 * time.Millisecond
	// evaluateNear is the same where the present room is short. A look costs more the more segments there are.
	evaluateNear = 10 * time.Millisecond
	// evictionWait is how long Begin waits for room that eviction can make, and evictionPoll how often it looks.
	evictionWait, evictionPoll = 2 * time.Second, evaluateNear
	// fullAfterNoSpace is how long a write that met a full disk keeps the spool full at least.
	fullAfterNoSpace = time.Second
)

// pressure watches room: what can be stored before the quota or the file system is exhausted, counting what eviction
// could free. The present room does not count that: where senders are faster than eviction it is what gets short.
type pressure struct {
	limits    atomic.Pointer[Limits]
	level     atomic.Int32
	short     atomic.Bool  // the present room is: look at it more often
	behind    atomic.Bool  // the present room is used up, and eviction can make more
	start     time.Time    // moments are counted from it: the clock may be set back
	next      atomic.Int64 // moment of the next evaluation, in nanoseconds
	refuse    atomic.Int64 // moment until which the disk counts as full
	wanted    atomic.Int64 // bytes that are to be free for a file beside the spool, the pool counted; see MakeRoom
	unindexed atomic.Int64 // bytes that open Writers have taken, and of records that the index does not count yet

	mu sync.Mutex
}

func newPressure(o Options) *pressure {
	p := &pressure{start: time.Now()}
	p.limits.Store(&Limits{Quota: o.Quota, MinFree: o.MinFree, Retention: o.Retention, KeepUnrouted: o.KeepUnrouted})
	return p
}

// SetLimits changes what the spool may keep. What was a default of Options is one here, too.
func (s *Spool) SetLimits(l Limits) {
	s.pressure.limits.Store(&l)
	s.pressure.next.Store(0)
	s.wakeEvictor()
}

// SetMaxWriters changes how many instances may be received at once.
func (s *Spool) SetMaxWriters(n int) { s.payloads.SetMaxLanes(n) }

// Pressure tells the level of back-pressure.
func (s *Spool) Pressure() Level { return s.pressure.current(s) }

// moment is the time that has passed.
func (p *pressure) moment() int64 { return int64(time.Since(p.start)) }

// current evaluates if the last evaluation is old.
func (p *pressure) current(s *Spool) Level {
	if p.moment() >= p.next.Load() {
		p.evaluate(s)
	}
	return Level(p.level.Load())
}

// admit tells whether an instance may begin. Where there is room only after eviction it waits for that, for a while.
func (p *pressure) admit(s *Spool) error {
	if p.forBegin(s) == LevelFull {
		return ErrFull
	}
	if !p.behind.Load() {
		return nil
	}
	deadline := time.NewTimer(evictionWait)
	defer deadline.Stop()
	poll := time.NewTicker(evictionPoll)
	defer poll.Stop()
	for p.behind.Load() {
		select {
		case <-s.closing:
			return ErrClosed
		case <-deadline.C:
			return ErrFull
		case <-poll.C:
		}
		if p.forBegin(s) == LevelFull {
			return ErrFull
		}
	}
	return nil
}

// forBegin is current, but near the limits does not trust an evaluation made before the last instances, so that no step
// is left out and the quota is exceeded by no more than what was let in before.
func (p *pressure) forBegin(s *Spool) Level {
	old := p.moment() >= p.next.Load()-int64(evaluateEvery-evaluateNear)
	if p.short.Load() && old || p.quotaUsedUp(s) {
		p.evaluate(s)
	}
	return p.current(s)
}

// quotaUsedUp tells whether the last evaluation was too good: the quota leaves nothing at present.
func (p *pressure) quotaUsedUp(s *Spool) bool {
	quota := p.limits.Load().Quota
	return quota > 0 && !p.behind.Load() && Level(p.level.Load()) != LevelFull &&
		p.quotaRoom(quota, s.ledger.snapshot()) <= threshold(LevelFull, quota)
}

// quotaRoom is what a quota leaves at present.
func (p *pressure) quotaRoom(quota int64, t totals) int64 {
	return quota - int64(t.bytes) - p.unindexed.Load()
}

// noSpace is told when a write met a full disk: the figures were too good.
func (p *pressure) noSpace() {
	p.refuse.Store(p.moment() + int64(fullAfterNoSpace))
	p.next.Store(0)
}

// evaluate looks at the disk and sets the level.
func (p *pressure) evaluate(s *Spool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.moment()
	p.next.Store(now + int64(evaluateEvery))
	stats, err := s.payloads.Stats()
	if err != nil {
		s.health.segmentFailed(err)
		return
	}
	t := s.ledger.snapshot()
	r := p.roomOf(s, stats, t)
	before := Level(p.level.Load())
	level := r.level(before)
	noSpace := now < p.refuse.Load()
	if noSpace {
		level = LevelFull
	}
	p.short.Store(r.short())
	p.behind.Store(r.present <= threshold(LevelFull, r.capacity) && level != LevelFull)
	if level != LevelFull {
		s.reserve.restore(stats.FreeBytes)
	}
	if r.short() && r.evictable > 0 || p.poolSurplus(stats) > 0 {
		s.wakeEvictor()
	}
	if level != before {
		p.level.Store(int32(level))
		s.log.Warn("pressure changed", "from", before.String(), "to", level.String(), "room_bytes", r.present, "evictable_bytes", r.evictable)
	}
}

// evictableBytes is what eviction for room may free.
func (s *Spool) evictableBytes(t totals) int64 {
	if s.pressure.limits.Load().KeepUnrouted {
		return int64(t.evictable - t.unrouted)
	}
	return int64(t.evictable)
}

// room is what can be stored.
type room struct {
	present   int64 // without eviction
	evictable int64
	capacity  int64 // the most there could ever be
}

// roomOf computes the room.
func (p *pressure) roomOf(s *Spool, stats segment.Stats, t totals) room {
	r := room{present: stats.FreeBytes + stats.PoolBytes - p.reserveOf(stats), evictable: s.evictableBytes(t)}
	r.capacity = r.present + int64(t.bytes)
	if quota := p.limits.Load().Quota; quota > 0 {
		r.present = min(r.present, p.quotaRoom(quota, t))
		r.capacity = min(r.capacity, quota)
	}
	r.capacity = max(r.capacity, 0)
	return r
}

// level grades the room. Short present room asks for every step but the last, for which Begin waits if eviction can make
// more.
func (r room) level(before Level) Level {
	return max(levelOf(r.present+r.evictable, r.capacity, before), min(levelOf(r.present, r.capacity, before), LevelReject))
}

// short tells whether eviction is wanted.
func (r room) short() bool {
	return r.present < threshold(LevelSlow, r.capacity)*evictBelowPercent/100
}

// overuse tells how many bytes of records are to be evicted for room.
func (r room) overuse() int64 {
	return threshold(LevelSlow, r.capacity)*evictUntilPercent/100 - r.present
}

// poolSurplus is what the pool has to give back so that MinFree is free.
func (p *pressure) poolSurplus(stats segment.Stats) int64 {
	return min(p.reserveOf(stats)-stats.FreeBytes, stats.PoolBytes)
}

// reserveOf is what is to stay free on the file system.
func (p *pressure) reserveOf(stats segment.Stats) int64 {
	switch free := p.limits.Load().MinFree; {
	case free > 0:
		return free
	case free < 0:
		return 0
	}
	return min(1<<30, stats.TotalBytes/10)
}

// steps are the levels from the highest on, with what enters them.
var steps = [...]struct {
	level        Level
	share, bytes int64
}{{LevelFull, fullShare, fullBytes}, {LevelReject, rejectShare, rejectBytes}, {LevelSlow, slowShare, slowBytes}}

// threshold is the room that enters a level.
func threshold(l Level, capacity int64) int64 {
	step := steps[LevelFull-l]
	return min(capacity/step.share, step.bytes)
}

// levelOf grades room, holding on to the level before within the hysteresis.
func levelOf(room, capacity int64, before Level) Level {
	for _, step := range steps {
		enter := threshold(step.level, capacity)
		if before >= step.level {
			enter = enter * hysteresisPercent / 100
		}
		if room <= enter {
			return step.level
		}
	}
	return LevelNone
}
