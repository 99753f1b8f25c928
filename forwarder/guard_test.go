package forwarder

import (
	"testing"
	"time"
)

func TestGuardedPeer(t *testing.T) {
	b := NewBreaker(2, Backoff{Initial: time.Second, Max: 4 * time.Second})
	now := time.Now()
	b.now, b.breaker.random = func() time.Time { return now }, longest
	if !b.Admit() || b.Failed(false) || !b.Admit() || !b.Failed(false) {
		t.Fatal("two failures in a row did not open it")
	}
	if state, next := b.State(); state != BreakerOpen || next != now.Add(time.Second) || b.Admit() {
		t.Errorf("%v until %v", state, next.Sub(now))
	}
	now = now.Add(time.Second)
	if !b.Admit() || b.Admit() {
		t.Error("not one attempt")
	}
	b.Withdrawn()
	if !b.Admit() || b.Failed(false) {
		t.Error("an attempt that was given up let no other through, or the breaker opened again")
	}
	now = now.Add(time.Second)
	if b.Admit() {
		t.Error("the second wait is no longer than the first")
	}
	now = now.Add(time.Second)
	if !b.Admit() || !b.Answered() || !b.Admit() || b.Answered() {
		t.Error("an answer did not close it")
	}
	if !b.Failed(true) {
		t.Error("a lasting failure did not open it at once")
	}
}
