package e2e

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// fail has the kernel find an error in the file system, upon which ext4 becomes read-only until it is mounted anew, as it
// does when a disk fails.
func (d *disk) fail(t testing.TB) {
	t.Helper()
	device, err := exec.Command("findmnt", "-n", "-o", "SOURCE", d.dir).Output()
	if err != nil {
		peertest.Missing(t, "findmnt: "+err.Error())
	}
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(strings.TrimSpace(string(device))), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("1"), 0); err != nil {
		peertest.Missing(t, "ext4 cannot be made to fail: "+err.Error())
	}
}

// repair checks the file system and mounts it again.
func (d *disk) repair(t testing.TB) {
	t.Helper()
	d.remount(t, func() {
		out, err := exec.Command("e2fsck", "-p", d.image).CombinedOutput()
		if status, ok := err.(*exec.ExitError); err != nil && (!ok || status.ExitCode() > 1) { // 1: errors were mended
			t.Fatalf("e2fsck: %v: %s", err, out)
		}
	})
}

// TestReadOnlyDisk has the file system become read-only under a gateway that publishes rows and is sent to by eight
// associations: it lives on, acknowledges nothing, says why on /healthz and in its log, ends in order, says at a start
// what is wrong, and has everything that was acknowledged when the disk is mended.
func TestReadOnlyDisk(t *testing.T) {
	disk := smallDisk(t, 600<<20)
	if out, err := exec.Command("mount", "-o", "remount,errors=remount-ro", disk.dir).CombinedOutput(); err != nil {
		t.Fatalf("remount: %v: %s", err, out)
	}
	cloud, address := startArchive(t, archive.Options{Window: 8})
	g := newGate(t, `spool: {min_free: 64MiB, segment_size: 16MiB}
institution: {code: "12511000000000000X", name: 内江市示例医院}
views: [{name: local, dsn: "sqlite:rows.db"}]
rows: {complete_after: 1s}
log: {level: warn}
`, destination{name: "cloud", aeTitle: "CLOUD", address: address, more: "retry: {initial: 100ms, max: 200ms}"})
	g.onDisk(t, disk.dir)
	p := g.start(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var senders sync.WaitGroup
	var modalities []*modality
	for i := range 8 {
		m := newModality(g.address, []int{3 << 10, 100 << 10, 1 << 20}[i%3], i+1)
		modalities = append(modalities, m)
		senders.Go(func() { m.keepSending(ctx) })
	}
	for _, m := range modalities {
		peertest.Eventually(t, 20*time.Second, "some instances", func() bool { return m.count() > 5 })
	}
	disk.fail(t)
	peertest.Eventually(t, 20*time.Second, "/healthz says so", func() bool { return g.answer(t, "/healthz") == http.StatusServiceUnavailable })
	before := make([]int, len(modalities))
	for i, m := range modalities {
		before[i] = m.count()
	}
	for range 20 { // and nothing changes that
		time.Sleep(100 * time.Millisecond)
		if status := g.answer(t, "/readyz"); status != http.StatusServiceUnavailable {
			t.Fatalf("/readyz on a read-only disk: %d", status)
		}
	}
	for i, m := range modalities {
		if n := m.count() - before[i]; n > 1 { // one answer may have been under way
			t.Errorf("%d instances were acknowledged on a read-only disk", n)
		}
	}
	stop()
	senders.Wait()
	g.stop(t)
	out := p.Output()
	if n := strings.Count(out, `msg="durable write failed"`); n == 0 || n > 10 { // once for each part, and again if a record under way still made it
		t.Errorf("the log says %d times that writing failed", n)
	}
	if strings.Contains(out, "panic") || strings.Contains(out, "fatal error") {
		t.Errorf("a panic: %.2000s", out)
	}
	if out, status := g.run(t, "serve"); status == 0 || !strings.Contains(out, "read-only file system") || !strings.Contains(out, "e2fsck") {
		t.Errorf("a start on a read-only disk: exit status %d\n%s", status, out)
	}
	disk.repair(t)
	g.start(t)
	for _, m := range modalities {
		peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	}
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}
