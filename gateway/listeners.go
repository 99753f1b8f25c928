package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// The settings that name an address to listen on.
const (
	listenHTTP     = "http.listen"
	listenPublic   = "public.listen"
	listenDICOM    = "dicom.listen"
	listenDICOMTLS = "dicom.tls.listen"
)

// listenKeys are all of them, in the order in which they are opened: those for people first.
var listenKeys = []string{listenHTTP, listenPublic, listenDICOM, listenDICOMTLS}

// addresses are the settings by their keys, as the configuration has them.
func (c *Config) addresses() map[string]*string {
	return map[string]*string{listenHTTP: &c.HTTP.Listen, listenPublic: &c.Public.Listen, listenDICOM: &c.DICOM.Listen, listenDICOMTLS: &c.DICOM.TLS.Listen}
}

// listens is the address that a setting has the gateway listen on, "" for none.
func (c *Config) listens(key string) string {
	if key == listenPublic && !c.servesPublic() || key == listenHTTP && c.sharesListener() {
		return ""
	}
	return *c.addresses()[key]
}

// listening is a socket that is listened on for a setting.
type listening struct {
	net.Listener
	setting string // the address as the setting has it
	// retire, once it is served, ends accepting at once. What was accepted goes on to its end.
	retire func()
}

// listeners are those in force, by their settings. Starting, reloading and stopping exclude each other, and nobody else uses them.
type listeners map[string]*listening

func (l listeners) close() {
	for _, one := range l {
		one.Close()
	}
}

// bound returns the addresses, with the ports that the system has chosen.
func (l listeners) bound(shared bool) Listeners {
	at := func(key string) string {
		if l[key] == nil {
			return ""
		}
		return addressOf(l[key])
	}
	b := Listeners{DICOM: at(listenDICOM), DICOMTLS: at(listenDICOMTLS), HTTP: at(listenHTTP), Public: at(listenPublic)}
	if shared {
		b.HTTP = b.Public
	}
	return b
}

// listen opens what s wants listened on, but for the running listeners that are as it wants them. again names settings whose
// connections are to be accepted anew even so. If one cannot be had there are none, and the error is a *keyError.
func (g *Gateway) listen(s *settings, running listeners, again ...string) (_ listeners, err error) {
	fresh := make(listeners)
	defer func() {
		if err != nil {
			fresh.close()
		}
	}()
	var wanted []string
	var ending []*listening // whose addresses can be had
	for _, key := range listenKeys {
		now, address := running[key], s.listens(key)
		if now != nil && now.setting == address && !isUnder(key, again) {
			continue
		}
		if address != "" {
			wanted = append(wanted, key)
		}
		if now != nil && address == "" && now.setting == ListenPassed {
			return nil, &keyError{key, errPassed}
		}
		if now != nil {
			ending = append(ending, now)
		}
	}
	for _, key := range wanted {
		address := s.listens(key)
		var l net.Listener
		if now := running[key]; now != nil && now.setting == address {
			l, err = sameSocket(now.Listener)
		} else {
			l, err = g.listenAt(key, address, ending)
		}
		if err != nil {
			return nil, &keyError{key, err}
		}
		fresh[key] = &listening{Listener: l, setting: address}
	}
	return fresh, nil
}

// listenAt opens the listener of a setting, takes the one that systemd has passed for it, or the socket of one that ends.
func (g *Gateway) listenAt(key, address string, ending []*listening) (net.Listener, error) {
	if address == ListenPassed {
		return g.takePassed(key)
	}
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return listenUnix(path)
	}
	var beside []*net.TCPListener
	for _, l := range ending {
		socket, ok := l.Listener.(*net.TCPListener)
		switch {
		case !ok:
		case address == addressOf(l), address == l.setting && !strings.HasSuffix(address, ":0"):
			return sameSocket(socket)
		default:
			beside = append(beside, socket)
		}
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) && len(beside) > 0 {
		l, err = listenBeside(address, beside)
	}
	return l, explained(err)
}

// sameSocket returns another listener of a socket, which outlives that one: connections that wait to be accepted are not lost.
func sameSocket(l net.Listener) (net.Listener, error) {
	f, err := l.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileListener(f)
}

