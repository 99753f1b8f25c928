package e2e

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// TestSocketActivation runs the gateway as systemd does for a socket unit, twice, and calls it while it is not there.
func TestSocketActivation(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	config := filepath.Join(t.TempDir(), "dcmgate.yaml")
	text := fmt.Sprintf("data_dir: %s\ndicom: {listen: systemd, accept: any}\nhttp: {listen: \"off\"}\n", filepath.Join(t.TempDir(), "data"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		echo := peertest.Start(t, nil, binary, "echo", l.Addr().String()) // before anybody accepts
		p := peertest.StartWith(t, []*os.File{socket}, "/bin/sh", "-c",
			`LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=dicom exec "$0" serve --config "$1"`, binary, config)
		if status, err := echo.Wait(2 * time.Minute); err != nil || status != 0 {
			t.Fatalf("echo: exit status %d, %v: %s", status, err, echo.Output())
		}
		if err := p.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if status, err := p.Wait(2 * time.Minute); err != nil || status != 0 {
			t.Fatalf("serve: exit status %d, %v", status, err)
		}
	}
	if out, status := peertest.Run(t, nil, binary, "serve", "--config", config); status != 1 || !strings.Contains(out, "systemd has passed no socket named dicom") {
		t.Errorf("without the socket: exit status %d: %s", status, out)
	}
}

func TestHealthcheck(t *testing.T) {
	g := newGate(t, "")
	if out, status := g.run(t, "healthcheck"); status != 1 || !strings.Contains(out, "no gateway is running") {
		t.Errorf("nothing runs: exit status %d: %s", status, out)
	}
	if _, err := os.Stat(g.data); err == nil {
		t.Error("healthcheck made a data folder")
	}
	p := g.start(t)
	for _, args := range [][]string{{"healthcheck"}, {"healthcheck", "--ready"}} {
		if out, status := g.run(t, args...); status != 0 || out != "ok\n" {
			t.Errorf("%v: exit status %d: %s", args, status, out)
		}
	}
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if out, status := g.run(t, "healthcheck", "--timeout", "300ms"); status != 1 {
		t.Errorf("one that hangs: exit status %d: %s", status, out)
	}
}

// TestRootLeavesTheOwnersFolderToHim does as root what an administrator does with the data folder of a service.
func TestRootLeavesTheOwnersFolderToHim(t *testing.T) {
	if os.Geteuid() != 0 {
		peertest.Missing(t, "only root can give a folder away")
	}
	const nobody = 65534
	g := newGate(t, "")
	g.start(t)
	s := newSender(g.address, 10_000, 3)
	if err := s.Run(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if err := g.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := g.process.Wait(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	// A folder that its owner can reach.
	home, err := os.MkdirTemp("", "dcmgate-owner-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	if err := os.Chmod(home, 0o755); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(home, "data")
	if err := os.Rename(g.data, data); err != nil {
		t.Fatal(err)
	}
	owned := func(check func(path string, stat *syscall.Stat_t)) {
		if err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err == nil {
				check(path, info.Sys().(*syscall.Stat_t))
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	owned(func(path string, _ *syscall.Stat_t) {
		if err := os.Lchown(path, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	})
	for _, args := range [][]string{{"status"}, {"verify"}, {"verify", "--rebuild"}, {"queue", "list"}} {
		if out, status := peertest.Run(t, nil, binary, append(args, "--data-dir", data)...); status != 0 {
			t.Errorf("%v: exit status %d: %s", args, status, out)
		}
		owned(func(path string, stat *syscall.Stat_t) {
			if stat.Uid != nobody || stat.Gid != nobody {
				t.Errorf("%v left %s to %d:%d", args, path, stat.Uid, stat.Gid)
			}
		})
	}
	config := filepath.Join(t.TempDir(), "other.yaml")
	if err := os.WriteFile(config, []byte("data_dir: "+data+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := peertest.Run(t, nil, binary, "serve", "--config", config); status != 2 || !strings.Contains(out, "not to root; run the gateway as nobody") {
		t.Errorf("serve as root: exit status %d: %s", status, out)
	}
}
