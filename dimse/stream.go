package dimse

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Timeouts bounds what a peer may take. Zero values choose the defaults given; a negative
// value switches a limit off where that is said.
type Timeouts struct {
	// ARTIM is the timer of PS3.8 9.1.5: how long a connection may take to send its
	// A-ASSOCIATE-RQ (TLS handshake included), and how long the peer may take to close after
	// the association has ended. A requestor also waits this long for the answer. Default 30 s.
	ARTIM time.Duration
	// IdleTimeout ends an association on which nothing happens and nothing is outstanding.
	// Default 60 s for a Server; a Dialer's associations have none by default. Negative: none.
	IdleTimeout time.Duration
	// PDUTimeout is how long may be waited for the bytes of one PDU, once it or the message it
	// belongs to has begun. Time that a service takes to consume data does not count. Default 30 s.
	PDUTimeout time.Duration
	// WriteTimeout is how long the peer may take to accept one burst of at most 576 KiB. Default 30 s.
	WriteTimeout time.Duration
	// DIMSETimeout is how long may be waited for a response, from the end of the request or
	// the response before. Default 60 s. Negative: none.
	DIMSETimeout time.Duration
	// MinBytesPerSecond is the least average rate at which a message may arrive, measured over
	// the time spent waiting for it once that exceeds 30 s. Default 1024. Negative: none.
	MinBytesPerSecond int
}

const rateGrace = 30 * time.Second

func (t Timeouts) withDefaults(idle time.Duration) Timeouts {
	fill := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	fill(&t.ARTIM, 30*time.Second)
	fill(&t.IdleTimeout, idle)
	fill(&t.PDUTimeout, 30*time.Second)
	fill(&t.WriteTimeout, 30*time.Second)
	fill(&t.DIMSETimeout, time.Minute)
	if t.MinBytesPerSecond == 0 {
		t.MinBytesPerSecond = 1024
	}
	return t
}

// readPhase says which timer a read runs under.
type readPhase uint8

const (
	phaseFixed readPhase = iota // a deadline somebody has set: ARTIM, or the end
	phaseIdle                   // waiting for the first byte of a message
	phasePDU                    // inside a message, each PDU has its time
)

// stream is a transport connection under the engine's timers. Reads belong to one goroutine
// at a time, writes to the holder of the association's write lock; fix, nudge and cut may be
// called by anybody.
//
// Deadlines are only moved when a read or burst begins that the deadline in force would not
// serve, so that a busy association seldom pays for one.
type stream struct {
	net.Conn
	limits   Timeouts
	grace    time.Duration // what replaces IdleTimeout once drained is set
	drained  atomic.Bool
	isFixed  atomic.Bool
	cutOff   atomic.Bool
	broken   atomic.Bool // a write failed: the peer may hold half a PDU
	received atomic.Int64
	sent     atomic.Int64
	in, out  prometheus.Counter

	// Of the reading goroutine.
	phase    readPhase
	idled    time.Duration // spent waiting for the message
	pduLeft  time.Duration // of PDUTimeout
	waited   time.Duration // spent in reads since the message began
	messaged int64         // bytes since the message began

	mu            sync.Mutex
	lingering     bool // ARTIM of Sta13 is running
	readDeadline  time.Time
	writeDeadline time.Time
}

func newStream(c net.Conn, limits Timeouts, in, out prometheus.Counter) *stream {
	return &stream{Conn: c, limits: limits, grace: drainGrace, in: in, out: out}
}

// drainGrace is how long an idle association may take to be released once the server is
// shutting down. A peer that has just had its last answer needs far less.
const drainGrace = 500 * time.Millisecond

// awaitMessage begins to wait for the next message; buffered is what of it has been read ahead.
func (s *stream) awaitMessage(buffered int) {
	s.phase = phaseIdle
	if buffered > 0 {
		s.beginPDU()
	}
	s.idled, s.waited, s.messaged = 0, 0, 0
}

// beginPDU gives the next PDU of a message its time.
func (s *stream) beginPDU() {
	s.phase = phasePDU
	s.pduLeft = s.limits.PDUTimeout
}

// Read implements io.Reader under the timer of the phase.
func (s *stream) Read(p []byte) (int, error) {
	for {
		start := time.Now()
		s.armRead(start)
		n, err := s.Conn.Read(p)
		if n > 0 {
			s.received.Add(int64(n))
			s.in.Add(float64(n))
		}
		if s.phase == phaseFixed || s.isFixed.Load() {
			return n, err
		}
		if err = s.account(n, err, time.Since(start)); n > 0 || err != errKeepReading {
			return n, err
		}
	}
}

var (
	// errKeepReading is account's verdict on a deadline that came before the time was up.
	errKeepReading = errors.New("deadline came early")
	// errNudged is a wait for a message that was interrupted by nudge or drain.
	errNudged = errors.New("interrupted while waiting for a message")
)

