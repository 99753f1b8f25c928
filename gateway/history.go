package gateway

import (
	"context"
	"sync"
	"time"

	"dcmgate/metrics"
)

// The page draws the last hour.
const (
	historyEvery  = 10 * time.Second
	historyLength = 361
)

// moment is what is drawn of one moment: counters and states as /metrics has them.
type moment struct {
	at                            time.Time
	received, delivered           float64 // instances since the start
	receivedBytes, deliveredBytes float64
	waiting                       float64 // jobs
	spoolBytes                    float64
}

// history remembers the last hour.
type history struct {
	mu   sync.Mutex
	list []moment // in the order of time
}

// run looks every ten seconds, until ctx ends.
func (h *history) run(ctx context.Context, registry *metrics.Registry) {
	tick := time.NewTicker(historyEvery)
	defer tick.Stop()
	for {
		if s, err := registry.Snapshot(); err == nil {
			h.add(momentOf(s, time.Now()))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func momentOf(s metrics.Snapshot, at time.Time) moment {
	return moment{
		at:             at,
		received:       s.Sum("dcmgate_instances_received_total"),
		delivered:      s.Sum("dcmgate_instances_delivered_total"),
		receivedBytes:  s.Sum("dcmgate_received_bytes_total"),
		deliveredBytes: s.Sum("dcmgate_delivered_bytes_total"),
		waiting:        s.Sum("dcmgate_jobs", "state", "pending") + s.Sum("dcmgate_jobs", "state", "active"),
		spoolBytes:     s.Sum("dcmgate_spool_bytes"),
	}
}

func (h *history) add(m moment) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.list) == historyLength {
		copy(h.list, h.list[1:])
		h.list = h.list[:historyLength-1]
	}
	h.list = append(h.list, m)
}

// point is a value at a moment.
type point struct {
	at    time.Time
	value float64
}

// rates gives how fast a counter has risen from each moment to the next, by the second.
func (h *history) rates(counter func(moment) float64) []point {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []point
	for i := 1; i < len(h.list); i++ {
		before, now := h.list[i-1], h.list[i]
		if d := now.at.Sub(before.at).Seconds(); d > 0 {
			list = append(list, point{now.at, max(counter(now)-counter(before), 0) / d})
		}
	}
	return list
}

// values gives a state at each moment.
func (h *history) values(state func(moment) float64) []point {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]point, len(h.list))
	for i, m := range h.list {
		list[i] = point{m.at, state(m)}
	}
	return list
}
