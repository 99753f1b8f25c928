package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// disk is a small file system of its own.
type disk struct{ image, dir string }

// smallDisk mounts a file system of so many bytes, which needs root and a loop device.
func smallDisk(t testing.TB, size int64) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		peertest.Missing(t, "a file system of its own needs root")
	}
	dir := t.TempDir()
	d := &disk{filepath.Join(dir, "image"), filepath.Join(dir, "disk")}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, size), os.Mkdir(d.dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-m", "0", d.image).CombinedOutput(); err != nil {
		peertest.Missing(t, fmt.Sprintf("mkfs.ext4: %v: %s", err, out))
	}
	if out, err := d.mount(); err != nil {
		peertest.Missing(t, fmt.Sprintf("mount: %v: %s", err, out))
	}
	t.Cleanup(func() { peertest.Unmount(t, d.image, d.dir) })
	return d
}

func (d *disk) mount() ([]byte, error) {
	return exec.Command("mount", "-o", "loop", d.image, d.dir).CombinedOutput()
}

// remount mounts the file system anew.
func (d *disk) remount(t testing.TB, before ...func()) {
	t.Helper()
	peertest.Unmount(t, d.image, d.dir)
	for _, do := range before {
		do()
	}
	if out, err := d.mount(); err != nil {
		t.Fatalf("mount: %v: %s", err, out)
	}
}

// cutPower makes every access to the file system fail from now on, and forgets what was not synced.
func (d *disk) cutPower(t testing.TB) {
	t.Helper()
	const ext4Shutdown, withoutFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	f, err := os.Open(d.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, withoutFlush); err != nil {
		peertest.Missing(t, fmt.Sprintf("ext4 cannot be shut down: %v", err))
	}
}

// onDisk makes a gateway keep its data on another file system.
func (g *gate) onDisk(t testing.TB, dir string) {
	t.Helper()
	data := filepath.Join(dir, "data")
	g.reconfigure(t, g.data, data)
	g.data = data
}

// reconfigure replaces a part of the configuration, which takes effect with the next start.
func (g *gate) reconfigure(t testing.TB, from, to string) {
	t.Helper()
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), from, to, 1)
	if changed == string(text) {
		t.Fatalf("no %q in the configuration", from)
	}
	if err := os.WriteFile(g.config, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
}

// modality sends instances one at a time and keeps the digests of those that were answered with success.
type modality struct {
	address  string
	template *synth.Template
	study    int
	answered func(dimse.Status) // told of each answer, if not nil

	mu    sync.Mutex
	next  int
	acked sums
}

func newModality(address string, size, study int) *modality {
	return &modality{address: address, template: synth.NewTemplate(size, uint64(study)), study: study, acked: sums{}}
}

func ctContexts() []pdu.PresentationContext {
	return []pdu.PresentationContext{{ID: 1, AbstractSyntax: synth.CTImageStorage, TransferSyntaxes: []string{synth.ExplicitVRLittleEndian}}}
}

func (m *modality) dial(ctx context.Context) (*dimse.Association, error) {
	var dialer dimse.Dialer
	return dialer.Dial(ctx, m.address, dimse.Proposal{CalledAETitle: "DCMGATE", CallingAETitle: "CT1", Contexts: ctContexts()})
}

// send sends the next instance.
func (m *modality) send(ctx context.Context, a *dimse.Association) (dimse.Status, error) {
	m.mu.Lock()
	o := m.template.Object(m.study, 1, m.next)
	m.next++
	m.mu.Unlock()
	response, err := a.Store(ctx, dimse.StoreRequest{ContextID: 1, SOPClassUID: synth.CTImageStorage,
		SOPInstanceUID: dicom.UID(o.SOPInstanceUID), Data: bytes.NewReader(o.Data), Size: int64(len(o.Data))})
	if err == nil && m.answered != nil {
		m.answered(response.Status)
	}
	if err == nil && response.Status == dimse.StatusSuccess {
		m.mu.Lock()
		m.acked[dicom.UID(o.SOPInstanceUID)] = sha256.Sum256(o.Data)
		m.mu.Unlock()
	}
	return response.Status, err
}

// snapshot is what was acknowledged so far.
func (m *modality) snapshot() *modality {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &modality{acked: maps.Clone(m.acked)}
}

