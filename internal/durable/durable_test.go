package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/internal/durable"
	"dcmgate/internal/faultdisk"
)

// TestWriteFile has each of its calls fail: the file has the old content, or after ErrInPlace the new one, and never a part.
func TestWriteFile(t *testing.T) {
	disk := faultdisk.MountApart(t)
	path := filepath.Join(disk.Dir, "file")
	before, after := strings.Repeat("old", 1000), strings.Repeat("new", 5000)
	inPlace := false
	for _, errno := range faultdisk.Errnos {
		for _, times := range []int{1, 0} {
			disk.Each(t, faultdisk.Rule{Errno: errno, Times: times}, 1, func(failing func(func())) {
				if err := durable.WriteFile(path, []byte(before), 0o600); err != nil {
					t.Fatal(err)
				}
				var err error
				failing(func() { err = durable.WriteFile(path, []byte(after), 0o600) })
				want := after
				if err != nil && !errors.Is(err, durable.ErrInPlace) {
					want = before
				}
				if err != nil && !errors.Is(err, errno) {
					t.Errorf("not the disk's error: %v", err)
				}
				inPlace = inPlace || errors.Is(err, durable.ErrInPlace)
				if got, e := os.ReadFile(path); e != nil || string(got) != want {
					t.Errorf("%d bytes of %.3q after %v (%v)", len(got), got, err, e)
				}
			})
		}
	}
	if !inPlace {
		t.Error("no folder failed to be synced")
	}
	if err := durable.WriteFile(path, []byte(after), 0o600); err != nil {
		t.Error(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if names, err := os.ReadDir(disk.Dir); err != nil || len(names) != 1 {
		t.Errorf("%v are left, %v", names, err)
	}
}
