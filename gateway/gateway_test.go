package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
	"dcmgate/systemd"
)

// eventually polls until check holds.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	for limit := time.Now().Add(2 * time.Minute); !check(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// configure makes a configuration on free ports and an own data directory;
// more is appended to the file.
func configure(t *testing.T, more string) Config {
	t.Helper()
	text := fmt.Sprintf("data_dir: %q\nspool: {min_free: 64MiB, segment_size: 16MiB}\n", filepath.Join(t.TempDir(), "data"))
	if !strings.Contains(more, "dicom:") {
		more = "dicom: {listen: 127.0.0.1:0, accept: any}\n" + more
	}
	if !strings.Contains(more, "http:") {
		more = "http: {listen: 127.0.0.1:0}\n" + more
	}
	cfg, err := Parse("test.yaml", []byte(text+more))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// running is a gateway that is up.
type running struct {
	*Gateway
	cancel context.CancelFunc
	ended  chan error
}

// run starts a gateway and waits until it is ready. It is stopped at the end
// of the test if the test does not.
func run(t *testing.T, cfg Config) *running {
	t.Helper()
	return runWith(t, cfg, Options{Version: "test", Notifier: systemd.NewNotifier()}) // silent without a manager
}

func runWith(t *testing.T, cfg Config, o Options) *running {
	t.Helper()
	g, err := New(cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Gateway: g, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- g.Run(ctx) }()
	select {
	case <-g.Ready():
	case err := <-r.ended:
		t.Fatalf("not ready: %v", err)
	}
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop stops the gateway, once.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	if r.ended == nil {
		return
	}
	if err := <-r.ended; err != nil {
		t.Errorf("stop: %v", err)
	}
	r.ended = nil
}

// sink is a destination that keeps what it is given.
type sink struct {
	address string

	mu   sync.Mutex
	data map[dicom.UID][]byte
	n    int
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{data: make(map[dicom.UID][]byte)}
	s.address = acceptor(t, s.associate, nil)
	return s
}

// acceptor accepts associations until the test ends, over TLS unless secure is nil.
func acceptor(t *testing.T, h dimse.HandlerFunc, secure *tls.Config) (address string) {
	t.Helper()
	server, err := dimse.NewServer(h, dimse.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		if secure != nil {
			served <- server.ServeTLS(l, secure)
		} else {
			served <- server.Serve(l)
		}
	}()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return l.Addr().String()
}

func (s *sink) associate(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
	takeFirst := func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
		return offered[0], pdu.ContextAccepted
	}
	return &dimse.Acceptance{
		Results: dimse.Negotiate(rq.RQ, takeFirst),
		Service: dimse.Mux{dimse.CEchoRQ: dimse.Echo(), dimse.CStoreRQ: dimse.StoreFunc(s.store)},
	}, nil
}

func (s *sink) store(_ context.Context, rq *dimse.Request) (dimse.Status, string) {
	data, err := io.ReadAll(rq.Data)
	if err != nil {
		return dimse.StatusProcessingFailure, ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[rq.Command.AffectedSOPInstanceUID] = data
	s.n++
	return dimse.StatusSuccess, ""
}

func (s *sink) received() (instances, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.data), s.n
}

func (s *sink) destination(name string) string {
	return fmt.Sprintf("  - {name: %s, ae_title: SINK, address: %q, linger: 0, retry: {initial: 100ms, max: 200ms}}\n", name, s.address)
}

