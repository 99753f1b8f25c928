package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/commitment"
	"dcmgate/dimse"
	"dcmgate/gateway"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
)

// custody returns what `dcmgate status` says of the commitment of the first destination.
func (g *gate) custody(t testing.TB) gateway.CustodyStatus {
	t.Helper()
	out, status := g.run(t, "status", "--json")
	var s gateway.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || status != 0 || len(s.Destinations) == 0 {
		t.Fatalf("status: %d, %v\n%s", status, err, out)
	}
	if s.Destinations[0].Custody == nil {
		return gateway.CustodyStatus{}
	}
	return *s.Destinations[0].Custody
}

func (g *gate) untilCustody(t testing.TB, want string, check func(gateway.CustodyStatus) bool) {
	t.Helper()
	var last gateway.CustodyStatus
	defer func() {
		if t.Failed() {
			t.Logf("last seen: %+v", last)
		}
	}()
	peertest.Eventually(t, 60*time.Second, want, func() bool {
		last = g.custody(t)
		return check(last)
	})
}

// TestOrthancCommits has Orthanc asked, which reports over an association of its own. An instance that it has lost meanwhile
// is sent again.
func TestOrthancCommits(t *testing.T) {
	const n = 12
	pacs := peertest.Orthanc(t, nil, nil, nil)
	g := newGate(t, "spool: {evict_after: committed, min_free: 64MiB, segment_size: 16MiB}\n",
		destination{name: "pacs", aeTitle: pacs.AETitle, address: pacs.Address, more: "retry: {initial: 100ms}, commitment: {enabled: true, wait: 1h}"}) // until it is asked for by hand
	host, port, _ := strings.Cut(g.address, ":")
	pacs.REST(t, "PUT", "/modalities/gateway", fmt.Sprintf(`{"AET": "DCMGATE", "Host": %q, "Port": %s}`, host, port))
	g.start(t)
	s := newSender(g.address, 20_000, n)
	if err := s.Run(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	peertest.Eventually(t, 30*time.Second, "all instances in Orthanc", func() bool { return len(pacs.Instances(t)) == n })
	g.untilCustody(t, "all instances delivered", func(c gateway.CustodyStatus) bool { return c.Awaiting == n })
	lost := pacs.Instances(t)[0]
	pacs.REST(t, "DELETE", "/instances/"+lost, "")
	asked := func() {
		t.Helper()
		if out, status := g.run(t, "queue", "retry", "--destination", "pacs", "--state", "awaiting"); status != 0 || !strings.Contains(out, "made pending") {
			t.Fatalf("queue retry: %d\n%s", status, out)
		}
	}
	asked()
	g.counts(t, 1, "dcmgate_destination_commitment_instances_total", `outcome="sent_again"`)
	g.untilCustody(t, "the lost instance delivered again", func(c gateway.CustodyStatus) bool { return c.Committed == n-1 && c.Awaiting == 1 })
	asked()
	g.untilCustody(t, "all instances committed", func(c gateway.CustodyStatus) bool { return c.Committed == n })
	if !slices.Contains(pacs.Instances(t), lost) {
		t.Error("the instance that Orthanc had lost was not sent again")
	}
	if again := g.metric(t, "dcmgate_destination_commitment_instances_total", `outcome="sent_again"`); again != 1 {
		t.Errorf("%v instances were reported missing, want the one that was deleted before Orthanc was asked", again)
	}
	if out, status := g.run(t, "queue", "list", "--state", "committed"); status != 0 || strings.Count(out, "committed") != n {
		t.Errorf("queue list: %d\n%s", status, out)
	}
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: %d\n%s", status, out)
	}
}

