package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// keeper is a destination that takes requests for commitment.
type keeper struct {
	address string

	mu       sync.Mutex
	requests []*commitment.Request
}

func newKeeper(t *testing.T) *keeper {
	t.Helper()
	k := &keeper{}
	a, address, err := archive.Listen("127.0.0.1:0", archive.Options{Services: dimse.Mux{
		dimse.NActionRQ: commitment.Requests(func(_ context.Context, _ *dimse.Request, r *commitment.Request) error {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.requests = append(k.requests, r)
			return nil
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	k.address = address
	t.Cleanup(func() { a.Close() })
	return k
}

func (k *keeper) made() []*commitment.Request {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.requests)
}

// references is everything that was asked for.
func (k *keeper) references() (all []commitment.Reference) {
	for _, rq := range k.made() {
		all = append(all, rq.References...)
	}
	return all
}

// reportTo reports everything that was asked for as committed, over one association.
func (k *keeper) reportTo(t *testing.T, address, callingAE string, roles ...pdu.RoleSelection) (errs []error) {
	t.Helper()
	a, err := (&dimse.Dialer{LocalAETitle: callingAE}).Dial(t.Context(), address, dimse.Proposal{
		CalledAETitle: "DCMGATE", Contexts: []pdu.PresentationContext{commitment.Context(1)}, RoleSelections: roles,
	})
	if err != nil {
		return []error{err}
	}
	defer a.Close()
	for _, rq := range k.made() {
		errs = append(errs, commitment.Report(t.Context(), a, &commitment.Result{TransactionUID: rq.TransactionUID, Committed: rq.References}))
	}
	return errs
}

func TestDestinationReportsToTheListener(t *testing.T) {
	k := newKeeper(t)
	cfg := configure(t, fmt.Sprintf(`
dicom: {listen: 127.0.0.1:0, accept: known}
peers: [{ae_title: CT1}]
destinations:
  - {name: pacs, ae_title: PACS, address: %q, commitment: {enabled: true, wait: 100ms, linger: 0}}
`, k.address))
	cfg.Spool.EvictAfter = EvictAfterCommitted
	g := run(t, cfg)
	address := g.Listeners().DICOM
	sendImages(t, address, 0, 5)
	custody := func() *CustodyStatus { return g.Status().Destinations[0].Custody }
	eventually(t, "the request", func() bool { return len(k.references()) == 5 && custody().Awaiting == 5 })
	if d := g.Status().Destinations[0]; d.Delivered != 5 || d.Custody.Committed != 0 {
		t.Errorf("%+v, commitment %+v", d, d.Custody)
	}
	if page := get(t, g, "/", 200); !strings.Contains(page, "5 awaited, 0 committed, 0 refused") {
		t.Error(page)
	}
	if st := g.Status().Spool; st.EvictableBytes != 0 {
		t.Errorf("%d bytes may be evicted", st.EvictableBytes)
	}
	// A peer that is not the destination may not report, and who is neither does not even get in.
	if status, ok := errors.AsType[*dimse.StatusError](k.reportTo(t, address, "CT1", commitment.ReportingRole())[0]); !ok || status.Status != dimse.StatusUnrecognizedOperation {
		t.Errorf("another peer's report: %v", status)
	}
	if _, ok := errors.AsType[*dimse.RejectError](k.reportTo(t, address, "STRANGER", commitment.ReportingRole())[0]); !ok {
		t.Error("a stranger is admitted")
	}
	for _, err := range k.reportTo(t, address, "PACS", commitment.ReportingRole()) {
		if err != nil {
			t.Error(err)
		}
	}
	for _, err := range k.reportTo(t, address, "PACS") { // again, and without the role selection that the standard demands
		if err != nil {
			t.Error(err)
		}
	}
	if c := custody(); c.Awaiting != 0 || c.Committed != 5 || c.LastError != "" {
		t.Errorf("%+v", c)
	}
	if st := g.Status().Spool; st.EvictableBytes != st.Bytes {
		t.Errorf("%d bytes of %d may be evicted", st.EvictableBytes, st.Bytes)
	}
	metrics := get(t, g, "/metrics", 200)
	for _, line := range []string{
		`dcmgate_destination_commitment_instances_total{destination="pacs",outcome="committed"} 5`,
		`dcmgate_jobs{destination="pacs",state="awaiting"} 0`, `dcmgate_jobs{destination="pacs",state="refused"} 0`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no line %s", line)
		}
	}
	// The destination's only right is to report.
	if _, err := (&dimse.Dialer{LocalAETitle: "PACS"}).Dial(t.Context(), address, dimse.Proposal{
		CalledAETitle: "DCMGATE", Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(ctImageStorage), TransferSyntaxes: []string{string(implicit)}}},
	}); err == nil {
		t.Error("the destination may store, although it is no peer")
	}
}

// TestCommitmentIsGivenUpWithTheSetting restarts the gateway without commitment.
func TestCommitmentIsGivenUpWithTheSetting(t *testing.T) {
	k := newKeeper(t)
	file := "destinations: [{name: pacs, ae_title: PACS, address: '%s', commitment: {enabled: %v, wait: 100ms}}]"
	cfg := configure(t, fmt.Sprintf(file, k.address, true))
	cfg.Spool.EvictAfter = EvictAfterCommitted
	g := run(t, cfg)
	sendImages(t, g.Listeners().DICOM, 0, 3)
	eventually(t, "the request", func() bool { return len(k.references()) == 3 })
	g.stop(t)
	without := configure(t, fmt.Sprintf(file, k.address, false))
	without.DataDir, without.Spool.EvictAfter = cfg.DataDir, EvictAfterCommitted
	g = run(t, without)
	eventually(t, "that nothing is awaited", func() bool {
		d := g.Status().Destinations[0]
		return d.Custody == nil && d.Delivered == 3 && g.Status().Spool.EvictableBytes == g.Status().Spool.Bytes
	})
}

func TestEvictAfterIsRemarkedOnWithoutCommitment(t *testing.T) {
	for enabled, want := range map[bool]int{false: 1, true: 0} {
		cfg, err := Parse("", fmt.Appendf(nil, "spool: {evict_after: committed}\ndestinations: [{name: a, ae_title: A, address: 'a:104', commitment: {enabled: %v}}]", enabled))
		if err != nil || len(cfg.Notes) != want {
			t.Errorf("enabled %v: %q, %v", enabled, cfg.Notes, err)
		}
	}
}

func TestWhoMayReport(t *testing.T) {
	resolve := func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "pacs.example" {
			return []netip.Addr{netip.MustParseAddr("10.0.0.9"), netip.MustParseAddr("2001:db8::9")}, nil
		}
		return nil, errors.New("no such host")
	}
	r := reporters{
		resolve: resolve,
		peers:   []Peer{{AETitle: "CLUSTER", From: []netip.Prefix{netip.MustParsePrefix("10.0.7.0/24")}}, {AETitle: "CT1"}},
		destinations: []Destination{
			{AETitle: "PACS", Address: "pacs.example:104"}, {AETitle: "LOST", Address: "lost.example:104"},
			{AETitle: "CLUSTER", Address: "10.0.0.8:104"},
		},
	}
	for _, row := range []struct {
		calling, from string
		abstract      dicom.UID
		want          bool
	}{
		{"PACS", "10.0.0.9", commitment.SOPClass, true},
		{" PACS  ", "10.0.0.9", commitment.SOPClass, true},
		{"PACS", "::ffff:10.0.0.9", commitment.SOPClass, true},
		{"PACS", "2001:db8::9", commitment.SOPClass, true},
		{"PACS", "10.0.0.1", commitment.SOPClass, false},
		{"pacs", "10.0.0.9", commitment.SOPClass, false},
		{"PACS", "10.0.0.9", ctImageStorage, false},
		{"LOST", "10.0.0.1", commitment.SOPClass, true}, // its address cannot be told
		{"CLUSTER", "10.0.0.8", commitment.SOPClass, true},
		{"CLUSTER", "10.0.7.3", commitment.SOPClass, true}, // by its entry under peers
		{"CLUSTER", "10.0.6.3", commitment.SOPClass, false},
		{"CT1", "10.0.0.9", commitment.SOPClass, false},
	} {
		rq := &dimse.AssociationRequest{
			Remote: netip.AddrPortFrom(netip.MustParseAddr(row.from), 4242),
			RQ: &pdu.AssociateRQ{CallingAETitle: row.calling, PresentationContexts: []pdu.PresentationContext{
				{ID: 1, AbstractSyntax: string(row.abstract), TransferSyntaxes: []string{string(implicit)}},
			}},
		}
		if got := r.admits(t.Context(), rq); got != row.want {
			t.Errorf("%q from %s for %s: %v", row.calling, row.from, row.abstract, got)
		}
	}
}

func TestCustodyInWords(t *testing.T) {
	var none *CustodyStatus
	for want, s := range map[string]*CustodyStatus{
		"-":                                 none,
		"1 awaited, 2 committed, 3 refused": {Awaiting: 1, Committed: 2, Refused: 3},
		"1 awaited, 0 committed, 0 refused, degraded": {Awaiting: 1, LastError: "no", LastErrorSince: time.Now()},
	} {
		if got := s.Text(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if s := custodyStatus(nil, spool.JobCounts{Delivered: 3}); s != nil {
		t.Errorf("%+v", s)
	}
}
