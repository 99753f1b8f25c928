package segment

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"dcmgate/internal/faultdisk"
)

// tornStore makes the files of a store that was killed while it received: two segments, each with a record that was
// acknowledged and behind it one that is torn. One has lost its end with that of the file, of the other's only the
// trailer is missing.
func tornStore(t *testing.T) (files map[string][]byte, whole, torn []*object) {
	t.Helper()
	dir := diskDir(t.TempDir())
	s := ready(t, dir, quarantineOptions())
	w := begin(t, s) // so that there are two lanes
	first := newObject(1, 9000)
	store(t, s, first)
	w.Abort()
	second := newObject(2, 20_000)
	store(t, s, second)
	w = begin(t, s)
	last := newObject(3, 30_000)
	store(t, s, last)
	w.Abort()
	long := newObject(4, 50_000)
	store(t, s, long)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	torn = []*object{last, long}
	if last.at.Segment == long.at.Segment {
		t.Fatal("both in one segment")
	}
	files = map[string][]byte{}
	for i, o := range torn {
		name := fileName(o.at.Segment, segmentSuffix)
		b, err := os.ReadFile(dir.path(name))
		if err != nil {
			t.Fatal(err)
		}
		if end := o.at.Offset + o.at.Length; i == 0 {
			b = b[:end-2*Alignment-100]
		} else {
			clear(b[end-Alignment : end])
		}
		files[name] = b
	}
	return files, []*object{first, second}, torn
}

func quarantineOptions() Options {
	return Options{SegmentSize: minSegmentSize, AllocateStep: 64 << 10, PoolBytes: -1}
}

// TestSettingAsideOnAFailingDisk opens a store with torn records while calls fail that change something: each in turn, once,
// and so many in turn twice and until the disk is mended. It opens and has all that was acknowledged, or says what failed.
// What is torn is copied whole, or the report tells why not, and it is met no more once the disk is well. No part of a copy stays.
func TestSettingAsideOnAFailingDisk(t *testing.T) {
	disk := faultdisk.MountApart(t)
	r := &tornRun{T: t}
	r.files, r.whole, r.torn = tornStore(t)
	for _, row := range []struct {
		errno         syscall.Errno
		times, stride int
	}{{syscall.ENOSPC, 1, 1}, {syscall.ENOSPC, 0, 2}, {syscall.EIO, 1, 1}, {syscall.EIO, 2, 2}, {syscall.EIO, 0, 2}, {syscall.EROFS, 0, 1}} {
		r.errno = row.errno
		disk.Each(t, faultdisk.Rule{Errno: row.errno, Times: row.times}, row.stride, func(failing func(func())) {
			r.number++
			name := strconv.Itoa(r.number)
			below := diskDir(filepath.Join(disk.Below, name))
			r.put(below)
			failing(func() { r.failing(diskDir(filepath.Join(disk.Dir, name)), below) })
			r.mended(r.take(below))
		})
	}
	if r.opened == 0 || r.copied == 0 || r.notCopied == 0 || r.late == 0 {
		t.Errorf("opened %d times, %d records copied and %d not, %d times told late", r.opened, r.copied, r.notCopied, r.late)
	}
}

// tornRun is a store that is opened again and again, with what tornStore has made.
type tornRun struct {
	*testing.T
	files       map[string][]byte
	whole, torn []*object
	errno       syscall.Errno
	number      int // of directories

	opened, copied, notCopied, late int
}

func (r *tornRun) put(dir diskDir) {
	r.Helper()
	err := os.MkdirAll(string(dir), 0o700)
	for name, b := range r.files {
		err = errors.Join(err, os.WriteFile(dir.path(name), b, 0o600))
	}
	if err != nil {
		r.Fatal(err)
	}
}

