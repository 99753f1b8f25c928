package views

import (
	"bytes"
	"errors"
	"os"
	"syscall"
	"testing"

	"dcmgate/spool"
)

// TestFilesOfAFailedSync: what may not have been written is not taken for a file later, though the disk says no more of it.
func TestFilesOfAFailedSync(t *testing.T) {
	s := openSpool(t, spool.Options{})
	files, err := NewExporter(s, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	synced := 0
	var fails error
	files.files.syncing = func(*os.File) error { synced++; return fails }
	in := store(t, s, image(1, 1, 1)).Instance
	ready := func() string {
		t.Helper()
		file, err := files.Ready(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		return file.Path
	}
	path := ready()
	fails = syscall.EIO
	if err := files.Sync(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a file that could not be synced is still there")
	}
	// One that could not be removed either, and whose blocks the disk has lost.
	want := part10(t, s, in.ID)
	if err := os.WriteFile(path, make([]byte, len(want)), 0o600); err != nil {
		t.Fatal(err)
	}
	fails = nil
	if err := files.Sync(); err != nil {
		t.Error(err)
	}
	if got := must(os.ReadFile(ready())); !bytes.Equal(got, want) {
		t.Error("the file was not written again")
	}
	// What is being written at that time is not taken either.
	w, err := files.files.begin()
	if err != nil {
		t.Fatal(err)
	}
	defer w.end()
	fails = syscall.ENOSPC
	if err := files.Sync(); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	if err := w.place(path, "elsewhere"); !errors.Is(err, errDoubted) {
		t.Error(err)
	}
	// What an earlier process wrote is synced before a row names it, and one sync is enough.
	fails, synced = nil, 0
	again, err := NewExporter(s, files.root, "")
	if err != nil {
		t.Fatal(err)
	}
	again.files.syncing = func(*os.File) error { synced++; return nil }
	for range 2 {
		if err := again.Sync(); err != nil || synced != 1 {
			t.Errorf("%d syncs, %v", synced, err)
		}
	}
}
