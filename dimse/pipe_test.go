package dimse

import (
	"net"
	"testing"
)

// pipe serves a connection in memory. In a bubble of testing/synctest its timers are those of the bubble: what may take so long
// does not hang on how busy the machine is.
func pipe(t *testing.T, h Handler, o ServerOptions) (*Server, net.Conn) {
	t.Helper()
	s, err := NewServer(h, o)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	s.accept(theirs, nil)
	t.Cleanup(func() {
		_ = ours.Close()
		_ = s.Close()
	})
	return s, ours
}

// dialPipe is dial over such a connection.
func dialPipe(t *testing.T, h Handler, change func(*Dialer, *Proposal)) *Association {
	t.Helper()
	_, conn := pipe(t, h, ServerOptions{})
	d := &Dialer{LocalAETitle: "TESTER"}
	p := Proposal{CalledAETitle: "DCMGATE"}
	change(d, &p)
	if err := d.init(); err != nil {
		t.Fatal(err)
	}
	a, err := d.over(t.Context(), conn, nil, p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// watchPipe is serveWatched for one connection, and its peer.
func watchPipe(t *testing.T, o ServerOptions) (*watched, *scripted) {
	t.Helper()
	w, h := newWatched()
	server, conn := pipe(t, h, o)
	w.server = server
	return w, script(t, conn)
}
