package gateway

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/dimse"
)

// storeStatuses are all that a C-STORE is answered with here.
var storeStatuses = []dimse.Status{
	dimse.StatusSuccess, dimse.StatusOutOfResources, dimse.StatusInvalidSOPInstance,
	dimse.StatusNoSuchSOPClass, dimse.StatusNotAuthorized, dimse.StatusProcessingFailure,
}

// tally counts the answers to C-STORE.
type tally struct {
	byStatus          map[dimse.Status]prometheus.Counter
	accepted, refused atomic.Int64
	rate              meter
}

func newTally(registry prometheus.Registerer) *tally {
	responses := promauto.With(registry).NewCounterVec(prometheus.CounterOpts{
		Name: "dcmgate_store_responses_total",
		Help: "C-STORE requests answered, by status in hexadecimal.",
	}, []string{"status"})
	t := &tally{byStatus: make(map[dimse.Status]prometheus.Counter), rate: meter{now: time.Now}}
	for _, s := range storeStatuses {
		t.byStatus[s] = responses.WithLabelValues(statusLabel(s))
	}
	return t
}

func (t *tally) count(s dimse.Status) {
	if c, ok := t.byStatus[s]; ok {
		c.Inc()
	}
	if s != dimse.StatusSuccess {
		t.refused.Add(1)
		return
	}
	t.accepted.Add(1)
	t.rate.add(1)
}

func (t *tally) status() ReceivedStatus {
	return ReceivedStatus{Instances: t.accepted.Load(), Refused: t.refused.Load(), InstancesPerSecond: t.rate.perSecond()}
}

// meterSeconds is how far back a meter looks.
const meterSeconds = 10

// meter gives the rate of events over the last ten full seconds.
type meter struct {
	now func() time.Time

	mu      sync.Mutex
	seconds [meterSeconds + 1]struct{ at, n int64 } // by second modulo their number
}

func (m *meter) add(n int64) {
	at := m.now().Unix()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := &m.seconds[at%int64(len(m.seconds))]
	if s.at != at {
		s.at, s.n = at, 0
	}
	s.n += n
}

func (m *meter) perSecond() float64 {
	at := m.now().Unix()
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum int64
	for _, s := range m.seconds {
		if s.at < at && s.at >= at-meterSeconds {
			sum += s.n
		}
	}
	return float64(sum) / meterSeconds
}
