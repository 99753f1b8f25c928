package dimse

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// quickConn re-arms TCP_QUICKACK whenever a read has to wait. A peer with Nagle's algorithm
// on, as DCMTK is shipped, holds the tail of each message back until we acknowledge the bytes
// before it; the kernel would delay that by 40 ms, and forgets the option as the connection's
// pattern changes. Reads that find data do not pay for it.
type quickConn struct {
	*net.TCPConn
	raw  syscall.RawConn
	read func(fd uintptr) bool // made once: a closure per read would be an allocation

	// Of the read in progress.
	p   []byte
	n   int
	err error
}

func quickAck(c *net.TCPConn) net.Conn {
	raw, err := c.SyscallConn()
	if err != nil {
		return c
	}
	q := &quickConn{TCPConn: c, raw: raw}
	q.read = q.attempt
	return q
}

// attempt reads without waiting; false asks the runtime to wait for data and call again.
func (q *quickConn) attempt(fd uintptr) bool {
	for {
		q.n, q.err = unix.Read(int(fd), q.p)
		switch q.err {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
			return false
		}
		return true
	}
}

// Read implements io.Reader. Like all of net.Conn's it honours the read deadline; unlike them
// it must not be called by two goroutines at once.
func (q *quickConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	q.p = p
	err := q.raw.Read(q.read)
	q.p = nil
	switch {
	case err != nil:
		return 0, err
	case q.err != nil:
		return 0, &net.OpError{Op: "read", Net: "tcp", Source: q.LocalAddr(), Addr: q.RemoteAddr(), Err: q.err}
	case q.n == 0:
		return 0, io.EOF
	}
	return q.n, nil
}
