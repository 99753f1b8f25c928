package gateway

import (
	"log/slog"
	"slices"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
	"dcmgate/spool"
)

const mrImageStorage dicom.UID = "1.2.840.10008.5.1.4.1.1.4"

// getRQ proposes C-GET and these storage SOP classes, each in these transfer syntaxes.
func getRQ(offered []dicom.UID, classes ...dicom.UID) *pdu.AssociateRQ {
	rq := &pdu.AssociateRQ{ProtocolVersion: pdu.ProtocolVersion1, CallingAETitle: "WS", CalledAETitle: "DCMGATE", ApplicationContext: pdu.ApplicationContextName}
	for i, class := range append([]dicom.UID{qr.StudyRootGet}, classes...) {
		pc := pdu.PresentationContext{ID: byte(2*i + 1), AbstractSyntax: string(class)}
		for _, ts := range offered {
			pc.TransferSyntaxes = append(pc.TransferSyntaxes, string(ts))
		}
		rq.PresentationContexts = append(rq.PresentationContexts, pc)
	}
	return rq
}

// PS3.7 D.3.3.4: the answer to a role selection has the roles that both sides want; without an answer the requestor is SCU.
func TestRolesOfRequestors(t *testing.T) {
	type roles = []pdu.RoleSelection
	role := func(class dicom.UID, scu, scp bool) pdu.RoleSelection {
		return pdu.RoleSelection{SOPClassUID: string(class), SCU: scu, SCP: scp}
	}
	both, retrieve, store := []Right{RightStore, RightRetrieve}, []Right{RightRetrieve}, []Right{RightStore, RightQuery}
	ct, mr := ctImageStorage, mrImageStorage
	for _, row := range []struct {
		name     string
		allow    []Right
		classes  []dicom.UID
		proposed roles
		granted  roles
		results  []pdu.ContextResult // of C-GET and the classes
	}{
		{"SCP of what it proposes", retrieve, []dicom.UID{ct, mr}, roles{role(ct, false, true), role(mr, false, true)}, roles{role(ct, false, true), role(mr, false, true)}, []pdu.ContextResult{0, 0, 0}},
		{"SCP of one alone", retrieve, []dicom.UID{ct, mr}, roles{role(mr, false, true)}, roles{role(mr, false, true)}, []pdu.ContextResult{0, 1, 0}},
		{"both roles", both, []dicom.UID{ct}, roles{role(ct, true, true)}, roles{role(ct, true, true)}, []pdu.ContextResult{0, 0}},
		{"both roles, may not store", retrieve, []dicom.UID{ct}, roles{role(ct, true, true)}, roles{role(ct, false, true)}, []pdu.ContextResult{0, 0}},
		{"SCU alone needs no answer", both, []dicom.UID{ct}, roles{role(ct, true, false)}, nil, []pdu.ContextResult{0, 0}},
		{"no role", both, []dicom.UID{ct}, roles{role(ct, false, false)}, nil, []pdu.ContextResult{0, 0}},
		{"no selection", retrieve, []dicom.UID{ct}, nil, nil, []pdu.ContextResult{0, 1}},
		{"may not retrieve", store, []dicom.UID{ct}, roles{role(ct, false, true)}, nil, []pdu.ContextResult{1, 0}},
		{"the first of two", retrieve, []dicom.UID{ct}, roles{role(ct, false, true), role(ct, true, false)}, roles{role(ct, false, true)}, []pdu.ContextResult{0, 0}},
		{"two contexts, one role", retrieve, []dicom.UID{ct, ct}, roles{role(ct, false, true)}, roles{role(ct, false, true)}, []pdu.ContextResult{0, 0, 0}},
		{"class that is not proposed", retrieve, []dicom.UID{ct}, roles{role(ct, false, true), role(mr, false, true)}, roles{role(ct, false, true)}, []pdu.ContextResult{0, 0}},
		{"what is no storage", retrieve, []dicom.UID{unknownStandard}, roles{role(unknownStandard, false, true), role(qr.StudyRootGet, false, true)}, nil, []pdu.ContextResult{0, 3}},
	} {
		rq := getRQ([]dicom.UID{implicit}, row.classes...)
		rq.RoleSelections = row.proposed
		r := &receiver{intake: level(0), queries: qr.New(qr.Options{}), log: slog.New(slog.DiscardHandler), refusals: newRefusals(nil)}
		r.policy.Store(&policy{contexts: newContexts(DICOM{SOPClasses: SOPClassesAny}), window: 4,
			admission: admission{accept: AcceptKnown, peers: []Peer{{AETitle: "WS", Allow: row.allow}}}})
		answer, err := r.Associate(t.Context(), &dimse.AssociationRequest{RQ: rq})
		if err != nil {
			t.Fatal(err)
		}
		var results []pdu.ContextResult
		for _, r := range answer.Results {
			results = append(results, r.Result)
		}
		if !slices.Equal(answer.RoleSelections, row.granted) || !slices.Equal(results, row.results) {
			t.Errorf("%s: granted %+v, results %v", row.name, answer.RoleSelections, results)
		}
		if window := answer.AsyncOperationsWindow.Performed; (window == storeWindow) != (len(row.granted) > 0) {
			t.Errorf("%s: %d operations of ours", row.name, window)
		}
	}
}

