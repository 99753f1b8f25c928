package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/netip"
	"slices"
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
			"calling AE title CT9 is not in peers; to admit it, add there: - {ae_title: CT9, from: [10.0.0.5]}"},
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
		_, refusal := row.admission.admit(row.calling, row.called, caller{from: netip.MustParseAddr(row.from)})
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
	p, refusal := a.admit("MR2", "", caller{from: netip.MustParseAddr("10.0.0.1")})
	if refusal != nil || p.Allows(RightStore) || !p.Allows(RightQuery) {
		t.Errorf("got %+v, %v", p, refusal)
	}
}

// presenting is a TLS connection whose client presents a certificate; vouched tells that an authority knows it.
func presenting(c *x509.Certificate, vouched bool) *tls.ConnectionState {
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}}
	if vouched {
		state.VerifiedChains = [][]*x509.Certificate{{c}}
	}
	return state
}

// A caller is the first entry that its title, address and certificate fit; no other says what it may do.
func TestEntryOfACaller(t *testing.T) {
	ct := &x509.Certificate{Raw: []byte("ct"), Subject: pkix.Name{CommonName: "ct.Hospital.example"}}
	ws := &x509.Certificate{Raw: []byte("ws"), DNSNames: []string{"other.example", "WS.example"}}
	liar := &x509.Certificate{Raw: []byte("liar"), Subject: pkix.Name{CommonName: fingerprintOf(ct)}}
	cfg, err := Parse("", []byte(`
dicom: {tls: {listen: "127.0.0.1:0", cert: c, key: k, client_ca: ca}}
peers:
  - {ae_title: WS, from: [10.0.0.1], allow: [query, retrieve]}
  - {ae_title: WS, from: [10.0.0.0/24], allow: [query]}
  - {ae_title: WS, certificate: [ws.example], allow: [commit]}
  - {ae_title: CT1, certificate: [CT.hospital.example]}
  - {ae_title: CT2, certificate: ["`+strings.ToUpper(fingerprintOf(ct)[:7])+strings.ToUpper(fingerprintOf(ct)[7:])+`"]}
  - {ae_title: "*", from: [10.0.9.0/24], allow: [store]}
  - {ae_title: "*", certificate: [ws.example], allow: [query]}
`))
	if err != nil {
		t.Fatal(err)
	}
	a := admission{accept: AcceptKnown, peers: cfg.Peers}
	for _, row := range []struct {
		name, calling, from string
		tls                 *tls.ConnectionState
		rights              []Right // nil: refused
		why, detail         string
	}{
		{"first of several", "WS", "10.0.0.1", nil, []Right{RightQuery, RightRetrieve}, "", ""},
		{"second of several", "WS", "10.0.0.2", nil, []Right{RightQuery}, "", ""},
		{"third of several", "WS", "10.9.9.9", presenting(ws, true), []Right{RightCommit}, "", ""},
		{"none of several", "WS", "10.9.9.9", nil, nil, refusedCertificate, "without TLS"},
		{"name of an authority's certificate", "CT1", "10.9.9.9", presenting(ct, true), []Right{RightStore}, "", ""},
		{"name that nobody vouches for", "CT1", "10.9.9.9", presenting(ct, false), nil, refusedCertificate, "it presents " + fingerprintOf(ct)},
		{"another's certificate", "CT1", "10.9.9.9", presenting(ws, true), nil, refusedCertificate, "it presents that of other.example, ws.example (" + fingerprintOf(ws) + ")"},
		{"no certificate", "CT1", "10.9.9.9", &tls.ConnectionState{}, nil, refusedCertificate, "it presents none"},
		{"without TLS", "CT1", "10.9.9.9", nil, nil, refusedCertificate, "it calls without TLS"},
		{"fingerprint", "CT2", "10.9.9.9", presenting(ct, false), []Right{RightStore}, "", ""},
		{"another fingerprint", "CT2", "10.9.9.9", presenting(ws, false), nil, refusedCertificate, fingerprintOf(ws)},
		{"fingerprint as a name", "CT2", "10.9.9.9", presenting(liar, true), nil, refusedCertificate, ""},
		{"any title by address", "XA3", "10.0.9.7", nil, []Right{RightStore}, "", ""},
		{"any title by certificate", "XA3", "10.9.9.9", presenting(ws, true), []Right{RightQuery}, "", ""},
		{"any title, but not from here", "XA3", "10.9.9.9", nil, nil, refusedCertificate, ""},
		{"a title that has an entry is not any", "WS", "10.0.9.7", nil, nil, refusedCertificate, ""},
		{"a title that differs only in case is any, too", "ws", "10.0.9.7", nil, []Right{RightStore}, "", ""},
		{"the sign itself", "*", "10.0.9.7", nil, []Right{RightStore}, "", ""},
	} {
		p, refused := a.admit(row.calling, "", caller{netip.MustParseAddr(row.from), row.tls})
		switch {
		case (refused != nil) != (row.rights == nil):
			t.Errorf("%s: %+v, %+v", row.name, p, refused)
		case refused != nil && (refused.why != row.why || !strings.Contains(refused.Detail, row.detail)):
			t.Errorf("%s: %s: %s", row.name, refused.why, refused.Detail)
		case refused == nil && (!slices.Equal(p.Allow, row.rights) || p.AETitle != row.calling):
			t.Errorf("%s: %+v", row.name, p)
		}
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
