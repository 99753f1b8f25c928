package systemd

import (
	"fmt"
	"maps"
	"net"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets are listening sockets that the service manager has opened and passed
// to the service, see sd_listen_fds(3). They go by the FileDescriptorName= of
// their socket unit. A nil Sockets is empty.
type Sockets struct{ byName map[string]net.Listener }

// NewSockets returns Sockets made of listeners by name.
func NewSockets(byName map[string]net.Listener) *Sockets { return &Sockets{maps.Clone(byName)} }

// PassedSockets takes over the sockets passed to this process; without any
// the result is empty. It fails if one is not a socket that listens, or if two
// have one name, and is called once: it clears the variables of the protocol,
// so that no other process takes the sockets for its own.
func PassedSockets() (*Sockets, error) {
	s := &Sockets{byName: make(map[string]net.Listener)}
	for _, f := range activation.Files(true) {
		name := f.Name()
		l, err := net.FileListener(f)
		f.Close()
		switch {
		case err != nil:
			s.Close()
			return nil, fmt.Errorf("socket %q passed by systemd does not listen: %w; its unit needs ListenStream= and no Accept=", name, err)
		case s.byName[name] != nil:
			l.Close()
			s.Close()
			return nil, fmt.Errorf("systemd passed two sockets named %q; give each unit one ListenStream= and its own FileDescriptorName=", name)
		}
		s.byName[name] = l
	}
	return s, nil
}

// Take returns the socket of a name and leaves it to the caller, who closes it.
// It is nil if there is none, or none any more.
func (s *Sockets) Take(name string) net.Listener {
	if s == nil || s.byName[name] == nil {
		return nil
	}
	l := s.byName[name]
	delete(s.byName, name)
	return l
}

// Left returns the names of the sockets that nobody has taken, in order.
func (s *Sockets) Left() []string {
	if s == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(s.byName))
}

// Close closes the sockets that nobody has taken. The manager keeps its own.
func (s *Sockets) Close() {
	for _, name := range s.Left() {
		s.Take(name).Close()
	}
}
