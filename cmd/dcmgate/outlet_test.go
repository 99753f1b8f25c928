package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dcmgate/dimse"
	"dcmgate/internal/faultdisk"
)

// TestOutputOnAFullDisk: what could not be printed whole fails, whichever command it is of.
func TestOutputOnAFullDisk(t *testing.T) {
	for _, args := range [][]string{{"config", "example"}, {"version"}, {"version", "--json"}, {"help"}, {"get", "--help"}, {"completion", "bash"}} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		status := run(t.Context(), args, strings.NewReader(""), full, &errs)
		if status != exitFailed || !strings.Contains(errs.String(), "no space left on device") || strings.Count(errs.String(), "\n") != 1 {
			t.Errorf("%q: exit status %d, %q", args, status, errs.String())
		}
	}
	disk := faultdisk.MountApart(t)
	f, err := os.Create(filepath.Join(disk.Dir, "example.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	disk.Fail(t, faultdisk.Rule{Errno: syscall.EDQUOT, Ops: []faultdisk.Op{faultdisk.OpClose}})
	var errs bytes.Buffer
	if status := run(t.Context(), []string{"config", "example"}, strings.NewReader(""), f, &errs); status != exitFailed {
		t.Errorf("exit status %d where the file could not be closed: %s", status, errs.String())
	}
}

// TestRetrievingOnAFailingDisk has each call fail that writing an instance makes, once or from then on: the association is told so,
// and what has the name of an instance is whole.
func TestRetrievingOnAFailingDisk(t *testing.T) {
	disk := faultdisk.MountApart(t)
	for _, errno := range faultdisk.Errnos {
		want := dimse.StatusProcessingFailure
		if errno == syscall.ENOSPC {
			want = dimse.StatusOutOfResources
		}
		for _, times := range []int{1, 0} {
			disk.Each(t, faultdisk.Rule{Errno: errno, Times: times}, 1, func(failing func(func())) {
				dir, err := os.MkdirTemp(disk.Dir, "")
				if err != nil {
					t.Fatal(err)
				}
				f, err := openFolder(dir)
				if err != nil {
					t.Fatal(err)
				}
				defer f.close()
				content := strings.Repeat("data set", 5000)
				var status dimse.Status
				failing(func() { status = received(f, "1.2.3", strings.NewReader(content)) })
				data, err := os.ReadFile(filepath.Join(dir, "1.2.3.dcm"))
				if err == nil && !strings.HasSuffix(string(data), content) {
					t.Errorf("%d bytes look like an instance", len(data))
				}
				if status != dimse.StatusSuccess && (status != want || f.fault == nil) || status == dimse.StatusSuccess && err != nil {
					t.Errorf("status %v, want %v; %v, %v", status, want, f.fault, err)
				}
				if status := received(f, "1.2.3", strings.NewReader(content)); status != dimse.StatusSuccess || f.files+f.existing == 0 {
					t.Errorf("once the disk works: %v", status)
				}
			})
		}
	}
}
