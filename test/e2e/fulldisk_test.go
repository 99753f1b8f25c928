package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// TestFullDiskUnderEverything has another program fill the disk that holds all that the gateway writes: spool, rows, exported
// files, audit trail, and a drop folder with its rejected files, while eight associations send. Nothing acknowledged is lost,
// /readyz says why nothing is taken, and when the room is given back every part goes on by itself.
func TestFullDiskUnderEverything(t *testing.T) {
	disk := smallDisk(t, 700<<20)
	cloud, address := startArchive(t, archive.Options{Window: 8})
	g, folder := newGateWithEverything(t, disk.dir, "min_free: 64MiB, ", destination{name: "cloud", aeTitle: "CLOUD", address: address, more: "retry: {initial: 100ms, max: 200ms}"})
	p := g.start(t)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var senders sync.WaitGroup
	var modalities []*modality
	for i := range 8 {
		m := newModality(g.address, []int{10 << 10, 100 << 10, 500 << 10, 4 << 20}[i%4], i+1)
		modalities = append(modalities, m)
		senders.Go(func() { m.keepSending(ctx) })
	}
	acked := func() (n int) {
		for _, m := range modalities {
			n += m.count()
		}
		return n
	}
	peertest.Eventually(t, 20*time.Second, "some instances", func() bool { return acked() > 40 })
	// What is evicted from here on without a row is counted.
	peertest.Eventually(t, 20*time.Second, "some rows", func() bool { return g.metric(t, "dcmgate_views_rows_total", `view="V_DocImage"`) > 0 })

	filler := fillDisk(t, disk.dir)
	files, digests := mrFiles(t, 3)
	drop(t, folder, files)
	peertest.Eventually(t, 20*time.Second, "/readyz says that nothing is taken", func() bool {
		filler.more(t) // what the gateway gives back is taken as well
		return g.answer(t, "/readyz") == http.StatusServiceUnavailable
	})
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		filler.more(t)
	}
	peertest.Eventually(t, 20*time.Second, "dcmgate_ready says so, too", func() bool {
		filler.more(t)
		return g.metric(t, "dcmgate_ready") == 0
	})
	select {
	case <-p.Exited():
		t.Fatalf("the gateway died on a full disk: %.2000s", p.Output())
	default:
	}
	before := acked()
	filler.release(t)
	peertest.Eventually(t, 30*time.Second, "intake works again", func() bool { return acked() > before+40 })
	stop()
	senders.Wait()
	for _, m := range modalities {
		peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	}
	peertest.Eventually(t, 30*time.Second, "the files of the drop folder delivered", func() bool { return holds(cloud, digests) })
	peertest.Eventually(t, 30*time.Second, "what is no DICOM moved aside", func() bool {
		_, err := os.Stat(filepath.Join(folder, "rejected", "notes.txt"))
		return err == nil
	})
	peertest.Eventually(t, 60*time.Second, "every row published", func() bool {
		var list []struct {
			State    string
			Behind   uint64
			Sequence uint64
		}
		out, _ := g.run(t, "views", "status", "--json")
		return json.Unmarshal([]byte(out), &list) == nil && len(list) == 1 && list[0].State == "running" && list[0].Behind == 0 && list[0].Sequence > 0
	})
	rows := exportRows(t, g, "local", "V_DocImage")
	// A publisher that waits for its disk does not keep what has been delivered from being evicted; it tells.
	lost := int(g.metric(t, "dcmgate_views_lost_total", `view="V_DocImage"`))
	if taken := acked() + len(files); len(rows)+lost < taken {
		t.Errorf("%d rows of %d instances, and %d evicted before", len(rows), taken, lost)
	}
	audited(t, g)
	if out := p.Output(); strings.Contains(out, "panic") || strings.Contains(out, "fatal error") {
		t.Errorf("a panic: %.2000s", out)
	}
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// newGateWithEverything makes a gateway that keeps all that it writes in a directory: spool, rows, exported files, audit trail, and a
// drop folder with what it rejects. spool begins the settings of that.
func newGateWithEverything(t *testing.T, dir, spool string, cloud destination) (g *gate, folder string) {
	t.Helper()
	folder = filepath.Join(dir, "drop")
	g = newGate(t, fmt.Sprintf(`spool: {%ssegment_size: 16MiB}
institution: {code: "12511000000000000X", name: 内江市示例医院}
views: [{name: local, dsn: "sqlite:rows.db"}]
rows: {complete_after: 1s, files: {export: %q}}
`, spool, filepath.Join(dir, "share"))+fmt.Sprintf(dropConfig, folder), cloud)
	g.onDisk(t, dir)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	return g, folder
}

// drop copies files into a drop folder, and one that is no DICOM file, from a directory on another disk. Where there is no
// room they are written later, as a CD reader's would be.
func drop(t *testing.T, folder string, files [][]byte) {
	t.Helper()
	var copying sync.WaitGroup
	write := func(name string, data []byte) {
		copying.Go(func() {
			for t.Context().Err() == nil {
				err := os.WriteFile(filepath.Join(folder, name), data, 0o644)
				if err == nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
	}
	for i, data := range files {
		write(fmt.Sprintf("IM%04d", i), data)
	}
	write("notes.txt", []byte("not a DICOM file\n"))
	t.Cleanup(copying.Wait)
}

// audited looks whether the audit trail is written: what is recorded now is in it.
func audited(t *testing.T, g *gate) {
	t.Helper()
	if out, status := peertest.Run(t, nil, binary, "echo", "--calling", "AFTERWARDS", g.address); status != 0 {
		t.Fatalf("echo: exit status %d\n%s", status, out)
	}
	peertest.Eventually(t, 30*time.Second, "an association in the audit trail", func() bool {
		names, err := filepath.Glob(filepath.Join(g.data, "audit", "audit-*.log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
			if strings.Contains(string(text), "AFTERWARDS") {
				return true
			}
		}
		return false
	})
}
