package faultdisk

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestApart tries what rules say.
func TestApart(t *testing.T) {
	d := MountApart(t)
	mkdir := func(name string) error { return os.Mkdir(filepath.Join(d.Dir, name), 0o700) }
	d.Fail(t, Rule{Path: "views.db", Errno: syscall.EIO, Skip: 1, Times: 1}, Rule{Path: "full/", Ops: []Op{OpWrite}, Errno: syscall.ENOSPC})
	for _, row := range []struct {
		name string
		want error
	}{{"views.db-1", nil}, {"other", nil}, {"views.db-2", syscall.EIO}, {"views.db-3", nil}, {"full", nil}} {
		if err := mkdir(row.name); !errors.Is(err, row.want) {
			t.Errorf("mkdir %s: %v, want %v", row.name, err, row.want)
		}
	}
	path := filepath.Join(d.Dir, "full", "file")
	for range 2 {
		if err := os.WriteFile(path, []byte("0123456789"), 0o600); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("write: %v", err)
		}
	}
	if failed := d.Heal(t); failed != 3 {
		t.Errorf("%d calls have failed", failed)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "01234" {
		t.Errorf("%q, %v", data, err)
	}
	calls := 0
	d.Each(t, Rule{Errno: syscall.EROFS, Times: 1}, 1, func(failing func(func())) {
		calls++
		failing(func() { // two calls: the first, the second, none fails
			err := errors.Join(os.Remove(path), os.WriteFile(path, nil, 0o600))
			if (err != nil) != (calls < 3) {
				t.Errorf("%d: %v", calls, err)
			}
		})
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Error(err)
		}
	})
	if calls != 3 {
		t.Errorf("%d times", calls)
	}
}

// TestCaching writes a file that the disk does not take when the kernel hands it on. Whoever closes it is not the one to be told
// by a sync; the next who syncs is, once, and till the page is dropped reads what is not there.
func TestCaching(t *testing.T) {
	d := MountCaching(t)
	path := filepath.Join(d.Dir, "file")
	before, after := bytes.Repeat([]byte("a"), 8192), bytes.Repeat([]byte("b"), 8192)
	if err := os.WriteFile(path, before, 0o600); err != nil {
		t.Fatal(err)
	}
	d.Fail(t, Rule{Errno: syscall.EIO, Ops: []Op{OpWrite}})
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(after, 0); err != nil {
		t.Errorf("write: %v", err)
	}
	_ = f.Close() // writes
	if n := d.Heal(t); n == 0 {
		t.Error("nothing was written")
	}
	if f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	read := func() []byte {
		b := make([]byte, len(before))
		if _, err := f.ReadAt(b, 0); err != nil {
			t.Error(err)
		}
		return b
	}
	if !bytes.Equal(read(), after) {
		t.Error("the page cache does not have what was written")
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the first sync: %v", err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("the second sync: %v", err)
	}
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Error(err)
	}
	if b := read(); !bytes.Equal(b[4096:], before[4096:]) || bytes.Equal(b, after) {
		t.Errorf("%.10q… %.10q are read", b, b[4096:])
	}
}