// element encodes one data element in explicit VR little endian.
func element(group, number uint16, vr, value string) []byte {
	if len(value)%2 == 1 {
		value += "\x00"
	}
	b := []byte{byte(group), byte(group >> 8), byte(number), byte(number >> 8), vr[0], vr[1]}
	if vr == "OW" {
		n := uint32(len(value))
		b = append(b, 0, 0, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	} else {
		b = append(b, byte(len(value)), byte(len(value)>>8))
	}
	return append(b, value...)
}

// image is a small CT image.
func image(n int) (dicom.UID, []byte) {
	uid := fmt.Sprintf("1.2.3.4.%d", n)
	return dicom.UID(uid), bytes.Join([][]byte{
		element(0x0008, 0x0016, "UI", string(ctImageStorage)),
		element(0x0008, 0x0018, "UI", uid),
		element(0x0020, 0x000D, "UI", "1.2.3.4"),
		element(0x0020, 0x000E, "UI", "1.2.3.5"),
		element(0x7FE0, 0x0010, "OW", strings.Repeat(fmt.Sprintf("%08d", n), 4096)),
	}, nil)
}

// sendImages stores images over one association.
func sendImages(t *testing.T, address string, from, to int) {
	t.Helper()
	a, err := dialReceiver(t, address, ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	for n := from; n < to; n++ {
		uid, data := image(n)
		rsp, err := a.Store(t.Context(), dimse.StoreRequest{
			ContextID: 1, SOPClassUID: ctImageStorage, SOPInstanceUID: uid, Data: bytes.NewReader(data), Size: int64(len(data)),
		})
		if err != nil || rsp.Status != dimse.StatusSuccess {
			t.Fatalf("image %d: %v, %v", n, rsp.Status, err)
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFromSenderToEveryDestination(t *testing.T) {
	const images = 40
	a, b := newSink(t), newSink(t)
	cfg := configure(t, "destinations:\n"+a.destination("a")+b.destination("b"))
	g := run(t, cfg)
	sendImages(t, g.Listeners().DICOM, 0, images)
	sendImages(t, g.Listeners().DICOM, 0, 5) // duplicates: not delivered again
	for _, s := range []*sink{a, b} {
		eventually(t, "delivery", func() bool { n, _ := s.received(); return n == images })
	}
	eventually(t, "the end of all jobs", func() bool {
		s := g.Status()
		return s.Destinations[0].Delivered == images && s.Destinations[1].Delivered == images
	})
	for n := range images {
		uid, data := image(n)
		if !bytes.Equal(a.data[uid], data) || !bytes.Equal(b.data[uid], data) {
			t.Errorf("image %d differs", n)
		}
	}
	s := g.Status()
	if !s.Running || s.Received.Instances != images+5 || s.Spool.Instances != images || !s.Spool.Healthy {
		t.Errorf("status %+v", s)
	}
	if _, times := a.received(); times != images {
		t.Errorf("%d images were sent to a, want %d", times, images)
	}
	checkMetrics(t, g)
}

// checkMetrics wants what tools outside rely on.
func checkMetrics(t *testing.T, g *running) {
	t.Helper()
	body := get(t, g, "/metrics", http.StatusOK)
	for _, want := range []string{
		"dcmgate_instances_received_total 40\n",
		`dcmgate_instances_delivered_total{destination="a"} 40` + "\n",
		`dcmgate_jobs{destination="a",state="pending"} 0` + "\n",
		`dcmgate_jobs{destination="b",state="active"} 0` + "\n",
		`dcmgate_jobs{destination="b",state="parked"} 0` + "\n",
		`dcmgate_associations{direction="in"} `,
		`dcmgate_associations{direction="out"} `,
		"dcmgate_spool_bytes ",
		"dcmgate_duplicates_total 5\n",
		"dcmgate_commit_seconds_bucket{",
		`dcmgate_store_responses_total{status="0000"} 45` + "\n",
		`dcmgate_build_info{`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// TestInstrumentsAreDescribedAndBounded looks at every metric of a running
// gateway.
func TestInstrumentsAreDescribedAndBounded(t *testing.T) {
	g := run(t, configure(t, "destinations: [{name: a, ae_title: A, address: \"127.0.0.1:1\"}]\n"))
	sendImages(t, g.Listeners().DICOM, 0, 1)
	list, err := g.Metrics().List()
	if err != nil {
		t.Fatal(err)
	}
	bounded := map[string]bool{
		"destination": true, "state": true, "direction": true, "outcome": true, "how": true, "status": true, "status_class": true,
		"operation": true, "result": true, "reason": true, "version": true, "go": true, "flag": true, "level": true, "kind": true, "right": true,
		"association": true, "event": true, "calling_ae": true, "use": true,
		"database": true, "view": true, "held": true,
	}
	for _, i := range list {
		if !strings.HasPrefix(i.Name, "dcmgate_") {
			continue
		}
		if !strings.HasSuffix(i.Help, ".") && !strings.HasSuffix(i.Help, ")") {
			t.Errorf("%s: help is no sentence: %q", i.Name, i.Help)
		}
		for _, label := range i.Labels {
			if !bounded[label] {
				t.Errorf("%s: label %s is not known to be bounded", i.Name, label)
			}
		}
	}
}

// TestSeriesAtStart holds the number of series that a scrape of an idle gateway
// brings, and that those others rely on are among them.
func TestSeriesAtStart(t *testing.T) {
	g := run(t, configure(t, "destinations: [{name: a, ae_title: A, address: \"127.0.0.1:1\"}]\n"))
	var text string
	peertest.Eventually(t, 10*time.Second, "the queue of the destination", func() bool { // it comes with its courier, just after the listener
		text = get(t, g, "/metrics", http.StatusOK)
		return strings.Contains(text, "\ndcmgate_jobs{")
	})
	series := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			series++
		}
	}
	if series >= 400 {
		t.Errorf("%d series before anything has happened", series)
	}
	for _, name := range []string{
		"dcmgate_instances_received_total ", `dcmgate_instances_delivered_total{destination="a"} `,
		`dcmgate_jobs{destination="a",state="pending"} `, `dcmgate_jobs{destination="a",state="active"} `, `dcmgate_jobs{destination="a",state="parked"} `,
		`dcmgate_associations{direction="in"} `, `dcmgate_associations{direction="out"} `,
		"dcmgate_spool_bytes ", "dcmgate_duplicates_total ", "dcmgate_commit_seconds_count ",
		`dcmgate_dimse_operations_total{direction="in",operation="C-STORE",status_class="failure"} `,
		`dcmgate_association_requests_total{direction="in",outcome="overload"} `,
	} {
		if !strings.Contains(text, "\n"+name) {
			t.Errorf("%s is not there from the start", name)
		}
	}
}

// TestLimitsAreOverBothListeners opens associations on the plain and the TLS
// listener in turn.
func TestLimitsAreOverBothListeners(t *testing.T) {
	cert, key, pool := peertest.Certificate(t)
	for _, limit := range []string{"max_associations: 2", "max_per_address: 2"} {
		g := run(t, configure(t, fmt.Sprintf("dicom: {listen: 127.0.0.1:0, accept: any, %s, tls: {listen: 127.0.0.1:0, cert: %q, key: %q}}\n", limit, cert, key)))
		plain := &dimse.Dialer{LocalAETitle: "CT1"}
		secure := &dimse.Dialer{LocalAETitle: "CT1", TLS: &tls.Config{RootCAs: pool}}
		for i, c := range []struct {
			dialer  *dimse.Dialer
			address string
		}{{plain, g.Listeners().DICOM}, {secure, g.Listeners().DICOMTLS}, {plain, g.Listeners().DICOM}, {secure, g.Listeners().DICOMTLS}} {
			a, err := c.dialer.Dial(t.Context(), c.address, dimse.Proposal{CalledAETitle: "DCMGATE", Contexts: ctContexts})
			if err == nil {
				defer a.Close()
			}
			if rejected := errors.As(err, new(*dimse.RejectError)); rejected != (i >= 2) || err != nil && !rejected {
				t.Errorf("%s: association %d: %v", limit, i+1, err)
			}
		}
	}
}

func get(t *testing.T, g *running, path string, want int) string {
	t.Helper()
	resp, err := http.Get("http://" + g.Listeners().HTTP + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Errorf("%s: %s, %v", path, resp.Status, err)
	}
	return string(body)
}

func TestHTTP(t *testing.T) {
	g := run(t, configure(t, ""))
	if got := get(t, g, "/healthz", http.StatusOK); got != "ok\n" {
		t.Errorf("/healthz: %s", got)
	}
	if got := get(t, g, "/readyz", http.StatusOK); got != "ok\n" {
		t.Errorf("/readyz: %s", got)
	}
	if got := get(t, g, "/", http.StatusOK); !strings.Contains(got, "DCMGATE") {
		t.Errorf("/: %s", got)
	}
}

func TestUnknownCallersAreRejected(t *testing.T) {
	g := run(t, configure(t, "dicom: {listen: 127.0.0.1:0}\npeers: [{ae_title: ct1}, {ae_title: MR1, allow: [query]}]\n"))
	_, err := dialReceiver(t, g.Listeners().DICOM, ctContexts)
	var rejected *dimse.RejectError
	if !errors.As(err, &rejected) || rejected.Reason != pdu.RejectUserCallingAETitleNotRecognized {
		t.Errorf("got %v, want calling AE title not recognized", err)
	}
	d := dimse.Dialer{LocalAETitle: "MR1"}
	a, err := d.Dial(t.Context(), g.Listeners().DICOM, dimse.Proposal{CalledAETitle: "X", Contexts: ctContexts})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, ok := a.Accepted(ctImageStorage, explicit); ok {
		t.Error("storage is accepted from a peer without the right to store")
	}
	if status, err := a.Echo(t.Context()); err != nil || status != dimse.StatusSuccess {
		t.Errorf("echo: %v, %v", status, err)
	}
}

func TestStopLetsAnInstanceFinish(t *testing.T) {
	cfg := configure(t, "")
	g := run(t, cfg)
	a, err := dialReceiver(t, g.Listeners().DICOM, ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	uid, data := image(1)
	data = append(data, element(0x7FE1, 0x0010, "OW", strings.Repeat("x", 4<<20))...)
	reader, writer := io.Pipe()
	answer := make(chan error, 1)
	go func() {
		rsp, err := a.Store(t.Context(), dimse.StoreRequest{ContextID: 1, SOPClassUID: ctImageStorage, SOPInstanceUID: uid, Data: reader, Size: int64(len(data))})
		if err == nil && rsp.Status != dimse.StatusSuccess {
			err = fmt.Errorf("status %v", rsp.Status)
		}
		answer <- err
	}()
	if _, err := writer.Write(data[:3<<20]); err != nil {
		t.Fatal(err)
	}
	received := regexp.MustCompile(`dcmgate_association_received_bytes_total\{direction="in"\} \d\.\d+e\+06`)
	eventually(t, "a begun instance", func() bool { return received.MatchString(get(t, g, "/metrics", http.StatusOK)) })
	g.cancel()
	eventually(t, "the end of accepting", func() bool {
		c, err := net.Dial("tcp", g.Listeners().DICOM)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if _, err := writer.Write(data[3<<20:]); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if err := <-answer; err != nil {
		t.Errorf("the instance that was coming in: %v", err)
	}
	g.stop(t)

	// What was acknowledged is there, also for who looks without a gateway.
	op, done, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	s, err := op.Status(t.Context())
	if err != nil || s.Running || s.Spool.Instances != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
	if r, err := op.Verify(t.Context(), nil); err != nil || r.Instances != 1 || r.ProblemCount != 0 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

func TestQueueSurvivesARestartAndCanBeOperated(t *testing.T) {
	s := newSink(t)
	off := "destinations:\n  - {name: a, ae_title: SINK, address: \"127.0.0.1:1\", retry: {initial: 100ms, max: 100ms}}\n"
	cfg := configure(t, off)
	g := run(t, cfg)
	sendImages(t, g.Listeners().DICOM, 0, 3)
	op, done, err := Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a failure to be seen", func() bool { st, _ := op.Status(t.Context()); return st.Destinations[0].LastErrorCode == "refused" })
	if _, _, err := openOffline(cfg); err == nil || !strings.Contains(err.Error(), "cannot be opened") {
		t.Errorf("a second owner of the spool: %v", err)
	}
	uid, _ := image(2)
	if n, err := op.Drop(t.Context(), JobFilter{Instance: uid}, "not wanted"); err != nil || n.Count != 1 {
		// The job may be on its way just now; then it is left alone.
		eventually(t, "the drop", func() bool {
			n, err := op.Drop(t.Context(), JobFilter{Instance: uid}, "not wanted")
			return err == nil && n.Count == 1
		})
	}
	page, err := op.Jobs(t.Context(), JobFilter{State: "dropped"}, "", 10)
	if err != nil || len(page.Jobs) != 1 || page.Jobs[0].LastError != "not wanted" || page.Jobs[0].Instance != uid {
		t.Errorf("dropped: %+v, %v", page, err)
	}
	done()
	g.stop(t)

	cfg.Destinations[0].Address = s.address
	run(t, cfg)
	eventually(t, "delivery after the restart", func() bool { n, _ := s.received(); return n == 2 })
	op, done, err = Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if n, err := op.Retry(t.Context(), JobFilter{Destination: "a", State: "dropped"}, "wanted after all"); err != nil || n.Count != 1 {
		t.Errorf("retry: %+v, %v", n, err)
	}
	eventually(t, "delivery after the retry", func() bool { n, _ := s.received(); return n == 3 })
}

func TestStartFailuresAreClearAndLeaveNothing(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	cfg := configure(t, "")
	cfg.DICOM.Listen = busy.Addr().String()
	g, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = g.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "dicom.listen") || !strings.Contains(err.Error(), "set another address") {
		t.Errorf("got %v", err)
	}
	// Nothing is held: the same directory serves the next.
	cfg.DICOM.Listen = "127.0.0.1:0"
	first := run(t, cfg)
	second, err := New(cfg, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Run(t.Context()); err == nil || !strings.Contains(err.Error(), cfg.DataDir) {
		t.Errorf("two gateways on one directory: %v", err)
	}
	first.stop(t)
	if _, err := Rebuild(t.Context(), cfg, nil); err != nil {
		t.Errorf("rebuild: %v", err)
	}
}

func TestRebuildRefusesWhileRunning(t *testing.T) {
	cfg := configure(t, "")
	run(t, cfg)
	if _, err := Rebuild(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), "stop it") {
		t.Errorf("got %v", err)
	}
}

func TestConnectWithoutDataDirectory(t *testing.T) {
	cfg := configure(t, "")
	if _, _, err := Connect(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "--data-dir") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(cfg.DataDir); !errors.Is(err, os.ErrNotExist) {
		t.Error("looking made a data directory")
	}
}

// TestTLSInBothDirections chains two gateways by TLS with mutual
// authentication, and keeps the plain port beside it.
func TestTLSInBothDirections(t *testing.T) {
	cert, key, pool := peertest.Certificate(t)
	behind := run(t, configure(t, fmt.Sprintf(
		"dicom: {listen: 127.0.0.1:0, accept: any, tls: {listen: 127.0.0.1:0, cert: %q, key: %q, client_ca: %q}}\n", cert, key, cert)))
	before := run(t, configure(t, fmt.Sprintf(
		"destinations:\n  - {name: a, ae_title: B, address: %q, linger: 0, tls: {enabled: true, ca: %q, cert: %q, key: \"file:%s\"}}\n",
		behind.Listeners().DICOMTLS, cert, cert, key)))
	sendImages(t, before.Listeners().DICOM, 0, 3)
	eventually(t, "delivery over TLS", func() bool { return behind.Status().Spool.Instances == 3 })
	sendImages(t, behind.Listeners().DICOM, 3, 4) // plain

	d := dimse.Dialer{LocalAETitle: "CT1", TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	if a, err := d.Dial(t.Context(), behind.Listeners().DICOMTLS, dimse.Proposal{CalledAETitle: "B", Contexts: ctContexts}); err == nil {
		a.Close()
		t.Error("a client without a certificate was let in")
	}
}

func TestNewReportsUnusableTLSFiles(t *testing.T) {
	cfg := configure(t, "dicom: {listen: 127.0.0.1:0, tls: {listen: 127.0.0.1:0, cert: /nonexistent.pem, key: /nonexistent.key}}\n")
	if _, err := New(cfg, Options{}); err == nil || !strings.Contains(err.Error(), "dicom.tls") {
		t.Errorf("got %v", err)
	}
}
