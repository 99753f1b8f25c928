package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/internal/peertest"
)

const adminSecret = "0123456789abcdef0123"

func TestGuard(t *testing.T) {
	loopback, lan := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 8080}
	secret := adminToken{true, sha256.Sum256([]byte(adminSecret))}
	withToken := &settings{security: security{token: secret}}
	open := &settings{Config: Config{HTTP: HTTP{Listen: "127.0.0.1:8080"}}}
	checks := &settings{Config: Config{HTTP: HTTP{OpenChecks: true}}, security: security{token: secret}}
	proxied := &settings{Config: Config{HTTP: HTTP{Hosts: []string{"gate.example.org"}}}}
	certified := &settings{Config: Config{HTTP: HTTP{TLS: PublicTLS{ClientCA: "ca.pem"}}}}
	shared := &settings{Config: Config{HTTP: HTTP{Listen: "10.0.0.2:8081", TLS: PublicTLS{ClientCA: "ca.pem"}},
		Public: Public{Listen: "10.0.0.2:8081"}, Retrieve: Retrieve{Serve: true}}, security: security{token: secret}}
	shown := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{}}}
	for name, row := range map[string]struct {
		settings *settings
		local    net.Addr
		host     string
		header   string // Authorization
		tls      *tls.ConnectionState
		path     string
		want     int
	}{
		"this machine":                           {open, loopback, "localhost:8080", "", nil, "/", 200},
		"this machine by address":                {open, loopback, "127.0.0.1:8080", "", nil, "/metrics", 200},
		"IPv6":                                   {open, loopback, "[::1]:8080", "", nil, "/metrics", 200},
		"a page from elsewhere":                  {open, loopback, "evil.example:8080", "", nil, "/metrics", 421},
		"a name that ends like one of its own":   {open, loopback, "evil-localhost", "", nil, "/", 421},
		"a name that begins like one of its own": {open, loopback, "127.0.0.1.evil.example", "", nil, "/", 421},
		"no name":                                {open, loopback, "", "", nil, "/", 421},
		"a proxy that is known":                  {proxied, loopback, "Gate.example.org", "", nil, "/", 200},
		"a proxy that is not":                    {proxied, loopback, "gate.example.com", "", nil, "/", 421},
		"the network without a token":            {open, lan, "10.0.0.2:8080", "", nil, "/", 403},
		"no address at all":                      {open, nil, "localhost", "", nil, "/", 403},
		"a Unix socket":                          {withToken, &net.UnixAddr{Name: "/run/s", Net: "unix"}, "x", "", nil, "/", 200},
		"bearer":                                 {withToken, lan, "10.0.0.2", "Bearer " + adminSecret, nil, "/metrics", 200},
		"password":                               {withToken, lan, "any.example", basic("me", adminSecret), nil, "/", 200},
		"no token":                               {withToken, lan, "10.0.0.2", "", nil, "/", 401},
		"no token on this machine":               {withToken, loopback, "localhost", "", nil, "/", 401},
		"another token":                          {withToken, lan, "10.0.0.2", "Bearer " + adminSecret + "0", nil, "/", 401},
		"a part of it":                           {withToken, lan, "10.0.0.2", "Bearer " + adminSecret[:19], nil, "/", 401},
		"the token as a name":                    {withToken, lan, "10.0.0.2", basic(adminSecret, ""), nil, "/", 401},
		"nonsense":                               {withToken, lan, "10.0.0.2", "Basic %%%", nil, "/", 401},
		"health without a token":                 {withToken, lan, "10.0.0.2", "", nil, "/healthz", 401},
		"open health":                            {checks, lan, "10.0.0.2", "", nil, "/healthz", 200},
		"open readiness":                         {checks, lan, "10.0.0.2", "", nil, "/readyz", 200},
		"the page is not open with them":         {checks, lan, "10.0.0.2", "", nil, "/", 401},
		"a certificate":                          {certified, lan, "10.0.0.2", "", shown, "/", 200},
		"no certificate, over a connection of before": {certified, lan, "10.0.0.2", "", &tls.ConnectionState{}, "/", 403},
		"a certificate is asked for by others":        {shared, lan, "10.0.0.2", "", shown, "/", 401},
	} {
		t.Run(name, func(t *testing.T) {
			refused := make(map[string]prometheus.Counter)
			for _, reason := range []string{adminRefusedToken, adminRefusedHost, adminRefusedNetwork} {
				refused[reason] = prometheus.NewCounter(prometheus.CounterOpts{Name: "x"})
			}
			g := &guard{settings: func() *settings { return row.settings }, refused: refused, trouble: newTrouble(), log: slog.New(slog.DiscardHandler),
				next: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })}
			rq := httptest.NewRequest("GET", row.path, nil)
			rq.Host = row.host
			if row.local != nil {
				rq = rq.WithContext(context.WithValue(rq.Context(), http.LocalAddrContextKey, row.local))
			}
			if row.header != "" {
				rq.Header.Set("Authorization", row.header)
			}
			rq.TLS = row.tls
			if row.settings == shared {
				g = g.onShared()
			}
			w := httptest.NewRecorder()
			g.ServeHTTP(w, rq)
			if w.Code != row.want || (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
				t.Errorf("%d, want %d: %s", w.Code, row.want, w.Body)
			}
		})
	}
}

