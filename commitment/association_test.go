package commitment

import (
	"bytes"
	"context"
	"errors"
	"net"
	"reflect"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// peer is an acceptor that takes requests and results and can report over the associations it has accepted.
type peer struct {
	address  string
	requests chan *Request
	results  chan *Result
	accepted chan *dimse.Association // on which something was asked
}

func startPeer(t *testing.T, ask, report bool) *peer {
	t.Helper()
	p := &peer{requests: make(chan *Request, 4), results: make(chan *Result, 4), accepted: make(chan *dimse.Association, 4)}
	services := dimse.Mux{
		dimse.NActionRQ: Requests(func(_ context.Context, rq *dimse.Request, r *Request) error {
			p.accepted <- rq.Association
			p.requests <- r
			return nil
		}),
		dimse.NEventReportRQ: Reports(func(_ context.Context, _ *dimse.Request, r *Result) error {
			p.results <- r
			return nil
		}),
	}
	p.address = serveOn(t, services, func(rq *dimse.AssociationRequest) []pdu.RoleSelection {
		return GrantRoles(rq.RQ.RoleSelections, ask, report)
	})
	return p
}

// serveOn admits everybody to a service, on loopback.
func serveOn(t *testing.T, service dimse.Service, roles func(*dimse.AssociationRequest) []pdu.RoleSelection) (address string) {
	t.Helper()
	s, err := dimse.NewServer(dimse.HandlerFunc(func(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
		return &dimse.Acceptance{
			Results: dimse.Negotiate(rq.RQ, func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
				return offered[0], pdu.ContextAccepted
			}),
			Service:        service,
			RoleSelections: roles(rq),
		}, nil
	}), dimse.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l.Addr().String()
}

func dial(t *testing.T, address string, change func(*dimse.Proposal)) *dimse.Association {
	t.Helper()
	p := dimse.Proposal{CalledAETitle: "PEER", Contexts: []pdu.PresentationContext{Context(1)}}
	if change != nil {
		change(&p)
	}
	a, err := (&dimse.Dialer{LocalAETitle: "TESTER"}).Dial(t.Context(), address, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func TestAskAndBeReportedToOnOneAssociation(t *testing.T) {
	p := startPeer(t, true, false)
	results := make(chan *Result, 1)
	a := dial(t, p.address, func(p *dimse.Proposal) {
		p.Service = Reports(func(_ context.Context, _ *dimse.Request, r *Result) error {
			results <- r
			return nil
		})
	})
	request := &Request{TransactionUID: "2.25.7", References: manyReferences(3)}
	if err := Ask(t.Context(), a, request); err != nil {
		t.Fatal(err)
	}
	if got := <-p.requests; !reflect.DeepEqual(got, request) {
		t.Errorf("asked %+v, want %+v", got, request)
	}
	result := &Result{TransactionUID: "2.25.7", Committed: request.References}
	if err := Report(t.Context(), <-p.accepted, result); err != nil {
		t.Fatal(err)
	}
	if got := <-results; !reflect.DeepEqual(got, result) {
		t.Errorf("reported %+v, want %+v", got, result)
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestReportOverAnAssociationOfItsOwn(t *testing.T) {
	p := startPeer(t, false, true)
	a := dial(t, p.address, func(p *dimse.Proposal) { p.RoleSelections = []pdu.RoleSelection{ReportingRole()} })
	if c := a.Contexts()[0]; c.SCU || !c.SCP {
		t.Errorf("negotiated %+v, want the role of SCP", c)
	}
	result := &Result{TransactionUID: "2.25.7", Failed: []Failure{{Reference{ct, "1.2"}, ReasonNoSuchInstance}}}
	if err := Report(t.Context(), a, result); err != nil {
		t.Fatal(err)
	}
	if got := <-p.results; !reflect.DeepEqual(got, result) {
		t.Errorf("reported %+v, want %+v", got, result)
	}
}

func TestRolesAreGrantedAsFarAsProposedAndAllowed(t *testing.T) { // PS3.7 table D.3-9
	other := pdu.RoleSelection{SOPClassUID: string(ct), SCU: true, SCP: true}
	role := func(scu, scp bool) []pdu.RoleSelection {
		return []pdu.RoleSelection{{SOPClassUID: string(SOPClass), SCU: scu, SCP: scp}}
	}
	for _, test := range []struct {
		name        string
		proposed    []pdu.RoleSelection
		ask, report bool
		want        []pdu.RoleSelection
	}{
		{"none", nil, true, true, nil},
		{"of another class", []pdu.RoleSelection{other}, true, true, nil},
		{"to report", append([]pdu.RoleSelection{other}, role(false, true)...), true, true, role(false, true)},
		{"to report, not allowed", role(false, true), true, false, role(false, false)},
		{"to ask, not allowed", role(true, false), false, true, role(false, false)},
		{"both", role(true, true), true, true, role(true, true)},
		{"both, may ask", role(true, true), true, false, role(true, false)},
	} {
		if got := GrantRoles(test.proposed, test.ask, test.report); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// TestWrongCommands sends what the services have to refuse, with the statuses of PS3.7 10.1.1.1.8 and 10.1.4.1.10.
func TestWrongCommands(t *testing.T) {
	p := startPeer(t, true, true)
	request, err := (&Request{TransactionUID: "1.2", References: manyReferences(1)}).Encode(dicom.ExplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	action := dimse.Command{CommandField: dimse.NActionRQ, RequestedSOPClassUID: SOPClass, RequestedSOPInstanceUID: Instance, ActionTypeID: 1}
	event := dimse.Command{CommandField: dimse.NEventReportRQ, AffectedSOPClassUID: SOPClass, AffectedSOPInstanceUID: Instance, EventTypeID: 1}
	change := func(c dimse.Command, f func(*dimse.Command)) dimse.Command { f(&c); return c }
	for _, test := range []struct {
		name    string
		command dimse.Command
		data    []byte
		context byte
		want    dimse.Status
	}{
		{"action", action, request, 1, 0x0000},
		{"action of type 2", change(action, func(c *dimse.Command) { c.ActionTypeID = 2 }), request, 1, 0x0123},
		{"action on another instance", change(action, func(c *dimse.Command) { c.RequestedSOPInstanceUID = "1.2.3" }), request, 1, 0x0112},
		{"action on another class", change(action, func(c *dimse.Command) { c.RequestedSOPClassUID = ct }), request, 1, 0x0118},
		{"action in another context", action, request, 3, 0x0118},
		{"action without data set", action, nil, 1, 0x0115},
		{"action with garbage", action, []byte("garbage!"), 1, 0x0110},
		{"event", event, request, 1, 0x0000}, // a request reads as a result without failures
		{"event of type 3", change(event, func(c *dimse.Command) { c.EventTypeID = 3 }), request, 1, 0x0113},
		{"event of type 0", change(event, func(c *dimse.Command) { c.EventTypeID = 0 }), request, 1, 0x0113},
		{"event of another instance", change(event, func(c *dimse.Command) { c.AffectedSOPInstanceUID = "1.2.3" }), request, 1, 0x0112},
		{"event of another class", change(event, func(c *dimse.Command) { c.AffectedSOPClassUID = ct }), request, 1, 0x0118},
		{"event without data set", event, nil, 1, 0x0115},
		{"removal", dimse.Command{CommandField: dimse.NDeleteRQ, RequestedSOPClassUID: SOPClass, RequestedSOPInstanceUID: Instance}, nil, 1, 0x0211},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := dial(t, p.address, func(p *dimse.Proposal) {
				p.Contexts = append(p.Contexts, pdu.PresentationContext{ID: 3, AbstractSyntax: string(ct), TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian)}})
			})
			var pending *dimse.Pending
			var err error
			if test.data == nil {
				pending, err = a.Do(t.Context(), test.context, test.command, nil)
			} else {
				pending, err = a.Do(t.Context(), test.context, test.command, bytes.NewReader(test.data))
			}
			if err != nil {
				t.Fatal(err)
			}
			rsp, err := pending.Wait(t.Context())
			if err != nil || rsp.Status != test.want {
				t.Errorf("answered %v %q, %v; want %v", rsp.Status, rsp.ErrorComment, err, test.want)
			}
		})
	}
}

func TestWhatAPeerRefusesIsAnError(t *testing.T) {
	refusal := &dimse.StatusError{Status: dimse.StatusResourceLimitation, Comment: "busy"}
	a := dial(t, startRefuser(t, refusal), nil)
	err := Ask(t.Context(), a, &Request{TransactionUID: "1.2", References: manyReferences(1)})
	var status *dimse.StatusError
	if !errors.As(err, &status) || *status != *refusal {
		t.Errorf("got %v, want %v", err, refusal)
	}
	b := dial(t, startRefuser(t, errors.New("a bug with details")), nil)
	err = Ask(t.Context(), b, &Request{TransactionUID: "1.2", References: manyReferences(1)})
	if !errors.As(err, &status) || *status != (dimse.StatusError{Status: dimse.StatusProcessingFailure}) {
		t.Errorf("got %v, want a processing failure without details", err)
	}
}

func startRefuser(t *testing.T, why error) (address string) {
	t.Helper()
	service := Requests(func(context.Context, *dimse.Request, *Request) error { return why })
	return serveOn(t, service, func(*dimse.AssociationRequest) []pdu.RoleSelection { return nil })
}

func TestNoContext(t *testing.T) {
	p := startPeer(t, true, true)
	a := dial(t, p.address, func(p *dimse.Proposal) {
		p.Contexts = []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(ct), TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian)}}}
	})
	if err := Ask(t.Context(), a, &Request{TransactionUID: "1.2", References: manyReferences(1)}); !errors.Is(err, dimse.ErrNoContext) {
		t.Errorf("asked without a context: %v", err)
	}
}
