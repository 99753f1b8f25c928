package faultdisk

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDisk fails each call once, and looks whether it comes through, and to nobody else.
func TestDisk(t *testing.T) {
	d := MountApart(t)
	dir := d.Dir
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o700), os.WriteFile(filepath.Join(dir, "a", "f"), []byte("content"), 0o600)); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "a", "f")
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	folder, err := os.Open(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	for _, row := range []struct {
		op   Op
		path string
		call func() error
	}{
		{OpCreate, "a/g", func() error { g, err := os.Create(filepath.Join(dir, "a", "g")); return errors.Join(err, g.Close()) }},
		{OpOpen, "a/f", func() error { g, err := os.Open(name); return errors.Join(err, g.Close()) }},
		{OpOpenRW, "a/f", func() error { g, err := os.OpenFile(name, os.O_RDWR, 0); return errors.Join(err, g.Close()) }},
		{OpWrite, "a/f", func() error { _, err := f.WriteAt([]byte("other"), 0); return err }},
		{OpSync, "a/f", func() error { return unix.Fdatasync(int(f.Fd())) }},
		{OpSync, "a/f", f.Sync},
		{OpSyncDir, "a", folder.Sync},
		{OpAllocate, "a/f", func() error { return unix.Fallocate(int(f.Fd()), 0, 0, 8192) }},
		{OpPunch, "a/f", func() error {
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 4096, 4096)
		}},
		{OpTruncate, "a/f", func() error { return f.Truncate(100) }},
		{OpList, "a", func() error { _, err := os.ReadDir(filepath.Join(dir, "a")); return err }},
		{OpStat, "a/f", func() error { _, err := f.Stat(); return err }},
		{OpStatFS, ".", func() error { return unix.Statfs(dir, new(unix.Statfs_t)) }},
		{OpRename, "a/g", func() error { return os.Rename(filepath.Join(dir, "a", "g"), filepath.Join(dir, "a", "h")) }},
		{OpRemove, "a/h", func() error { return os.Remove(filepath.Join(dir, "a", "h")) }},
		{OpMkdir, "b", func() error { return os.Mkdir(filepath.Join(dir, "b"), 0o700) }},
		{OpRemove, "b", func() error { return os.Remove(filepath.Join(dir, "b")) }},
	} {
		d.Fail(t, Rule{Errno: syscall.EIO, Ops: []Op{row.op}, Path: row.path})
		if err := row.call(); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s %s: %v", row.op, row.path, err)
		}
		d.Heal(t)
		if err := row.call(); err != nil {
			t.Errorf("%s %s afterwards: %v", row.op, row.path, err)
		}
	}
	d.Fail(t, Rule{Errno: syscall.EROFS})
	if err := os.WriteFile(name, nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write to a read-only disk: %v", err)
	}
	if b, err := os.ReadFile(name); err != nil || len(b) != 100 {
		t.Errorf("read from a read-only disk: %d bytes, %v", len(b), err)
	}
}