// missing reports how many of the acknowledged instances an archive lacks; other bytes fail the test.
func (m *modality) missing(t testing.TB, a *archive.Archive) int {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for uid, want := range m.acked {
		got, ok := a.Digest(uid)
		if ok && got != want {
			t.Fatalf("%s arrived with other bytes", uid)
		}
		if !ok {
			n++
		}
	}
	return n
}

// rejectedTransiently tells whether an association is refused for the time being (PS3.8 9.3.4, result 2).
func rejectedTransiently(err error) bool {
	var rejected *dimse.RejectError
	return errors.As(err, &rejected) && rejected.Result == pdu.RejectedTransient
}

// fillUp sends over associations that are open already until each is told that there is no room, and returns the steps of
// back-pressure in the order in which they were met.
func fillUp(t *testing.T, g *gate, m *modality, associations int) (steps []string) {
	t.Helper()
	met := func(step string) {
		if len(steps) == 0 || steps[len(steps)-1] != step {
			steps = append(steps, step)
		}
	}
	var open []*dimse.Association
	for range associations {
		a, err := m.dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		open = append(open, a)
	}
	slow, sent := 0, 0
	for deadline := time.Now().Add(3 * time.Minute); ; sent++ {
		if time.Now().After(deadline) {
			t.Fatalf("not full after %d instances", sent)
		}
		begun := time.Now()
		status, err := m.send(t.Context(), open[sent%len(open)])
		if err != nil {
			t.Fatalf("instance %d: %v", sent, err)
		}
		if status == dimse.StatusOutOfResources {
			met("A700")
			return steps
		} else if status != dimse.StatusSuccess {
			t.Fatalf("instance %d: %v", sent, status)
		}
		// An answer is held back by 100 ms. Three in a row are no accident of a busy machine.
		if slow++; time.Since(begun) < 95*time.Millisecond {
			slow = 0
		}
		if sent%8 == 0 || slow > 0 {
			a, err := m.dial(t.Context())
			switch {
			case err == nil:
				a.Release(t.Context())
			case rejectedTransiently(err):
				met("rejection")
				continue
			default:
				t.Fatalf("after %d instances: %v", sent, err)
			}
		}
		if slow >= 3 && len(steps) == 0 {
			met("slower")
		}
	}
}

