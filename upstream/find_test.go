package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// pacs is an archive on the wire that does to its callers what find says.
type pacs struct {
	address string
	reject  error
	refuse  bool // contexts
	grant   []byte
	find    func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request, id *qr.Identifier)
	move    dimse.Service

	mu           sync.Mutex
	asked        []*qr.Identifier
	associations int
	cancelled    int
	released     int
}

func startPACS(t testing.TB, p *pacs) *pacs {
	t.Helper()
	server, err := dimse.NewServer(p, dimse.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server.Serve(l)
	}()
	t.Cleanup(func() { server.Close(); <-ended })
	return p
}

func (p *pacs) Associate(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.associations++
	if p.reject != nil {
		return nil, p.reject
	}
	services := dimse.Mux{dimse.CFindRQ: dimse.ServiceFunc(p.serve)}
	if p.move != nil {
		services[dimse.CMoveRQ] = p.move
	}
	var granted []pdu.ExtendedNegotiation
	for _, n := range rq.RQ.ExtendedNegotiations {
		granted = append(granted, pdu.ExtendedNegotiation{SOPClassUID: n.SOPClassUID, Information: p.grant})
	}
	return &dimse.Acceptance{
		Results: dimse.Negotiate(rq.RQ, func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
			if p.refuse {
				return "", pdu.ContextAbstractSyntaxNotSupported
			}
			return offered[len(offered)-1], pdu.ContextAccepted
		}),
		Service: services, ExtendedNegotiations: granted,
		Closed: func(dimse.AssociationSummary) { p.mu.Lock(); p.released++; p.mu.Unlock() },
	}, nil
}

func (p *pacs) serve(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
	data, err := io.ReadAll(rq.Data)
	if err != nil {
		return
	}
	id, err := qr.ParseIdentifier(data, rq.Context.TransferSyntax, "")
	if err != nil {
		w.Respond(dimse.Command{Status: dimse.StatusDataSetMismatch}, nil)
		return
	}
	p.mu.Lock()
	p.asked = append(p.asked, id)
	p.mu.Unlock()
	p.find(ctx, w, rq, id)
}

func (p *pacs) get(n *int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return *n
}