// listenBeside listens on an address that listeners of ours, which are about to end, have in part: on every interface after
// one of them, or the other way round. The system permits that if all agree to it (SO_REUSEPORT). They do for the moment only:
// a second gateway is refused as ever.
func listenBeside(address string, ours []*net.TCPListener) (net.Listener, error) {
	agree := func(c syscall.RawConn, yes int) (err error) {
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, yes) }), err)
	}
	for _, l := range ours {
		raw, err := l.SyscallConn()
		if err == nil {
			err = agree(raw, 1)
		}
		if err != nil {
			return nil, err
		}
		defer func() { _ = agree(raw, 0) }()
	}
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error { return agree(raw, 1) }}
	l, err := c.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, err
	}
	if raw, err := l.(*net.TCPListener).SyscallConn(); err == nil {
		_ = agree(raw, 0)
	}
	return l, nil
}

// explained says what to do about an address that cannot be listened on.
func explained(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; is another gateway running? `ss -ltnp` tells what listens there: end it, or set another address", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w; a port below 1024 needs CAP_NET_BIND_SERVICE, or a socket that systemd passes; else set another port", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w; no interface of this machine has the address: set one that `ip address` shows, or 0.0.0.0 for all", err)
	case err != nil:
		return fmt.Errorf("%w; set another address", err)
	}
	return nil
}

// listeners opens what is to be listened on anew; those that it replaces accept until then. Connections go on.
func (t *transition) listeners() error {
	var again []string // whose idle connections are not to outlive what they were secured by
	for key, stanza := range map[string]string{listenHTTP: "http.tls", listenPublic: "public.tls"} {
		if t.taken.touch(stanza) {
			again = append(again, key)
		}
	}
	running := t.parts.listeners
	fresh, err := t.listen(t.new, running, again...)
	if err != nil {
		return err
	}
	t.orElse(fresh.close)
	t.finally(func() { t.parts.relisten(t.Gateway, fresh) })
	return nil
}

// relisten serves listeners, and retires those that the settings in force do without.
func (p *parts) relisten(g *Gateway, fresh listeners) {
	s := g.settings()
	for _, key := range listenKeys {
		before, now := p.listeners[key], fresh[key]
		if now == nil && (before == nil || s.listens(key) != "") {
			continue
		}
		from, to := "", ""
		if now != nil {
			g.serve(p, key, now)
			p.listeners[key] = now
			to = addressOf(now)
		} else {
			delete(p.listeners, key)
		}
		if before != nil {
			before.retire()
			from = addressOf(before)
		}
		if from != to {
			g.log.Info("listener changed", "setting", key, "address", to, "before", from)
			p.audit.relistened(key, from, to)
			g.warnOfInterfaces(to)
		}
	}
	g.setBound(p.listeners.bound(s.sharesListener()))
}

// serve has a listener served as its setting wants it.
func (g *Gateway) serve(p *parts, key string, l *listening) {
	switch key {
	case listenDICOM:
		p.serveDICOM(l, p.dicom.Serve)
	case listenDICOMTLS:
		p.serveDICOM(l, func(l net.Listener) error {
			return p.dicom.ServeTLSBy(l, func() *tls.Config { return g.settings().server })
		})
	case listenHTTP:
		server := newHTTPServer(p.backstage, p.people, g.log)
		server.ErrorLog = httpErrors{g.log, p.audit.noHandshake}.logger()
		p.serveHTTP(l, server, g.adminListener(l))
	case listenPublic:
		server, limited := g.newPublicServer(p, l)
		p.serveHTTP(l, server, limited)
	}
}

func (p *parts) serveDICOM(l *listening, serve func(net.Listener) error) {
	l.retire = func() { l.Close() }
	p.group.Go(func() error { return unlessClosed(serve(l.Listener)) })
}

// serveHTTP has server accept connections from wrapped, which is l as it is to be used.
func (p *parts) serveHTTP(l *listening, server *http.Server, wrapped net.Listener) {
	p.servers.begin(server)
	p.group.Go(func() error { return serveHTTP(server, wrapped) })
	l.retire = func() {
		l.Close()
		p.group.Go(func() error {
			_ = server.Shutdown(context.Background()) // requests bound their own time; the stop of the gateway does not wait for them
			p.servers.ended(server)
			return nil
		})
	}
}

// unlessClosed is an error but that of a listener that was closed.
func unlessClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// httpServers are the servers of what is listened on, and of what was until requests over it are answered.
type httpServers struct {
	mu  sync.Mutex
	all map[*http.Server]bool
}

func (s *httpServers) begin(server *http.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[*http.Server]bool)
	}
	s.all[server] = true
}

func (s *httpServers) ended(server *http.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, server)
}

// shutdown ends them all, in order until ctx ends, and then at once.
func (s *httpServers) shutdown(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for server := range s.all {
		if server.Shutdown(ctx) != nil {
			server.Close()
		}
	}
}
