package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// socketName is the control socket's name in the data directory.
const socketName = "control.sock"

// privateName is the directory's in which the socket is made.
const privateName = ".control"

// maxSocketPath is what fits into sockaddr_un on Linux, less its NUL.
const maxSocketPath = 107

// listenControl opens the control socket in dir, replacing one that a killed
// gateway left behind. The caller holds the directory's lock, so that no
// other gateway can be listening. The socket is made in a directory that only
// the owner can enter and then renamed, so that at no moment anybody else can
// connect to it.
func listenControl(dir string) (net.Listener, error) {
	private := filepath.Join(dir, privateName)
	if err := errors.Join(os.RemoveAll(private), os.Mkdir(private, 0o700)); err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	defer os.RemoveAll(private) // what stays is removed at the next start
	var l *net.UnixListener
	err := withShortPath(private, socketName, func(path string) (err error) {
		l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // it would look for the old name
	path := filepath.Join(private, socketName)
	if err = os.Chmod(path, 0o600); err == nil {
		err = os.Rename(path, filepath.Join(dir, socketName))
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// dialControl connects to the control socket in dir.
func dialControl(ctx context.Context, dir string) (net.Conn, error) {
	var conn net.Conn
	err := withShortPath(dir, socketName, func(path string) (err error) {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	if errors.Is(err, syscall.ENOTDIR) {
		err = dataDirError(dir, err)
	}
	return conn, err
}

// withShortPath calls use with a path to name in dir that fits into a socket
// address, however deep dir is.
func withShortPath(dir, name string, use func(path string) error) error {
	if path := filepath.Join(dir, name); len(path) <= maxSocketPath {
		return use(path)
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return use(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
}

// removeControl takes the socket away, so that nobody waits for an answer from
// a gateway that has ended.
func removeControl(dir string) {
	// A socket that stays is replaced at the next start.
	_ = os.Remove(filepath.Join(dir, socketName))
}

// removeStale removes a Unix socket that nobody listens on any more.
func removeStale(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return false
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) && os.Remove(path) == nil
}

// allowGroup lets the owner's group use a socket, and nobody else.
func allowGroup(path string) error { return os.Chmod(path, 0o660) }
