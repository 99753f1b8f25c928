package forwarder

import (
	"log/slog"
	"time"
)

// ledger remembers what went wrong at a destination: for the status, to
// charge attempts, and to count repeated failures instead of logging each.
// The courier's lock guards it.
type ledger struct {
	last       *Trouble
	deliveries uint64
	echoes     uint64 // C-ECHOs answered with success
	blamed     map[uint64]blame
	misreads   map[uint64]misread
	logged     map[string]repetition
}

// blame is what a job has been charged with since the start.
type blame struct {
	attempts   int
	deliveries uint64 // of the destination at the first failure
	echoes     uint64 // at the last failure
}

// misread is how often reading the instance of a job has failed.
type misread struct {
	times      int
	since      time.Time
	deliveries uint64 // of the destination at the first failure
}

// repetition is a log line that is being counted.
type repetition struct {
	at    time.Time // last written
	count int       // since
}

// Bounds of the ledger; what does not fit is forgotten, which costs a repeated
// log line or further attempts.
const (
	maxBlamed      = 100_000
	maxRepetitions = 256
	repeatAfter    = time.Minute
)

func newLedger() ledger {
	return ledger{blamed: make(map[uint64]blame), misreads: make(map[uint64]misread), logged: make(map[string]repetition)}
}

// charge counts a limited failure of a job. It returns how many there were
// and whether the destination has shown meanwhile that the job is at fault: it
// has taken others, or, where this is the only job that fails, it has answered
// a C-ECHO since the failure before. Of several that fail an echo clears none:
// a destination that answers it may still be unable to store anything.
func (l *ledger) charge(job uint64) (attempts int, guilty bool) {
	b, known := l.blamed[job]
	if !known {
		if len(l.blamed) >= maxBlamed {
			clear(l.blamed)
		}
		b.deliveries = l.deliveries
	}
	b.attempts++
	l.blamed[job] = b // so that it is counted among those that fail
	verified := b.attempts > 1 && l.echoes > b.echoes && l.lone()
	b.echoes = l.echoes
	l.blamed[job] = b
	return b.attempts, verified || l.deliveries > b.deliveries
}

// lone reports whether only one job fails.
func (l *ledger) lone() bool { return len(l.blamed) == 1 }

// misread counts a failure to read the instance of a job, and tells whether it is the instance that cannot be read: so many
// attempts have failed, and others could be read and delivered since the first. While none can, it is the disk, which
// may recover; the job is given up after lastRead.
func (l *ledger) misread(now time.Time, job uint64, limit int) bool {
	m, known := l.misreads[job]
	if !known {
		if len(l.misreads) >= maxBlamed {
			clear(l.misreads)
		}
		m.since, m.deliveries = now, l.deliveries
	}
	m.times++
	l.misreads[job] = m
	return m.times >= limit && (l.deliveries > m.deliveries || now.Sub(m.since) >= lastRead)
}

// settled forgets a job that is delivered or parked.
func (l *ledger) settled(job uint64) {
	delete(l.blamed, job)
	delete(l.misreads, job)
}

// note keeps a failure for the status.
func (l *ledger) note(now time.Time, f failure) {
	if l.last != nil && l.last.Code == f.Code {
		l.last.At, l.last.Text = now, f.Error()
		l.last.Count++
		return
	}
	l.last = &Trouble{Since: now, At: now, Code: f.Code, Text: f.Error(), Count: 1}
}

// forgive lets the next failure be logged at once again.
func (l *ledger) forgive() { clear(l.logged) }

// warn logs the first failure of a kind at once and then once a minute with
// the number of repetitions in between.
func (l *ledger) warn(log *slog.Logger, now time.Time, kind, message string, args ...any) {
	r, known := l.logged[kind]
	if known && now.Sub(r.at) < repeatAfter {
		r.count++
		l.logged[kind] = r
		return
	}
	if !known && len(l.logged) >= maxRepetitions {
		clear(l.logged)
	}
	l.logged[kind] = repetition{at: now}
	if r.count > 0 {
		args = append(args, "repeated", r.count)
	}
	log.Warn(message, args...)
}
