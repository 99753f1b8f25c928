package e2e

import (
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// TestFaultyCloud delivers 20,000 instances to an archive that rejects, aborts in the middle of data, swallows answers,
// stalls, answers A700, and is unreachable for seconds: all arrive intact, and none twice unless an answer was lost.
func TestFaultyCloud(t *testing.T) {
	total := 20000
	if testing.Short() {
		total = 1000
	}
	cloud, address := startArchive(t, archive.Options{Window: 8, Faults: archive.Faults{
		RejectRate: 0.1, AbortRate: 0.001, LoseAnswerRate: 0.001, StallRate: 0.0001, WarningRate: 0.01,
		StatusRate: 0.005, Status: 0xA700, UpFor: 5 * time.Second, DownFor: 700 * time.Millisecond,
	}})
	healthy, healthyAddress := startArchive(t, archive.Options{Window: 8})
	g := newGate(t, "",
		destination{name: "faulty", aeTitle: "FAULTY", address: address, more: "retry: {initial: 100ms, max: 1s}, timeouts: {dimse: 4s}"}, // longer than a busy machine takes, since an answer that comes too late is lost, too
		destination{name: "healthy", aeTitle: "HEALTHY", address: healthyAddress})
	g.start(t)

	s := newSender(g.address, 20<<10, total)
	s.Run(t.Context(), 4)
	if n := s.Acked(); n != total {
		t.Fatalf("%d of %d acknowledged", n, total)
	}
	// A dead or faulty destination never blocks another.
	peertest.Eventually(t, 2*time.Minute, "everything at the healthy destination", func() bool { return missing(t, s, healthy) == 0 })
	peertest.Eventually(t, 5*time.Minute, "everything at the faulty destination", func() bool { return missing(t, s, cloud) == 0 })

	lost := 0
	cloud.Walk(func(uid dicom.UID, e archive.Entry) {
		if e.Answered > 1 && e.Unsure == 0 {
			t.Errorf("%s was delivered %d times though no answer was lost", uid, e.Answered)
		}
		lost += e.Unsure
	})
	healthy.Walk(func(uid dicom.UID, e archive.Entry) {
		if e.Answered != 1 {
			t.Errorf("%s was delivered %d times to the healthy destination", uid, e.Answered)
		}
	})
	c := cloud.Counts()
	t.Logf("%d delivered through %d rejections, %d aborts, %d lost answers over %d associations", c.Instances, c.Rejected, c.Aborted, lost, c.Associations)
	if c.Rejected == 0 || c.Aborted == 0 || lost == 0 {
		t.Error("a fault that was asked for did not happen: this tests nothing")
	}
	if parked := g.metric(t, "dcmgate_jobs", `state="parked"`); parked != 0 {
		t.Errorf("%v jobs are parked", parked)
	}
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}
