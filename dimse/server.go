package dimse

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/pdu"
)

// ServerOptions configures a Server. Zero values choose the defaults given.
type ServerOptions struct {
	Timeouts

	// MaxAssociations is how many associations are open at once; a request beyond that is
	// rejected (transient, local limit exceeded). Default 100.
	MaxAssociations int
	// MaxPerAddress is the same for one IPv4 address or IPv6 /64. Default: no limit of its own.
	MaxPerAddress int
	// ReservedForEcho are places beyond both limits for requests that propose nothing but
	// Verification, so that a busy gateway can still be tested. Their associations are aborted
	// after 5 s of idleness and 10 s in all. Default 1; negative: none.
	ReservedForEcho int
	// MaxHalfOpen bounds the connections that have not sent their request yet or are about to be
	// closed. One address gets half of them. A newcomer beyond that takes the place of the oldest
	// of the address that has most. Default 128.
	MaxHalfOpen int
	// MaximumLength is the longest P-DATA-TF we offer to receive, in bytes. Default
	// pdu.DefaultMaximumLength.
	MaximumLength uint32

	// Refused is told of connections that led to no association, of the same from one address once a minute. It returns at
	// once. nil tells nobody.
	Refused    func(Refusal)
	Logger     *slog.Logger          // nil: discard
	Registerer prometheus.Registerer // nil: metrics are kept for nobody
}

