package faultdisk

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
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