// level is an intake that only tells its pressure.
type level spool.Level

func (level) Begin(spool.Incoming) (intakeWriter, error) { return nil, spool.ErrFull }
func (l level) Pressure() spool.Level                    { return spool.Level(l) }

// Want of room keeps nobody from retrieving, but for who would store over the same association.
func TestGetsDoNotWaitForRoom(t *testing.T) {
	r := &receiver{intake: level(spool.LevelReject), queries: qr.New(qr.Options{}), log: slog.New(slog.DiscardHandler)}
	r.policy.Store(&policy{contexts: newContexts(DICOM{}), admission: admission{accept: AcceptAny}})
	for _, scu := range []bool{false, true} {
		rq := getRQ([]dicom.UID{implicit}, ctImageStorage)
		rq.RoleSelections = []pdu.RoleSelection{{SOPClassUID: string(ctImageStorage), SCU: scu, SCP: true}}
		if _, err := r.Associate(t.Context(), &dimse.AssociationRequest{RQ: rq}); (err != nil) != scu {
			t.Errorf("SCU %v: %v", scu, err)
		}
	}
}

// Of several transfer syntaxes in one context that one is chosen in which the instances are.
func TestTransferSyntaxOfTakenInstances(t *testing.T) {
	c := newContexts(DICOM{TransferSyntaxes: TransferSyntaxes{Refuse: []dicom.UID{deflated}}})
	held := func(_ dicom.UID, offered []dicom.UID) (dicom.UID, bool) {
		return jpegBaseline, slices.Contains(offered, jpegBaseline)
	}
	for _, row := range []struct {
		name    string
		held    prevailing
		offered []dicom.UID
		want    dicom.UID
	}{
		{"what is held", held, []dicom.UID{explicit, implicit, jpegBaseline}, jpegBaseline},
		{"what is held is not offered", held, []dicom.UID{implicit, explicit}, explicit},
		{"nothing is known", nil, []dicom.UID{implicit, explicit}, explicit},
		{"one alone", held, []dicom.UID{implicit}, implicit},
		{"refused", held, []dicom.UID{deflated}, ""},
		{"none", held, nil, ""},
	} {
		ts, result := c.taken(ctImageStorage, row.offered, row.held)
		if ts != row.want || (result == pdu.ContextAccepted) != (row.want != "") {
			t.Errorf("%s: %q, %v", row.name, ts, result)
		}
	}
}

// A requestor that has the SCP role alone may not store.
func TestStoringWithoutTheRole(t *testing.T) {
	s := &storage{receiver: &receiver{}}
	rq := &dimse.Request{Context: dimse.NegotiatedContext{AbstractSyntax: ctImageStorage, SCU: true}, Command: dimse.Command{AffectedSOPInstanceUID: "1.2", AffectedSOPClassUID: ctImageStorage}}
	_, status, comment := s.incoming(rq)
	if status != dimse.StatusNotAuthorized || comment == "" {
		t.Errorf("%v, %q", status, comment)
	}
	if newTally(nil).byStatus[status] == nil {
		t.Errorf("%v is not counted", status)
	}
}

// Whatever is proposed, no more is granted than that, to each SOP class once, and nothing to who may not retrieve.
func FuzzRoles(f *testing.F) {
	f.Add([]byte{1, 2, 3}, []byte{0x13, 0x22, 0x11}, uint8(3))
	f.Add([]byte{0, 1, 1}, []byte{0x11, 0x13}, uint8(2))
	uids := []dicom.UID{qr.StudyRootGet, ctImageStorage, mrImageStorage, futureStorage, privateStorage, storageCommit, "", "1.2.3"}
	rights := []Right{RightStore, RightRetrieve, RightQuery}
	f.Fuzz(func(t *testing.T, contexts, roles []byte, allow uint8) {
		var p Peer
		for i, right := range rights {
			if allow>>i&1 == 1 {
				p.Allow = append(p.Allow, right)
			}
		}
		rq := &pdu.AssociateRQ{}
		for i, c := range contexts {
			rq.PresentationContexts = append(rq.PresentationContexts, pdu.PresentationContext{ID: byte(i), AbstractSyntax: string(uids[int(c)%len(uids)])})
		}
		for _, r := range roles {
			rq.RoleSelections = append(rq.RoleSelections, pdu.RoleSelection{SOPClassUID: string(uids[int(r>>4)%len(uids)]), SCU: r&1 != 0, SCP: r&2 != 0})
		}
		policy := newContexts(DICOM{SOPClasses: SOPClassesAny})
		seen := map[string]bool{}
		for _, g := range policy.grantRoles(p, rq) {
			i := slices.IndexFunc(rq.RoleSelections, func(r pdu.RoleSelection) bool { return r.SOPClassUID == g.SOPClassUID })
			if i < 0 || seen[g.SOPClassUID] || !g.SCP || g.SCP && !rq.RoleSelections[i].SCP || g.SCU && !rq.RoleSelections[i].SCU {
				t.Fatalf("%+v of %+v", g, rq.RoleSelections)
			}
			if !p.Allows(RightRetrieve) || g.SCU && !p.Allows(RightStore) || !policy.storage(dicom.UID(g.SOPClassUID)) {
				t.Fatalf("%+v to %v", g, p.Allow)
			}
			seen[g.SOPClassUID] = true
		}
	})
}
