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
	// evaluateEvery bounds how long Begin trusts the last look at the disk: at 1 GB/s this is 50 MB.
	evaluateEvery = 50 * time.Millisecond
	// evaluateNear is the same where the quota is near.
	evaluateNear = time.Millisecond
	// fullAfterNoSpace is how long a write that met a full disk keeps the spool full at least.
	fullAfterNoSpace = time.Second
)

// pressure watches room. Room is what can be stored before the quota or the file system is exhausted, counting what
// eviction could free.
type pressure struct {
	quota, minFree int64
	changed        chan struct{}
	level          atomic.Int32
	next           atomic.Int64 // Unix nanoseconds of the next evaluation
	refuse         atomic.Int64 // Unix nanoseconds until which the disk counts as full
	unindexed      atomic.Int64 // bytes that open Writers have taken, and of records that the index does not count yet

	mu   sync.Mutex
	room int64
}

func newPressure(o Options) *pressure {
	return &pressure{quota: o.Quota, minFree: o.MinFree, changed: make(chan struct{}, 1)}
}

// Pressure tells the level of back-pressure.
func (s *Spool) Pressure() Level { return s.pressure.current(s) }

// PressureChanged is signalled when the level may have changed. It is for one reader.
func (s *Spool) PressureChanged() <-chan struct{} { return s.pressure.changed }

// current evaluates if the last evaluation is old.
func (p *pressure) current(s *Spool) Level {
	if time.Now().UnixNano() >= p.next.Load() {
		p.evaluate(s)
	}
	return Level(p.level.Load())
}

// forBegin is current, but does not trust an evaluation made before the last instances: near the quota it evaluates again,
// so that no step is left out and the quota is exceeded by no more than what was let in before.
func (p *pressure) forBegin(s *Spool) Level {
	if p.quota > 0 && Level(p.level.Load()) != LevelFull {
		room := p.quotaRoom(s, s.ledger.snapshot())
		stale := time.Now().UnixNano() >= p.next.Load()-int64(evaluateEvery-evaluateNear)
		if room <= min(p.quota/fullShare, fullBytes) || stale && room <= min(p.quota/slowShare, slowBytes) {
			p.evaluate(s)
		}
	}
	return p.current(s)
}

// quotaRoom is what the quota leaves, counting what eviction could free.
func (p *pressure) quotaRoom(s *Spool, t totals) int64 {
	return p.quota - int64(t.bytes) - p.unindexed.Load() + s.evictableBytes(t)
}

// noSpace is told when a write met a full disk: the figures were too good.
func (p *pressure) noSpace() {
	p.refuse.Store(time.Now().Add(fullAfterNoSpace).UnixNano())
	p.next.Store(0)
}

// evaluate looks at the disk and sets the level.
func (p *pressure) evaluate(s *Spool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.next.Store(now.Add(evaluateEvery).UnixNano())
	stats, err := s.payloads.Stats()
	if err != nil {
		s.health.segmentFailed(err)
		return
	}
	t := s.ledger.snapshot()
	before := Level(p.level.Load())
	room, capacity := p.roomOf(s, stats, t)
	level := levelOf(room, capacity, before)
	if now.UnixNano() < p.refuse.Load() {
		level = LevelFull
	}
	p.room = room
	if level == LevelFull {
		s.reserve.give()
	} else {
		s.reserve.restore(stats.FreeBytes)
	}
	if level >= LevelSlow || p.wantsEviction(stats, t) {
		s.wakeEvictor()
	}
	if level != before {
		p.level.Store(int32(level))
		s.log.Warn("pressure changed", "from", before.String(), "to", level.String(), "room_bytes", room)
		select {
		case p.changed <- struct{}{}:
		default:
		}
	}
}

// evictableBytes is what eviction for room may free.
func (s *Spool) evictableBytes(t totals) int64 {
	if s.o.KeepUnrouted {
		return int64(t.evictable - t.unrouted)
	}
	return int64(t.evictable)
}

// roomOf computes room and the most it could ever be.
func (p *pressure) roomOf(s *Spool, stats segment.Stats, t totals) (room, capacity int64) {
	evictable := s.evictableBytes(t)
	least := p.reserveOf(stats)
	room = stats.FreeBytes + stats.PoolBytes + evictable - least
	capacity = room + int64(t.bytes) - evictable
	if p.quota > 0 {
		room = min(room, p.quotaRoom(s, t))
		capacity = min(capacity, p.quota)
	}
	return room, max(capacity, 0)
}

// reserveOf is what is to stay free on the file system.
func (p *pressure) reserveOf(stats segment.Stats) int64 {
	switch {
	case p.minFree > 0:
		return p.minFree
	case p.minFree < 0:
		return 0
	}
	return min(1<<30, stats.TotalBytes/10)
}

// overuse tells how many bytes of records are to be evicted for room.
func (p *pressure) overuse(stats segment.Stats, t totals) int64 {
	over := p.reserveOf(stats) - stats.FreeBytes - stats.PoolBytes
	if p.quota > 0 {
		over = max(over, int64(t.bytes)+p.unindexed.Load()-p.quota)
	}
	return over
}

func (p *pressure) wantsEviction(stats segment.Stats, t totals) bool { return p.overuse(stats, t) > 0 }

// levelOf grades room, holding on to the level before within the hysteresis.
func levelOf(room, capacity int64, before Level) Level {
	steps := [...]struct {
		level        Level
		share, bytes int64
	}{{LevelFull, fullShare, fullBytes}, {LevelReject, rejectShare, rejectBytes}, {LevelSlow, slowShare, slowBytes}}
	for _, step := range steps {
		threshold := min(capacity/step.share, step.bytes)
		if before >= step.level {
			threshold = threshold * hysteresisPercent / 100
		}
		if room <= threshold {
			return step.level
		}
	}
	return LevelNone
}
