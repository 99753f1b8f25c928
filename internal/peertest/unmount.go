package peertest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Unmount unmounts an image that was mounted at dir with -o loop, and waits until the kernel has let go of it. A mount namespace
// that another process has made meanwhile, as buildah does, holds it as well; mounted again before that ends, it would be the
// same file system in memory, with the errors it has met.
func Unmount(t testing.TB, image, dir string) {
	t.Helper()
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		t.Fatalf("umount: %v: %s", err, out)
	}
	Eventually(t, time.Minute, "nobody has "+image+" mounted any more", func() bool {
		devices, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
		for _, device := range devices {
			if file, err := os.ReadFile(device); err == nil && strings.TrimSpace(string(file)) == image {
				return false
			}
		}
		return true
	})
}