// account charges the time of a read to the PDU and the message. Deadlines are set coarsely
// and run on while a service holds up reading, so the time spent is what decides.
func (s *stream) account(n int, err error, took time.Duration) error {
	if s.phase == phaseIdle {
		if n > 0 {
			s.beginPDU()
		}
		return s.accountIdle(err, took)
	}
	s.pduLeft -= took
	s.waited += took
	s.messaged += int64(n)
	if rate := s.limits.MinBytesPerSecond; rate > 0 && s.waited > rateGrace &&
		float64(s.messaged) < s.waited.Seconds()*float64(rate) {
		return &TimeoutError{"a message that arrives at less than the minimum rate", s.waited.Round(time.Second)}
	}
	switch {
	case !isTimeout(err):
		return err
	case s.pduLeft > 0:
		return errKeepReading
	}
	return &TimeoutError{"the rest of a message", s.limits.PDUTimeout}
}

func (s *stream) accountIdle(err error, took time.Duration) error {
	s.idled += took
	limit := s.limits.IdleTimeout
	switch {
	case !isTimeout(err):
		return err
	case limit > 0 && s.idled >= limit*3/4:
		return &TimeoutError{"the next message", limit}
	}
	return errNudged
}

func isTimeout(err error) bool { return err != nil && errors.Is(err, os.ErrDeadlineExceeded) }

// armRead sets the deadline of a read that begins now, unless the one in force will do.
func (s *stream) armRead(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isFixed.Load() || s.phase == phaseFixed {
		return
	}
	limit := s.pduLeft
	if s.phase == phaseIdle {
		limit = s.limits.IdleTimeout
		if s.drained.Load() {
			limit = s.grace
		}
	}
	if limit <= 0 { // no limit, or used up: then the rest of the PDU has a last chance
		limit = s.noLimit()
	}
	s.setReadDeadline(now, limit)
}

func (s *stream) noLimit() time.Duration {
	if s.phase == phaseIdle {
		return 24 * time.Hour
	}
	return time.Millisecond
}

// setReadDeadline tolerates a deadline that is up to an eighth early; account evens that out
// inside a message, and an idle timeout need not be exact. s.mu is held.
func (s *stream) setReadDeadline(now time.Time, limit time.Duration) {
	want := now.Add(limit)
	if s.readDeadline.After(want.Add(-limit/8)) && !s.readDeadline.After(want) {
		return
	}
	s.readDeadline = want
	_ = s.Conn.SetReadDeadline(want) // fails only on a closed connection, as the read will
}

// fix sets the deadline that all reads have from now on, those in progress included.
func (s *stream) fix(deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isFixed.Store(true)
	s.readDeadline = deadline
	_ = s.Conn.SetReadDeadline(deadline)
}

// unfix returns to the timers of the phases.
func (s *stream) unfix() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isFixed.Store(false)
	s.readDeadline = time.Time{}
}

// interrupt makes reads fail at once, unless they already wait for the close of the transport.
func (s *stream) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lingering {
		return
	}
	s.isFixed.Store(true)
	s.readDeadline = time.Unix(1, 0)
	_ = s.Conn.SetReadDeadline(s.readDeadline)
}

// linger gives the peer until deadline to close.
func (s *stream) linger(deadline time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lingering = true
	s.isFixed.Store(true)
	s.readDeadline = deadline
	_ = s.Conn.SetReadDeadline(deadline)
}

// hurry shortens a linger in progress to d.
func (s *stream) hurry(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if deadline := time.Now().Add(d); s.lingering && s.readDeadline.After(deadline) {
		s.readDeadline = deadline
		_ = s.Conn.SetReadDeadline(deadline)
	}
}

// nudge interrupts a wait for the next message after d at the latest.
func (s *stream) nudge(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.isFixed.Load() {
		s.readDeadline = time.Now().Add(d)
		_ = s.Conn.SetReadDeadline(s.readDeadline)
	}
}

// drain shortens all waits for a message to the grace period, also one in progress.
func (s *stream) drain() {
	s.drained.Store(true)
	s.nudge(s.grace)
}

// Write implements io.Writer: one burst, under its own deadline.
func (s *stream) Write(p []byte) (int, error) {
	if s.cutOff.Load() {
		return 0, errCut
	}
	s.armWrite()
	return s.write(p)
}

// write is Write without a new deadline, for the A-ABORT behind a cut.
func (s *stream) write(p []byte) (int, error) {
	if s.broken.Load() {
		return 0, net.ErrClosed
	}
	n, err := s.Conn.Write(p)
	s.sent.Add(int64(n))
	s.out.Add(float64(n))
	if err != nil {
		s.broken.Store(true)
		if isTimeout(err) && !s.cutOff.Load() {
			err = &TimeoutError{"the peer to take what is sent", s.limits.WriteTimeout}
		}
	}
	return n, err
}

func (s *stream) armWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cutOff.Load() {
		return
	}
	now := time.Now()
	if s.writeDeadline.After(now.Add(s.limits.WriteTimeout * 7 / 8)) {
		return
	}
	s.writeDeadline = now.Add(s.limits.WriteTimeout)
	_ = s.Conn.SetWriteDeadline(s.writeDeadline)
}

// cut ends a message in progress at its next burst, which it has at most d to complete, so
// that an A-ABORT can follow on a PDU boundary.
func (s *stream) cut(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutOff.Store(true)
	s.writeDeadline = time.Now().Add(d)
	_ = s.Conn.SetWriteDeadline(s.writeDeadline)
}
