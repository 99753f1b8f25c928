package gateway

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

func TestUpstreamsMayStore(t *testing.T) {
	cfg, err := Parse("", []byte(`
peers:
  - {ae_title: ASKS, allow: [query, upstream]}
  - {ae_title: BOTH, allow: [query], from: [10.0.0.1]}
upstreams:
  - {name: a, ae_title: ALONE, address: "10.0.0.2:104", from: [10.0.0.2]}
  - {name: b, ae_title: BOTH, address: "10.0.0.3:104", from: [10.0.0.3], models: [patient, study]}
`))
	if err != nil {
		t.Fatal(err)
	}
	a := admission{own: "DCMGATE", accept: AcceptKnown, peers: admitted(&cfg)}
	for _, row := range []struct {
		title, from  string
		store, query bool
	}{
		{"ALONE", "10.0.0.2", true, false},
		{"ALONE", "10.0.0.1", false, false},
		{"BOTH", "10.0.0.1", true, true},
		{"BOTH", "10.0.0.3", true, true},
		{"BOTH", "10.0.0.2", false, false},
		{"ASKS", "10.0.0.9", false, true},
	} {
		p, _ := a.admit(row.title, "DCMGATE", caller{from: netip.MustParseAddr(row.from)})
		if p.Allows(RightStore) != row.store || p.Allows(RightQuery) != row.query {
			t.Errorf("%s from %s: %v", row.title, row.from, p.Allow)
		}
	}
	if cfg.Peers[1].Allows(RightStore) || len(cfg.Notes) != 0 || len(cfg.Upstreams[1].Models) != 2 || cfg.Upstreams[0].Models[0] != qr.StudyRootFind {
		t.Errorf("%+v", cfg)
	}
}

// Who may ask through is said, where it may be a surprise.
func TestNotesOnUpstreams(t *testing.T) {
	upstreams := "\nupstreams: [{name: a, ae_title: A, address: '10.0.0.2:104'}]\n"
	for text, want := range map[string]string{
		"peers: [{ae_title: C, allow: [query]}]":           "nobody can query them",
		"peers: [{ae_title: C, allow: [query, upstream]}]": "",
		"dicom: {accept: any}":                             "everybody can query them",
	} {
		cfg, err := Parse("", []byte(text+upstreams))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(cfg.Notes, "\n"); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
}

func TestUpstreamStatus(t *testing.T) {
	cfg, err := Parse("", []byte("upstreams: [{name: a, ae_title: A, address: '127.0.0.1:1'}]"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	upstreams, err := g.newUpstreams(g.settings(), nil)
	if err != nil {
		t.Fatal(err)
	}
	list := upstreams.clients()
	defer closeUpstreams(list)
	for range 2 {
		for _, err := range list[0].Find(t.Context(), qr.Question{SOPClass: qr.StudyRootFind, Level: qr.LevelStudy, Identifier: &qr.Identifier{}}) {
			if err == nil {
				t.Error("answered")
			}
		}
	}
	s := upstreamStatus(list)
	if len(s) != 1 || s[0].Breaker != "open" || s[0].LastErrorCode != "refused" || s[0].LastErrorCount != 2 || s[0].NextProbe.IsZero() || s[0].Bound != 2 {
		t.Errorf("%+v", s)
	}
}

func TestRightToUpstreams(t *testing.T) {
	rq := &dimse.AssociationRequest{RQ: &pdu.AssociateRQ{CallingAETitle: "C"}}
	for _, may := range []bool{true, false} {
		p := Peer{Allow: []Right{RightQuery}}
		if may {
			p.Allow = append(p.Allow, RightUpstream)
		}
		if c := callerOf(p, rq); c.Upstream != may {
			t.Errorf("%v: %+v", may, c)
		}
	}
}

// What was asked for is told from what an upstream sends of itself.
func TestRequestedInstances(t *testing.T) {
	cfg, err := Parse("", []byte("ae_title: GATE\ndestinations: [{name: cloud, ae_title: C, address: '127.0.0.1:1'}]\n"+
		"upstreams: [{name: a, ae_title: A, address: '127.0.0.1:1', calendar: ['100kB/s']}, {name: b, ae_title: B, address: '127.0.0.1:1', forward: true}]"))
	if err != nil {
		t.Fatal(err)
	}
	in := newFakeIntake()
	r := newReceiver(cfg, in, slog.New(slog.DiscardHandler), nil)
	for _, row := range []struct {
		calling, originator string
		jobs                int
	}{
		{"A", "GATE", 0},
		{"A", "OTHER", 1},
		{"A", "", 1},
		{"B", "GATE", 1},
		{"CT1", "GATE", 1},
	} {
		s := newStorage(r, &dimse.AssociationRequest{RQ: &pdu.AssociateRQ{CallingAETitle: row.calling}})
		before := len(in.instances())
		status, comment := s.store(t.Context(), &dimse.Request{
			Command: dimse.Command{AffectedSOPClassUID: ctImageStorage, AffectedSOPInstanceUID: "1.2.3", MoveOriginatorAETitle: row.originator},
			Context: dimse.NegotiatedContext{TransferSyntax: implicit, SCP: true}, Data: strings.NewReader("data set"),
		})
		got := in.instances()
		if status != dimse.StatusSuccess || len(got) != before+1 {
			t.Fatalf("%+v: %v %s", row, status, comment)
		}
		if last := got[before]; len(last.jobs) != row.jobs || last.in.Requested != (row.jobs == 0) || string(last.data) != "data set" {
			t.Errorf("%+v: %+v", row, last)
		}
	}
}
