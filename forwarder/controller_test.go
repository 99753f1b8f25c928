package forwarder

import (
	"testing"
	"time"
)

// simulate drives a controller against a destination whose goodput depends on
// the number of associations, and returns the mean level of the last third.
func simulate(c *controller, steps int, goodput func(level int) float64) float64 {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	sum, n := 0, 0
	for i := range steps {
		now = now.Add(sampleInterval)
		c.sample(now, goodput(c.allowed(now)), true)
		if i > 2*steps/3 {
			sum += c.level
			n++
		}
	}
	return float64(sum) / float64(n)
}

func TestControllerClimbs(t *testing.T) {
	capped := func(best int) func(int) float64 {
		return func(level int) float64 { return float64(min(level, best)) * 10e6 }
	}
	tests := []struct {
		name     string
		max      int
		goodput  func(int) float64
		low, top float64
	}{
		{"more is better: to the bound", 16, capped(16), 15, 16},
		{"nothing beyond six", 16, capped(6), 5.7, 6.5},
		{"one is enough", 8, capped(1), 1, 1.3},
		{"more is worse", 8, func(level int) float64 { return 40e6 / float64(level) }, 1, 1.3},
		{"bound of one", 1, capped(4), 1, 1},
		{"bound of two", 2, capped(4), 1.9, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mean := simulate(newController(test.max), 3000, test.goodput)
			if mean < test.low || mean > test.top {
				t.Errorf("settles at %.2f associations, want %.1f to %.1f", mean, test.low, test.top)
			}
		})
	}
}

func TestControllerClimbsQuickly(t *testing.T) {
	c := newController(32)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	began := now
	for c.level < 32 && now.Sub(began) < time.Minute {
		now = now.Add(c.interval(hurryAnswers))
		c.sample(now, float64(c.level)*1e6, true)
	}
	if took := now.Sub(began); took > time.Second {
		t.Errorf("took %v from %d associations to 32", took, initialLevel)
	}
}

func TestControllerHurriesWhileItCanTell(t *testing.T) {
	c := newController(8)
	if got := c.interval(hurryAnswers - 1); got != sampleInterval {
		t.Errorf("with few answers a sample takes %v, want %v", got, sampleInterval)
	}
	if got := c.interval(hurryAnswers); got != hurryInterval {
		t.Errorf("at first a sample takes %v, want %v", got, hurryInterval)
	}
	simulate(c, 20, func(int) float64 { return 1e6 }) // more associations bring nothing
	if got := c.interval(hurryAnswers); got != sampleInterval {
		t.Errorf("after a trial that failed a sample takes %v, want %v", got, sampleInterval)
	}
}

func TestControllerStaysWithinBounds(t *testing.T) {
	c := newController(3)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for i := range 5000 {
		now = now.Add(sampleInterval)
		c.sample(now, float64(i*7919%1000), i%17 != 0)
		if i%97 == 0 {
			c.refused(now, i%4)
		}
		if a := c.allowed(now); a < 1 || a > 3 {
			t.Fatalf("step %d allows %d associations", i, a)
		}
	}
}

func TestControllerWanted(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct{ max, waiting, share, want int }{
		{4, 0, 2, 0}, {4, 1, 2, 1}, {4, 2, 2, 1}, {4, 3, 2, 2}, {4, 100, 2, 4},
		{2, 100, 2, 2}, {4, 9, 8, 2}, {16, 1000, 8, initialLevel},
	} {
		if got := newController(test.max).wanted(now, test.waiting, test.share); got != test.want {
			t.Errorf("max %d: wanted(%d, %d) = %d, want %d", test.max, test.waiting, test.share, got, test.want)
		}
	}
}

func TestControllerBelievesARefusalForAWhile(t *testing.T) {
	c := newController(8)
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	c.refused(now, 2)
	for until := now.Add(ceilingMemory); now.Before(until); now = now.Add(sampleInterval) {
		c.sample(now, float64(c.level)*1e6, true)
		if c.allowed(now) > 2 {
			t.Fatalf("allows %d soon after the destination refused a third", c.allowed(now))
		}
	}
	for range 1000 {
		now = now.Add(sampleInterval)
		c.sample(now, float64(c.level)*1e6, true)
	}
	if c.allowed(now) < 7 {
		t.Errorf("still allows only %d long after", c.allowed(now))
	}
}
