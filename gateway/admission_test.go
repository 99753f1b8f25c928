package gateway

import (
	"net/netip"
	"strings"
	"testing"

	"dcmgate/pdu"
	"dcmgate/spool"
)

func TestAdmission(t *testing.T) {
	known := admission{
		own: "DCMGATE", accept: AcceptKnown,
		peers: []Peer{
			{AETitle: "CT1", Allow: []Right{RightStore}},
			{AETitle: "MR 2", From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Allow: []Right{RightQuery}},
		},
	}
	strict := known
	strict.checkCalled = true
	open := admission{own: "DCMGATE", accept: AcceptAny}

	for _, row := range []struct {
		name            string
		admission       admission
		calling, called string
		from            string
		reason          pdu.RejectReason // 0: admitted
		detail          string
	}{
		{"known", known, "CT1", "DCMGATE", "10.0.0.5", 0, ""},
		{"padded", known, "CT1             ", "ANY", "10.0.0.5", 0, ""},
		{"leading space and NUL", known, " CT1\x00", "ANY", "10.0.0.5", 0, ""},
		{"unknown", known, "CT9", "DCMGATE", "10.0.0.5", pdu.RejectUserCallingAETitleNotRecognized,
			"calling AE title CT9 is not in peers; 10.0.0.5 may be added under peers:"},
		{"case", known, "ct1", "DCMGATE", "10.0.0.5", pdu.RejectUserCallingAETitleNotRecognized,
			"calling AE title ct1 differs from CT1 under peers only in case; correct it there or at 10.0.0.5"},
		{"space", known, "MR2", "DCMGATE", "10.0.0.5", pdu.RejectUserCallingAETitleNotRecognized,
			"differs from MR 2 under peers only in spaces"},
		{"case and space", known, "mr2", "DCMGATE", "10.0.0.5", pdu.RejectUserCallingAETitleNotRecognized,
			"differs from MR 2 under peers only in case and spaces"},
		{"address", known, "MR 2", "DCMGATE", "10.0.1.5", pdu.RejectUserCallingAETitleNotRecognized,
			"calling AE title MR 2 is not expected from 10.0.1.5; 10.0.1.5 may be added to its from under peers:"},
		{"address, mapped", known, "MR 2", "DCMGATE", "::ffff:10.0.0.9", 0, ""},
		{"nameless", known, "", "DCMGATE", "10.0.0.5", pdu.RejectUserCallingAETitleNotRecognized, "is not in peers"},
		{"hostile", known, "A\nB\x1b[2J", "DCMGATE", "10.0.0.5", pdu.RejectUserCallingAETitleNotRecognized, "calling AE title A?B?[2J is not in peers"},
		{"called not checked", known, "CT1", "OTHER", "10.0.0.5", 0, ""},
		{"called wrong", strict, "CT1", "OTHER", "10.0.0.5", pdu.RejectUserCalledAETitleNotRecognized,
			"called AE title OTHER is not DCMGATE; correct it at 10.0.0.5, or set dicom.check_called_ae to false"},
		{"called wrong in case", strict, "CT1", "dcmgate", "10.0.0.5", pdu.RejectUserCalledAETitleNotRecognized, "called AE title dcmgate differs only in case from DCMGATE; correct"},
		{"any", open, "WHOEVER", "WHATEVER", "192.0.2.1", 0, ""},
	} {
		_, refusal := row.admission.admit(row.calling, row.called, netip.MustParseAddr(row.from))
		switch {
		case row.reason == 0 && refusal != nil:
			t.Errorf("%s: refused: %s", row.name, refusal.Detail)
		case row.reason != 0 && refusal == nil:
			t.Errorf("%s: admitted", row.name)
		case refusal != nil:
			if refusal.Result != pdu.RejectedPermanent || refusal.Source != pdu.RejectSourceServiceUser || refusal.Reason != row.reason {
				t.Errorf("%s: %+v", row.name, refusal)
			}
			if !strings.Contains(refusal.Detail, row.detail) || strings.ContainsFunc(refusal.Detail, func(r rune) bool { return r < ' ' }) {
				t.Errorf("%s: detail %q, want %q in it", row.name, refusal.Detail, row.detail)
			}
		}
	}
}

func TestRightsOfTheAdmitted(t *testing.T) {
	a := admission{accept: AcceptKnown, peers: []Peer{{AETitle: "MR2", Allow: []Right{RightQuery}}}}
	p, refusal := a.admit("MR2", "", netip.MustParseAddr("10.0.0.1"))
	if refusal != nil || p.Allows(RightStore) || !p.Allows(RightQuery) {
		t.Errorf("got %+v, %v", p, refusal)
	}
}

func TestCongestionIsTransient(t *testing.T) {
	for level, want := range map[spool.Level]bool{
		spool.LevelNone: false, spool.LevelSlow: false, spool.LevelReject: true, spool.LevelFull: true,
	} {
		r := congested(level)
		if (r != nil) != want {
			t.Errorf("%v: got %v", level, r)
		}
		if r != nil && (r.Result != pdu.RejectedTransient || r.Reason != pdu.RejectPresentationTemporaryCongestion) {
			t.Errorf("%v: got %+v", level, r)
		}
	}
}