// TestFullDisk fills a small file system while the destination is away: senders are slowed, then turned away, then told
// A700; nothing acknowledged is lost, not even through a restart on the full disk; and when the destination is back, all of
// it arrives and there is room again.
func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, 600<<20)
	destinationAddress := peertest.Address(t)
	g := newGate(t, "spool: {min_free: 64MiB, segment_size: 16MiB}\n",
		destination{name: "cloud", aeTitle: "CLOUD", address: destinationAddress, more: "retry: {initial: 100ms, max: 500ms}"})
	g.onDisk(t, disk.dir)
	g.start(t)

	m := newModality(g.address, 1<<20, 1)
	steps := strings.Join(fillUp(t, g, m, 3), ", ")
	if steps != "slower, rejection, A700" {
		t.Errorf("steps of back-pressure: %s", steps)
	}
	t.Logf("full after %d instances", len(m.acked))
	if len(m.acked) < 100 {
		t.Errorf("full after only %d instances", len(m.acked))
	}
	stayFull(t, g, m)
	if out, status := g.run(t, "verify"); status != 0 {
		t.Errorf("verify on a full disk: exit status %d\n%s", status, out)
	}
	g.stop(t)
	g.start(t) // on the full disk
	if out, status := g.run(t, "verify"); status != 0 {
		t.Errorf("verify after a restart on a full disk: exit status %d\n%s", status, out)
	}

	cloud, _, err := archive.Listen(destinationAddress, archive.Options{Window: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	roomAgain(t, m, 100) // more than there is room for unless what was delivered is evicted
	peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// stayFull presses on: every attempt is refused in order, an echo is not, and nothing of it remains.
func stayFull(t *testing.T, g *gate, m *modality) {
	t.Helper()
	if out, status := peertest.Run(t, nil, binary, "echo", g.address); status != 0 {
		t.Errorf("echo on a full disk: exit status %d\n%s", status, out)
	}
	for range 20 {
		if a, err := m.dial(t.Context()); !rejectedTransiently(err) {
			t.Errorf("an association on a full disk: %v, want a transient rejection", err)
			if err == nil {
				a.Close()
			}
			return
		}
	}
}

// roomAgain sends until n more instances are acknowledged.
func roomAgain(t *testing.T, m *modality, n int) {
	t.Helper()
	m.mu.Lock()
	want := len(m.acked) + n
	m.mu.Unlock()
	peertest.Eventually(t, 30*time.Second, "intake works again", func() bool {
		a, err := m.dial(t.Context())
		if rejectedTransiently(err) {
			return false
		} else if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		for {
			status, err := m.send(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if status != dimse.StatusSuccess {
				return false
			}
			if len(m.acked) >= want {
				return a.Release(t.Context()) == nil
			}
		}
	})
}

// keepSending sends until ctx ends, whatever the gateway answers.
func (m *modality) keepSending(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		a, err := m.dial(ctx)
		if err != nil {
			continue
		}
		for range 10 {
			if _, err := m.send(ctx, a); err != nil {
				break
			}
		}
		a.Close()
	}
}

// answer returns the HTTP status of a path of the gateway, 0 if that does not answer.
func (g *gate) answer(t testing.TB, path string) int {
	t.Helper()
	answer, err := http.Get("http://" + g.http + path)
	if err != nil {
		return 0
	}
	answer.Body.Close()
	return answer.StatusCode
}

// TestPowerCut takes the disk away while modalities send: from then on nothing is acknowledged and /healthz is red, and
// after the next start on the same disk everything that was acknowledged is there.
func TestPowerCut(t *testing.T) {
	disk := smallDisk(t, 600<<20)
	cloud, address := startArchive(t, archive.Options{Window: 8})
	g := newGate(t, "spool: {min_free: 64MiB, segment_size: 16MiB}\n", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.onDisk(t, disk.dir)
	g.start(t)
	if status := g.answer(t, "/healthz"); status != http.StatusOK {
		t.Errorf("/healthz of a healthy gateway: %d", status)
	}
	ctx, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	var modalities []*modality
	for i, size := range []int{3 << 10, 100 << 10, 1 << 20} {
		m := newModality(g.address, size, i+1)
		modalities = append(modalities, m)
		senders.Go(func() { m.keepSending(ctx) })
	}
	for _, m := range modalities {
		peertest.Eventually(t, 10*time.Second, "some instances", func() bool { return m.count() > 20 })
	}
	// Only what was acknowledged before the cut counts: ext4 answers a sync that it is cut down in the middle of with
	// success, where a real one would take the process away too.
	before := make([]*modality, len(modalities))
	for i, m := range modalities {
		before[i] = m.snapshot()
	}
	disk.cutPower(t)
	during := make([]int, len(modalities))
	for i, m := range modalities {
		during[i] = m.count()
	}
	peertest.Eventually(t, 10*time.Second, "/healthz says that there is no disk", func() bool {
		select {
		case <-g.process.Exited(): // it may give up, but it must not lie
			return true
		default:
			return g.answer(t, "/healthz") == http.StatusServiceUnavailable
		}
	})
	for i, m := range modalities {
		if n := m.count() - during[i]; n > 1 { // one answer may have been under way
			t.Errorf("%d instances were acknowledged without a disk", n)
		}
	}
	if out := g.process.Output(); strings.Contains(out, "panic") || strings.Contains(out, "fatal error") {
		t.Errorf("a panic: %s", out)
	}
	g.process.Kill()
	stop()
	senders.Wait()
	disk.remount(t)
	g.start(t)
	for _, m := range before {
		peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	}
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestQuota keeps the spool under its quota by evicting what was delivered, and never anything else.
func TestQuota(t *testing.T) {
	const quota = 128 << 20
	cloud, address := startArchive(t, archive.Options{Window: 8})
	g := newGate(t, "spool: {quota: 128MiB, segment_size: 16MiB}\n", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.start(t)
	m := newModality(g.address, 1<<20, 1)
	for range 2 {
		roomAgain(t, m, 100)
		peertest.Eventually(t, 10*time.Second, "a spool within its quota", func() bool { return g.metric(t, "dcmgate_spool_bytes") <= quota })
	}
	peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	if g.metric(t, "dcmgate_evictions_total") == 0 {
		t.Error("nothing was evicted")
	}
	if n := allocated(t, filepath.Join(g.data, "segments")); n > 2*quota {
		t.Errorf("the segments take %d MiB of disk, the quota is %d MiB", n>>20, quota>>20)
	}
	nothingTwice(t, cloud)
	cloud.Close()

	// Without its destination the gateway takes what the quota allows and then no more.
	kept := newModality(g.address, 1<<20, 2)
	steps := strings.Join(fillUp(t, g, kept, 2), ", ")
	if !strings.HasSuffix(steps, "rejection, A700") { // so small a quota leaves little to be slow in
		t.Errorf("steps of back-pressure: %s", steps)
	}
	if n := kept.count(); n < 64 || n > 128 {
		t.Errorf("%d MiB were taken with a quota of 128 MiB", n)
	}
	again, _, err := archive.Listen(address, archive.Options{Window: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if out, status := g.run(t, "queue", "retry", "--destination", "cloud"); status != 0 { // does not wait for the breaker
		t.Errorf("queue retry: exit status %d\n%s", status, out)
	}
	peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return kept.missing(t, again) == 0 })
	roomAgain(t, kept, 100)
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestRetention evicts by age what was delivered, and only that.
func TestRetention(t *testing.T) {
	address := peertest.Address(t)
	g := newGate(t, "spool: {retention: 1s}\n", destination{name: "cloud", aeTitle: "CLOUD", address: address, more: "retry: {initial: 100ms, max: 100ms}"})
	g.start(t)
	m := newModality(g.address, 1<<20, 1)
	roomAgain(t, m, 5)
	g.stop(t)
	time.Sleep(1500 * time.Millisecond) // until they are too old; a start looks at age
	g.start(t)
	cloud, _, err := archive.Listen(address, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	if n := g.metric(t, "dcmgate_spool_instances"); n != 5 {
		t.Errorf("%v of 5 instances are left though none was delivered", n)
	}
	peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	g.stop(t)
	g.start(t)
	peertest.Eventually(t, 10*time.Second, "eviction by age", func() bool { return g.metric(t, "dcmgate_spool_instances") == 0 })
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestDiskFilledByOthers has another program take all of the file system while instances of many sizes come in and
// deliveries are tried: the gateway lives on, refuses in order, loses nothing, and recovers when the room is given back.
func TestDiskFilledByOthers(t *testing.T) {
	disk := smallDisk(t, 600<<20)
	destinationAddress := peertest.Address(t)
	g := newGate(t, "spool: {min_free: 64MiB, segment_size: 16MiB}\n",
		destination{name: "cloud", aeTitle: "CLOUD", address: destinationAddress, more: "retry: {initial: 100ms, max: 200ms}"})
	g.onDisk(t, disk.dir)
	p := g.start(t)

	ctx, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	var modalities []*modality
	for i, size := range []int{10 << 10, 300 << 10, 5 << 20, 24 << 20} {
		m := newModality(g.address, size, i+1)
		modalities = append(modalities, m)
		senders.Go(func() { m.keepSending(ctx) })
	}
	acked := func() (n int) {
		for _, m := range modalities {
			m.mu.Lock()
			n += len(m.acked)
			m.mu.Unlock()
		}
		return n
	}
	peertest.Eventually(t, 10*time.Second, "some instances", func() bool { return acked() > 20 })
	filler := fillDisk(t, disk.dir)
	for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		filler.more(t) // what the gateway gives back is taken as well
	}
	select {
	case <-p.Exited():
		t.Errorf("the gateway died on a full disk: %.2000s", p.Output())
		g.start(t)
	default:
	}
	filler.release(t)
	before := acked()
	peertest.Eventually(t, 20*time.Second, "intake works again", func() bool { return acked() > before+5 })
	stop()
	senders.Wait()
	cloud, _, err := archive.Listen(destinationAddress, archive.Options{Window: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	for _, m := range modalities {
		peertest.Eventually(t, 30*time.Second, "everything delivered", func() bool { return m.missing(t, cloud) == 0 })
	}
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestIndexOnFullDisk has the index written while another program has taken the last of the disk: it is memory-mapped, and
// the process must neither die of it nor fail to stop and to start again.
func TestIndexOnFullDisk(t *testing.T) {
	t.Run("stopped", func(t *testing.T) {
		testIndexOnFullDisk(t, func(g *gate) {
			g.stop(t)
			if out := g.process.Output(); strings.Contains(out, "fatal error") {
				t.Errorf("the stop on a full disk: %.500s", out)
			}
		})
	})
	t.Run("killed", func(t *testing.T) { testIndexOnFullDisk(t, func(g *gate) { g.process.Kill() }) })
}

func testIndexOnFullDisk(t *testing.T, end func(*gate)) {
	t.Helper()
	disk := smallDisk(t, 600<<20)
	g := newGate(t, "spool: {min_free: 64MiB, segment_size: 16MiB}\n",
		destination{name: "cloud", aeTitle: "CLOUD", address: peertest.Address(t)})
	g.onDisk(t, disk.dir)
	g.start(t)
	m := newModality(g.address, 3000, 1)
	ctx, stop := context.WithCancel(t.Context())
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() { m.keepSending(ctx) })
	}
	peertest.Eventually(t, 20*time.Second, "some instances", func() bool { return m.count() > 500 })
	stop()
	senders.Wait()

	filler := fillDisk(t, disk.dir)
	for range 3 { // refusing is fine, dying is not
		g.run(t, "queue", "drop", "--all")
		g.run(t, "queue", "retry", "--all", "--state", "dropped")
	}
	select {
	case <-g.process.Exited():
		t.Fatalf("the gateway died on a full disk: %.500s", g.process.Output())
	default:
	}
	end(g)
	filler.more(t)
	p := peertest.Start(t, nil, binary, "serve", "--config", g.config)
	p.Wait(time.Second) // it may serve or end, but with words
	if out := p.Output(); strings.Contains(out, "fatal error") || strings.Contains(out, "panic") {
		t.Errorf("the start on a full disk: %.500s", out)
	}
	p.Kill()
	filler.release(t)
	g.start(t)
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// TestLimitsUnderLoad has senders that are faster than eviction while the destination keeps up: neither the quota nor the
// reserve of the file system is overrun by more than what is in reception.
func TestLimitsUnderLoad(t *testing.T) {
	const quota, minFree, slack = 128 << 20, 128 << 20, 64 << 20
	for _, row := range []struct{ name, spool string }{
		{"quota", "spool: {quota: 128MiB, min_free: 64MiB, segment_size: 16MiB}\n"},
		{"free space", "spool: {min_free: 128MiB, segment_size: 16MiB}\n"},
	} {
		t.Run(row.name, func(t *testing.T) {
			disk := smallDisk(t, 700<<20)
			_, address := startArchive(t, archive.Options{Window: 8, NoDigest: true})
			g := newGate(t, row.spool, destination{name: "cloud", aeTitle: "CLOUD", address: address})
			g.onDisk(t, disk.dir)
			g.start(t)
			s := newSender(g.address, 1<<20, 700)
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.Run(t.Context(), 4)
			}()
			kept, free := 0.0, int64(1<<62)
			for sending := true; sending; {
				select {
				case <-done:
					sending = false
				case <-time.After(20 * time.Millisecond):
				}
				var fs unix.Statfs_t
				if err := unix.Statfs(disk.dir, &fs); err != nil {
					t.Fatal(err)
				}
				kept, free = max(kept, g.metric(t, "dcmgate_spool_bytes")), min(free, int64(fs.Bavail)*fs.Bsize)
			}
			t.Logf("at most %d MiB kept, at least %d MiB free", int64(kept)>>20, free>>20)
			if row.name == "quota" && kept > quota+slack {
				t.Errorf("%d MiB were kept with a quota of %d MiB", int64(kept)>>20, quota>>20)
			}
			if row.name == "free space" && free < minFree-slack {
				t.Errorf("only %d MiB were free, min_free is %d MiB", free>>20, minFree>>20)
			}
		})
	}
}

// filler is a file that takes all the room there is.
type filler struct{ file *os.File }

func fillDisk(t *testing.T, dir string) *filler {
	t.Helper()
	file, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	f := &filler{file}
	f.more(t)
	return f
}

// more writes until there is no room.
func (f *filler) more(t *testing.T) {
	t.Helper()
	block := make([]byte, 1<<20)
	for len(block) >= 4096 {
		if _, err := f.file.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func (f *filler) release(t *testing.T) {
	t.Helper()
	if err := errors.Join(f.file.Close(), os.Remove(f.file.Name())); err != nil {
		t.Fatal(err)
	}
}
