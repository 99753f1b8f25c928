package faultdisk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"dcmgate/internal/peertest"
)

// Errnos are what disks fail with: the file system is full, the device fails, the file system became read-only.
var Errnos = []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EROFS}

// Rule says which calls fail, and how.
type Rule struct {
	Errno syscall.Errno
	Ops   []Op   // none: all that change something
	Path  string // that a file's path below the disk begins with, so "views.db" is "views.db-wal", too; "": every file
	Skip  int    // calls that still work
	Times int    // calls that fail then; 0: all that follow
}

// Apart is a disk that a process of its own serves, so that files of it may be mapped into memory by the test's, as SQLite does.
type Apart struct {
	Dir   string // where it is mounted
	Below string // where its files are: who looks there does not ask the disk

	server *exec.Cmd
	orders *json.Encoder
	counts *json.Decoder
}

// MountApart mounts a disk at a place of its own until the test ends. It needs root and /dev/fuse: without, the test is skipped,
// and fails in CI. Of what a failing write was given, half is written, unless the error is EROFS.
func MountApart(t testing.TB) *Apart {
	t.Helper()
	return mountApart(t)
}

// MountCaching mounts a disk as [MountApart] does to which the kernel writes when it likes, or has to, as to a local disk: of what
// a process has written and not synced the error comes late, to whoever syncs the file next, and once; what could not be
// written stays in the page cache all the same.
func MountCaching(t testing.TB) *Apart {
	t.Helper()
	return mountApart(t, serveCaching+"=yes")
}

func mountApart(t testing.TB, settings ...string) *Apart {
	t.Helper()
	if os.Getuid() != 0 {
		peertest.Missing(t, "only root may mount a file system")
	}
	top, err := os.MkdirTemp("", "dcmgate-disk-") // t.TempDir would be removed before it is unmounted
	if err != nil {
		t.Fatal(err)
	}
	d := &Apart{Dir: filepath.Join(top, "disk"), Below: filepath.Join(top, "below")}
	for _, dir := range []string{d.Below, d.Dir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d.server = exec.Command(program)
	d.server.Env = append(append(os.Environ(), settings...), serveBelow+"="+d.Below, serveAt+"="+d.Dir,
		"GORACE=atexit_sleep_ms=0") // the race detector's, of a second otherwise
	d.server.Stderr = os.Stderr
	in, err := d.server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := d.server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.server.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() error {
		_ = in.Close() // upon which it unmounts and ends
		return errors.Join(d.server.Wait(), os.RemoveAll(top))
	}
	d.orders, d.counts = json.NewEncoder(in), json.NewDecoder(out)
	if _, err := d.order(nil); err != nil { // answered once it is mounted
		peertest.Missing(t, fmt.Sprintf("no FUSE file system can be mounted: %v", errors.Join(err, end())))
	}
	t.Cleanup(func() {
		if err := end(); err != nil {
			t.Errorf("the faulty disk's server: %v", err)
		}
	})
	return d
}

// Fail has calls fail from now on, in place of those that did so far. It returns how many have failed since the last call.
func (d *Apart) Fail(t testing.TB, rules ...Rule) (failed int) {
	t.Helper()
	failed, err := d.order(rules)
	if err != nil {
		t.Fatalf("the faulty disk does not answer: %v", err)
	}
	return failed
}

// Heal lets all calls work again. It returns how many have failed.
func (d *Apart) Heal(t testing.TB) (failed int) {
	t.Helper()
	return d.Fail(t)
}

func (d *Apart) order(rules []Rule) (failed int, err error) {
	if err := d.orders.Encode(rules); err != nil {
		return 0, err
	}
	err = d.counts.Decode(&failed)
	if errors.Is(err, io.EOF) {
		err = errors.New("it has ended")
	}
	return failed, err
}

// Each calls do again and again: the first time the first call that r is about fails, then the one that is so many calls behind
// it as stride says, and so on until none is left. Calls fail during what do hands to failing, once a time, and those before
// and after it work.
func (d *Apart) Each(t testing.TB, r Rule, stride int, do func(failing func(func()))) {
	t.Helper()
	for r.Skip = 0; ; r.Skip += stride {
		failed := -1
		do(func(during func()) {
			d.Fail(t, r)
			during()
			failed = d.Heal(t)
		})
		if failed <= 0 {
			if r.Skip == 0 {
				t.Errorf("nothing that could fail was called (%+v)", r)
			}
			return
		}
		if t.Failed() {
			t.Fatalf("where call %d failed: %+v", r.Skip+1, r)
		}
	}
}
