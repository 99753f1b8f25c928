package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dcmgate/commitment"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/images"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
	"dcmgate/qr"
	"dcmgate/restore"
	"dcmgate/spool"
	"dcmgate/upstream"
	"dcmgate/web"
)

// trailOf is an auditor whose trail is in a new directory, and a function that ends it and returns what it holds.
func trailOf(t *testing.T) (a *auditor, ended func() string) {
	t.Helper()
	cfg := Default()
	cfg.DataDir = t.TempDir()
	a, err := openAudit(&settings{Config: cfg}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	stop := a.run()
	return a, func() string {
		stop()
		return auditTrail(t, cfg.AuditDirectory())
	}
}

// everything are calls that tell of each kind of event once.
func everything(t *testing.T, a *auditor) {
	ctx := t.Context()
	rq := &dimse.AssociationRequest{ID: "i1", Remote: netip.MustParseAddrPort("10.0.0.5:1"), RQ: &pdu.AssociateRQ{CallingAETitle: "CT1", CalledAETitle: "DCMGATE"}}
	from := netip.MustParseAddrPort("10.0.0.6:2")
	in := spool.Instance{StudyInstanceUID: "1.2.3", SOPClassUID: ctImageStorage}
	receipt := &spool.Receipt{Instance: in}
	origin := &spool.Incoming{AssociationID: "i1", CallingAETitle: "CT1", RemoteAddress: "10.0.0.5", SOPClassUID: ctImageStorage}
	peer := new(dimse.Association)
	bad := errors.New("bad")

	a.trail().switched(true)
	a.trail().switched(false)
	a.associated(rq)
	a.ended(rq, dimse.AssociationSummary{})
	a.refused(dimse.Refusal{Remote: from, Err: &dimse.RejectError{Result: pdu.RejectedPermanent}})
	a.refused(dimse.Refusal{Remote: from, Err: &dimse.HandshakeError{Err: bad}})
	a.lacksRights(rq, []string{"query"})
	a.stored(origin, receipt)
	a.notStored(origin, dimse.StatusOutOfResources)
	a.Asked(qr.Caller{AETitle: "WS", Association: "i2"}, qr.Asked{Operation: dimse.CFindRQ, SOPClass: qr.StudyRootFind})
	a.Sent(qr.Caller{AETitle: "WS", Association: "i2"}, "WS2", &in, true)
	a.committing("CT1", peer, 1, dimse.StatusSuccess)
	a.committed("CT1", peer, &commitment.Result{}, bad)

	queue := a.queue(nil, nil).(auditedQueue)
	queue.tell(&forwarder.Result{Job: forwarder.Job{Destination: "cloud", Study: "1.2.3"}, Verdict: forwarder.Parked, Code: "A700"})
	a.askedFor(forwarder.Asked{Destination: "cloud", Instances: 3})
	a.askedFor(forwarder.Asked{Destination: "cloud", Report: true, Instances: 3, Failed: 1})
	a.askedUpstream(upstream.Asked{Upstream: "pacs", Operation: dimse.CFindRQ, SOPClass: qr.StudyRootFind, Count: 2})
	a.askedUpstream(upstream.Asked{Upstream: "pacs", Operation: dimse.CMoveRQ, SOPClass: qr.StudyRootMove, Count: -1, Err: bad})
	a.sentTo(ctx, "WS")(&in, false)

	folder := DropFolder{Name: "scope", Folder: "/srv/scope"}
	a.imported(folder, receipt)
	a.dropped(folder, &images.Image{})
	a.notTaken(folder, "empty")

	a.served(web.Audited{Client: "k", Address: "10.0.0.7", Study: "1.2.3", Whole: true})
	a.served(web.Audited{Client: "k", Address: "10.0.0.7", Study: "1.2.3", Download: true, Instance: &in, Count: 1, Whole: true})
	a.served(web.Audited{Address: "10.0.0.7", Download: true, Image: &images.Image{}, Count: 1, Whole: true})
	a.served(web.Audited{Client: "k", Address: "10.0.0.7", Upload: true, Image: &images.Image{}, Count: 1, Whole: true})
	a.served(web.Audited{Address: "10.0.0.7", Refused: true, Reason: "signature"})
	a.turnedAway(adminRefusedHost, "10.0.0.8:1")
	a.noHandshake("10.0.0.8", "bad certificate")
	a.restored("https://cloud.example.org")("1.2.3", restore.Report{Restored: 1}, nil)
	refuse(a, 12345)

	op := a.operator(toldOperator{})
	_, _ = op.Retry(ctx, JobFilter{}, "")
	_, _ = op.Drop(ctx, JobFilter{}, "")
	_, _ = op.Verify(ctx, nil)
	_, _ = op.VerifyImages(ctx)
	_ = op.RebuildViews(ctx, "cloud", nil)
	_, _ = op.Restore(ctx, RestoreRequest{}, nil)
	_ = op.RevokeLinks(ctx, "")
	_, _ = op.AddImage(ctx, images.Identifiers{}, nil)
	_, _ = op.ListImages(ctx, "1.2.3", 0)
	_ = op.WithdrawImage(ctx, "x", "")
	_, _ = op.Reload(ctx)
	for _, command := range []string{NotedInit, NotedExport, NotedRebuild} {
		a.noted(ctx, Noted{Command: command, Subject: "cloud", Error: "no"})
	}
	a.read(ctx)
	a.configured("SIGHUP", &Reloaded{File: "/etc/dcmgate.yaml", Changed: []string{"peers[CT1].from"}, NeedsRestart: []string{"data_dir"}}, nil)
	a.configured("SIGHUP", &Reloaded{File: "/etc/dcmgate.yaml"}, bad)
	a.relistened("dicom.listen", "127.0.0.1:1", "127.0.0.1:2")
	a.evicted([]spool.Instance{in})
}

// toldOperator does nothing.
type toldOperator struct{ fakeOperator }

func (toldOperator) Retry(context.Context, JobFilter, string) (Changed, error) { return Changed{}, nil }
func (toldOperator) Drop(context.Context, JobFilter, string) (Changed, error)  { return Changed{}, nil }
func (toldOperator) Verify(context.Context, func(int64, int64)) (VerifyReport, error) {
	return VerifyReport{}, nil
}
func (toldOperator) VerifyImages(context.Context) (images.Report, error) {
	return images.Report{}, nil
}
func (toldOperator) RebuildViews(context.Context, string, func(int64)) error { return nil }
func (toldOperator) Restore(context.Context, RestoreRequest, func(int, int)) (RestoreReport, error) {
	return RestoreReport{}, nil
}
func (toldOperator) AddImage(context.Context, images.Identifiers, io.Reader) (StoredImage, error) {
	return StoredImage{}, nil
}
func (toldOperator) ListImages(context.Context, string, uint64) ([]StoredImage, error) {
	return nil, nil
}
func (toldOperator) WithdrawImage(context.Context, string, string) error { return nil }

// refuse asks over the control socket as another user, and returns the status of the answer.
func refuse(a *auditor, uid int) int {
	h := a.ownersOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {}))
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/v1/jobs/drop", nil)
	h.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), uidKey{}, uid)))
	return w.Code
}

