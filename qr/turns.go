package qr

import "sync"

const (
	maxRetrievals          = 32 // under way at once, of all callers
	maxRetrievalsPerCaller = 16 // of one, so that one with a slow destination leaves room for the others
)

// turns bounds what is under way. The zero value is ready.
type turns struct {
	mu  sync.Mutex
	all int
	of  map[string]int // by AE title; "" is who has not asked over an association
}

// take takes a turn for a caller, who gives it back with end; false if there is none left.
func (t *turns) take(caller string) (end func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= maxRetrievals || t.of[caller] >= maxRetrievalsPerCaller {
		return nil, false
	}
	if t.of == nil {
		t.of = map[string]int{}
	}
	t.all++
	t.of[caller]++
	return func() { t.give(caller) }, true
}

func (t *turns) give(caller string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all--
	if t.of[caller]--; t.of[caller] == 0 {
		delete(t.of, caller)
	}
}

// underWay is how many turns are taken.
func (t *turns) underWay() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}
