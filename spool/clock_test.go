package spool

import (
	"log/slog"
	"testing"
	"time"
)

func TestClockJumps(t *testing.T) {
	type step struct {
		passed, clock time.Duration // since the last look
		believed      bool
	}
	const year = 365 * 24 * time.Hour
	for name, steps := range map[string][]step{
		"as it should":            {{time.Minute, time.Minute, true}, {time.Hour, time.Hour, true}},
		"set by a little":         {{time.Minute, 50 * time.Minute, true}},
		"ahead, and left so":      {{time.Minute, 73 * year, false}, {23 * time.Hour, 23 * time.Hour, false}, {time.Hour, time.Hour, true}},
		"ahead, and set right":    {{time.Minute, 73 * year, false}, {time.Minute, -73 * year, true}},
		"ahead again":             {{time.Minute, year, false}, {23 * time.Hour, 2 * year, false}, {2 * time.Hour, 2 * time.Hour, false}},
		"back":                    {{time.Minute, -73 * year, true}, {time.Minute, time.Minute, true}},
		"back, and ahead again":   {{time.Minute, -2 * time.Hour, true}, {time.Minute, 2 * time.Hour, false}},
		"slower than time passes": {{10 * time.Hour, 2 * time.Hour, true}},
	} {
		t.Run(name, func(t *testing.T) {
			now, passed := time.Unix(1_700_000_000, 0), time.Duration(0)
			c := newClockWatch(func() time.Time { return now }, func() time.Duration { return passed }, slog.New(slog.DiscardHandler))
			for i, s := range steps {
				now, passed = now.Add(s.clock), passed+s.passed
				c.look()
				if c.believed() != s.believed {
					t.Errorf("step %d: believed %v", i+1, c.believed())
				}
			}
		})
	}
}