func basic(name, password string) string {
	rq, _ := http.NewRequest("GET", "/", nil)
	rq.SetBasicAuth(name, password)
	return rq.Header.Get("Authorization")
}

// ask asks a running gateway and returns the status, 0 if there is no answer.
func ask(t *testing.T, client *http.Client, address, bearer string) int {
	t.Helper()
	rq, err := http.NewRequest("GET", address, nil)
	if err != nil {
		t.Fatal(err)
	}
	if bearer != "" {
		rq.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := client.Do(rq)
	if err != nil {
		t.Log(err)
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

func TestAdminOverTLSWithAToken(t *testing.T) {
	cert, key, pool := peertest.Certificate(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(adminSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := run(t, configure(t, "http: {listen: 127.0.0.1:0, token: \"file:"+file+"\", open_checks: true, tls: {cert: "+cert+", key: "+key+"}}\n"))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	at := "https://" + g.Listeners().HTTP
	for _, row := range []struct {
		path, token string
		want        int
	}{{"/metrics", adminSecret, 200}, {"/", adminSecret, 200}, {"/metrics", "", 401}, {"/healthz", "", 200}} {
		if got := ask(t, client, at+row.path, row.token); got != row.want {
			t.Errorf("%s with %q: %d, want %d", row.path, row.token, got, row.want)
		}
	}
	if got := ask(t, http.DefaultClient, "http://"+g.Listeners().HTTP+"/healthz", ""); got != http.StatusBadRequest {
		t.Errorf("plain HTTP: %d", got)
	}
}

func TestAdminOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin.sock")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if l, err := listenUnix(path); err == nil {
		l.Close()
		t.Error("a socket in use is taken over")
	}
	stale.Close() // as a killed gateway leaves it
	g := run(t, configure(t, "http: {listen: \"unix:"+path+"\"}\n"))
	if at := g.Listeners().HTTP; at != "unix:"+path {
		t.Errorf("listens on %s", at)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info, err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	if got := ask(t, client, "http://whatever/metrics", ""); got != 200 {
		t.Errorf("%d", got)
	}
	g.stop(t)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(path); err == nil {
		t.Error("a file is replaced")
	}
}

func TestShortTokensAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := configure(t, "http: {listen: 127.0.0.1:0, token: \"file:"+file+"\"}\n")
	if _, err := New(cfg, Options{}); err == nil || !strings.Contains(err.Error(), "http.token") || !strings.Contains(err.Error(), "16 are needed") {
		t.Errorf("%v", err)
	}
}

func TestAdminNotes(t *testing.T) {
	for more, want := range map[string]string{
		"http: {listen: 10.0.0.2:8080, token: \"file:/t\"}\n":  "in the clear",
		"http: {listen: 127.0.0.1:8080, open_checks: true}\n":  "makes no difference",
		"http: {listen: 127.0.0.1:8080, token: \"file:/t\"}\n": "",
		"http: {listen: \"localhost:8080\"}\n":                 "",
		"http: {listen: \"[::1]:8080\"}\n":                     "",
		"http: {listen: \"unix:/run/dcmgate/admin.sock\"}\n":   "",
		"http: {listen: systemd}\n":                            "",
	} {
		notes := strings.Join(configure(t, more).Notes, "\n")
		if !strings.Contains(notes, want) || want == "" && strings.Contains(notes, "http") {
			t.Errorf("%s notes %q, want %q", more, notes, want)
		}
	}
}
