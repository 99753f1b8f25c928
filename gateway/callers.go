package gateway

import (
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dcmgate/dimse"
	"dcmgate/pdu"
)

// maxCallerNames bounds the AE titles that are labels of metrics; callers beyond are counted as others.
const maxCallerNames = 200

// otherCallers is the label of callers that are not under peers or upstreams by name. No AE title is in lower case by
// chance, and one that is only shares the series.
const otherCallers = "other"

// What becomes of an association that a caller requests.
const (
	callerAdmitted  = "admitted"
	callerRefused   = "refused"   // not one of the peers
	callerCongested = "congested" // the spool has no room
)

// callers counts by who calls: associations, and the instances that come over them. nil counts nothing.
type callers struct {
	associations, instances, bytes *prometheus.CounterVec

	mu    sync.Mutex
	names map[string]bool
}

func newCallers(registry prometheus.Registerer) *callers {
	f := promauto.With(registry)
	return &callers{
		associations: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_caller_associations_total",
			Help: "Associations requested, by calling AE title (those of the configuration; other) and whether they were admitted.",
		}, []string{"calling_ae", "outcome"}),
		instances: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_caller_instances_total",
			Help: "C-STORE requests answered, by calling AE title (those of the configuration; other) and status in hexadecimal.",
		}, []string{"calling_ae", "status"}),
		bytes: f.NewCounterVec(prometheus.CounterOpts{
			Name: "dcmgate_caller_bytes_total",
			Help: "Data set bytes received by C-STORE, by calling AE title (those of the configuration; other) and status in hexadecimal.",
		}, []string{"calling_ae", "status"}),
		names: make(map[string]bool),
	}
}

// know makes the series of peers in advance.
func (c *callers) know(peers []Peer) {
	c.series(otherCallers)
	for i := range peers {
		if peers[i].AETitle != anyTitle {
			c.series(c.label(peers, peers[i].AETitle))
		}
	}
}

func (c *callers) series(label string) {
	c.associations.WithLabelValues(label, callerAdmitted)
	c.instances.WithLabelValues(label, statusLabel(dimse.StatusSuccess))
	c.bytes.WithLabelValues(label, statusLabel(dimse.StatusSuccess))
}

// label names a caller: by its AE title if one of the peers has it, and there is room for another name.
func (c *callers) label(peers []Peer, callingAE string) string {
	title := pdu.TrimAETitle(callingAE)
	if c == nil || title == anyTitle || !slices.ContainsFunc(peers, func(p Peer) bool { return p.AETitle == title }) {
		return otherCallers
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.names[title] {
		if len(c.names) >= maxCallerNames {
			return otherCallers
		}
		c.names[title] = true
	}
	return title
}

func (c *callers) association(label, outcome string) {
	if c != nil {
		c.associations.WithLabelValues(label, outcome).Inc()
	}
}

// instance counts an answer to C-STORE; the statuses are those of the gateway.
func (c *callers) instance(label string, s dimse.Status, bytes int64) {
	if c == nil {
		return
	}
	status := statusLabel(s)
	c.instances.WithLabelValues(label, status).Inc()
	c.bytes.WithLabelValues(label, status).Add(float64(bytes))
}

func statusLabel(s dimse.Status) string { return fmt.Sprintf("%04X", uint16(s)) }
