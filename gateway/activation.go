package gateway

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// ListenPassed is what stands for HOST:PORT where a socket that systemd passes
// is to be listened on.
const ListenPassed = "systemd"

// socketNames are the names (FileDescriptorName=) of the sockets that systemd
// may pass, by the setting that takes them.
var socketNames = map[string]string{
	listenDICOM:    "dicom",
	listenDICOMTLS: "dicom-tls",
	listenHTTP:     "http",
	listenPublic:   "public",
}

// takePassed takes the socket that systemd has passed for a setting.
func (g *Gateway) takePassed(key string) (net.Listener, error) {
	if l := g.sockets.Take(socketNames[key]); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("systemd has passed no socket named %s; enable and start the socket unit with FileDescriptorName=%[1]s, or set an address", socketNames[key])
}

// errPassed is why a listener of systemd cannot be closed while the gateway runs.
var errPassed = errors.New("its socket is systemd's, which keeps it open while nobody would be answered there; stop and disable its socket unit, then restart the gateway")

// checkSockets complains of passed sockets that no setting takes: whoever
// connects to them would wait for ever.
func (g *Gateway) checkSockets() error {
	left := g.sockets.Left()
	if len(left) == 0 {
		return nil
	}
	for key, name := range socketNames {
		if name == left[0] {
			return fmt.Errorf("systemd has passed a socket named %s, which is not used; set %s: %s, or disable and stop its socket unit", name, key, ListenPassed)
		}
	}
	return fmt.Errorf("systemd has passed a socket named %s; sockets named dicom, dicom-tls, http and public have a use (FileDescriptorName=)", strings.Join(left, ", "))
}

// keepPassed leaves listeners as they are that would have to be taken from
// systemd, which passes sockets at a start only, or be given up, while systemd
// keeps them open.
func (t *transition) keepPassed() {
	now, before := t.new.addresses(), t.old.addresses()
	for _, key := range listenKeys {
		from, to := *before[key], *now[key]
		if (from == ListenPassed) == (to == ListenPassed) {
			continue
		}
		what := "the socket of %s is that of its socket unit until the next start; for another address change its ListenStream=, or stop and disable the unit, then restart the gateway"
		if to == ListenPassed {
			what = "%s takes a socket that systemd passes at the next start only; enable its socket unit, stop the gateway, then start both"
		}
		t.kept = append(t.kept, key)
		t.new.Notes = append(slices.Clip(t.new.Notes), fmt.Sprintf(what, key))
		*now[key] = from
		if key == listenDICOMTLS {
			t.new.DICOM.TLS, t.new.server = t.old.DICOM.TLS, t.old.server
		}
	}
}
