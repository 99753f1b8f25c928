package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"dcmgate/internal/faultdisk"
	"dcmgate/internal/synth"
	"dcmgate/spool/segment"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// closedSpool is the folder of a spool with one instance.
func closedSpool(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := openSpool(t, dir, small())
	mustSend(t, s, synth.NewTemplate(3000, 1).Object(1, 1, 1), to("cloud")...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestWhatKeepsASpoolFromBeingOpened expects each error to name the path, what is wrong, and what to do, and the spool to be as it was
// when that is mended.
func TestWhatKeepsASpoolFromBeingOpened(t *testing.T) {
	whole := closedSpool(t)
	const first = "00000001.seg"
	for _, row := range []struct {
		name string
		path string // below the data folder, that is moved away
		put  func(path, moved string) error
		want []string // and the path
	}{
		{"segments are a file", segmentsDir, writeFile("x"), []string{"is a file, not a folder", "move it away"}},
		{"index is a file", indexDir, writeFile("x"), []string{"is a file, not a folder", "move it away"}},
		{"segments are a link to nothing", segmentsDir, linkTo("/not/there"), []string{"symbolic link to /not/there", "mount"}},
		{"index is a link to nothing", indexDir, linkTo("/not/there"), []string{"symbolic link to /not/there", "mount"}},
		{"segments are gone", segmentsDir, nothing, []string{"there are no segments", "mounted", "verify --rebuild"}},
		{"segments are not mounted", segmentsDir, emptyFolder, []string{"there are no segments", "mounted", "verify --rebuild"}},
		{"index is gone", indexDir, nothing, []string{"no index", "mounted", "verify --rebuild"}},
		{"index is not mounted", indexDir, emptyFolder, []string{"no index", "mounted", "verify --rebuild"}},
		{"a segment is a link", segmentsDir + "/" + first, func(path, moved string) error { return os.Symlink(moved, path) }, []string{first, "is a symbolic link", "itself in its place"}},
		{"a segment is a folder", segmentsDir + "/" + first, emptyFolder, []string{first, "is a folder", "itself in its place"}},
		{"two segments of a number", segmentsDir + "/00000001.free", writeFile(""), []string{first, "move away"}},
		{"the lock is a folder", segmentsDir + "/lock", emptyFolder, []string{"lock: is a directory"}},
		{"half a MANIFEST", indexDir + "/" + badger.ManifestFilename, writeFile("Bdg"), []string{"MANIFEST", "damaged", "verify --rebuild"}},
		{"half a KEYREGISTRY", indexDir + "/KEYREGISTRY", writeFile("xxxxx"), []string{"sanity text", "verify --rebuild"}},
		{"a file of others in the index", indexDir + "/notes.mem", writeFile("x"), []string{"notes.mem", "verify --rebuild"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			base := t.TempDir()
			dir, moved := filepath.Join(base, "data"), filepath.Join(base, "moved")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, row.path)
			wasThere := os.Rename(path, moved) == nil
			if err := row.put(path, moved); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, small())
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			for _, want := range append(row.want, dir) {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("of several lines: %q", err)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if wasThere {
				if err := os.Rename(moved, path); err != nil {
					t.Fatal(err)
				}
			}
			s = openSpool(t, dir, small())
			if st := s.Stats(); st.Instances != 1 {
				t.Errorf("%+v", st)
			}
			verifyClean(t, s)
		})
	}
}

func nothing(string, string) error     { return nil }
func emptyFolder(path, _ string) error { return os.Mkdir(path, 0o700) }
func linkTo(target string) func(string, string) error {
	return func(path, _ string) error { return os.Symlink(target, path) }
}
func writeFile(content string) func(string, string) error {
	return func(path, _ string) error { return os.WriteFile(path, []byte(content), 0o600) }
}

// TestSystemErrorsNameRemedies has calls fail that opening a spool makes, with errors that have to do with how the machine is
// set up.
func TestSystemErrorsNameRemedies(t *testing.T) {
	disk := faultdisk.MountApart(t)
	if err := os.CopyFS(filepath.Join(disk.Below, "data"), os.DirFS(closedSpool(t))); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(disk.Dir, "data")
	chown := fmt.Sprintf("chown -R %d:%d %s", os.Geteuid(), os.Getegid(), dir)
	for _, row := range []struct {
		errno syscall.Errno
		want  string
	}{
		{syscall.EACCES, chown},
		{syscall.EPERM, chown},
		{syscall.EROFS, "e2fsck"},
		{syscall.ENOSPC, "df -i"}, // as where there are no inodes left
		{syscall.EDQUOT, "quota of "},
		{syscall.EMFILE, "LimitNOFILE="},
		{syscall.ENFILE, "fs.file-max"},
		{syscall.EIO, "dmesg"},
		{syscall.ESTALE, "umount"},
	} {
		for _, rule := range []faultdisk.Rule{
			{Ops: []faultdisk.Op{faultdisk.OpOpenRW}, Path: "data/segments/lock"},
			{Ops: []faultdisk.Op{faultdisk.OpList}, Path: "data/segments"},
			{Ops: []faultdisk.Op{faultdisk.OpCreate}, Path: "data/index"},
			{Ops: []faultdisk.Op{faultdisk.OpOpenRW}, Path: "data/index/KEYREGISTRY"},
		} {
			if rule.Ops[0] != faultdisk.OpCreate && (row.errno == syscall.ENOSPC || row.errno == syscall.EDQUOT) || row.errno == syscall.ESTALE && rule.Ops[0] != faultdisk.OpList {
				continue
			}
			rule.Errno = row.errno
			disk.Fail(t, rule)
			s, err := Open(dir, small())
			if n := disk.Heal(t); n == 0 || err == nil {
				if err == nil {
					s.Close()
				}
				t.Errorf("%v: %d calls failed, %v", rule, n, err)
				continue
			}
			text := err.Error()
			if !strings.Contains(text, rule.Path) || !strings.Contains(text, row.errno.Error()) || strings.Count(text, row.want) != 1 || strings.Contains(text, "\n") {
				t.Errorf("%v: %s", rule, text)
			}
		}
	}
	verifyClean(t, openSpool(t, dir, small()))
}

// TestOtherErrorsSayWhatToDo has errors that name their own remedy, which is all they name.
func TestOtherErrorsSayWhatToDo(t *testing.T) {
	for _, err := range []error{
		&segment.LockError{Dir: "d", Err: syscall.EWOULDBLOCK}, &segment.FormatError{What: "the index", Format: 9, Known: 2},
		&noRoomError{dir: "d"}, errNoIndex, errNoSegments, advise("the index is damaged (%w)", syscall.EIO),
	} {
		if got := explained("d", fmt.Errorf("open: %w", err)); got.Error() != "open: "+err.Error() || !errors.Is(got, err) {
			t.Errorf("%v", got)
		}
	}
}

// TestEmptyValueLog opens an index whose last start was cut off by the power.
func TestEmptyValueLog(t *testing.T) {
	dir := closedSpool(t)
	if err := os.WriteFile(filepath.Join(dir, indexDir, "000009.vlog"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	verifyClean(t, openSpool(t, dir, small()))
}

// TestIndexOnAnotherFileSystem has the index on a file system of its own: its room counts, and as a mount point it cannot be made
// anew, but by a symbolic link it can.
func TestIndexOnAnotherFileSystem(t *testing.T) {
	disk := faultdisk.MountApart(t)
	dir := closedSpool(t)
	index := filepath.Join(dir, indexDir)
	if err := errors.Join(os.CopyFS(disk.Below, os.DirFS(index)), os.RemoveAll(index), os.Mkdir(index, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(disk.Dir, index, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	unmount := sync.OnceFunc(func() {
		if err := unix.Unmount(index, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(unmount)
	s, err := Open(dir, small())
	if err != nil {
		t.Fatal(err)
	}
	verifyClean(t, s)
	disk.Fail(t, faultdisk.Rule{Errno: syscall.EIO, Ops: []faultdisk.Op{faultdisk.OpStatFS}})
	if _, err := s.room.free(); !errors.Is(err, syscall.EIO) {
		t.Errorf("the room of another file system was asked for: %v", err)
	}
	disk.Heal(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Rebuild(t.Context(), dir, small(), nil); err == nil || !strings.Contains(err.Error(), index+" is a mount point") || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("made anew: %v", err)
	}
	unmount()
	if err := errors.Join(os.Remove(index), os.Symlink(disk.Dir, index)); err != nil {
		t.Fatal(err)
	}
	report, err := Rebuild(t.Context(), dir, small(), nil)
	if err != nil || report.Instances != 1 || !report.OldIndexRead {
		t.Errorf("%+v, %v", report, err)
	}
	verifyClean(t, openSpool(t, dir, small()))
}
