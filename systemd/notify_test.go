package systemd

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"testing"
	"time"
)

func TestNotifierWritesToTheManagersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	t.Setenv("NOTIFY_SOCKET", path)

	n := NewNotifier()
	n.Ready("serving\nREADY=0")
	n.Status("3 associations")
	n.Stopping()
	for _, want := range []string{
		"READY=1\nSTATUS=serving READY=0",
		"STATUS=3 associations",
		"STOPPING=1",
	} {
		buf := make([]byte, 512)
		m, err := conn.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(buf[:m]); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNotifierIsSilentWithoutManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "")
	NewNotifier().Ready("")
	var none *Notifier
	none.Stopping()
	(&Notifier{}).Status("x")
	NewNotifier().Watch(context.Background(), func() error { return nil }) // returns at once
}

func TestWatchFeedsOnlyWhileAlive(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var fed, asked int
	n := &Notifier{send: func(string) { fed++ }}
	n.watch(ctx, time.Millisecond, func() error {
		asked++
		switch asked {
		case 1, 3:
			return nil
		case 4:
			cancel()
		}
		return errors.New("it hangs")
	})
	if fed != 2 {
		t.Errorf("fed the watchdog %d times in %d checks, want 2", fed, asked)
	}
}
