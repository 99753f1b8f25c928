package spool

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dcmgate/internal/faultdisk"
	"dcmgate/internal/synth"

	"github.com/dgraph-io/badger/v4"
)

// killed is a spool as a process leaves it that is killed: of three instances two are in the index, in the log of a memtable,
// and one is in its segment alone.
type killed struct {
	*testing.T
	disk   *faultdisk.Apart
	files  string
	number int // of copies
	held   map[InstanceID]synth.Object
	last   Instance // that is not in the index
}

func killedSpool(t *testing.T, disk *faultdisk.Apart) *killed {
	t.Helper()
	k := &killed{T: t, disk: disk, files: t.TempDir(), held: map[InstanceID]synth.Object{}}
	dir := t.TempDir()
	s := openSpool(t, dir, small())
	for i := range 3 {
		if i == 2 {
			flush(t, s)
			replaceCommit(t, s, func(txn *badger.Txn) error { txn.Discard(); return syscall.EIO })
		}
		o := synth.NewTemplate(3000, 1).Object(1, 1, i)
		k.last = mustSend(t, s, o, to("cloud")...).Instance
		k.held[k.last.ID] = o
	}
	k.copy(k.files, dir)
	// Logs of which little is written are holes of 128 and 32 MiB, to be read again and again.
	for _, name := range []string{"000001.vlog", "00001" + memTableSuffix} {
		if err := os.Truncate(filepath.Join(k.files, indexDir, name), 256<<10); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// copy makes a folder of what is in another, with its holes.
func (k *killed) copy(to, from string) {
	k.Helper()
	if out, err := exec.Command("cp", "-rT", "--sparse=always", from, to).CombinedOutput(); err != nil {
		k.Fatalf("%v: %s", err, out)
	}
}

// again puts the files on the disk anew, and gives where they are.
func (k *killed) again() (dir, name string) {
	k.Helper()
	if k.number > 0 {
		if err := os.RemoveAll(filepath.Join(k.disk.Below, fmt.Sprint(k.number))); err != nil {
			k.Fatal(err)
		}
	}
	k.number++
	name = fmt.Sprint(k.number)
	k.copy(filepath.Join(k.disk.Below, name), k.files)
	return filepath.Join(k.disk.Dir, name), name
}

// whole expects everything that was acknowledged, and closes the spool.
func (k *killed) whole(s *Spool) {
	k.Helper()
	if r := s.Recovery(); r.Damaged+r.Torn+r.Unreadable > 0 {
		k.Errorf("%+v", r)
	}
	for id, o := range k.held {
		sameBytes(k, dataSet(k, s, id), o.Data)
	}
	if n := len(mustClaim(k, s, "cloud", 10)); n != len(k.held) {
		k.Errorf("%d jobs", n)
	}
	verifyClean(k, s)
	if err := s.Close(); err != nil {
		k.Error(err)
	}
}

// TestStartThatIsToldLate has the first sync fail of each file on which a start relies, as the kernel does with news of a write
// that failed when the process before was killed. The start goes on and tells of it.
func TestStartThatIsToldLate(t *testing.T) {
	k := killedSpool(t, faultdisk.MountApart(t))
	for _, path := range []string{
		filepath.Join(indexDir, badger.ManifestFilename), filepath.Join(indexDir, "00001"+memTableSuffix), filepath.Join(indexDir, "000001.vlog"),
		indexDir, segmentsDir, filepath.Join(segmentsDir, "00000001.seg"),
	} {
		dir, name := k.again()
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		op := faultdisk.OpSync
		if info.IsDir() {
			op = faultdisk.OpSyncDir
		}
		var log bytes.Buffer
		o := small()
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		k.disk.Fail(t, faultdisk.Rule{Errno: syscall.EIO, Ops: []faultdisk.Op{op}, Path: filepath.Join(name, path), Times: 1})
		s, err := Open(dir, o)
		if n := k.disk.Heal(t); n != 1 || err != nil {
			t.Fatalf("%s: %d calls failed, %v", path, n, err)
		}
		k.whole(s)
		if told := log.String(); !strings.Contains(told, "told late") || !strings.Contains(told, path) {
			t.Errorf("%s: the log says %s", path, told)
		}
	}
}

// TestStartWhoseSyncsFail has one sync of a start fail, each in turn. It goes on or says what failed; then the next one, as
// systemd makes it, goes on. Nothing is lost.
func TestStartWhoseSyncsFail(t *testing.T) {
	k := killedSpool(t, faultdisk.MountApart(t))
	syncs, failed := []faultdisk.Op{faultdisk.OpSync, faultdisk.OpSyncDir}, 0
	k.disk.Each(t, faultdisk.Rule{Errno: syscall.EIO, Ops: syncs, Times: 1}, 1, func(failing func(func())) {
		dir, _ := k.again()
		var s *Spool
		var err error
		failing(func() { s, err = Open(dir, small()) })
		if err != nil {
			if !strings.Contains(err.Error(), syscall.EIO.Error()) { // Badger does not wrap it
				t.Errorf("not the disk's error: %v", err)
			}
			failed++
			s, err = Open(dir, small())
		}
		if err != nil {
			t.Fatalf("the second start: %v", err)
		}
		k.whole(s)
	})
	if failed == 0 || failed == k.number {
		t.Errorf("of %d starts %d have failed", k.number, failed)
	}
}

// TestStartThatTheKernelTellsLate has the disk fail when the kernel writes what a process that was killed has written, and not
// synced: the page cache shows it, the disk does not have it, and the first sync fails. Of a log of the index and the MANIFEST nothing
// is lost that can be read, and it is durable when the spool is open; a record in a segment is taken from the disk alone.
func TestStartThatTheKernelTellsLate(t *testing.T) {
	k := killedSpool(t, faultdisk.MountCaching(t))
	l := k.last.location
	for _, row := range []struct {
		path  string
		at, n int64 // what was written last
	}{
		{filepath.Join(indexDir, "00001"+memTableSuffix), 200, 256<<10 - 200},
		{filepath.Join(indexDir, badger.ManifestFilename), 0, 8},
		{filepath.Join(segmentsDir, "00000001.seg"), l.Offset, l.Length},
	} {
		dir, name := k.again()
		k.writeLate(name, row.path, row.at, row.n)
		var log bytes.Buffer
		o := small()
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		inIndex := strings.HasPrefix(row.path, indexDir)
		if inIndex {
			if err := settleIndex(filepath.Join(dir, indexDir), o.Logger); err != nil {
				t.Fatal(err)
			}
			cut := filepath.Join(t.TempDir(), "cut") // what a loss of power leaves
			k.copy(cut, filepath.Join(k.disk.Below, name))
			after := openSpool(t, cut, small())
			if n := after.Recovery().Replayed; n != 1 {
				t.Errorf("%s: %d replayed after a loss of power", row.path, n)
			}
			k.whole(after)
		}
		s, err := Open(dir, o)
		if err != nil {
			t.Fatalf("%s: %v", row.path, err)
		}
		if inIndex {
			k.whole(s)
		} else { // it was never acknowledged, and its sender sends it again
			if got := s.Recovery(); got.Replayed+got.Damaged+got.Unreadable > 0 {
				t.Errorf("%s: %+v", row.path, got)
			}
			r := mustSend(t, s, k.held[k.last.ID], to("cloud")...)
			if r.Outcome != Stored {
				t.Errorf("%s: %v", row.path, r.Outcome)
			}
			sameBytes(t, dataSet(t, s, r.Instance.ID), k.held[k.last.ID].Data)
			verifyClean(t, s)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if told := log.String(); !strings.Contains(told, "told late") || !strings.Contains(told, row.path) {
			t.Errorf("%s: the log says %s", row.path, told)
		}
	}
}

// writeLate has part of a file in the page cache alone, and an error to be told.
func (k *killed) writeLate(name, path string, at, n int64) {
	k.Helper()
	below := filepath.Join(k.disk.Below, name, path)
	content, err := os.ReadFile(below)
	if err != nil {
		k.Fatal(err)
	}
	content = content[at : at+n]
	put := func(path string, b []byte) error {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = f.WriteAt(b, at)
		return err
	}
	if err := put(below, make([]byte, n)); err != nil {
		k.Fatal(err)
	}
	k.disk.Fail(k, faultdisk.Rule{Errno: syscall.EROFS, Ops: []faultdisk.Op{faultdisk.OpWrite}})
	if err := put(filepath.Join(k.disk.Dir, name, path), content); err != nil {
		k.Fatal(err)
	}
	if k.disk.Heal(k) == 0 {
		k.Error("nothing was written late")
	}
}
