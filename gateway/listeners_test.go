package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"dcmgate/audit"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
)

// onWildcard is an address on every interface with the same port.
func onWildcard(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return "0.0.0.0:" + port
}

// listensAt tells whether connections are accepted.
func listensAt(t *testing.T, address string) bool {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// auditTrail is what was recorded in a directory: a line for each message.
func auditTrail(t *testing.T, dir string) string {
	t.Helper()
	r, err := audit.NewReader(dir, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all strings.Builder
	for {
		e, err := r.Next() // as `dcmgate audit` has it
		if err == io.EOF {
			return all.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		s := e.Summary()
		fmt.Fprintf(&all, "%s: %s\n", s.Type, s.Description)
	}
}

// An association stays on while the address that it came by is left for another.
func TestDICOMListenerMoves(t *testing.T) {
	here, there := peertest.Address(t), peertest.Address(t)
	at := func(address string) string { return fmt.Sprintf("dicom: {listen: %q, accept: any}\n", address) }
	c := runFile(t, at(here))
	association, err := dialReceiver(t, here, ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	send := storing(t, association)
	send(0)
	for i, to := range []string{there, onWildcard(there), there, here, onWildcard(here)} {
		done := c.take(t, at(to))
		if !slices.Equal(done.Changed, []string{"dicom.listen"}) || len(done.NeedsRestart) > 0 {
			t.Errorf("to %s: %+v", to, done)
		}
		_, port, _ := net.SplitHostPort(to)
		if got := c.Status().Listeners.DICOM; got != strings.Replace(to, "0.0.0.0", "[::]", 1) {
			t.Errorf("status says %s, want %s", got, to)
		}
		sendImages(t, "127.0.0.1:"+port, 10*i+10, 1)
		send(i + 1)
		for _, taken := range []string{"127.0.0.1:" + port, "0.0.0.0:" + port} {
			if l, err := net.Listen("tcp", taken); err == nil {
				l.Close()
				t.Errorf("another program can listen on %s, too", taken)
			}
		}
	}
	if listensAt(t, there) {
		t.Error("the address that was left is listened on")
	}
	if err := association.Release(t.Context()); err != nil {
		t.Error(err)
	}
	data := c.settings().AuditDirectory()
	c.stop(t)
	trail := auditTrail(t, data)
	if want := "Network Configuration: dicom.listen: listens on " + there + ", no longer on " + here + "\n"; !strings.Contains(trail, want) {
		t.Errorf("the audit trail does not say %q:\n%s", want, trail)
	}
}

// What cannot be listened on keeps the whole change from being taken.
func TestAddressInUseChangesNothing(t *testing.T) {
	here, free := peertest.Address(t), peertest.Address(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	c := runFile(t, fmt.Sprintf("dicom: {listen: %q, accept: any}\n", here))
	admin := c.Listeners().HTTP
	c.head = strings.Replace(c.head, "127.0.0.1:0", free, 1)
	c.write(t, fmt.Sprintf("ae_title: OTHER\ndicom: {listen: %q, accept: any}\n", taken.Addr()))
	_, err = c.Reload("test")
	for _, want := range []string{"dcmgate.yaml:5:9: dicom.listen: ", "address already in use; is another gateway running?", "set another address"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if want := (Listeners{DICOM: here, HTTP: admin}); c.Listeners() != want || c.Status().AETitle != "DCMGATE" {
		t.Errorf("%+v, %s", c.Listeners(), c.Status().AETitle)
	}
	if !listensAt(t, here) || !listensAt(t, admin) || listensAt(t, free) {
		t.Error("listeners have changed")
	}
	sendImages(t, here, 0, 1)
	taken.Close()
	if _, err := c.Reload("test"); err != nil {
		t.Error(err)
	}
	if want := (Listeners{DICOM: taken.Addr().String(), HTTP: free}); c.Listeners() != want {
		t.Errorf("%+v", c.Listeners())
	}
}

// A port that is secured from now on never refuses anybody: the socket goes over.
func TestPortIsHandedOver(t *testing.T) {
	cert, key, pool := peertest.Certificate(t)
	one, two := peertest.Address(t), peertest.Address(t)
	listening := func(plain, secure string) string {
		return fmt.Sprintf("dicom: {listen: %q, accept: any, tls: {listen: %q, cert: %q, key: %q}}\n", plain, secure, cert, key)
	}
	c := runFile(t, listening(one, "off"))
	plain := &dimse.Dialer{LocalAETitle: "CT"}
	secure := &dimse.Dialer{LocalAETitle: "CT", TLS: &tls.Config{RootCAs: pool}}
	before, err := dialReceiver(t, one, ctContexts)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ plain, secure string }{{"off", one}, {two, one}, {one, two}, {one, "off"}} {
		c.take(t, listening(row.plain, row.secure))
		for _, l := range []struct {
			d       *dimse.Dialer
			address string
		}{{plain, row.plain}, {secure, row.secure}} {
			if l.address == "off" {
				continue
			}
			a, err := l.d.Dial(t.Context(), l.address, dimse.Proposal{CalledAETitle: "X", Contexts: ctContexts})
			if err != nil {
				t.Errorf("%+v: %s: %v", row, l.address, err)
				continue
			}
			if err := a.Release(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
	if listensAt(t, two) {
		t.Error("a port that nobody is to use is listened on")
	}
	if err := before.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// Requests under way are answered.
func TestRetiredServerAnswersWhatItHasBegun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &parts{group: new(errgroup.Group)}
	begun, finish := make(chan struct{}), make(chan struct{})
	served := &listening{Listener: l}
	p.serveHTTP(served, newHTTPServer(t.Context(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-finish
	}), slog.New(slog.DiscardHandler)), l)
	answer := make(chan int, 1)
	go func() { answer <- ask(t, http.DefaultClient, "http://"+l.Addr().String(), "") }()
	<-begun
	served.retire()
	if listensAt(t, l.Addr().String()) {
		t.Error("a retired listener accepts")
	}
	close(finish)
	if got := <-answer; got != 200 {
		t.Errorf("answered %d", got)
	}
	if err := p.group.Wait(); err != nil || len(p.servers.all) > 0 {
		t.Errorf("%v, %d servers are left", err, len(p.servers.all))
	}
}

// Connections that rest end.
func TestAdminListenerMoves(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "admin.sock")
	c := runFile(t, "")
	first := c.Listeners().HTTP
	to := func(address string) {
		t.Helper()
		i, j := strings.Index(c.head, "http:"), strings.Index(c.head, "views:")
		c.head = c.head[:i] + fmt.Sprintf("http: {listen: %q}\n", address) + c.head[j:]
		c.take(t, "")
		if want := strings.TrimSuffix(address, "off"); c.Listeners().HTTP != want {
			t.Errorf("%q, want %q", c.Listeners().HTTP, want)
		}
	}
	resting := &http.Client{Transport: &http.Transport{}}
	if got := ask(t, resting, "http://"+first+"/healthz", ""); got != 200 {
		t.Fatal(got)
	}
	to("unix:" + socket)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	if got := ask(t, client, "http://whatever/metrics", ""); got != 200 {
		t.Error(got)
	}
	if listensAt(t, first) {
		t.Error("the address that was left is listened on")
	}
	eventually(t, "the end of what rested", func() bool {
		r, err := resting.Get("http://" + first + "/healthz")
		if err == nil {
			r.Body.Close()
		}
		return err != nil
	})
	to("off")
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	to(first)
	if got := ask(t, resting, "http://"+first+"/readyz", ""); got != 200 {
		t.Error(got)
	}
	resting.CloseIdleConnections()
}

// People come to the public listener as long as http.listen says so.
func TestAdminListenerIsSharedAndLeft(t *testing.T) {
	public, own := peertest.Address(t), peertest.Address(t)
	c := runFile(t, fmt.Sprintf("public: {listen: %q}\n", public)+publicClients)
	more := fmt.Sprintf("public: {listen: %q}\n", public) + publicClients
	before := c.head
	for i, address := range []string{public, own, public} {
		c.head = strings.Replace(before, "127.0.0.1:0", address, 1)
		c.take(t, more)
		if want := (Listeners{DICOM: c.Listeners().DICOM, HTTP: address, Public: public}); c.Listeners() != want {
			t.Errorf("%d: %+v, want %+v", i, c.Listeners(), want)
		}
		if got := ask(t, http.DefaultClient, "http://"+address+"/healthz", ""); got != 200 {
			t.Errorf("%d: %d", i, got)
		}
		if got := ask(t, http.DefaultClient, "http://"+public+"/healthz", ""); (got == 200) != (address == public) {
			t.Errorf("%d: in public %d", i, got)
		}
	}
	if listensAt(t, own) {
		t.Error("the address that was left is listened on")
	}
}

// Sockets of systemd stay as they are; the rest of the change is taken.
func TestPassedSocketsAreKept(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "dcmgate.yaml")
	write := func(more string) {
		t.Helper()
		head := fmt.Sprintf("data_dir: %q\nviews: []\n", filepath.Join(dir, "data")) + smallSpool
		if err := os.WriteFile(file, []byte(head+more), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("dicom: {listen: systemd, accept: any}\nhttp: {listen: 127.0.0.1:0}\n")
	cfg, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	sockets, addresses := passed(t, "dicom")
	g := runWith(t, cfg, Options{Sockets: sockets})
	before := g.Listeners()
	for i, row := range []struct {
		dicom, http string
		kept        []string
		note        string
	}{
		{"127.0.0.1:0", "127.0.0.1:0", []string{"dicom.listen"}, "the socket of dicom.listen is that of its socket unit until the next start; for another address change its ListenStream="},
		{"systemd", "systemd", []string{"http.listen"}, "http.listen takes a socket that systemd passes at the next start only"},
		{"systemd", "127.0.0.1:0", nil, ""},
	} {
		write(fmt.Sprintf("ae_title: AE%d\ndicom: {listen: %q, accept: any}\nhttp: {listen: %q}\n", i, row.dicom, row.http))
		done, err := g.Reload("test")
		if err != nil || !slices.Equal(done.NeedsRestart, row.kept) || !slices.Contains(done.Changed, "ae_title") {
			t.Errorf("%d: %+v, %v", i, done, err)
		}
		if notes := strings.Join(done.Notes, "\n"); !strings.Contains(notes, row.note) || row.note == "" && strings.Contains(notes, "listen") {
			t.Errorf("%d: notes %q", i, notes)
		}
		if g.Listeners() != before || !g.admitsAt(t, addresses["dicom"]) {
			t.Errorf("%d: listens on %+v", i, g.Listeners())
		}
	}
}

// admitsAt tells whether an association is admitted at an address.
func (r *running) admitsAt(t *testing.T, address string) bool {
	t.Helper()
	a, err := dialReceiver(t, address, ctContexts)
	if err != nil {
		return false
	}
	if err := a.Release(t.Context()); err != nil {
		t.Error(err)
	}
	return true
}
