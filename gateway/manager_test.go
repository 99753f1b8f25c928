package gateway

import (
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestServiceManagerIsTold follows the lines that `systemctl status` would show: the gateway is without room, then has it.
func TestServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	next := func(want string) {
		t.Helper()
		b := make([]byte, 4096)
		if err := manager.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		for {
			n, err := manager.Read(b)
			if err != nil {
				t.Fatalf("%s: %v", want, err)
			}
			if strings.Contains(string(b[:n]), want) {
				return
			}
		}
	}
	c := runFile(t, "ae_title: GATE\nspool: {min_free: 900TB}\n")
	next("READY=1\nSTATUS=GATE does not receive: spool pressure full: senders are turned away")
	c.take(t, "ae_title: GATE\n")
	next("STATUS=GATE receives on 127.0.0.1:")
	c.write(t, "ae_title: GATE\nmistake: 1\n")
	if _, err := c.Reload("test"); err == nil {
		t.Fatal("a mistake was taken")
	}
	next("; configuration of ")
}