// failing opens the store on a disk that fails; below are its files.
func (r *tornRun) failing(dir, below diskDir) {
	s, err := open(dir, quarantineOptions())
	if err != nil {
		if !errors.Is(err, r.errno) {
			r.Errorf("open: %v", err)
		}
		return
	}
	defer s.Close()
	got := map[Location]bool{}
	report, err := s.Replay(nil, func(rec Record) error { got[rec.Location] = true; return nil })
	if err != nil {
		if !errors.Is(err, r.errno) {
			r.Errorf("replay: %v", err)
		}
		return
	}
	r.opened++
	if len(report.Late) > 0 {
		r.late++
	}
	if len(got) != len(r.whole) || len(report.Torn) != len(r.torn) || len(report.Damaged) > 0 {
		r.Errorf("%d records, %+v", len(got), report)
	}
	for _, o := range r.whole {
		if !got[o.at] {
			r.Errorf("lost %+v", o.at)
		}
	}
	for _, torn := range report.Torn {
		switch {
		case torn.File != "":
			r.copied++
			r.sameCopy(below, torn)
		case errors.Is(torn.NotCopied, r.errno):
			r.notCopied++
		default:
			r.Errorf("not copied, as %v", torn.NotCopied)
		}
	}
}

// sameCopy expects a torn record in the quarantine as it was.
func (r *tornRun) sameCopy(dir diskDir, torn Torn) {
	r.Helper()
	b, err := os.ReadFile(filepath.Join(dir.path(QuarantineDir), torn.File))
	content := r.files[fileName(torn.Segment, segmentSuffix)]
	if want := content[torn.Offset:min(int64(len(content)), torn.Offset+torn.Length)]; err != nil || !bytes.Equal(b, want) {
		r.Errorf("%s: %d bytes and not %d, or others, %v", torn.File, len(b), len(want), err)
	}
}

// take takes what is in a directory into memory, where syncing costs nothing, and removes it.
func (r *tornRun) take(dir diskDir) *memDisk {
	r.Helper()
	d := newMemDisk()
	entries, err := dir.list()
	if err != nil {
		r.Fatal(err)
	}
	for _, e := range entries {
		d.names[e.name] = newMemInode(e.name, r.read(dir.path(e.name)))
	}
	aside, _ := os.ReadDir(dir.path(QuarantineDir))
	for _, e := range aside {
		d.aside[e.Name()] = r.read(filepath.Join(dir.path(QuarantineDir), e.Name()))
	}
	if err := os.RemoveAll(string(dir)); err != nil {
		r.Error(err)
	}
	return d
}

func (r *tornRun) read(path string) []byte {
	r.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

// mended opens the store twice when the disk is well again.
func (r *tornRun) mended(d *memDisk) {
	r.Helper()
	s := openStore(r, d, quarantineOptions())
	got, report := replayAll(r, s, nil)
	if len(got) != len(r.whole) || len(report.Damaged)+len(report.Late) > 0 {
		r.Errorf("mended: %d records, %+v", len(got), report)
	}
	more := newObject(5, 9000)
	store(r, s, more)
	for _, o := range append(slices.Clone(r.whole), more) {
		expect(r, s, o)
	}
	s.Close()
	s = openStore(r, d, quarantineOptions())
	got, report = replayAll(r, s, nil)
	if len(got) != len(r.whole)+1 || len(report.Torn) > 0 {
		r.Errorf("the third time: %d records, %+v", len(got), report)
	}
	s.Close()
	for name := range d.aside {
		if !strings.HasSuffix(name, ".torn") {
			r.Errorf("%s is left", name)
		}
	}
	if len(d.aside) > len(r.torn) {
		r.Errorf("%d torn records were set aside %d times", len(r.torn), len(d.aside))
	}
}

// TestQuarantineIsBounded has more torn records than the quarantine takes.
func TestQuarantineIsBounded(t *testing.T) {
	dir := diskDir(t.TempDir())
	q := dir.quarantine()
	for i := range maxQuarantined {
		if err := q.put(fileName(ID(i), ".torn"), strings.NewReader("torn")); err != nil {
			t.Fatal(err)
		}
	}
	r := &tornRun{T: t}
	r.files, r.whole, r.torn = tornStore(t)
	r.put(dir)
	s := openStore(t, dir, quarantineOptions())
	got, report := replayAll(t, s, nil)
	if len(got) != len(r.whole) || len(report.Torn) != len(r.torn) {
		t.Errorf("%d records, %+v", len(got), report)
	}
	for _, torn := range report.Torn {
		if torn.NotCopied == nil || torn.File != "" {
			t.Errorf("%+v", torn)
		}
	}
	if n, err := q.tidy(); n != maxQuarantined || err != nil {
		t.Errorf("%d files, %v", n, err)
	}
}
