package segment

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"dcmgate/internal/peertest"
)

// ext4IocShutdown is EXT4_IOC_SHUTDOWN: the file system stops at once. With the flag noLogFlush nothing more is
// written, not even the journal, which is what a loss of power does to it.
const (
	ext4IocShutdown = 0x8004587d
	noLogFlush      = 2
)

// loopMount makes an ext4 file system in a file and returns how to mount and unmount it, and where. It needs root and loop devices.
func loopMount(t *testing.T) (mount, unmount func(), dir string) {
	t.Helper()
	inCI := os.Getenv("CI") == "true"
	impossible := func(what string, out []byte, err error) {
		if inCI {
			t.Fatalf("%s: %v: %s: this test must run in CI; give the job root, loop devices and e2fsprogs (a privileged container)", what, err, out)
		}
		t.Skipf("%s: %v: %s: only root, with loop devices and e2fsprogs, can cut the power of a mounted file system", what, err, out)
	}
	if os.Geteuid() != 0 {
		impossible("mount", nil, os.ErrPermission)
	}
	base := t.TempDir()
	image, dir := filepath.Join(base, "image"), filepath.Join(base, "mount")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(256<<20), f.Close(), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", image).CombinedOutput(); err != nil {
		impossible("mkfs.ext4", out, err)
	}
	t.Cleanup(func() {
		exec.Command("umount", "-l", dir).Run() // nothing may be mounted there any more
	})
	mount = func() {
		t.Helper()
		if out, err := exec.Command("mount", "-o", "loop", image, dir).CombinedOutput(); err != nil {
			impossible("mount -o loop", out, err)
		}
	}
	return mount, func() { peertest.Unmount(t, image, dir) }, dir
}

// TestPowerCutExt4 stops a real ext4 under a writing store and checks that what was acknowledged is there after its
// journal was replayed.
func TestPowerCutExt4(t *testing.T) {
	mount, unmount, dir := loopMount(t)
	o := Options{SegmentSize: 8 << 20, AllocateStep: 2 << 20, PoolBytes: 16 << 20}
	r := rand.New(rand.NewPCG(1, 2))
	var owed []*object
	known := map[ID]Checkpoint{}
	for round := range 4 {
		mount()
		s, err := Open(filepath.Join(dir, "segments"), o)
		if err != nil {
			t.Fatal(err)
		}
		_, report := replayAll(t, s, known)
		known = report.Ends
		for _, o := range owed {
			expect(t, s, o)
		}
		if len(report.Damaged) > 0 {
			t.Errorf("round %d: %+v", round, report.Damaged)
		}
		t.Logf("round %d: %d records owed, replayed %d, torn %d", round, len(owed), report.Records, len(report.Torn))
		if round%2 == 1 && len(owed) > 0 { // recycle, so that later rounds overwrite
			owed = giveUp(t, s, owed, owed[0].at.Segment)
		}
		owed = append(owed, writeUntilCut(t, s, dir, uint64(round), 20+r.IntN(60))...)
		s.Close()
		unmount()
	}
}

// giveUp recycles a segment and returns the objects that are not in it.
func giveUp(t *testing.T, s *Store, owed []*object, id ID) (left []*object) {
	t.Helper()
	if err := errors.Join(s.Retire(id), s.Recycle(id)); err != nil {
		t.Fatal(err)
	}
	for _, o := range owed {
		if o.at.Segment != id {
			left = append(left, o)
		}
	}
	return left
}

// writeUntilCut writes from several goroutines, cuts the power after so many records, and returns what was
// acknowledged before. What Commit answers while the shutdown is under way does not count: in a machine without power
// it would answer nothing, but here ext4 may write the data, fail to record that their blocks are written now, as its
// journal is gone, and still let fdatasync succeed.
func writeUntilCut(t *testing.T, s *Store, dir string, seed uint64, records int) []*object {
	t.Helper()
	var (
		mu     sync.Mutex
		cut    bool
		owed   []*object
		wg     sync.WaitGroup
		enough = make(chan bool, 1)
	)
	for i := range 6 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(i)))
			for {
				o := newObject(r.Uint64(), []int{3000, 20_000, 300_000}[r.IntN(3)])
				if err := tryStore(s, o); err != nil {
					return // the power is gone
				}
				mu.Lock()
				if cut {
					mu.Unlock()
					continue
				}
				if owed = append(owed, o); len(owed) == records {
					enough <- true
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	mu.Lock()
	cut = true
	mu.Unlock()
	shutdown(t, dir)
	wg.Wait()
	return owed
}

func shutdown(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), ext4IocShutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		t.Fatalf("EXT4_IOC_SHUTDOWN: %v", errno)
	}
}
