package dimse

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"time"
)

const keepAlive = 30 * time.Second

// tune prepares a new transport connection: no Nagle, since bursts are whole; keepalive, so
// that a peer that vanished is noticed under an idle timeout that is switched off; and
// immediate acknowledgements where the kernel has them.
func tune(c net.Conn) net.Conn {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return c
	}
	// Each is an optimisation: a kernel that refuses one still carries the association.
	_ = t.SetNoDelay(true)
	_ = t.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: keepAlive, Interval: keepAlive, Count: 4})
	return quickAck(t)
}

// remoteAddress is the peer's address, the zero value if it is not TCP.
func remoteAddress(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// handshake completes TLS on a connection under its deadline.
func handshake(ctx context.Context, c *tls.Conn, deadline time.Time) (*tls.ConnectionState, error) {
	if err := c.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	state := c.ConnectionState()
	return &state, c.SetDeadline(time.Time{})
}

// tlsConfig makes TLS 1.2 the least, as BCP 195 demands, unless the configuration says otherwise.
func tlsConfig(c *tls.Config) *tls.Config {
	if c == nil || c.MinVersion != 0 {
		return c
	}
	c = c.Clone()
	c.MinVersion = tls.VersionTLS12
	return c
}
