package forwarder

import (
	"testing"
	"time"
)

// longest makes every jittered wait as long as it may be.
func longest() float64 { return 0 }

func testBreaker() *breaker {
	return &breaker{
		threshold: 3,
		redial:    Backoff{Initial: 100 * time.Millisecond, Max: time.Second, Factor: 2},
		probe:     Backoff{Initial: time.Second, Max: 8 * time.Second, Factor: 2},
		longProbe: Backoff{Initial: time.Minute, Max: 10 * time.Minute, Factor: 2},
		random:    longest,
	}
}

func TestBreaker(t *testing.T) {
	type step struct {
		do    string // fail, trip, answer, admit, hurry
		after time.Duration
		state BreakerState
		next  time.Duration // from the start; 0: at any time
		yes   bool          // what the call reports
	}
	tests := map[string][]step{
		"opens at the threshold and closes after a good probe": {
			{"fail", 0, BreakerClosed, 100 * time.Millisecond, false},
			{"admit", 50 * time.Millisecond, BreakerClosed, 100 * time.Millisecond, false},
			{"admit", 50 * time.Millisecond, BreakerClosed, 100 * time.Millisecond, true},
			{"fail", 0, BreakerClosed, 300 * time.Millisecond, false},
			{"fail", 0, BreakerOpen, 1100 * time.Millisecond, true},
			{"admit", 999 * time.Millisecond, BreakerOpen, 1100 * time.Millisecond, false},
			{"admit", time.Millisecond, BreakerHalfOpen, 1100 * time.Millisecond, true},
			{"answer", 0, BreakerClosed, 0, true},
			{"fail", 0, BreakerClosed, 1200 * time.Millisecond, false},
		},
		"probes ever more rarely while they fail": {
			{"fail", 0, BreakerClosed, 100 * time.Millisecond, false},
			{"fail", 0, BreakerClosed, 200 * time.Millisecond, false},
			{"fail", 0, BreakerOpen, time.Second, true},
			{"admit", time.Second, BreakerHalfOpen, time.Second, true},
			{"fail", 0, BreakerOpen, 3 * time.Second, false},
			{"admit", 2 * time.Second, BreakerHalfOpen, 3 * time.Second, true},
			{"fail", 0, BreakerOpen, 7 * time.Second, false},
			{"admit", 4 * time.Second, BreakerHalfOpen, 7 * time.Second, true},
			{"fail", 0, BreakerOpen, 15 * time.Second, false},
			{"admit", 8 * time.Second, BreakerHalfOpen, 15 * time.Second, true},
			{"fail", 0, BreakerOpen, 23 * time.Second, false},
		},
		"an answer in between starts the count again": {
			{"fail", 0, BreakerClosed, 100 * time.Millisecond, false},
			{"fail", 0, BreakerClosed, 200 * time.Millisecond, false},
			{"answer", 0, BreakerClosed, 0, false},
			{"fail", 0, BreakerClosed, 100 * time.Millisecond, false},
			{"fail", 0, BreakerClosed, 200 * time.Millisecond, false},
		},
		"a rejection for good opens at once and for long": {
			{"trip", 0, BreakerOpen, time.Minute, true},
			{"admit", time.Minute, BreakerHalfOpen, time.Minute, true},
			{"trip", 0, BreakerOpen, 3 * time.Minute, false},
		},
		"stragglers neither close nor prolong": {
			{"trip", 0, BreakerOpen, time.Minute, true},
			{"answer", time.Second, BreakerOpen, time.Minute, false},
			{"fail", time.Second, BreakerOpen, time.Minute, false},
		},
		"a person may hurry it": {
			{"trip", 0, BreakerOpen, time.Minute, true},
			{"hurry", 0, BreakerOpen, 0, false},
			{"admit", 0, BreakerHalfOpen, 0, true},
		},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
			now, b := start, testBreaker()
			for i, s := range steps {
				now = now.Add(s.after)
				var yes bool
				switch s.do {
				case "fail":
					yes = b.failed(now, false)
				case "trip":
					yes = b.failed(now, true)
				case "answer":
					yes = b.answered()
				case "admit":
					yes, _ = b.admit(now)
				case "hurry":
					b.hurry()
				}
				next := time.Time{}
				if s.next > 0 {
					next = start.Add(s.next)
				}
				if b.state != s.state || yes != s.yes || !b.next.Equal(next) {
					t.Fatalf("step %d, %s: state %v next %v result %v; want %v %v %v",
						i, s.do, b.state, b.next.Sub(start), yes, s.state, s.next, s.yes)
				}
			}
		})
	}
}
