package gateway

import (
	"fmt"
	"net"
	"strings"
)

// ListenPassed is what stands for HOST:PORT where a socket that systemd passes
// is to be listened on.
const ListenPassed = "systemd"

// socketNames are the names (FileDescriptorName=) of the sockets that systemd
// may pass, by the setting that takes them.
var socketNames = map[string]string{
	"dicom.listen":     "dicom",
	"dicom.tls.listen": "dicom-tls",
	"http.listen":      "http",
	"public.listen":    "public",
}

// listenAt opens the listener of a setting, or takes the one that systemd has
// passed for it.
func (g *Gateway) listenAt(key, address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return listenUnix(path)
	}
	if address != ListenPassed {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("%s: %w; is another gateway running? else set another address", key, err)
		}
		return l, nil
	}
	if l := g.sockets.Take(socketNames[key]); l != nil {
		return l, nil
	}
	return nil, fmt.Errorf("%s: systemd has passed no socket named %s; enable and start the socket unit with FileDescriptorName=%[2]s, or set an address", key, socketNames[key])
}

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
