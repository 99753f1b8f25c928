package walltime

import (
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
			w := New(func() time.Time { return now }, func() time.Duration { return passed })
			for i, s := range steps {
				now, passed = now.Add(s.clock), passed+s.passed
				by := w.Look()
				if w.Believed() != s.believed || (w.Ahead() == 0) != s.believed {
					t.Errorf("step %d: believed %v, ahead by %v", i+1, w.Believed(), w.Ahead())
				}
				if want := s.clock - s.passed; want.Abs() > Jump && by != want || want.Abs() <= Jump && by != 0 {
					t.Errorf("step %d: set by %v", i+1, by)
				}
			}
		})
	}
}
