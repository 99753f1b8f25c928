package web

import (
	"container/list"
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound what clients may ask of the gateway.
type Limits struct {
	Connections           int // at once; more wait
	ConnectionsPerAddress int // at once from one address; more are closed
	RequestsPerSecond     int // of all clients
	RequestsPerClient     int // per second, of an address and of an access key
}

const (
	// maxClients bounds the clients whose rates are kept. The one that has been quiet for longest gives way.
	maxClients = 4096
	// patience is how long a request is held up to keep to the rate before it is refused.
	patience = time.Second
)

// rates keeps requests to their rates.
type rates struct {
	now   func() time.Time
	total *rate.Limiter

	mu      sync.Mutex
	limits  Limits
	clients map[string]*list.Element
	order   list.List // of *rated, the last heard of in front
}

type rated struct {
	name    string
	limiter *rate.Limiter
}

func newRates(l Limits, now func() time.Time) *rates {
	return &rates{limits: l, now: now, total: rate.NewLimiter(rate.Limit(l.RequestsPerSecond), l.RequestsPerSecond), clients: map[string]*list.Element{}}
}

// set puts other limits into force. What has been used up remains so.
func (r *rates) set(l Limits) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	r.limits = l
	change(r.total, now, l.RequestsPerSecond)
	for _, c := range r.clients {
		change(c.Value.(*rated).limiter, now, l.RequestsPerClient)
	}
}

func change(l *rate.Limiter, now time.Time, perSecond int) {
	l.SetLimitAt(now, rate.Limit(perSecond))
	l.SetBurstAt(now, perSecond)
}

// admit waits a little, if it must, until a client may ask; false if it has to try again.
func (r *rates) admit(ctx context.Context, client string) bool {
	return r.wait(ctx, r.of(client)) && r.wait(ctx, r.total)
}

func (r *rates) wait(ctx context.Context, l *rate.Limiter) bool {
	now := r.now()
	reservation := l.ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay == 0 {
		return true
	}
	if delay > patience {
		reservation.CancelAt(now)
		return false
	}
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *rates) of(client string) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.clients[client]; e != nil {
		r.order.MoveToFront(e)
		return e.Value.(*rated).limiter
	}
	n := r.limits.RequestsPerClient
	c := &rated{client, rate.NewLimiter(rate.Limit(n), n)}
	r.clients[client] = r.order.PushFront(c)
	if r.order.Len() > maxClients {
		oldest := r.order.Back()
		delete(r.clients, oldest.Value.(*rated).name)
		r.order.Remove(oldest)
	}
	return c.limiter
}
