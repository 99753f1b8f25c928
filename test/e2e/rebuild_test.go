package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/faultdisk"
)

// tenDelivered gives a stopped gateway on a disk that can be made to fail, with ten instances, delivered to "cloud".
func tenDelivered(t *testing.T) (*gate, *faultdisk.Apart) {
	t.Helper()
	disk := faultdisk.MountApart(t)
	_, address := startArchive(t, archive.Options{})
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.onDisk(t, disk.Dir)
	g.start(t)
	roomAgain(t, newModality(g.address, 3000, 31), 10)
	g.delivered(t, "cloud", 10, 30*time.Second)
	g.stop(t)
	return g, disk
}

// TestRebuildOnAFailingDisk has calls fail that making the index anew makes, from then on: it ends, and fails with the reason or is done,
// and what is there afterwards is a whole index, the old one or the new one, with what only the index knows.
func TestRebuildOnAFailingDisk(t *testing.T) {
	g, disk := tenDelivered(t)
	for _, errno := range faultdisk.Errnos {
		disk.Each(t, faultdisk.Rule{Errno: errno, Path: filepath.Join("data", "index")}, 131, func(failing func(func())) {
			failing(func() {
				if out, status := g.run(t, "verify", "--rebuild"); status != 0 && !strings.Contains(out, errno.Error()) {
					t.Errorf("%v: exit status %d, %s", errno, status, out)
				}
			})
			out, status := g.run(t, "verify")
			if status != 0 { // the system may tell late of what it could not write
				out, status = g.run(t, "verify")
			}
			if status != 0 || !strings.Contains(out, "10 instances") {
				t.Errorf("%v: verify: exit status %d, %s", errno, status, out)
			}
		})
	}
	if out, status := g.run(t, "verify", "--rebuild"); status != 0 || !strings.Contains(out, "10 instances, 10 jobs (10 outcomes taken over)") {
		t.Errorf("exit status %d, %s", status, out)
	}
}

// TestIndexThatCannotBeRead has the disk fail to read one file of the index after the other: the gateway does not start and says
// what to do, in place of dying by a signal, and what it says to do works, whatever of the index can be read.
func TestIndexThatCannotBeRead(t *testing.T) {
	g, disk := tenDelivered(t)
	unreadable := func(name string) faultdisk.Rule {
		return faultdisk.Rule{Errno: syscall.EIO, Ops: []faultdisk.Op{faultdisk.OpRead}, Path: filepath.Join("data", "index", name)}
	}
	index := filepath.Join(disk.Dir, "data", "index")
	entries, err := os.ReadDir(index)
	if err != nil || len(entries) < 3 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		if st, err := e.Info(); err != nil || st.Size() == 0 {
			continue
		}
		disk.Fail(t, unreadable(e.Name()))
		out, status := g.run(t, "serve")
		if status != 1 || !strings.Contains(out, "damaged (index/"+e.Name()) || !strings.Contains(out, syscall.EIO.Error()) || !strings.Contains(out, "verify --rebuild") {
			t.Errorf("%s: exit status %d, %s", e.Name(), status, out)
		}
		if disk.Heal(t) == 0 {
			t.Errorf("%s was not read", e.Name())
		}
	}
	for _, tt := range []struct{ file, says string }{
		{"KEYREGISTRY", "(10 outcomes taken over)"},
		{"DISCARD", "(10 outcomes taken over)"},
		{"000001.vlog", "1 part of the old index could not be read"},
		{"000001.sst", "the old index could not be read: everything stored is delivered again"}, // there is no other table
		{"MANIFEST", "the old index could not be read: everything stored is delivered again"},
	} {
		disk.Fail(t, unreadable(tt.file))
		out, status := g.run(t, "verify", "--rebuild")
		if status != 0 || !strings.Contains(out, "10 instances, 10 jobs") || !strings.Contains(out, tt.says) {
			t.Errorf("%s: exit status %d, %s", tt.file, status, out)
		}
		disk.Heal(t)
	}
	g.start(t)
	g.delivered(t, "cloud", 10, 30*time.Second)
	if out, status := g.run(t, "verify"); status != 0 || !strings.Contains(out, "0 problems") {
		t.Errorf("verify: exit status %d, %s", status, out)
	}
}
