package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// repeatAfter is how long a repeated condition is only counted.
const repeatAfter = time.Minute

// trouble logs conditions that many operations meet at once, such as a full
// disk: each the first time, and then once a minute with how often it was met.
// Conditions are told apart by a key from the code, so that there are few.
type trouble struct {
	now func() time.Time

	mu   sync.Mutex
	seen map[string]*condition
}

type condition struct {
	logged   time.Time
	repeated int
}

func newTrouble() *trouble { return &trouble{now: time.Now, seen: make(map[string]*condition)} }

// report logs message as an error, or counts it.
func (t *trouble) report(log *slog.Logger, key, message string, args ...any) {
	t.log(log, slog.LevelError, key, message, args...)
}

// caution is report for what went well and yet somebody should know.
func (t *trouble) caution(log *slog.Logger, key, message string, args ...any) {
	t.log(log, slog.LevelWarn, key, message, args...)
}

func (t *trouble) log(log *slog.Logger, level slog.Level, key, message string, args ...any) {
	repeated, due := t.due(key)
	if !due {
		return
	}
	if repeated > 0 {
		args = append(args, "repeated", repeated)
	}
	log.Log(context.Background(), level, message, args...)
}

// due tells whether a condition that was met is to be told of, and how often it was met untold before.
func (t *trouble) due(key string) (repeated int, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	c, met := t.seen[key]
	if met && now.Sub(c.logged) < repeatAfter {
		c.repeated++
		return 0, false
	}
	if met {
		repeated = c.repeated
	}
	t.seen[key] = &condition{logged: now}
	return repeated, true
}
