package durable_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dcmgate/internal/durable"
	"dcmgate/internal/faultdisk"
)

// TestSettle has the first sync fail, and then, after it, each of the calls that write the file anew.
func TestSettle(t *testing.T) {
	disk := faultdisk.MountApart(t)
	path := filepath.Join(disk.Dir, "file")
	content := strings.Repeat("content", 20_000)
	if err := os.WriteFile(path, []byte(content), 0o640); err != nil {
		t.Fatal(err)
	}
	if told, err := durable.Settle(path); told != nil || err != nil {
		t.Errorf("of a good disk: %v, %v", told, err)
	}
	var before os.FileInfo
	disk.Each(t, faultdisk.Rule{Errno: syscall.EIO, Times: 2}, 1, func(failing func(func())) {
		before, _ = os.Stat(path)
		var told, err error
		failing(func() { told, err = durable.Settle(path) })
		if told == nil && err != nil || told != nil && !errors.Is(told, syscall.EIO) || err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("told %v, then %v", told, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
	disk.Fail(t, faultdisk.Rule{Errno: syscall.EIO, Ops: []faultdisk.Op{faultdisk.OpSync}, Times: 1})
	told, err := durable.Settle(path)
	disk.Heal(t)
	after, statErr := os.Stat(path)
	if told == nil || err != nil || statErr != nil || os.SameFile(before, after) || after.Mode().Perm() != 0o640 {
		t.Errorf("told %v, then %v; %v, %v", told, err, after, statErr)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != content {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if names, err := os.ReadDir(disk.Dir); err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestSettled(t *testing.T) {
	for _, row := range []struct {
		name      string
		calls     []error
		told, err error
	}{
		{"nothing to tell", []error{nil}, nil, nil},
		{"told late", []error{syscall.EIO, nil}, syscall.EIO, nil},
		{"fails", []error{syscall.EIO, syscall.EROFS}, syscall.EIO, syscall.EROFS},
	} {
		calls := row.calls
		told, err := durable.Settled(func() error { e := calls[0]; calls = calls[1:]; return e })
		if told != row.told || err != row.err || len(calls) > 0 {
			t.Errorf("%s: %v, %v, %d calls left", row.name, told, err, len(calls))
		}
	}
}