func (p *pacs) questions() []*qr.Identifier {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func study(uid string, more ...qr.Attribute) *qr.Identifier {
	return &qr.Identifier{Attributes: append(more, qr.Attribute{Tag: dicom.TagStudyInstanceUID, VR: "UI", Values: []string{uid}})}
}

// pending answers with a match.
func pending(w dimse.ResponseWriter, rq *dimse.Request, status dimse.Status, id *qr.Identifier) error {
	data, err := id.Encode(rq.Context.TransferSyntax)
	if err != nil {
		return err
	}
	return w.Respond(dimse.Command{Status: status}, bytes.NewReader(data))
}

// answering answers with studies and a final status.
func answering(final dimse.Status, uids ...string) func(context.Context, dimse.ResponseWriter, *dimse.Request, *qr.Identifier) {
	return func(_ context.Context, w dimse.ResponseWriter, rq *dimse.Request, _ *qr.Identifier) {
		for _, uid := range uids {
			if pending(w, rq, dimse.StatusPending, study(uid)) != nil {
				return
			}
		}
		w.Respond(dimse.Command{Status: final}, nil)
	}
}

func client(t testing.TB, p *pacs, change ...func(*Options)) *Upstream {
	t.Helper()
	o := Options{Name: "pacs", AETitle: "PACS", CallingAETitle: "DCMGATE", Address: p.address, AssociationTimeout: time.Minute, QueryTimeout: time.Minute}
	for _, c := range change {
		c(&o)
	}
	u, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

var studies = qr.Question{SOPClass: qr.StudyRootFind, Level: qr.LevelStudy, Identifier: &qr.Identifier{Attributes: []qr.Attribute{
	{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{"STUDY"}}, {Tag: dicom.TagStudyInstanceUID, VR: "UI"}}}}

// ask puts a question and returns the studies that were answered.
func ask(ctx context.Context, u *Upstream, q qr.Question) (uids []string, err error) {
	for m, err := range u.Find(ctx, q) {
		if err != nil {
			return uids, err
		}
		uid := ""
		if a := m.Identifier.Find(dicom.TagStudyInstanceUID); a != nil {
			uid = strings.Join(a.Values, `\`)
		}
		if m.Partly {
			uid += " partly"
		}
		uids = append(uids, uid)
	}
	return uids, nil
}

func TestAnswers(t *testing.T) {
	for _, row := range []struct {
		name    string
		pacs    *pacs
		want    []string
		reason  string // in the error; "" for none
		outcome string
	}{
		{"none", &pacs{find: answering(0)}, nil, "", outcomeAnswered},
		{"some", &pacs{find: answering(0, "1", "2")}, []string{"1", "2"}, "", outcomeAnswered},
		{"a failure", &pacs{find: answering(0xA700, "1")}, []string{"1"}, "answers A700H", outcomeRefused},
		{"cancelled by itself", &pacs{find: answering(0xFE00, "1")}, []string{"1"}, "answers FE00H", outcomeRefused},
		{"rejected", &pacs{reject: dimse.RejectCallingAETitle("")}, nil, "does not know our calling AE title", outcomeUnavailable},
		{"no more associations", &pacs{reject: dimse.RejectLimit("")}, nil, "the archive", outcomeUnavailable},
		{"no such model", &pacs{refuse: true}, nil, "does not accept", outcomeRefused},
		{"garbage", &pacs{find: func(_ context.Context, w dimse.ResponseWriter, _ *dimse.Request, _ *qr.Identifier) {
			w.Respond(dimse.Command{Status: dimse.StatusPending}, strings.NewReader("\x08\x00\x05\x00\xff\xff\xff\x7fnothing"))
			w.Respond(dimse.Command{Status: dimse.StatusPending}, nil)
			w.Respond(dimse.Command{Status: dimse.StatusPending}, strings.NewReader(strings.Repeat("x", qr.MaxIdentifier+2)))
			w.Respond(dimse.Command{}, nil)
		}}, []string{"", "", ""}, "", outcomeAnswered},
		{"partly", &pacs{find: func(_ context.Context, w dimse.ResponseWriter, rq *dimse.Request, _ *qr.Identifier) {
			pending(w, rq, dimse.StatusPendingWarning, study("1"))
			w.Respond(dimse.Command{}, nil)
		}}, []string{"1 partly"}, "", outcomeAnswered},
		{"aborted", &pacs{find: func(_ context.Context, w dimse.ResponseWriter, rq *dimse.Request, _ *qr.Identifier) {
			pending(w, rq, dimse.StatusPending, study("1"))
			rq.Association.Abort()
		}}, []string{"1"}, "aborted the association", outcomeUnavailable},
	} {
		startPACS(t, row.pacs)
		registry := prometheus.NewRegistry()
		u := client(t, row.pacs, func(o *Options) { o.Metrics = NewMetrics(registry) })
		got, err := ask(t.Context(), u, studies)
		if !slices.Equal(got, row.want) || (err == nil) != (row.reason == "") {
			t.Errorf("%s: got %q, %v", row.name, got, err)
		}
		var unavailable *qr.Unavailable
		if err != nil && (!errors.As(err, &unavailable) || !strings.Contains(unavailable.Reason, row.reason)) {
			t.Errorf("%s: %v", row.name, err)
		}
		u.Close()
		if n := testutil.ToFloat64(u.metrics.queries[row.outcome]); n != 1 {
			t.Errorf("%s: %v counted as %s", row.name, n, row.outcome)
		}
		if n := len(u.places); n != 0 {
			t.Errorf("%s: %d places are taken", row.name, n)
		}
	}
}

// What is asked on the wire: the keys as they are, in the archive's character set.
func TestQuestions(t *testing.T) {
	name := qr.Attribute{Tag: dicom.TagPatientName, VR: "PN", Values: []string{"王*"}}
	date := qr.Attribute{Tag: dicom.TagStudyDate, VR: "DA", Values: []string{"20240101-20240102"}}
	clock := qr.Attribute{Tag: dicom.TagStudyTime, VR: "TM", Values: []string{"1200-1100"}}
	put := func(charset string, a ...qr.Attribute) qr.Question {
		q := studies
		q.Identifier = &qr.Identifier{CharacterSet: charset, Attributes: append([]qr.Attribute{{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{"STUDY"}}}, a...)}
		return q
	}
	dateTime, fuzzy, relational := put("", date, clock), put("", name), put("")
	dateTime.DateTime, fuzzy.Fuzzy, relational.Relational = true, true, true
	for _, row := range []struct {
		name     string
		question qr.Question
		charset  string // of the archive
		grant    []byte
		want     string // character set that it is asked in
		time     bool   // the time is among the keys
		partly   bool
		fails    bool
	}{
		{"in the caller's set", put("GB18030", name), "", nil, "GB18030", false, false, false},
		{"in the archive's set", put("ISO_IR 192", name), "GB18030", nil, "GB18030", false, false, false},
		{"in a set that does not do", put("GB18030", name), "ISO_IR 100", nil, "ISO_IR 192", false, false, false},
		{"date and time apart", put("", date, clock), "", nil, "", true, false, false},
		{"together, granted", dateTime, "", []byte{0, 1, 0}, "", true, false, false},
		{"together, not granted", dateTime, "", []byte{0}, "", false, false, false},
		{"fuzzy, granted", fuzzy, "", []byte{0, 0, 1}, "ISO_IR 192", false, false, false},
		{"fuzzy, not granted", fuzzy, "", nil, "ISO_IR 192", false, true, false},
		{"relational, granted", relational, "", []byte{1}, "", false, false, false},
		{"relational, not granted", relational, "", []byte{0, 1, 1}, "", false, false, true},
	} {
		p := startPACS(t, &pacs{grant: row.grant, find: answering(0, "1")})
		u := client(t, p, func(o *Options) { o.CharacterSet = row.charset })
		got, err := ask(t.Context(), u, row.question)
		if (err != nil) != row.fails {
			t.Errorf("%s: %v, %v", row.name, got, err)
		}
		if row.fails {
			if len(p.questions()) != 0 {
				t.Errorf("%s: asked all the same", row.name)
			}
			continue
		}
		id := p.questions()[0]
		a := id.Find(dicom.TagStudyTime)
		if id.CharacterSet != row.want || (a != nil && len(a.Values) > 0) != row.time || (got[0] == "1 partly") != row.partly {
			t.Errorf("%s: asked %+v, got %v", row.name, id, got)
		}
		if b := row.question.Identifier.Find(dicom.TagPatientName); b != nil && id.Find(dicom.TagPatientName).Values[0] != b.Values[0] {
			t.Errorf("%s: asked for %q", row.name, id.Find(dicom.TagPatientName).Values)
		}
	}
}

// Who has asked does not wait for an archive that does not listen to its C-CANCEL, and the archive gets one.
func TestCancelledQuestions(t *testing.T) {
	p := &pacs{}
	p.find = func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request, _ *qr.Identifier) {
		pending(w, rq, dimse.StatusPending, study("1"))
		select {
		case <-rq.Cancelled:
			p.mu.Lock()
			p.cancelled++
			p.mu.Unlock()
			w.Respond(dimse.Command{Status: dimse.StatusCancel}, nil)
		case <-ctx.Done():
		}
	}
	startPACS(t, p)
	u := client(t, p)
	for range u.Find(t.Context(), studies) { // enough after the first
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, err := range u.Find(ctx, studies) {
		cancel()
		if err != nil && err != context.Canceled {
			t.Error(err)
		}
	}
	u.winding.Wait()
	if n := p.get(&p.cancelled); n != 2 {
		t.Errorf("%d cancelled", n)
	}
	if s := u.Status(); s.State != StateReady || s.Trouble != nil {
		t.Errorf("%+v", s)
	}
}

// An archive that stalls is given up in bounded time, and after that is not asked before its next probe.
func TestStallingArchive(t *testing.T) {
	stall := make(chan struct{})
	defer close(stall)
	p := startPACS(t, &pacs{find: func(ctx context.Context, _ dimse.ResponseWriter, _ *dimse.Request, _ *qr.Identifier) {
		select {
		case <-stall:
		case <-ctx.Done():
		}
	}})
	u := client(t, p, func(o *Options) {
		o.QueryTimeout, o.Associations = 50*time.Millisecond, breakerThreshold // none waits for the place of another
	})
	for range breakerThreshold {
		if _, err := ask(t.Context(), u, studies); err == nil || !strings.Contains(err.Error(), "did not answer in time") {
			t.Fatal(err)
		}
	}
	if _, err := ask(t.Context(), u, studies); err != errBreaker {
		t.Error(err)
	}
	if s := u.Status(); s.State != StateFailing || s.Breaker != forwarder.BreakerOpen || s.NextProbe.IsZero() || s.Trouble == nil || s.Trouble.Code != "timeout" {
		t.Errorf("%+v", s)
	}
	if n := p.get(&p.associations); n != breakerThreshold {
		t.Errorf("%d associations", n)
	}
}

func TestArchiveThatIsNotAsked(t *testing.T) {
	paused, err := forwarder.ParseCalendar([]string{"paused"})
	if err != nil {
		t.Fatal(err)
	}
	p := startPACS(t, &pacs{find: answering(0)})
	u := client(t, p, func(o *Options) { o.Calendar = paused })
	if _, err := ask(t.Context(), u, studies); err != errHours || u.Status().State != StateClosed {
		t.Errorf("%v, %s", err, u.Status().State)
	}
	u = client(t, p, func(o *Options) { o.Associations, o.QueryTimeout = 1, 10*time.Millisecond })
	patients := studies
	patients.SOPClass, patients.Level = qr.PatientRootFind, qr.LevelPatient
	if _, err := ask(t.Context(), u, patients); err != errModel {
		t.Error(err)
	}
	u.places <- struct{}{}
	if _, err := ask(t.Context(), u, studies); err != errBusy || u.Status().State != StateBusy {
		t.Errorf("%v, %s", err, u.Status().State)
	}
	<-u.places
	if n := p.get(&p.associations); n != 0 {
		t.Errorf("%d associations", n)
	}
	u.Close()
	if _, err := ask(t.Context(), u, studies); err != errEnding {
		t.Error(err)
	}
}

// A gateway that stops does not wait for an archive.
func TestCloseWhileAsking(t *testing.T) {
	p := startPACS(t, &pacs{find: func(ctx context.Context, _ dimse.ResponseWriter, rq *dimse.Request, _ *qr.Identifier) {
		select {
		case <-rq.Cancelled:
		case <-ctx.Done():
		}
	}})
	u := client(t, p)
	asked := make(chan error, 1)
	go func() { _, err := ask(t.Context(), u, studies); asked <- err }()
	peertest.Eventually(t, 5*time.Second, "the archive is asked", func() bool { return len(p.questions()) == 1 })
	u.Close()
	if err := <-asked; err != errEnding {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Name: "a", AETitle: "A"}, {Name: "a", Address: "a:1"}, {Name: "a", AETitle: "A", Address: "a:1", Associations: 65}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