func (o ServerOptions) withDefaults() ServerOptions {
	o.Timeouts = o.Timeouts.withDefaults(time.Minute)
	if o.MaxAssociations <= 0 {
		o.MaxAssociations = 100
	}
	switch {
	case o.ReservedForEcho == 0:
		o.ReservedForEcho = 1
	case o.ReservedForEcho < 0:
		o.ReservedForEcho = 0
	}
	if o.MaxHalfOpen <= 0 {
		o.MaxHalfOpen = 128
	}
	if o.MaximumLength == 0 {
		o.MaximumLength = pdu.DefaultMaximumLength
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Server accepts associations. It is safe for concurrent use.
type Server struct {
	handler     Handler
	options     atomic.Pointer[ServerOptions]
	metrics     *instruments
	log         *slog.Logger
	admission   *admission
	refusals    *suppressor
	tellRefused func(Refusal) // nil tells nobody
	reserved    reservedTimes

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]struct{}
	open      map[*Association]struct{}
	wg        sync.WaitGroup // a count per connection, Add under mu while not closing
}

// NewServer returns a Server that has not started anything. It fails if its metrics cannot be
// registered.
func NewServer(h Handler, o ServerOptions) (*Server, error) {
	o = o.withDefaults()
	m, err := newInstruments(o.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		handler: h, metrics: m, log: o.Logger,
		admission: newAdmission(o),
		refusals:  newSuppressor(), tellRefused: o.Refused,
		reserved:  reservedTimes{idle: 5 * time.Second, total: 10 * time.Second},
		listeners: make(map[net.Listener]struct{}),
		open:      make(map[*Association]struct{}),
	}
	s.options.Store(&o)
	return s, nil
}

// SetLimits takes Timeouts, MaxAssociations, MaxPerAddress and MaximumLength of o for the connections that are accepted from
// now on. Nobody is sent away because there may be fewer.
func (s *Server) SetLimits(o ServerOptions) {
	o = o.withDefaults()
	s.options.Store(&o)
	s.admission.setLimits(o)
}

// Serve accepts connections on l until Shutdown or Close, and then returns nil; or the error
// that keeps l from accepting, which is net.ErrClosed if l was closed: the associations that came
// by it go on. It closes l. Several listeners may be served, also by ServeTLS; all limits are over
// all of them.
func (s *Server) Serve(l net.Listener) error { return s.serve(l, nil) }

// ServeTLS is Serve for associations over TLS (PS3.15 annex B). TLS 1.2 is the least unless
// config.MinVersion is set.
func (s *Server) ServeTLS(l net.Listener, config *tls.Config) error {
	return s.ServeTLSBy(l, func() *tls.Config { return config })
}

// ServeTLSBy is ServeTLS with a configuration that may be another for each connection.
func (s *Server) ServeTLSBy(l net.Listener, config func() *tls.Config) error {
	return s.serve(l, func() *tls.Config {
		if c := config(); c != nil {
			return tlsConfig(c)
		}
		return new(tls.Config) // which fails every handshake; never plain
	})
}

// serve accepts connections; secure is nil without TLS.
func (s *Server) serve(l net.Listener, secure func() *tls.Config) error {
	if !s.listen(l) {
		return l.Close()
	}
	defer s.unlisten(l)
	delay := time.Duration(0)
	for {
		conn, err := l.Accept()
		if err == nil {
			delay = 0
			s.accept(conn, secure)
			continue
		}
		if s.isClosing() {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		// Running out of file descriptors passes as associations end; a busy loop would not help.
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.log.Warn("cannot accept connections; is the limit of open files high enough?", "error", err, "retry", delay)
		time.Sleep(delay)
	}
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) unlisten(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
	_ = l.Close()
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// accept starts the life of a connection. If too many are half-open, an older one ends.
func (s *Server) accept(conn net.Conn, secure func() *tls.Config) {
	tuned := tune(conn)
	if secure != nil {
		tuned = tls.Server(tuned, secure())
	}
	a := s.newInbound(tuned)
	if s.admission.full() {
		a.limits.ARTIM = min(a.limits.ARTIM, overloadARTIM)
	}
	if !s.enter(a) {
		a.cancel()
		_ = conn.Close()
		return
	}
	go func() {
		defer s.leave(a)
		s.serveConnection(a)
	}()
}

// overloadARTIM is ARTIM for connections that will most likely be rejected.
const overloadARTIM = 5 * time.Second

func (s *Server) enter(a *Association) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	displace(s.admission.enter(a))
	s.open[a] = struct{}{}
	s.wg.Add(1)
	return true
}

// displace closes a connection that has to make room. Its own goroutine counts and logs it.
func displace(a *Association) {
	if a == nil {
		return
	}
	a.end(errDisplaced)
	transport := a.stream.Conn
	if c, ok := transport.(*tls.Conn); ok {
		transport = c.NetConn() // closing TLS properly may take a while, and it is of no use here
	}
	_ = transport.Close()
}

// leave ends the connection's goroutine and gives back what it occupied.
func (s *Server) leave(a *Association) {
	a.stop()
	s.admission.leave(a)
	s.report(a)
	if a.onClosed != nil {
		a.onClosed(a.summary())
	}
	s.mu.Lock()
	delete(s.open, a)
	s.mu.Unlock()
	s.wg.Done()
}

// Shutdown stops accepting and ends associations in order: operations that have begun are
// answered; an association without any is given half a second to be released, then aborted, as
// it is when it asks for more. When ctx ends first the rest is aborted as Close does, and ctx's
// error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	for _, a := range s.stopAccepting() {
		a.drainOut()
	}
	quiet := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(quiet)
	}()
	select {
	case <-quiet:
		return nil
	case <-ctx.Done():
	}
	_ = s.Close()
	<-quiet
	return ctx.Err()
}

// Close stops accepting, aborts all associations and waits for everything the server has
// started, services included. Their context is cancelled.
func (s *Server) Close() error {
	var aborts sync.WaitGroup
	for _, a := range s.stopAccepting() {
		aborts.Go(a.terminate) // sending may take a while; one is not to wait for another
	}
	aborts.Wait()
	s.wg.Wait()
	return nil
}

func (s *Server) stopAccepting() []*Association {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for l := range s.listeners {
		_ = l.Close()
	}
	open := make([]*Association, 0, len(s.open))
	for a := range s.open {
		open = append(open, a)
	}
	return open
}

// drainOut begins the orderly end of an association by the server; a connection that has none
// yet is closed.
func (a *Association) drainOut() {
	a.draining.Store(true)
	a.hasty.Store(true)
	switch a.fsm.current() {
	case sta1, sta2:
		_ = a.stream.Close()
	case sta13:
		a.stream.hurry(closeWait)
	default:
		a.stream.drain()
		a.ensureReader()
	}
}

// terminate ends an association at once.
func (a *Association) terminate() {
	a.drainOut()
	a.note(a.abort(errDraining))
}