// TestKillBetweenRequestAndReport ends the gateway with SIGKILL while a destination owes it reports. What is reported after
// that counts; for the rest the destination is asked again. Nothing is evicted before it is committed.
func TestKillBetweenRequestAndReport(t *testing.T) {
	const n = 20
	var mu sync.Mutex
	var requests []*commitment.Request
	cloud, address := startArchive(t, archive.Options{Services: dimse.Mux{
		dimse.NActionRQ: commitment.Requests(func(_ context.Context, _ *dimse.Request, r *commitment.Request) error {
			mu.Lock()
			defer mu.Unlock()
			requests = append(requests, r)
			return nil
		}),
	}})
	made := func() []*commitment.Request {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(requests)
	}
	g := newGate(t, "spool: {evict_after: committed, retention: 1s, min_free: 64MiB, segment_size: 16MiB}\n", destination{name: "cloud", aeTitle: "CLOUD",
		address: address, more: "commitment: {enabled: true, wait: 100ms, batch: 5, linger: 0, timeout: 5s}"})
	g.start(t)
	s := newSender(g.address, 20_000, n)
	if err := s.Run(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	asked := func(of []*commitment.Request) map[commitment.Reference]bool {
		all := map[commitment.Reference]bool{}
		for _, r := range of {
			for _, ref := range r.References {
				all[ref] = true
			}
		}
		return all
	}
	peertest.Eventually(t, 30*time.Second, "requests for all", func() bool { return len(asked(made())) == n })
	g.process.Kill()
	before := made()
	g.start(t)
	report := func(r *commitment.Request) error {
		a, err := (&dimse.Dialer{LocalAETitle: "CLOUD"}).Dial(t.Context(), g.address, dimse.Proposal{
			CalledAETitle: "DCMGATE", Contexts: []pdu.PresentationContext{commitment.Context(1)}, RoleSelections: []pdu.RoleSelection{commitment.ReportingRole()},
		})
		if err != nil {
			return err
		}
		defer a.Close()
		return commitment.Report(t.Context(), a, &commitment.Result{TransactionUID: r.TransactionUID, Committed: r.References})
	}
	for range 2 { // once, and again after another kill that the destination's answer may not have survived
		if err := report(before[0]); err != nil {
			t.Errorf("report of a request before the kill: %v", err)
		}
		g.process.Kill()
		g.start(t)
	}
	first := len(before[0].References)
	if c := g.custody(t); c.Committed != int64(first) || c.Awaiting != int64(n-first) {
		t.Errorf("%+v, want %d committed", c, first)
	}
	if parked := missing(t, s, cloud); parked != 0 {
		t.Errorf("%d instances are not in the cloud", parked)
	}
	peertest.Eventually(t, 60*time.Second, "new requests for the others", func() bool {
		again := asked(made()[len(before):])
		for _, ref := range before[0].References { // of a gateway that took long to start, it has been asked again before it reported
			delete(again, ref)
		}
		return len(again) == n-first
	})
	if out, status := g.run(t, "status", "--json"); status != 0 || strings.Contains(out, `"committed":0`) {
		t.Errorf("status: %d\n%s", status, out)
	}
	for _, r := range made()[len(before):] {
		if err := report(r); err != nil {
			t.Error(err)
		}
	}
	g.untilCustody(t, "all instances committed", func(c gateway.CustodyStatus) bool { return c.Committed == n })
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: %d\n%s", status, out)
	}
}

// TestGatewaysCommit has one gateway deliver to another, which reports over the association of the request.
func TestGatewaysCommit(t *testing.T) {
	const n = 50
	far := newGate(t, "")
	far.start(t)
	near := newGate(t, "", destination{name: "far", aeTitle: "DCMGATE", address: far.address, more: fmt.Sprintf("commitment: {enabled: true, wait: 1h, batch: %d}", n)})
	near.start(t)
	if err := newSender(near.address, 20_000, n).Run(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	// Asked for all at once, when nothing is left to be delivered that would want the association's place.
	near.untilCustody(t, "all instances committed", func(c gateway.CustodyStatus) bool { return c.Committed == n && c.LastError == "" })
	if own := far.metric(t, "dcmgate_commitment_reports_total", `association="own"`); own != 0 {
		t.Errorf("%v reports were tried over other associations", own)
	}
}
