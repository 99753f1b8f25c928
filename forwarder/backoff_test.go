package forwarder

import (
	"testing"
	"time"
)

func TestBackoffGrowsToItsLimit(t *testing.T) {
	b := Backoff{Initial: time.Second, Max: 10 * time.Minute, Factor: 2}.withDefaults()
	for failures, want := range map[int]time.Duration{
		0: time.Second, 1: time.Second, 2: 2 * time.Second, 5: 16 * time.Second,
		10: 512 * time.Second, 11: 10 * time.Minute, 5000: 10 * time.Minute,
	} {
		if got := b.ceiling(failures); got != want {
			t.Errorf("ceiling(%d) = %v, want %v", failures, got, want)
		}
	}
}

func TestBackoffJitterStaysInRange(t *testing.T) {
	b := Backoff{Initial: 8 * time.Second}.withDefaults()
	for _, random := range []float64{0, 0.25, 0.5, 0.999999} {
		draw := func() float64 { return random }
		if w := b.wait(1, draw); w <= 0 || w > 8*time.Second {
			t.Errorf("wait with %v = %v, want within (0, 8s]", random, w)
		}
		if w := b.steadyWait(1, draw); w < 4*time.Second || w > 8*time.Second {
			t.Errorf("steadyWait with %v = %v, want within [4s, 8s]", random, w)
		}
	}
}

func TestBackoffDefaults(t *testing.T) {
	want := Backoff{Initial: time.Second, Max: 10 * time.Minute, Factor: 2}
	if got := (Backoff{}).withDefaults(); got != want {
		t.Errorf("defaults are %+v, want %+v", got, want)
	}
	if got := (Backoff{Initial: time.Hour, Max: time.Minute}).withDefaults(); got.Initial != time.Minute {
		t.Errorf("the initial wait %v passes the limit", got.Initial)
	}
}
