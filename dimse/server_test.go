package dimse

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

func expectRejected(t *testing.T, address string, contexts []pdu.PresentationContext, want *RejectError) {
	t.Helper()
	_, err := (&Dialer{LocalAETitle: "TESTER"}).Dial(t.Context(), address, Proposal{CalledAETitle: "DCMGATE", Contexts: contexts})
	var got *RejectError
	if !errors.As(err, &got) || got.Result != want.Result || got.Source != want.Source || got.Reason != want.Reason {
		t.Errorf("got %v, want %v", err, want)
	}
}

func onlyEcho(_ *Dialer, p *Proposal) { p.Contexts = contexts(dicom.VerificationSOPClass) }

func TestLimits(t *testing.T) {
	noLeaks(t)
	for name, o := range map[string]ServerOptions{
		"in all":      {MaxAssociations: 2},
		"per address": {MaxPerAddress: 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := serveWatched(t, o)
			first, second := dial(t, w.address, nil), dial(t, w.address, nil)
			expectRejected(t, w.address, contexts(ctImage), RejectLimit(""))
			expectRejected(t, w.address, contexts(ctImage, dicom.VerificationSOPClass), RejectLimit(""))
			echo := dial(t, w.address, onlyEcho) // the reserved place
			if status, err := echo.Echo(t.Context()); err != nil || status != StatusSuccess {
				t.Error(status, err)
			}
			expectRejected(t, w.address, contexts(dicom.VerificationSOPClass), RejectLimit(""))
			if err := echo.Release(t.Context()); err != nil {
				t.Error(err)
			}
			<-w.ends
			dial(t, w.address, onlyEcho)
			_ = first.Close()
			<-w.ends
			dial(t, w.address, nil)
			if err := second.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFloodOfConnections: a thousand connections that send nothing cost no association its
// place, and make room for one another.
func TestFloodOfConnections(t *testing.T) {
	noLeaks(t)
	var log lockedBuffer
	o := short()
	o.ARTIM, o.IdleTimeout, o.MaxHalfOpen = time.Minute, time.Minute, 20
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	o.Registerer = prometheus.NewRegistry()
	w := serveWatched(t, o)
	established := dial(t, w.address, nil)
	conns := silent(t, "127.0.0.1", w.address, 1000)
	for i, c := range conns[:990] { // the last ten wait for ARTIM
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Minute))
		if _, err := c.Read(make([]byte, 1)); err != io.EOF && !isReset(err) {
			t.Fatalf("connection %d was not closed: %v", i, err)
		}
	}
	if status, err := established.Echo(t.Context()); err != nil || status != StatusSuccess {
		t.Error(status, err)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	if err := established.Release(t.Context()); err != nil {
		t.Error(err)
	}
	w.idle(t)
	if n := testutil.ToFloat64(w.server.metrics.requests[inbound][outcomeOverload]); n != 990 {
		t.Errorf("%v connections were counted, want 990", n)
	}
	if n := strings.Count(log.String(), "connection closed to make room"); n != 1 {
		t.Errorf("%d lines were logged, want one:\n%s", n, log.String())
	}
	if err := dial(t, w.address, nil).Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// silent opens n connections from an address and sends nothing.
func silent(t *testing.T, local, address string, n int) []net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}}
	var conns []net.Conn
	for range n {
		conn, err := d.DialContext(t.Context(), "tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		conns = append(conns, conn)
	}
	return conns
}

// TestSilentHostsKeepNobodyOut: two hosts with five hundred silent connections each, over both
// listeners, do not keep a third from associating, nor do themselves.
func TestSilentHostsKeepNobodyOut(t *testing.T) {
	noLeaks(t)
	cert, pool := selfSigned(t)
	w := serveWatched(t, ServerOptions{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go w.server.ServeTLS(l, &tls.Config{Certificates: []tls.Certificate{cert}})
	silent(t, "127.0.0.2", w.address, 500)
	silent(t, "127.0.0.3", l.Addr().String(), 500)
	for range 5 {
		for local, address := range map[string]string{"127.0.0.4": w.address, "127.0.0.2": w.address, "127.0.0.1": l.Addr().String()} {
			if local == "127.0.0.1" {
				secure := dial(t, address, func(d *Dialer, _ *Proposal) { d.TLS = &tls.Config{RootCAs: pool} })
				if _, err := secure.Echo(t.Context()); err != nil {
					t.Error(err)
				}
				continue
			}
			script(t, silent(t, local, address, 1)[0]).associate(associateRQ())
		}
	}
}

func TestAddressesAreCountedApart(t *testing.T) {
	d := newAdmission(ServerOptions{MaxAssociations: 10, MaxPerAddress: 1, MaxHalfOpen: 4})
	from := func(address string) *Association {
		return &Association{remote: netip.AddrPortFrom(netip.MustParseAddr(address), 1), rq: associateRQ()}
	}
	a, b, c := from("10.0.0.1"), from("10.0.0.1"), from("10.0.0.1")
	if d.enter(a) != nil || d.enter(b) != nil || d.enter(c) != a {
		t.Error("half of the half-open connections are one address's; its oldest goes")
	}
	if d.admit(a) == nil {
		t.Error("a connection that had to go was admitted")
	}
	if d.enter(from("10.0.0.2")) != nil || d.enter(from("2001:db8::1")) != nil || d.enter(from("10.0.0.3")) != b {
		t.Error("beyond the bound in all, the oldest goes of the address that has most")
	}
	a = from("10.0.0.1")
	if d.enter(a) != c || d.admit(a) != nil {
		t.Error("a newcomer gets in")
	}
	e := from("10.0.0.1")
	d.enter(e)
	if d.admit(e) == nil {
		t.Error("one association per address")
	}
	d.refused(a) // rejected by policy: half-open again
	if d.admit(e) != nil {
		t.Error("the place was not given back")
	}
	d.leave(a)
	d.leave(a)
	d.leave(e)
	if d.taken != 0 || len(d.associated) != 0 || d.halfOpen.n != len(d.placed) {
		t.Errorf("%+v", d)
	}
	if network(netip.MustParseAddr("2001:db8::1")) != network(netip.MustParseAddr("2001:db8::ffff:1")) {
		t.Error("one IPv6 subnet is one address")
	}
}

// TestLimitsAreOverAllListeners counts associations of the plain and the TLS listener together.
func TestLimitsAreOverAllListeners(t *testing.T) {
	noLeaks(t)
	cert, pool := selfSigned(t)
	for name, o := range map[string]ServerOptions{"in all": {MaxAssociations: 2}, "per address": {MaxPerAddress: 2}} {
		t.Run(name, func(t *testing.T) {
			s, plain := serve(t, acceptAll(Echo()), o)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go s.ServeTLS(l, &tls.Config{Certificates: []tls.Certificate{cert}})
			secure := &Dialer{LocalAETitle: "TESTER", TLS: &tls.Config{RootCAs: pool}}
			dial(t, plain, nil)
			a, err := secure.Dial(t.Context(), l.Addr().String(), Proposal{CalledAETitle: "X", Contexts: contexts(ctImage)})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			expectRejected(t, plain, contexts(ctImage), RejectLimit(""))
			_, err = secure.Dial(t.Context(), l.Addr().String(), Proposal{CalledAETitle: "X", Contexts: contexts(ctImage)})
			if !errors.As(err, new(*RejectError)) {
				t.Errorf("over TLS: %v", err)
			}
		})
	}
}

func TestShutdownLetsOperationsFinish(t *testing.T) {
	noLeaks(t)
	serving, finish := make(chan struct{}), make(chan struct{})
	service := StoreFunc(func(_ context.Context, rq *Request) (Status, string) {
		_, _ = io.Copy(io.Discard, rq.Data)
		close(serving)
		<-finish
		return StatusSuccess, ""
	})
	s, address := serve(t, acceptAll(service), ServerOptions{})
	busy, idle, halfOpen := dial(t, address, nil), dial(t, address, nil), connect(t, address)
	pending, err := busy.StartStore(t.Context(), storeRequest(ctContext(t, busy), synth.NewTemplate(10_000, 1).Object(1, 1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	<-serving
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	halfOpen.expectClose(false)
	<-idle.Done()
	var abort *AbortError
	if !errors.As(idle.Err(), &abort) || !abort.Remote {
		t.Errorf("idle association: %v", idle.Err())
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("still accepting")
	}
	select {
	case err := <-done:
		t.Fatalf("Shutdown returned during an operation: %v", err)
	default:
	}
	close(finish)
	if r, err := pending.Wait(t.Context()); err != nil || r.Status != StatusSuccess {
		t.Errorf("%v, %v", r.Status, err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownTurnsAwayNewOperations(t *testing.T) {
	s, address := serve(t, acceptAll(Echo()), ServerOptions{})
	a := dial(t, address, nil)
	if _, err := a.Echo(t.Context()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(context.Background()) }()
	eventually(t, "an echo to be turned away", func() bool { _, err := a.Echo(t.Context()); return err != nil })
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestShutdownGivesUpWithItsContext(t *testing.T) {
	noLeaks(t)
	serving := make(chan struct{})
	service := StoreFunc(func(ctx context.Context, rq *Request) (Status, string) {
		close(serving)
		<-ctx.Done()
		return StatusProcessingFailure, ""
	})
	s, address := serve(t, acceptAll(service), ServerOptions{})
	a := dial(t, address, nil)
	pending, err := a.StartStore(t.Context(), storeRequest(ctContext(t, a), synth.NewTemplate(10_000, 1).Object(1, 1, 1)))
	if err != nil {
		t.Fatal(err)
	}
	<-serving
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if _, err := pending.Wait(t.Context()); !errors.As(err, new(*LostError)) {
		t.Errorf("got %v", err)
	}
}

func TestCloseAbortsAtEveryStage(t *testing.T) {
	noLeaks(t)
	deciding := make(chan struct{})
	h := HandlerFunc(func(ctx context.Context, rq *AssociationRequest) (*Acceptance, error) {
		if rq.CallingAETitle() == "SCRIPT" {
			close(deciding)
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return acceptAll(Echo())(ctx, rq)
	})
	s, address := serve(t, h, ServerOptions{})
	halfOpen, inSta3, established := connect(t, address), connect(t, address), dial(t, address, nil)
	inSta3.send(encode(t, associateRQ()))
	<-deciding
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	halfOpen.expectClose(false)
	inSta3.expectAbort(user, 0)
	<-established.Done()
	if err := s.Serve(nopListener{}); err != nil {
		t.Errorf("Serve after Close: %v", err)
	}
}

type nopListener struct{ net.Listener }

func (nopListener) Close() error { return nil }

func TestNegotiationOfWindowsAndRoles(t *testing.T) {
	offer := func(i, p uint16) *pdu.AsyncOperationsWindow {
		return &pdu.AsyncOperationsWindow{Invoked: i, Performed: p}
	}
	for _, c := range []struct{ offered, allowed, want *pdu.AsyncOperationsWindow }{
		{nil, offer(8, 8), nil},
		{offer(8, 8), nil, nil},
		{offer(8, 1), offer(4, 4), offer(4, 1)},
		{offer(2, 2), offer(4, 4), offer(2, 2)},
		{offer(0, 0), offer(4, 1), offer(4, 1)},
		{offer(8, 8), offer(0, 0), offer(8, 8)},
		{offer(0, 0), offer(0, 0), offer(MaxOperations, MaxOperations)},
		{offer(1000, 1), offer(0, 0), offer(MaxOperations, 1)},
	} {
		got := grantWindow(c.offered, c.allowed)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%v offered, %v allowed: %v, want %v", c.offered, c.allowed, got, c.want)
		}
	}
	if i, p := windows(nil); i != 1 || p != 1 {
		t.Error("no window is one operation each")
	}
	if i, p := windows(offer(0, 3)); i != MaxOperations || p != 3 {
		t.Error("unlimited is our bound")
	}
	roles := grantRoles(
		[]pdu.RoleSelection{{SOPClassUID: "1", SCU: true}, {SOPClassUID: "2", SCU: true, SCP: true}},
		[]pdu.RoleSelection{{SOPClassUID: "1", SCU: true, SCP: true}, {SOPClassUID: "2", SCP: true}, {SOPClassUID: "3", SCP: true}})
	if !slices.Equal(roles, []pdu.RoleSelection{{SOPClassUID: "1", SCU: true}, {SOPClassUID: "2", SCP: true}}) {
		t.Errorf("%+v", roles)
	}
}

func TestNegotiate(t *testing.T) {
	rq := &pdu.AssociateRQ{}
	add := func(id byte, abstract string, ts ...string) {
		rq.PresentationContexts = append(rq.PresentationContexts, pdu.PresentationContext{ID: id, AbstractSyntax: abstract, TransferSyntaxes: ts})
	}
	add(5, "a", "x", "y")
	add(1, "a", "y")
	add(1, "b", "x") // ID in use
	add(2, "a", "x") // even
	add(7, "", "x")
	add(9, "a")
	add(11, "unknown", "x")
	add(13, "cheat", "x")
	policy := func(abstract dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
		switch {
		case abstract == "unknown":
			return "", pdu.ContextAbstractSyntaxNotSupported
		case abstract == "cheat":
			return "not offered", pdu.ContextAccepted
		case len(offered) == 0:
			return "", pdu.ContextAccepted
		}
		return offered[len(offered)-1], pdu.ContextAccepted
	}
	want := []pdu.PresentationContextResult{
		{ID: 5, TransferSyntax: "y"}, {ID: 1, TransferSyntax: "y"},
		{ID: 7, Result: pdu.ContextAbstractSyntaxNotSupported, TransferSyntax: "x"},
		{ID: 9, Result: pdu.ContextTransferSyntaxesNotSupported, TransferSyntax: string(dicom.ImplicitVRLittleEndian)},
		{ID: 11, Result: pdu.ContextAbstractSyntaxNotSupported, TransferSyntax: "x"},
		{ID: 13, Result: pdu.ContextTransferSyntaxesNotSupported, TransferSyntax: "x"},
	}
	got := Negotiate(rq, policy)
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// A handler's own list is held to the proposal in the same way.
	if again := Negotiate(rq, chosenResults(rq, got)); !slices.Equal(again, want) {
		t.Errorf("played back: %+v", again)
	}
}

func TestAll128Contexts(t *testing.T) {
	_, address := serve(t, acceptAll(Echo()), ServerOptions{})
	uids := slices.Repeat([]dicom.UID{ctImage, dicom.VerificationSOPClass}, 64)
	a := dial(t, address, func(_ *Dialer, p *Proposal) { p.Contexts = contexts(uids...) })
	if len(a.Contexts()) != 128 {
		t.Fatalf("%d contexts", len(a.Contexts()))
	}
	if status, err := a.Echo(t.Context()); err != nil || status != StatusSuccess {
		t.Error(status, err)
	}
}

func TestUserIdentityAndExtendedNegotiation(t *testing.T) {
	for kind := pdu.UserIdentityUsername; kind <= pdu.UserIdentityJWT; kind++ {
		for _, response := range []bool{false, true} {
			h := HandlerFunc(func(ctx context.Context, rq *AssociationRequest) (*Acceptance, error) {
				id := rq.RQ.UserIdentity
				if id == nil || id.Type != kind || string(id.Primary) != "somebody" {
					return nil, RejectCallingAETitle("wrong identity")
				}
				acceptance, err := acceptAll(Echo())(ctx, rq)
				acceptance.UserIdentityResponse = []byte("welcome")
				acceptance.ExtendedNegotiations = append(acceptance.ExtendedNegotiations, pdu.ExtendedNegotiation{SOPClassUID: "9.9.9"})
				return acceptance, err
			})
			_, address := serve(t, h, ServerOptions{})
			a := dial(t, address, func(_ *Dialer, p *Proposal) {
				p.UserIdentity = &pdu.UserIdentity{Type: kind, PositiveResponseRequested: response, Primary: []byte("somebody")}
				p.ExtendedNegotiations = []pdu.ExtendedNegotiation{{SOPClassUID: string(ctImage), Information: []byte{1, 2}}}
			})
			if got := string(a.AC().UserIdentityResponse); (got == "welcome") != response {
				t.Errorf("type %v: response %q", kind, got)
			}
			x := a.AC().ExtendedNegotiations
			if len(x) != 1 || x[0].SOPClassUID != string(ctImage) || !bytes.Equal(x[0].Information, []byte{1, 2}) {
				t.Errorf("extended negotiation: %+v", x)
			}
			if a.AC().ImplementationClassUID != string(dicom.ImplementationClassUID) || a.AC().ImplementationVersionName == "" {
				t.Error("the implementation is not named")
			}
		}
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestTLS(t *testing.T) {
	noLeaks(t)
	cert, pool := selfSigned(t)
	into := newSink()
	secure := func(o ServerOptions) (address string) {
		s, _ := serve(t, acceptAll(into.mux()), o)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		go s.ServeTLS(l, &tls.Config{Certificates: []tls.Certificate{cert}})
		return l.Addr().String()
	}
	address := secure(ServerOptions{})
	a := dial(t, address, func(d *Dialer, _ *Proposal) { d.TLS = &tls.Config{RootCAs: pool} })
	if a.TLS() == nil || a.TLS().Version < tls.VersionTLS12 {
		t.Errorf("TLS state %+v", a.TLS())
	}
	object := synth.NewTemplate(2<<20, 1).Object(1, 1, 1)
	if r, err := a.Store(t.Context(), storeRequest(ctContext(t, a), object)); err != nil || r.Status != StatusSuccess {
		t.Fatal(r.Status, err)
	}
	into.check(t, object)
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	plain := Proposal{CalledAETitle: "X", Contexts: contexts(ctImage)}
	if _, err := (&Dialer{}).Dial(t.Context(), address, plain); err == nil {
		t.Error("plain association with a TLS server")
	}
	old := &Dialer{TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}}
	if _, err := old.Dial(t.Context(), address, plain); err == nil {
		t.Error("TLS 1.1 was accepted")
	}
	connect(t, secure(short())).expectClose(false) // a handshake that never begins falls under ARTIM
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestMetricsAndLog(t *testing.T) {
	reg := prometheus.NewRegistry()
	var log lockedBuffer
	o := ServerOptions{Registerer: reg, Logger: slog.New(slog.NewTextHandler(&log, nil)), MaxAssociations: 1, ReservedForEcho: -1}
	w := serveWatched(t, o)
	if _, err := NewServer(acceptAll(Echo()), o); err != nil {
		t.Errorf("a second server on the same registry: %v", err)
	}
	shared := func(d *Dialer, _ *Proposal) { d.Registerer = reg }
	a := dial(t, w.address, shared)
	if _, err := a.Echo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r, err := a.Store(t.Context(), storeRequest(ctContext(t, a), synth.NewTemplate(10_000, 1).Object(1, 1, 1))); err != nil || !r.Status.Ok() {
		t.Fatal(err)
	}
	for range 3 {
		expectRejected(t, w.address, contexts(ctImage), RejectLimit(""))
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	<-w.ends
	w.idle(t)
	want := `
# HELP dcmgate_association_ends_total Established associations that ended, by who requested them and how they ended.
# TYPE dcmgate_association_ends_total counter
dcmgate_association_ends_total{direction="in",how="aborted"} 0
dcmgate_association_ends_total{direction="in",how="aborted-by-peer"} 0
dcmgate_association_ends_total{direction="in",how="lost"} 0
dcmgate_association_ends_total{direction="in",how="released"} 1
dcmgate_association_ends_total{direction="in",how="timeout"} 0
dcmgate_association_ends_total{direction="out",how="aborted"} 0
dcmgate_association_ends_total{direction="out",how="aborted-by-peer"} 0
dcmgate_association_ends_total{direction="out",how="lost"} 0
dcmgate_association_ends_total{direction="out",how="released"} 1
dcmgate_association_ends_total{direction="out",how="timeout"} 0
# HELP dcmgate_associations Associations that are established now, by who requested them (in: the peer, out: dcmgate).
# TYPE dcmgate_associations gauge
dcmgate_associations{direction="in"} 0
dcmgate_associations{direction="out"} 0
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "dcmgate_association_ends_total", "dcmgate_associations"); err != nil {
		t.Error(err)
	}
	m := w.server.metrics
	for name, c := range map[string]struct {
		counter prometheus.Counter
		want    float64
	}{
		"accepted":         {m.requests[inbound][outcomeAccepted], 1},
		"rejected":         {m.requests[inbound][outcomeRejectedTransient], 3},
		"echo served":      {m.operations.WithLabelValues(directionNames[inbound], "C-ECHO", classLabels[ClassSuccess]), 1},
		"echo invoked":     {m.operations.WithLabelValues(directionNames[outbound], "C-ECHO", classLabels[ClassSuccess]), 1},
		"store served":     {m.operations.WithLabelValues(directionNames[inbound], "C-STORE", classLabels[ClassSuccess]), 1},
		"store unanswered": {m.operations.WithLabelValues(directionNames[inbound], "C-STORE", classLabels[classNone]), 0},
	} {
		if got := testutil.ToFloat64(c.counter); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	problems, err := testutil.GatherAndLint(reg)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	text := log.String()
	if n := strings.Count(text, "association ended"); n != 1 {
		t.Errorf("%d end lines:\n%s", n, text)
	}
	if n := strings.Count(text, "max_associations"); n != 1 {
		t.Errorf("%d refusals were logged, want the first only:\n%s", n, text)
	}
	for _, want := range []string{"calling=TESTER", "called=DCMGATE", "end=released", "performed=2", "level=WARN"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
}

func TestSuppressorIsBoundedAndForgets(t *testing.T) {
	s, now := newSuppressor(), time.Unix(1e9, 0)
	address := netip.MustParseAddr("10.0.0.1")
	if _, log := s.admit(address, "x", now); !log {
		t.Error("the first is logged")
	}
	for range 5 {
		if _, log := s.admit(address, "x", now); log {
			t.Error("repeats are not")
		}
	}
	if n, log := s.admit(address, "x", now.Add(suppressFor)); !log || n != 5 {
		t.Errorf("after a while again, with the count: %d, %v", n, log)
	}
	for i := range 10 * suppressMax {
		s.admit(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), "x", now)
	}
	if len(s.seen) > suppressMax {
		t.Errorf("%d entries", len(s.seen))
	}
}

// TestMemoryOfAssociations: associations that hold no data cost little each.
func TestMemoryOfAssociations(t *testing.T) {
	_, address := serve(t, acceptAll(Echo()), ServerOptions{MaxAssociations: 400})
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc + m.StackInuse
	}
	before := heap()
	const n = 300
	for range n {
		if _, err := dial(t, address, nil).Echo(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if each := (heap() - before) / n; each > 64<<10 { // both ends, stacks included
		t.Errorf("%d bytes each", each)
	}
}

// TestManyAssociationsAtOnce stores over many associations and counts the goroutines left.
func TestManyAssociationsAtOnce(t *testing.T) {
	noLeaks(t)
	into := newSink()
	w, address := serve(t, acceptAll(into.mux()), ServerOptions{})
	template := synth.NewTemplate(60<<10, 5)
	var wg sync.WaitGroup
	for g := range 24 {
		wg.Go(func() {
			d := &Dialer{LocalAETitle: "TESTER"}
			a, err := d.Dial(t.Context(), address, Proposal{CalledAETitle: "DCMGATE", Contexts: contexts(ctImage), AsyncOperationsWindow: uint16(g % 5)})
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 10 {
				o := template.Object(2, g, i)
				if r, err := a.Store(t.Context(), storeRequest(1, o)); err != nil || !r.Status.Ok() {
					t.Error(r.Status, err)
				}
				into.check(t, o)
			}
			if g%3 == 0 {
				_ = a.Close()
			} else if err := a.Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_ = w
}
