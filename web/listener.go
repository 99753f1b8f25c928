package web

import (
	"net"
	"sync"
)

// Limit returns a listener that bounds the connections accepted by l: as long as there are as many as may be, it accepts no
// other, and one too many from an address is closed at once. All listeners of a server share the limits, so that one may
// take the place of another.
func (s *Server) Limit(l net.Listener) net.Listener {
	return &listener{Listener: l, places: s.places, closed: make(chan struct{})}
}

// places account for connections.
type places struct {
	metrics *instruments

	mu        sync.Mutex
	limits    Limits
	taken     int            // by connections, and by listeners that wait for one
	addresses map[string]int // connections of each
	changed   chan struct{}  // closed when a place may have become free
}

func newPlaces(l Limits, metrics *instruments) *places {
	return &places{metrics: metrics, limits: l, addresses: map[string]int{}, changed: make(chan struct{})}
}

// set puts other limits into force. Nobody is sent away for them.
func (p *places) set(l Limits) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limits = l
	p.tell()
}

// tell has those who wait look again. p.mu is held.
func (p *places) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// take waits for a place; false if closed is before there is one.
func (p *places) take(closed <-chan struct{}) bool {
	for {
		p.mu.Lock()
		if p.taken < p.limits.Connections {
			p.taken++
			p.mu.Unlock()
			return true
		}
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
		case <-closed:
			return false
		}
	}
}

// give gives a place back.
func (p *places) give() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	p.tell()
}

// enter counts a connection from an address; false if there are too many.
func (p *places) enter(address string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.addresses[address] >= p.limits.ConnectionsPerAddress {
		return false
	}
	p.addresses[address]++
	return true
}

func (p *places) leave(address string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.addresses[address]--; p.addresses[address] == 0 {
		delete(p.addresses, address)
	}
}

type listener struct {
	net.Listener
	places *places
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		if !l.places.take(l.closed) {
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if err != nil {
			l.places.give()
			return nil, err
		}
		if c := l.admit(c); c != nil {
			return c, nil
		}
		l.places.give()
	}
}

// admit counts a connection, or closes it.
func (l *listener) admit(c net.Conn) net.Conn {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String()) // "" if it has none: then all share a limit
	tcp, ok := c.(*net.TCPConn)
	if !ok || !l.places.enter(host) {
		c.Close()
		l.places.metrics.closed.Inc()
		return nil
	}
	l.places.metrics.connections.Inc()
	return &connection{TCPConn: tcp, places: l.places, host: host}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// connection gives its place back when it is closed. It keeps the methods of a TCP connection, sendfile among them.
type connection struct {
	*net.TCPConn
	places *places
	host   string
	once   sync.Once
}

// Close implements net.Conn.
func (c *connection) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() {
		c.places.metrics.connections.Dec()
		c.places.leave(c.host)
		c.places.give()
	})
	return err
}
