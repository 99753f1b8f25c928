package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/faultdisk"
)

// TestRebuildOnAFailingDisk has calls fail that making the index anew makes, from then on: it ends, and fails with the reason or is done,
// and what is there afterwards is a whole index, the old one or the new one, with what only the index knows.
func TestRebuildOnAFailingDisk(t *testing.T) {
	const n = 10
	disk := faultdisk.MountApart(t)
	_, address := startArchive(t, archive.Options{})
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.onDisk(t, disk.Dir)
	g.start(t)
	roomAgain(t, newModality(g.address, 3000, 31), n)
	g.delivered(t, "cloud", n, 30*time.Second)
	g.stop(t)
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
