package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/internal/faultdisk"
	"dcmgate/internal/peertest"
)

// TestFailingDiskUnderEverything has every call that changes something on the disk that holds all that the gateway writes fail for
// a while, with each of the errors of disks, while eight associations send, a destination is delivered to, rows are published,
// files exported, and a drop folder is emptied; at last instances cannot be read. Nothing acknowledged is lost or delivered twice, nothing is
// acknowledged that cannot be written, those who send and those who look are told why, and when the disk works again everything goes on
// by itself.
func TestFailingDiskUnderEverything(t *testing.T) {
	disk := faultdisk.MountApart(t)
	cloud, address := startArchive(t, archive.Options{Window: 8})
	g, folder := newGateWithEverything(t, disk.Dir, "", destination{name: "cloud", aeTitle: "CLOUD", address: address, more: "retry: {initial: 2s, max: 3s}"})
	p := g.start(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	fleet := startFleet(ctx, g.address, 8)
	files, digests := mrFiles(t, 3)
	for i, errno := range faultdisk.Errnos {
		fleet.untilMore(t, 40, 30*time.Second)
		fleet.statuses() // of what was before
		disk.Fail(t, faultdisk.Rule{Errno: errno})
		if i == 0 {
			drop(t, folder, files)
		}
		health := "/healthz"
		if errno == syscall.ENOSPC {
			health = "/readyz"
		}
		peertest.Eventually(t, 20*time.Second, health+" says that the disk fails", func() bool {
			return g.answer(t, health) == http.StatusServiceUnavailable
		})
		before := fleet.acked()
		time.Sleep(time.Second)
		if n := fleet.acked() - before; n > 8 { // one of each association may have been under way
			t.Errorf("%v: %d instances were acknowledged", errno, n)
		}
		out, _ := g.run(t, "status")
		if !strings.Contains(out, errno.Error()) {
			t.Errorf("%v: dcmgate status does not say why:\n%s", errno, out)
		}
		disk.Heal(t)
		for status, n := range fleet.statuses() {
			if status != dimse.StatusSuccess && status != dimse.StatusOutOfResources && status != dimse.StatusProcessingFailure {
				t.Errorf("%v: %d instances were answered %v", errno, n, status)
			}
		}
		peertest.Eventually(t, 30*time.Second, "the gateway is well again", func() bool {
			return g.answer(t, "/healthz") == http.StatusOK && g.answer(t, "/readyz") == http.StatusOK
		})
	}
	disk.Fail(t, faultdisk.Rule{Errno: syscall.EIO, Path: "data/segments", Ops: []faultdisk.Op{faultdisk.OpOpen, faultdisk.OpRead, faultdisk.OpStat}})
	fleet.untilMore(t, 40, 30*time.Second)
	retries := g.metric(t, "dcmgate_delivery_attempts_total", `outcome="retry"`)
	peertest.Eventually(t, 20*time.Second, "deliveries fail", func() bool {
		return g.metric(t, "dcmgate_delivery_attempts_total", `outcome="retry"`) > retries+10
	})
	if out, _ := g.run(t, "status"); !strings.Contains(out, "cannot be read") || !strings.Contains(out, syscall.EIO.Error()) {
		t.Errorf("dcmgate status does not say that instances cannot be read:\n%s", out)
	}
	if n := disk.Heal(t); n == 0 {
		t.Error("nothing was read")
	}
	stop()
	fleet.Wait()
	for _, m := range fleet.modalities {
		peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	}
	peertest.Eventually(t, 30*time.Second, "the files of the drop folder delivered", func() bool { return holds(cloud, digests) })
	peertest.Eventually(t, 30*time.Second, "what is no DICOM moved aside", func() bool {
		_, err := os.Stat(filepath.Join(folder, "rejected", "notes.txt"))
		return err == nil
	})
	if c := cloud.Counts(); c.Duplicates > 0 || c.Conflicts > 0 {
		t.Errorf("delivered twice: %+v", c)
	}
	var list []struct {
		State    string
		Behind   uint64
		Sequence uint64
	}
	peertest.Eventually(t, 60*time.Second, "every row published", func() bool {
		out, _ := g.run(t, "views", "status", "--json")
		return json.Unmarshal([]byte(out), &list) == nil && len(list) == 1 && list[0].State == "running" && list[0].Behind == 0 && list[0].Sequence > 0
	})
	if rows := exportRows(t, g, "local", "V_DocImage"); len(rows) < fleet.acked() {
		t.Errorf("%d rows of %d instances", len(rows), fleet.acked())
	}
	audited(t, g)
	if out := p.Output(); strings.Contains(out, "panic") || strings.Contains(out, "fatal error") {
		t.Errorf("a panic: %.2000s", out)
	}
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// holds tells whether an archive has all instances.
func holds(a *archive.Archive, digests map[dicom.UID][sha256.Size]byte) bool {
	for uid := range digests {
		if _, ok := a.Lookup(uid); !ok {
			return false
		}
	}
	return true
}

// fleet is modalities that send at once.
type fleet struct {
	sync.WaitGroup
	modalities []*modality

	mu       sync.Mutex
	answered map[dimse.Status]int
}

// startFleet has so many modalities send instances of different sizes until ctx ends.
func startFleet(ctx context.Context, address string, n int) *fleet {
	f := &fleet{answered: map[dimse.Status]int{}}
	for i := range n {
		m := newModality(address, []int{10 << 10, 100 << 10, 500 << 10, 2 << 20}[i%4], i+1)
		m.answered = func(s dimse.Status) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.answered[s]++
		}
		f.modalities = append(f.modalities, m)
		f.Go(func() { m.keepSending(ctx) })
	}
	return f
}

func (f *fleet) acked() (n int) {
	for _, m := range f.modalities {
		n += m.count()
	}
	return n
}

func (f *fleet) untilMore(t *testing.T, n int, within time.Duration) {
	t.Helper()
	before := f.acked()
	peertest.Eventually(t, within, "instances are stored", func() bool { return f.acked() >= before+n })
}

// statuses are those of the answers since the last call.
func (f *fleet) statuses() map[dimse.Status]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.answered
	f.answered = map[dimse.Status]int{}
	return was
}
