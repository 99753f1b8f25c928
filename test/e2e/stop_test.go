package e2e

import (
	"context"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// underLoad has modalities send while ends ends the gateway, and returns them when they have noticed.
func underLoad(t *testing.T, g *gate, ends func()) []*modality {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	var modalities []*modality
	for i, size := range []int{5 << 10, 200 << 10, 2 << 20} {
		m := newModality(g.address, size, i+1)
		modalities = append(modalities, m)
		sending.Go(func() {
			a, err := m.dial(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			defer a.Close()
			for ctx.Err() == nil && err == nil {
				_, err = m.send(ctx, a)
			}
		})
	}
	for _, m := range modalities {
		peertest.Eventually(t, 20*time.Second, "instances of each modality", func() bool { return m.count() > 10 })
	}
	ends()
	stop()
	sending.Wait()
	return modalities
}

// allArrive waits until everything acknowledged is in the archive, and looks for what was sent twice for no reason.
func allArrive(t *testing.T, modalities []*modality, cloud *archive.Archive) {
	t.Helper()
	n := 0
	for _, m := range modalities {
		n += m.count()
		peertest.Eventually(t, 30*time.Second, "all that was acknowledged in the archive", func() bool { return m.missing(t, cloud) == 0 })
	}
	t.Logf("%d acknowledged", n)
}

// nothingTwice fails the test if something was answered twice though the archive's answer was not lost.
func nothingTwice(t *testing.T, cloud *archive.Archive) {
	t.Helper()
	cloud.Walk(func(uid dicom.UID, e archive.Entry) {
		if e.Answered > 1 {
			t.Errorf("%s was delivered %d times", uid, e.Answered)
		}
	})
}

// ended waits for the process to end and returns its exit status.
func (g *gate) ended(t *testing.T, within time.Duration) int {
	t.Helper()
	status, err := g.process.Wait(within)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// TestStopUnderLoad stops the gateway with SIGTERM while it receives and delivers: it ends in order and in time, and what
// was acknowledged is delivered after the next start, none of it twice.
func TestStopUnderLoad(t *testing.T) {
	cloud, address := startArchive(t, archive.Options{Window: 4, Faults: archive.Faults{Delay: 20 * time.Millisecond}})
	g := newGate(t, "shutdown_timeout: 10s\n", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.start(t)
	modalities := underLoad(t, g, func() {
		g.process.Signal(syscall.SIGTERM)
		if status := g.ended(t, time.Minute); status != 0 {
			t.Errorf("exit status %d", status)
		}
	})
	out, status := g.run(t, "queue", "list", "--state", "active")
	if status != 0 || strings.Count(out, "\n") > 1 {
		t.Errorf("leases that were not handed back: exit status %d\n%s", status, out)
	}
	g.start(t)
	g.says(t, "replayed=0") // the index was complete after an orderly stop
	allArrive(t, modalities, cloud)
	nothingTwice(t, cloud)
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestSecondSignal ends the gateway at once while the destination stalls; nothing acknowledged is lost.
func TestSecondSignal(t *testing.T) {
	stalled, address := startArchive(t, archive.Options{Faults: archive.Faults{StallRate: 1}})
	g := newGate(t, "shutdown_timeout: 1h\n", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.start(t)
	modalities := underLoad(t, g, func() {
		peertest.Eventually(t, 10*time.Second, "a delivery under way", func() bool { return g.metric(t, "dcmgate_jobs", `state="active"`) > 0 })
		g.process.Signal(syscall.SIGTERM)
		g.says(t, "stopping")
		g.process.Signal(syscall.SIGTERM)
		if status := g.ended(t, time.Minute); status == 0 {
			t.Error("exit status 0 though it was ended before it was done")
		}
	})
	stalled.Close()
	cloud, _, err := archive.Listen(address, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	g.start(t)
	allArrive(t, modalities, cloud)
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestStopWhileDestinationStalls stops the gateway while its destination does not answer: it does not wait longer than it
// may, and delivers after the next start.
func TestStopWhileDestinationStalls(t *testing.T) {
	stalled, address := startArchive(t, archive.Options{Faults: archive.Faults{StallRate: 1}})
	g := newGate(t, "shutdown_timeout: 3s\n", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.start(t)
	modalities := underLoad(t, g, func() {
		peertest.Eventually(t, 10*time.Second, "a delivery under way", func() bool { return g.metric(t, "dcmgate_jobs", `state="active"`) > 0 })
		g.process.Signal(syscall.SIGTERM)
		if status := g.ended(t, time.Minute); status != 0 {
			t.Errorf("exit status %d", status)
		}
	})
	stalled.Close()
	cloud, _, err := archive.Listen(address, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	g.start(t)
	allArrive(t, modalities, cloud)
	nothingTwice(t, cloud)
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestStopWhileSenderStalls stops the gateway while a modality is in the middle of an instance and sends no more.
func TestStopWhileSenderStalls(t *testing.T) {
	g := newGate(t, "shutdown_timeout: 3s\n")
	g.start(t)
	m := newModality(g.address, 1<<20, 1)
	a, err := m.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := m.send(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	c, err := from("127.0.0.1", g.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(associateRequest(t, ctContexts()...))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	message := storeMessage(t, "2.25.1", make([]byte, 1<<20))
	c.Write(message[:len(message)/2])
	peertest.Eventually(t, 10*time.Second, "half an instance received", func() bool {
		return g.metric(t, "dcmgate_association_received_bytes_total", `direction="in"`) > float64(1<<20+len(message)/2-1<<10)
	})
	g.process.Signal(syscall.SIGTERM)
	if status := g.ended(t, time.Minute); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if out, status := g.run(t, "verify"); status != 0 || !strings.Contains(out, "1 instance,") {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}
