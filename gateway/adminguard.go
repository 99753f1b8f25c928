package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// leastToken makes guessing hopeless.
const leastToken = 16

// adminToken is the digest of the token: comparing digests takes the same time whatever is wrong.
type adminToken struct {
	set    bool
	digest [sha256.Size]byte
}

// loadToken reads the token.
func (h *HTTP) loadToken() (adminToken, error) {
	if h.Token == (Secret{}) {
		return adminToken{}, nil
	}
	text, err := h.Token.Read()
	if err == nil && len(text) < leastToken {
		err = fmt.Errorf("%s has %d characters; at least %d are needed: openssl rand -hex 32", h.Token, len(text), leastToken)
	}
	if err != nil {
		return adminToken{}, &keyError{"http.token", err}
	}
	return adminToken{true, sha256.Sum256([]byte(text))}, nil
}

func (t adminToken) is(text string) bool {
	digest := sha256.Sum256([]byte(text))
	return subtle.ConstantTimeCompare(digest[:], t.digest[:]) == 1
}

// Why a request to http.listen is refused, as the counter names it.
const (
	adminRefusedToken   = "token"   // none, or another
	adminRefusedHost    = "host"    // asked by a name that is not its own
	adminRefusedNetwork = "network" // from the network, while there is no token
)

// guard lets requests through that may see how the gateway is: whoever may use the Unix socket, has the token or a
// certificate, and, if there is no token, who is on this machine. What a browser on this machine was made to ask by a page
// from elsewhere (DNS rebinding) is told by the name it asks for.
type guard struct {
	settings func() *settings
	shared   bool // by public.listen, whose clients show certificates of other authorities
	next     http.Handler
	refused  map[string]prometheus.Counter
	trouble  *trouble
	audit    *auditor
	log      *slog.Logger
}

// guard is what stands before the admin interface. It is made once.
func (g *Gateway) guard(p *parts, next http.Handler) *guard {
	refused := promauto.With(g.registry).NewCounterVec(prometheus.CounterOpts{
		Name: "dcmgate_admin_requests_refused_total",
		Help: "Requests to http.listen refused: without the token, by a name that is not the listener's, or from the network while there is no token.",
	}, []string{"reason"})
	a := &guard{settings: g.settings, next: next, refused: make(map[string]prometheus.Counter), trouble: p.receive.trouble, audit: p.audit, log: g.log}
	for _, reason := range []string{adminRefusedToken, adminRefusedHost, adminRefusedNetwork} {
		a.refused[reason] = refused.WithLabelValues(reason)
	}
	return a
}

// onShared is the guard where people come to public.listen.
func (a *guard) onShared() *guard {
	other := *a
	other.shared = true
	return &other
}

// adminListener is the listener for people and scrapers as the settings in force secure it.
func (g *Gateway) adminListener(l net.Listener) net.Listener {
	if l.Addr().Network() == "unix" {
		return l
	}
	return liveTLS{l, func() *tls.Config { return g.settings().admin }}
}

// ServeHTTP implements http.Handler.
func (a *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := a.settings()
	local, isLocal := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	switch {
	case isLocal && local.Network() == "unix",
		s.HTTP.OpenChecks && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz"),
		s.HTTP.TLS.ClientCA != "" && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 && !a.shared:
	case s.token.set:
		if !s.token.is(tokenOf(r)) {
			w.Header().Add("WWW-Authenticate", `Bearer realm="dcmgate"`)
			w.Header().Add("WWW-Authenticate", `Basic realm="dcmgate: any name, and http.token as password", charset="UTF-8"`)
			a.refuse(w, r, adminRefusedToken, http.StatusUnauthorized, "the token (http.token) is needed: Authorization: Bearer TOKEN, or any name and TOKEN as password")
			return
		}
	case !isLocal || !isLoopback(local.String()):
		a.refuse(w, r, adminRefusedNetwork, http.StatusForbidden, "nobody is let in from the network without a token; set http.token")
		return
	case !s.HTTP.answersTo(r.Host):
		a.refuse(w, r, adminRefusedHost, http.StatusMisdirectedRequest, "this is not asked for by its own name; add the name to http.hosts, or use localhost")
		return
	}
	a.next.ServeHTTP(w, r)
}