// The table of docs/security.md, which is made of AuditEvents, is what the program can tell: each event has the message that it
// says, each is told of, and nothing is told past the table.
func TestAuditTableIsWhatIsTold(t *testing.T) {
	cfg := Default()
	cfg.DataDir = t.TempDir()
	a, err := openAudit(&settings{Config: cfg}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[*AuditEvent]string)
	a.trail().watch = func(e *AuditEvent, codes string) {
		if before, ok := told[e]; ok && before != codes {
			t.Errorf("%s, %s: %s and %s", e.Way, e.What, before, codes)
		}
		told[e] = codes
	}
	stop := a.run()
	everything(t, a)
	stop()
	for _, e := range AuditEvents() {
		switch codes, ok := told[e]; {
		case e.codes == formStopped.codes: // by package audit itself
		case !ok:
			t.Errorf("%s, %s: never told", e.Way, e.What)
		case codes != e.codes:
			t.Errorf("%s, %s: told as %s, the table has %s", e.Way, e.What, codes, e.codes)
		}
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if name == "audittable.go" || strings.HasSuffix(name, "_test.go") {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, past := range []string{".Record(", "now.Count(", "t.Count(", "audit.Append("} {
			if strings.Contains(string(data), past) {
				t.Errorf("%s: %s) tells past the table", name, past)
			}
		}
	}
}

// What the trail holds of all this: no message lacks what it is about.
func TestAuditTrailSaysWhat(t *testing.T) {
	a, ended := trailOf(t)
	everything(t, a)
	trail := ended()
	for _, want := range []string{
		"association i1: the peer's allow lacks query",
		"storage commitment reported: 0 committed, 0 not: bad",
		"storage commitment of 3 instances", "storage commitment reported: 2 committed, 1 not",
		"C-FIND: 2 answers", "C-MOVE: 0 instances: bad",
		"not taken: empty", "evicted",
		"admin request refused: host", "no TLS connection: bad certificate", "control socket: refused",
		"views init of cloud: no", "views export of cloud: no", "verify --rebuild of cloud: no",
		"configuration taken (SIGHUP): peers[CT1].from; after a restart: data_dir", "configuration not taken (SIGHUP): bad",
		"dicom.listen: listens on 127.0.0.1:2, no longer on 127.0.0.1:1",
	} {
		if !strings.Contains(trail, want) {
			t.Errorf("%q is not in it:\n%s", want, trail)
		}
	}
}

// Who asks again and again costs one message a minute.
func TestRefusalsAreTallied(t *testing.T) {
	a, ended := trailOf(t)
	for range 1000 {
		a.turnedAway(adminRefusedToken, "10.0.0.8:1")
		a.noHandshake("10.0.0.8", "bad certificate")
		refuse(a, 12345)
	}
	trail := ended()
	for _, what := range []string{"admin request refused", "no TLS connection", "control socket: refused"} {
		if n := strings.Count(trail, what); n != 1 {
			t.Errorf("%q is there %d times", what, n)
		}
	}
}

// The control socket is for the owner of the data folder and root, whatever its mode.
func TestControlSocketIsForItsOwner(t *testing.T) {
	var a *auditor
	for uid, want := range map[int]int{os.Geteuid(): http.StatusOK, 0: http.StatusOK, 12345: http.StatusForbidden, -1: http.StatusForbidden} {
		if got := refuse(a, uid); got != want {
			t.Errorf("user %d: %d, want %d", uid, got, want)
		}
	}
}

// A failed handshake of an HTTP listener is told, and a connection that ends without one is not.
func TestFailedHandshakesAreTold(t *testing.T) {
	cert, key, _ := peertest.Certificate(t)
	config, err := PublicTLS{Cert: cert, Key: SecretReference("file:" + key), ClientCA: cert}.load("http.tls")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan string, 10)
	server := newHTTPServer(t.Context(), http.NotFoundHandler(), slog.New(slog.DiscardHandler))
	server.ErrorLog = httpErrors{slog.New(slog.DiscardHandler), func(from, reason string) { told <- from + " " + reason }}.logger()
	served := make(chan error, 1)
	go func() { served <- serveHTTP(server, liveTLS{l, func() *tls.Config { return config }}) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	client, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true}) // shows no certificate
	if err == nil {
		_, err = client.Read(make([]byte, 1))
		client.Close()
	}
	if err == nil {
		t.Error("a client without a certificate is served")
	}
	if got := <-told; !strings.HasPrefix(got, "127.0.0.1 ") || !strings.Contains(got, "certificate") {
		t.Errorf("told %q", got)
	}
	server.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if len(told) > 0 {
		t.Errorf("told, too: %s", <-told)
	}
}

// A syslog server that does not take the audit trail is among what a person may want to look into.
func TestAuditTroubleIsInTheStatus(t *testing.T) {
	address := peertest.Address(t) // nobody listens there
	g := runFile(t, anyPort+"audit: {syslog: {address: '"+address+"', transport: tcp}}\n")
	peertest.Eventually(t, 20*time.Second, "the status tells of it", func() bool {
		return slices.ContainsFunc(g.Status().Incidents, func(i Incident) bool {
			return i.Kind == IncidentAudit && strings.Contains(i.What, address) && !i.At.IsZero()
		})
	})
}
