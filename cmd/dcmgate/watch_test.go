package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dcmgate/internal/peertest"
)

// openPTY returns both ends of a pseudo terminal of 80 columns and 24 lines.
func openPTY(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		peertest.Missing(t, "no pseudo terminals: "+err.Error())
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetUint32(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 80})
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestWatchGivesTheTerminalBack(t *testing.T) {
	for name, end := range map[string]func(*exec.Cmd, *os.File) error{
		"q":       func(_ *exec.Cmd, keys *os.File) error { _, err := keys.WriteString("q"); return err },
		"Ctrl-C":  func(_ *exec.Cmd, keys *os.File) error { _, err := keys.WriteString("\x03"); return err },
		"SIGTERM": func(cmd *exec.Cmd, _ *os.File) error { return cmd.Process.Signal(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			master, slave := openPTY(t)
			before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "status", "--watch=200ms", "--data-dir", t.TempDir())
			cmd.Env = append(os.Environ(), "DCMGATE_TEST_AS_PROGRAM=1")
			cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			var seen bytes.Buffer
			readUntil(t, master, &seen, func() bool { return strings.Count(seen.String(), "not running") >= 2 }) // two frames
			if err := end(cmd, master); err != nil {
				t.Fatal(err)
			}
			readUntil(t, master, &seen, func() bool { return strings.HasSuffix(seen.String(), leaveScreen) })
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v: %q", err, seen.String())
			}
			after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
			if err != nil || *after != *before {
				t.Errorf("the terminal was %+v and is %+v, %v", before, after, err)
			}
			if text := seen.String(); !strings.HasPrefix(text, enterScreen) {
				t.Errorf("%q", text)
			}
		})
	}
}

// readUntil reads from a terminal until done, at most for 30 seconds.
func readUntil(t *testing.T, master *os.File, into *bytes.Buffer, done func() bool) {
	t.Helper()
	b := make([]byte, 4096)
	for end := time.Now().Add(30 * time.Second); !done(); {
		poll := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
		if n, _ := unix.Poll(poll, 100); n > 0 {
			n, _ := unix.Read(int(master.Fd()), b)
			into.Write(b[:max(n, 0)])
		}
		if time.Now().After(end) {
			t.Fatalf("only %q", into.String())
		}
	}
}

func TestWatchWithoutATerminal(t *testing.T) {
	for _, row := range []struct {
		json bool
		want string
	}{{false, "DCMGATE, not running"}, {true, `{"running":false`}} {
		ctx, cancel := context.WithCancel(t.Context())
		out := &endAfter{cancel: cancel, writes: 2}
		w := where{dataDir: t.TempDir()}
		if err := w.watch(ctx, nil, out, leastInterval, row.json); err != nil {
			t.Fatal(err)
		}
		if text := out.String(); strings.Count(text, row.want) != 2 || strings.Contains(text, "\x1b") {
			t.Errorf("%q", text)
		}
	}
	if err := new(where).watch(t.Context(), nil, &bytes.Buffer{}, time.Millisecond, false); err == nil {
		t.Error("a millisecond is taken")
	}
}

// endAfter cancels after so many writes.
type endAfter struct {
	bytes.Buffer
	cancel func()
	writes int
}

func (e *endAfter) Write(b []byte) (int, error) {
	if e.writes--; e.writes == 0 {
		e.cancel()
	}
	return e.Buffer.Write(b)
}
