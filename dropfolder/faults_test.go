package dropfolder

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dcmgate/internal/faultdisk"
)

// TestLeavingOnAFailingDisk has each call fail that a file's leaving the folder makes: removed, moved aside on the same disk, or
// to another, on whichever of the two disks. Once the disks work the file has left, and is in its new place,
// once unless the disk failed for good in the midst of copying.
func TestLeavingOnAFailingDisk(t *testing.T) {
	disk := faultdisk.MountApart(t)
	for _, row := range []struct {
		name, folder, target string
		answer               Verdict
		want                 int // files in the target
	}{
		{"removed", disk.Dir + "/a", disk.Dir + "/a/rejected", Taken(), 0},
		{"moved aside", disk.Dir + "/b", disk.Dir + "/b/rejected", Rejected("odd", "it is odd"), 1},
		{"to a disk that fails", t.TempDir(), disk.Dir + "/c", Rejected("odd", "it is odd"), 1},
		{"from one that fails", disk.Dir + "/d", t.TempDir(), Rejected("odd", "it is odd"), 1},
	} {
		must(t, os.MkdirAll(row.folder, 0o755))
		must(t, os.MkdirAll(row.target, 0o755))
		b := newBench(t, Options{Folder: row.folder, Rejected: row.target})
		b.answer = func(*File) Verdict { return row.answer }
		for _, errno := range faultdisk.Errnos {
			for _, times := range []int{1, 0} {
				disk.Each(t, faultdisk.Rule{Errno: errno, Times: times}, 1, func(failing func(func())) {
					b.write("a", "1")
					b.after(0)
					failing(func() {
						b.after(b.o.Quiet)
						b.after(lastRetry)
						b.after(lastRetry)
					})
					for range 3 {
						b.after(lastRetry)
					}
					if waiting := regular(t, row.folder); len(waiting) > 0 {
						t.Errorf("%s, %v, %d: %q have not left", row.name, errno, times, waiting)
					}
					moved := regular(t, row.target)
					most := row.want
					if times == 0 && row.want > 0 {
						most++ // a copy that could neither be made durable nor be removed
					}
					if len(moved) < row.want || len(moved) > most {
						t.Errorf("%s, %v, %d: %q in the end", row.name, errno, times, moved)
					}
					for _, path := range moved {
						must(t, os.Remove(path))
						_ = os.Remove(path + reasonSuffix) // which there may not be
					}
				})
			}
		}
	}
}

// copyName are names of copies while they are made: a prefix and random letters.
var copyName = regexp.MustCompile(`^\.dcmgate-[A-Z2-7]{26}$`)

// regular lists the files of a folder but for reasons and halves of copies that could not be removed.
func regular(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasSuffix(e.Name(), reasonSuffix) && !copyName.MatchString(e.Name()) {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list
}
