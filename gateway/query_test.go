package gateway

import (
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

func TestAnswerToContextsOfQueries(t *testing.T) {
	mayQuery, mayStore := Peer{Allow: []Right{RightQuery}}, Peer{Allow: []Right{RightStore}}
	for _, row := range []struct {
		name     string
		peer     Peer
		abstract dicom.UID
		offered  []dicom.UID
		want     pdu.ContextResult
		chosen   dicom.UID
	}{
		{"study root", mayQuery, qr.StudyRootFind, []dicom.UID{implicit, explicit}, pdu.ContextAccepted, explicit},
		{"patient root", mayQuery, qr.PatientRootFind, []dicom.UID{implicit}, pdu.ContextAccepted, implicit},
		{"big endian", mayQuery, qr.PatientStudyOnlyFind, []dicom.UID{bigEndian}, pdu.ContextAccepted, bigEndian},
		{"deflated only if there is nothing else", mayQuery, qr.StudyRootFind, []dicom.UID{deflated, implicit}, pdu.ContextAccepted, implicit},
		{"compressed pixels are nothing for a query", mayQuery, qr.StudyRootFind, []dicom.UID{jpegBaseline}, pdu.ContextTransferSyntaxesNotSupported, ""},
		{"without the right", mayStore, qr.StudyRootFind, []dicom.UID{implicit}, pdu.ContextUserRejection, ""},
		{"storing without the right", mayQuery, ctImageStorage, []dicom.UID{implicit}, pdu.ContextUserRejection, ""},
		{"storing", mayStore, ctImageStorage, []dicom.UID{implicit}, pdu.ContextAccepted, implicit},
		{"worklist", mayQuery, "1.2.840.10008.5.1.4.31", []dicom.UID{implicit}, pdu.ContextAbstractSyntaxNotSupported, ""},
	} {
		ts, got := newContexts(DICOM{SOPClasses: SOPClassesAny}).policyOf(row.peer)(row.abstract, row.offered)
		if got != row.want || ts != row.chosen {
			t.Errorf("%s: got %v, %q", row.name, got, ts)
		}
	}
}

func TestQueriesAreServedToWhoMayQuery(t *testing.T) {
	r := &receiver{queries: qr.New(qr.Options{})}
	rq := &dimse.AssociationRequest{RQ: &pdu.AssociateRQ{}}
	rq.RQ.ExtendedNegotiations = []pdu.ExtendedNegotiation{{SOPClassUID: string(qr.StudyRootFind), Information: []byte{1}}}
	for _, right := range []Right{RightStore, RightQuery} {
		services := dimse.Mux{}
		granted := r.serveQueries(services, Peer{Allow: []Right{right}}, rq)
		if served := services[dimse.CFindRQ] != nil; served != (right == RightQuery) || served != (len(granted) == 1) {
			t.Errorf("%s: served %v, granted %v", right, served, granted)
		}
	}
}

func TestQueriesDoNotWaitForRoom(t *testing.T) {
	for uid, want := range map[dicom.UID]bool{qr.StudyRootFind: false, dicom.VerificationSOPClass: false, ctImageStorage: true} {
		rq := &pdu.AssociateRQ{PresentationContexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(uid)}}}
		if got := proposesStorage(rq); got != want {
			t.Errorf("%s: %v", uid, got)
		}
	}
}