func (a *guard) refuse(w http.ResponseWriter, r *http.Request, reason string, status int, text string) {
	a.refused[reason].Inc()
	a.trouble.caution(a.log, "admin "+reason, "admin request refused", "reason", reason, "from", r.RemoteAddr)
	a.audit.turnedAway(reason, r.RemoteAddr)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

// tokenOf finds what a request shows: scrapers a bearer token, browsers a password.
func tokenOf(r *http.Request) string {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return strings.TrimSpace(token)
	}
	_, password, _ := r.BasicAuth()
	return password
}

// answersTo tells whether the listener goes by the name that a request is for.
func (h *HTTP) answersTo(hostport string) bool {
	host := hostNameOf(hostport)
	if host == "localhost" || isLoopback(hostport) || host == hostNameOf(h.Listen) {
		return true
	}
	for _, name := range h.Hosts {
		if name == host {
			return true
		}
	}
	return false
}

// hostNameOf is the host of HOST:PORT or HOST, in lower case and without brackets.
func hostNameOf(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		hostport = host
	}
	return strings.ToLower(strings.Trim(hostport, "[]"))
}

// isLoopback tells whether an address is of this machine alone.
func isLoopback(hostport string) bool {
	host := hostNameOf(hostport)
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.Unmap().IsLoopback()
}

// unixPrefix stands before the path of a Unix socket to listen on.
const unixPrefix = "unix:"

// parseAdminListen is parseListen with Unix sockets.
func parseAdminListen(s string) (string, error) {
	path, ok := strings.CutPrefix(s, unixPrefix)
	switch {
	case !ok:
		return parseListen(s)
	case !strings.HasPrefix(path, "/"):
		return "", fmt.Errorf("%q names no absolute path; write unix:/run/dcmgate/admin.sock", s)
	case len(path) > maxSocketPath:
		return "", fmt.Errorf("the path of the socket has %d bytes; at most %d are possible", len(path), maxSocketPath)
	}
	return s, nil
}

func parseHost(s string) (string, error) {
	if s == "" || strings.ContainsAny(s, "/:@ []") {
		return "", fmt.Errorf("%q is not a host's name, such as dcmgate.example.org, without port", s)
	}
	return strings.ToLower(s), nil
}

func (v *validator) http(raw *rawHTTP) HTTP {
	h := HTTP{
		Listen:     parsed(v, raw.Listen, parseAdminListen),
		OpenChecks: v.truth(raw.OpenChecks),
		Hosts:      parsedList(v, raw.Hosts, parseHost),
		TLS:        v.publicTLS(&raw.TLS),
	}
	if raw.Token.Text != "" {
		h.Token = v.secret(raw.Token)
	}
	return h
}

// guarded checks that the admin interface is not open to the network, and remarks on what it is protected by.
func (v *validator) guarded(cfg *Config, raw *rawHTTP) {
	h := &cfg.HTTP
	unix, shared := strings.HasPrefix(h.Listen, unixPrefix), cfg.sharesListener()
	network := h.Listen != "" && !unix && h.Listen != ListenPassed && !isLoopback(h.Listen)
	secured := h.TLS.Cert != "" || shared && cfg.Public.TLS.Cert != ""
	switch {
	case unix && h.TLS.Cert != "":
		v.fail(raw.TLS.at, "a Unix socket speaks no TLS; take it away, or listen on HOST:PORT")
	case shared && h.TLS.Cert != "":
		v.fail(raw.TLS.at, "http.listen is also public.listen, which public.tls secures; take it away")
	case network && h.Token == Secret{} && (shared || h.TLS.ClientCA == ""):
		v.fail(raw.Listen.at, "%s is reached from the network; set http.token (or http.tls with client_ca), or listen on 127.0.0.1 or unix:PATH", h.Listen)
	case network && h.Token != Secret{} && !secured:
		v.note("http: the token goes over the network in the clear; set http.tls, or put a proxy with TLS before it")
	case h.Token == Secret{} && h.OpenChecks:
		v.note("http: open_checks makes no difference without a token")
	}
}

// listenUnix listens on a Unix socket that owner and group may use. One that a killed gateway has left is replaced.
func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
	if err != nil && removeStale(path) {
		l, err = net.Listen("unix", path)
	}
	if err == nil {
		err = allowGroup(path)
	}
	if err != nil {
		if l != nil {
			l.Close()
		}
		return nil, fmt.Errorf("%w; its folder must be there and the gateway's user must be able to write to it", err)
	}
	return l, nil
}
