package web

import (
	"net"
	"sync"
)

// Limit returns a listener that bounds the connections accepted by l: as long as there are as many as may be, it accepts no
// other, and one too many from an address is closed at once.
func (s *Server) Limit(l net.Listener) net.Listener {
	return &listener{
		Listener: l, server: s, places: make(chan struct{}, s.o.Limits.Connections), closed: make(chan struct{}),
		addresses: map[string]int{},
	}
}

type listener struct {
	net.Listener
	server *Server
	places chan struct{}
	once   sync.Once
	closed chan struct{}

	mu        sync.Mutex
	addresses map[string]int
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		select {
		case l.places <- struct{}{}:
		case <-l.closed:
			return nil, net.ErrClosed
		}
		c, err := l.Listener.Accept()
		if err != nil {
			<-l.places
			return nil, err
		}
		if c := l.take(c); c != nil {
			return c, nil
		}
		<-l.places
	}
}

// take counts a connection, or closes it.
func (l *listener) take(c net.Conn) net.Conn {
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String()) // "" if it has none: then all share a limit
	l.mu.Lock()
	defer l.mu.Unlock()
	tcp, ok := c.(*net.TCPConn)
	if !ok || l.addresses[host] >= l.server.o.Limits.ConnectionsPerAddress {
		c.Close()
		l.server.metrics.closed.Inc()
		return nil
	}
	l.addresses[host]++
	l.server.metrics.connections.Inc()
	return &connection{TCPConn: tcp, listener: l, host: host}
}

// Close implements net.Listener.
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// connection gives its place back when it is closed. It keeps the methods of a TCP connection, sendfile among them.
type connection struct {
	*net.TCPConn
	listener *listener
	host     string
	once     sync.Once
}

// Close implements net.Conn.
func (c *connection) Close() error {
	err := c.TCPConn.Close()
	c.once.Do(func() {
		l := c.listener
		l.server.metrics.connections.Dec()
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.addresses[c.host]--; l.addresses[c.host] == 0 {
			delete(l.addresses, c.host)
		}
		<-l.places
	})
	return err
}
