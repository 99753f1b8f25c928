package qr

import (
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// The outcomes of a sub-operation, which are labels of metrics.
const (
	subCompleted = "completed"
	subFailed    = "failed"
	subWarning   = "warning"
)

var suboperationOutcomes = []string{subCompleted, subFailed, subWarning}

// maxFailedList bounds the Failed SOP Instance UID List in bytes: what a UI value may have in Explicit VR (PS3.5 7.1.2).
const maxFailedList = 65534

// tally counts the sub-operations of a retrieval.
type tally struct {
	metrics *prometheus.CounterVec
	changed chan struct{} // receives when a count has changed; capacity 1

	mu         sync.Mutex
	total      int
	completed  int
	failed     int
	warnings   int
	failedUIDs []string
	listed     int    // bytes of failedUIDs with what divides them
	reason     string // of a failure: the first that is an instance's own, else what became of the destination
}

// newTally makes a tally that counts outcomes in metrics, too.
func newTally(metrics *prometheus.CounterVec) *tally {
	return &tally{metrics: metrics, changed: make(chan struct{}, 1)}
}

// expect counts an instance that is to be sent.
func (t *tally) expect() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total++
}

// expected is how many are to be sent.
func (t *tally) expected() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// failures is how many of them have failed.
func (t *tally) failures() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed
}

// answered counts a sub-operation by the status that the destination has given it.
func (t *tally) answered(uid dicom.UID, status dimse.Status) {
	switch {
	case status.Class() == dimse.ClassSuccess:
		t.count(&t.completed, subCompleted)
	case status.Ok():
		t.count(&t.warnings, subWarning)
	default:
		t.fail(uid, "answered "+status.String())
	}
}

// fail counts a sub-operation that could not be performed.
func (t *tally) fail(uid dicom.UID, reason string) {
	t.mu.Lock()
	if t.listed+len(uid)+1 <= maxFailedList {
		t.failedUIDs = append(t.failedUIDs, string(uid))
		t.listed += len(uid) + 1
	}
	if t.reason == "" {
		t.reason = reason
	}
	t.mu.Unlock()
	t.count(&t.failed, subFailed)
}

func (t *tally) count(n *int, outcome string) {
	t.mu.Lock()
	*n++
	t.mu.Unlock()
	t.metrics.WithLabelValues(outcome).Inc()
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

// settle counts as failed what was selected and is not there any more.
func (t *tally) settle() {
	t.mu.Lock()
	gone := max(t.total-t.completed-t.failed-t.warnings, 0)
	t.failed += gone
	if gone > 0 && t.reason == "" {
		t.reason = "instances are not stored any more"
	}
	t.mu.Unlock()
	t.metrics.WithLabelValues(subFailed).Add(float64(gone))
}

// counters enters the counts into a response (PS3.4 C.4.2.1.6 to C.4.2.1.9): what remains only where something may. It
// returns the UIDs of what has failed, as far as they are listed.
func (t *tally) counters(c *dimse.Command, remaining bool) (failed []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if remaining {
		c.NumberOfRemainingSuboperations = counter(max(t.total-t.completed-t.failed-t.warnings, 0))
	}
	c.NumberOfCompletedSuboperations = counter(t.completed)
	c.NumberOfFailedSuboperations = counter(t.failed)
	c.NumberOfWarningSuboperations = counter(t.warnings)
	return slices.Clone(t.failedUIDs)
}

// attributes are the counts for a log line.
func (t *tally) attributes() []any {
	t.mu.Lock()
	defer t.mu.Unlock()
	return []any{"instances", t.total, "completed", t.completed, "failed", t.failed, "warnings", t.warnings}
}

// counter is absent where it does not fit.
func counter(n int) *uint16 {
	if n > 0xFFFF {
		return nil
	}
	v := uint16(n)
	return &v
}

// verdict is the status of a retrieval that has come to its end, and a comment if that is not success.
func (t *tally) verdict() (status dimse.Status, comment string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.failed == 0 && t.warnings == 0:
		return dimse.StatusSuccess, ""
	case t.failed == 0:
		return dimse.StatusSubOpsCompleteFailures, fmt.Sprintf("%d of %d with a warning", t.warnings, t.total)
	case t.completed+t.warnings == 0:
		status = dimse.StatusUnableToPerformSubOps
	default:
		status = dimse.StatusSubOpsCompleteFailures
	}
	return status, fmt.Sprintf("%d of %d failed: %s", t.failed, max(t.total, t.failed), t.reason)
}
