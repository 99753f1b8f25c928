package gateway

import (
	"strings"
	"testing"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

func TestAnswerToContextsOfQueries(t *testing.T) {
	mayQuery, mayStore, mayRetrieve := Peer{Allow: []Right{RightQuery}}, Peer{Allow: []Right{RightStore}}, Peer{Allow: []Right{RightRetrieve}}
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
		{"retrieving", mayRetrieve, qr.StudyRootMove, []dicom.UID{implicit, explicit}, pdu.ContextAccepted, explicit},
		{"retrieving in patient root", mayRetrieve, qr.PatientRootMove, []dicom.UID{implicit}, pdu.ContextAccepted, implicit},
		{"retrieving in patient/study only", mayRetrieve, qr.PatientStudyOnlyMove, []dicom.UID{implicit}, pdu.ContextAccepted, implicit},
		{"retrieving without the right", mayQuery, qr.StudyRootMove, []dicom.UID{implicit}, pdu.ContextUserRejection, ""},
		{"querying with the right to retrieve", mayRetrieve, qr.StudyRootFind, []dicom.UID{implicit}, pdu.ContextUserRejection, ""},
		{"commitment to who may store", mayStore, commitment.SOPClass, []dicom.UID{implicit, explicit}, pdu.ContextAccepted, explicit},
		{"commitment to who may ask for it", Peer{Allow: []Right{RightCommit}}, commitment.SOPClass, []dicom.UID{implicit}, pdu.ContextAccepted, implicit},
		{"commitment without the right", mayQuery, commitment.SOPClass, []dicom.UID{implicit}, pdu.ContextUserRejection, ""},
		{"storing with the right to commit", Peer{Allow: []Right{RightCommit}}, ctImageStorage, []dicom.UID{implicit}, pdu.ContextUserRejection, ""},
		{"retrieving by C-GET", mayRetrieve, qr.StudyRootGet, []dicom.UID{implicit, explicit}, pdu.ContextAccepted, explicit},
		{"retrieving by C-GET in patient root", mayRetrieve, qr.PatientRootGet, []dicom.UID{implicit}, pdu.ContextAccepted, implicit},
		{"retrieving by C-GET in patient/study only", mayRetrieve, qr.PatientStudyOnlyGet, []dicom.UID{deflated}, pdu.ContextAccepted, deflated},
		{"retrieving by C-GET without the right", mayStore, qr.StudyRootGet, []dicom.UID{implicit}, pdu.ContextUserRejection, ""},
		{"worklist", mayQuery, "1.2.840.10008.5.1.4.31", []dicom.UID{implicit}, pdu.ContextAbstractSyntaxNotSupported, ""},
	} {
		ts, got := newContexts(DICOM{SOPClasses: SOPClassesAny}).policyOf(row.peer, nil, nil)(row.abstract, row.offered)
		if got != row.want || ts != row.chosen {
			t.Errorf("%s: got %v, %q", row.name, got, ts)
		}
	}
}

func TestQueriesAreServedToWhoMayQuery(t *testing.T) {
	r := &receiver{queries: qr.New(qr.Options{})}
	rq := &dimse.AssociationRequest{RQ: &pdu.AssociateRQ{}}
	rq.RQ.ExtendedNegotiations = []pdu.ExtendedNegotiation{{SOPClassUID: string(qr.StudyRootFind), Information: []byte{1}}}
	for _, right := range []Right{RightStore, RightQuery, RightRetrieve} {
		services := dimse.Mux{}
		granted := r.serveQueries(services, Peer{Allow: []Right{right}}, rq)
		if served := services[dimse.CFindRQ] != nil; served != (right == RightQuery) || served != (len(granted) == 1) {
			t.Errorf("%s: served %v, granted %v", right, served, granted)
		}
		for _, operation := range []dimse.CommandField{dimse.CMoveRQ, dimse.CGetRQ} {
			if served := services[operation] != nil; served != (right == RightRetrieve) {
				t.Errorf("%s: %v served %v", right, operation, served)
			}
		}
	}
}

func TestCommitmentIsServedToWhoMayStoreOrAsk(t *testing.T) {
	r := &receiver{keeper: commitment.NewKeeper(commitment.KeeperOptions{})}
	for right, want := range map[Right]bool{RightStore: true, RightCommit: true, RightQuery: false, RightRetrieve: false} {
		services := dimse.Mux{}
		r.serveCommitment(services, Peer{Allow: []Right{right}}, &dimse.AssociationRequest{RQ: &pdu.AssociateRQ{}})
		if served := services[dimse.NActionRQ] != nil; served != want {
			t.Errorf("%s: served %v", right, served)
		}
	}
}

func TestQueriesDoNotWaitForRoom(t *testing.T) {
	for uid, want := range map[dicom.UID]bool{commitment.SOPClass: false, qr.StudyRootFind: false, qr.StudyRootMove: false, qr.StudyRootGet: false, dicom.VerificationSOPClass: false, ctImageStorage: true} {
		rq := &pdu.AssociateRQ{PresentationContexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(uid)}}}
		if got := proposesStorage(rq, nil); got != want {
			t.Errorf("%s: %v", uid, got)
		}
	}
}

func TestMoveDestinations(t *testing.T) {
	cfg, err := Parse("", []byte("peers:\n  - {ae_title: WS1, address: '10.0.0.5:104'}\n  - {ae_title: CT1, allow: [retrieve], move_to: [WS1]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if to := cfg.Peers[1].MoveTo; len(to) != 1 || to[0] != "WS1" {
		t.Errorf("move_to %v", to)
	}
	known := newCallees(&settings{Config: cfg}, nil, nil).destination
	for title, want := range map[string]bool{"WS1": true, "ws1": false, "CT1": false, "WS2": false} {
		if got := known(title) != nil; got != want {
			t.Errorf("%s: known %v", title, got)
		}
	}
	for text, want := range map[string]string{
		"peers: [{ae_title: CT1, tls: {enabled: true}}]\n":                                      "needs its address",
		"peers: [{ae_title: CT1, address: '10.0.0.5:104', tls: {ca: ca.pem}}]\n":                "add enabled: true",
		"peers: [{ae_title: CT1, address: '10.0.0.5:104', tls: {enabled: true, key: a.pem}}]\n": "cert and key are needed together",
	} {
		if _, err := Parse("", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, wrong := range []string{"CT1", "WS2"} {
		_, err := Parse("", []byte("peers: [{ae_title: CT1, move_to: ["+wrong+"]}]\n"))
		if err == nil || !strings.Contains(err.Error(), "is not a peer with an address") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
