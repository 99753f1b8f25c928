package gateway

import (
	"log/slog"
	"sync"
	"time"
)

// repeatAfter is how long a repeated condition is only counted.
const repeatAfter = time.Minute

// trouble logs a condition that many operations meet at once, such as a full
// disk: the first time, and then once a minute with how often it was met.
type trouble struct {
	now func() time.Time

	mu    sync.Mutex
	last  time.Time
	since int
}

func newTrouble() *trouble { return &trouble{now: time.Now} }

// report logs message, or counts it.
func (t *trouble) report(log *slog.Logger, message string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	if !t.last.IsZero() && now.Sub(t.last) < repeatAfter {
		t.since++
		return
	}
	if t.since > 0 {
		args = append(args, "repeated", t.since)
	}
	t.last, t.since = now, 0
	log.Error(message, args...)
}
