package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
)

// asker is a modality that stores and asks over one association.
func asker(t *testing.T, address string, results chan<- *commitment.Result, roles ...pdu.RoleSelection) *dimse.Association {
	t.Helper()
	a, err := (&dimse.Dialer{LocalAETitle: "CT1"}).Dial(t.Context(), address, dimse.Proposal{
		CalledAETitle: "DCMGATE",
		Contexts: []pdu.PresentationContext{
			{ID: 1, AbstractSyntax: string(ctImageStorage), TransferSyntaxes: []string{string(explicit)}},
			commitment.Context(3),
		},
		RoleSelections: roles,
		Service: dimse.Mux{dimse.NEventReportRQ: commitment.Reports(func(_ context.Context, _ *dimse.Request, r *commitment.Result) error {
			results <- r
			return nil
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// storeAndAsk stores images and asks for them.
func storeAndAsk(t *testing.T, a *dimse.Association, uid dicom.UID, images int) []commitment.Reference {
	t.Helper()
	var refs []commitment.Reference
	for n := range images {
		uid, data := image(n)
		rsp, err := a.Store(t.Context(), dimse.StoreRequest{ContextID: 1, SOPClassUID: ctImageStorage, SOPInstanceUID: uid, Data: bytes.NewReader(data), Size: int64(len(data))})
		if err != nil || rsp.Status != dimse.StatusSuccess {
			t.Fatal(rsp.Status, err)
		}
		refs = append(refs, commitment.Reference{SOPClassUID: ctImageStorage, SOPInstanceUID: uid})
	}
	if err := commitment.Ask(t.Context(), a, &commitment.Request{TransactionUID: uid, References: refs}); err != nil {
		t.Fatal(err)
	}
	return refs
}

func TestStoreAndCommitOverOneAssociation(t *testing.T) {
	g := run(t, configure(t, "peers: [{ae_title: CT1}]\ndicom: {listen: 127.0.0.1:0, accept: known}\n"))
	for _, proposed := range [][]pdu.RoleSelection{
		nil, // as most do
		{{SOPClassUID: string(commitment.SOPClass), SCU: true, SCP: true}},
	} {
		results := make(chan *commitment.Result, 1)
		a := asker(t, g.Listeners().DICOM, results, proposed...)
		var granted []pdu.RoleSelection
		if len(proposed) > 0 { // to ask, not to report
			granted = []pdu.RoleSelection{{SOPClassUID: string(commitment.SOPClass), SCU: true}}
		}
		if got := a.AC().RoleSelections; !reflect.DeepEqual(got, granted) {
			t.Errorf("%v proposed: granted %v, want %v", proposed, got, granted)
		}
		uid := commitment.NewTransactionUID()
		refs := storeAndAsk(t, a, uid, 3)
		if got, want := <-results, (&commitment.Result{TransactionUID: uid, RetrieveAETitle: "DCMGATE", Committed: refs}); !reflect.DeepEqual(got, want) {
			t.Errorf("reported %+v, want %+v", got, want)
		}
		storeAndAsk(t, a, commitment.NewTransactionUID(), 1) // and it goes on
		<-results
		if err := a.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{
		`dcmgate_commitment_requests_total{status="0000"} 4`, `dcmgate_commitment_instances_total{outcome="committed"} 8`,
		`dcmgate_commitment_reports_total{association="same",outcome="taken"} 4`, "dcmgate_commitment_waiting 0",
	} {
		// What was reported counts when the answer to the report has come, which may be behind the release.
		eventually(t, want, func() bool { return strings.Contains(get(t, g, "/metrics", http.StatusOK), want) })
	}
}

// What waits shows in the status and on the page, and is reported after the next start.
func TestCommitmentOutlivesAStop(t *testing.T) {
	cfg := configure(t, "peers: [{ae_title: CT1, address: \"127.0.0.1:1\"}]\ndicom: {listen: 127.0.0.1:0, accept: known}\n")
	g := run(t, cfg)
	a := asker(t, g.Listeners().DICOM, nil)
	storeAndAsk(t, a, "2.25.1", 1)
	if err := a.Abort(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		eventually(t, "a report fails", func() bool {
			list := g.Status().Commitments
			return len(list) == 1 && list[0].Peer == "CT1" && list[0].Waiting == 1 && list[0].LastError != ""
		})
		if page := get(t, g, "/", http.StatusOK); !strings.Contains(page, "Reports of storage commitment that wait") || !strings.Contains(page, "CT1") {
			t.Errorf("the page does not show what waits:\n%s", page)
		}
		g.stop(t)
		g = run(t, cfg)
	}
	g.stop(t)
	results := newReports(t, nil)
	cfg.Peers[0].Address = results.address
	run(t, cfg)
	if r := <-results.taken; r.TransactionUID != "2.25.1" || len(r.Committed) != 1 {
		t.Errorf("reported %+v", r)
	}
}

// reports is a modality that listens for results.
type reports struct {
	address string
	taken   chan *commitment.Result
}

func newReports(t *testing.T, secure *tls.Config) *reports {
	t.Helper()
	r := &reports{taken: make(chan *commitment.Result, 10)}
	r.address = acceptor(t, func(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
		if rq.CallingAETitle() != "DCMGATE" || rq.CalledAETitle() != "CT1" {
			return nil, fmt.Errorf("called as %s by %s", rq.CalledAETitle(), rq.CallingAETitle())
		}
		return &dimse.Acceptance{
			Results: dimse.Negotiate(rq.RQ, func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
				return offered[0], pdu.ContextAccepted
			}),
			RoleSelections: commitment.GrantRoles(rq.RQ.RoleSelections, false, true),
			Service: dimse.Mux{dimse.NEventReportRQ: commitment.Reports(func(_ context.Context, _ *dimse.Request, result *commitment.Result) error {
				r.taken <- result
				return nil
			})},
		}, nil
	}, secure)
	return r
}

func TestCommitmentIsReportedOverTLS(t *testing.T) {
	certFile, keyFile, _ := peertest.Certificate(t)
	own, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	results := newReports(t, &tls.Config{Certificates: []tls.Certificate{own}})
	g := run(t, configure(t, fmt.Sprintf("peers: [{ae_title: CT1, address: %q, tls: {enabled: true, ca: %q}}]\ndicom: {listen: 127.0.0.1:0, accept: known}\n",
		results.address, certFile)))
	a := asker(t, g.Listeners().DICOM, nil)
	storeAndAsk(t, a, "2.25.1", 1)
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r := <-results.taken; r.TransactionUID != "2.25.1" || len(r.Committed) != 1 {
		t.Errorf("reported %+v", r)
	}
}
