package dimse

import (
	"bytes"
	"context"
	"slices"
	"testing"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

// TestHandlerDecidesExtendedNegotiation is what C-FIND and C-GET need of a Handler and a
// Service: roles decided for each SOP class (PS3.7 D.3.3.4), service-class application
// information read and answered (D.3.3.5), and who the user is (D.3.3.7).
func TestHandlerDecidesExtendedNegotiation(t *testing.T) {
	noLeaks(t)
	const mrImage = dicom.UID("1.2.840.10008.5.1.4.1.1.4")
	type view struct {
		roles       []NegotiatedContext
		information []byte
		user        string
	}
	seen := make(chan view, 1)
	service := ServiceFunc(func(_ context.Context, w ResponseWriter, rq *Request) {
		a := rq.Association
		seen <- view{a.Contexts(), a.AC().ExtendedNegotiations[0].Information, string(a.RQ().UserIdentity.Primary)}
		_ = w.Respond(Command{Status: StatusSuccess}, nil)
	})
	h := HandlerFunc(func(_ context.Context, rq *AssociationRequest) (*Acceptance, error) {
		if id := rq.RQ.UserIdentity; id == nil || string(id.Secondary) != "secret" {
			return nil, RejectCallingAETitle("the passcode is wrong")
		}
		acceptance := &Acceptance{Results: Negotiate(rq.RQ, firstOffered), Service: service}
		for _, r := range rq.RQ.RoleSelections {
			r.SCP = r.SCP && dicom.UID(r.SOPClassUID) == ctImage
			acceptance.RoleSelections = append(acceptance.RoleSelections, r)
		}
		for _, x := range rq.RQ.ExtendedNegotiations {
			if dicom.UID(x.SOPClassUID) == studyRootFind {
				x.Information = append([]byte{x.Information[0]}, 0, 0) // relational queries, and nothing else
				acceptance.ExtendedNegotiations = append(acceptance.ExtendedNegotiations, x)
			}
		}
		return acceptance, nil
	})
	_, address := serve(t, h, ServerOptions{})
	proposal := Proposal{
		CalledAETitle: "DCMGATE", Contexts: contexts(dicom.VerificationSOPClass, ctImage, mrImage, studyRootFind),
		RoleSelections: []pdu.RoleSelection{
			{SOPClassUID: string(ctImage), SCU: true, SCP: true}, {SOPClassUID: string(mrImage), SCU: true, SCP: true},
		},
		ExtendedNegotiations: []pdu.ExtendedNegotiation{
			{SOPClassUID: string(studyRootFind), Information: []byte{1, 1, 1}}, {SOPClassUID: string(ctImage), Information: []byte{2}},
		},
		UserIdentity: &pdu.UserIdentity{Type: pdu.UserIdentityUsernamePasscode, Primary: []byte("reader"), Secondary: []byte("secret")},
	}
	a := dial(t, address, func(_ *Dialer, p *Proposal) { *p = proposal })
	if _, err := a.Echo(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := <-seen
	roles := func(list []NegotiatedContext) (scuscp []bool) {
		for _, c := range list {
			scuscp = append(scuscp, c.SCU, c.SCP)
		}
		return scuscp
	}
	if want := []bool{false, true, true, true, false, true, false, true}; !slices.Equal(roles(got.roles), want) {
		t.Errorf("the service's roles are %v, want %v", roles(got.roles), want)
	}
	if want := []bool{true, false, true, true, true, false, true, false}; !slices.Equal(roles(a.Contexts()), want) {
		t.Errorf("the requestor's roles are %v, want %v", roles(a.Contexts()), want)
	}
	if !bytes.Equal(got.information, []byte{1, 0, 0}) || got.user != "reader" {
		t.Errorf("the service sees %+v", got)
	}
	if x := a.AC().ExtendedNegotiations; len(x) != 1 || !bytes.Equal(x[0].Information, []byte{1, 0, 0}) {
		t.Errorf("the requestor was answered %+v", x)
	}
	proposal.UserIdentity.Secondary = []byte("guess")
	if _, err := (&Dialer{}).Dial(t.Context(), address, proposal); err == nil {
		t.Error("a wrong passcode was admitted")
	}
}
