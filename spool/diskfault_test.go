package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/faultdisk"
	"dcmgate/internal/synth"
	"dcmgate/spool/segment"
)

// TestEveryCallOfTheDiskFails stores, delivers and evicts from several goroutines on a disk whose calls fail: of those that
// change something every so many in turn, with each error, once, for a while, and until the disk is mended. What was acknowledged can be read afterwards and after the spool was opened again; what was not is not
// there; lanes, health and room are as before.
func TestEveryCallOfTheDiskFails(t *testing.T) {
	disk := faultdisk.MountApart(t)
	for _, errno := range faultdisk.Errnos {
		t.Run(errno.Error(), func(t *testing.T) {
			r := newFaultyRun(t, disk, errno)
			r.load() // so that there is something to evict, recycle and use again
			r.giveBack()
			for _, row := range []struct{ times, stride int }{{1, 23}, {10, 41}, {0, 53}} {
				disk.Each(t, faultdisk.Rule{Errno: errno, Times: row.times}, row.stride, func(failing func(func())) {
					r.during = fmt.Sprintf("%d calls fail", row.times)
					failing(func() {
						r.work()
						if row.times == 0 {
							r.stillSick()
						}
					})
					r.wellAgain()
				})
			}
			if st := r.s.Stats(); r.refused == 0 || st.Evicted == 0 {
				t.Errorf("%d refused, %d evicted", r.refused, st.Evicted)
			}
			r.reopen()
		})
	}
}

// TestReadingOfTheDiskFails does the same while calls fail that change nothing.
func TestReadingOfTheDiskFails(t *testing.T) {
	disk := faultdisk.MountApart(t)
	r := newFaultyRun(t, disk, syscall.EIO)
	r.load()
	r.giveBack()
	reading := []faultdisk.Op{faultdisk.OpOpen, faultdisk.OpRead, faultdisk.OpList, faultdisk.OpStat, faultdisk.OpStatFS}
	for _, times := range []int{1, 10, 0} {
		failed := 0
		for skip := 0; skip < 40; skip += 10 { // there are the more calls the more is held
			r.during = fmt.Sprintf("%d reading calls fail behind %d", times, skip)
			disk.Fail(t, faultdisk.Rule{Errno: r.errno, Ops: reading, Times: times, Skip: skip})
			r.work()
			r.readAll()
			failed += disk.Heal(t)
			r.wellAgain()
		}
		if failed == 0 {
			t.Errorf("%s: none was made", r.during)
		}
	}
	r.reopen()
}

// readAll reads what was stored last: each as it was, or with an error that says that it cannot be read.
func (r *faultyRun) readAll() {
	r.Helper()
	for _, id := range r.last {
		in, err := r.s.Open(id)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(in.DataSet())
			in.Close()
		}
		if err == nil && string(got) != string(r.held[id].Data) {
			r.Errorf("%s: an instance of %d bytes was read as %d, or others", r.during, len(r.held[id].Data), len(got))
		} else if err != nil && (!errors.Is(err, r.errno) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotFound)) {
			r.Errorf("%s: %v", r.during, err)
		}
	}
}

// faultyRun is a spool whose segments are on a faulty disk, and what is known of it.
type faultyRun struct {
	*testing.T
	disk          *faultdisk.Apart
	dir, segments string
	o             Options
	clock         *clock
	errno         syscall.Errno
	s             *Spool
	during        string
	series        int

	mu      sync.Mutex
	held    map[InstanceID]synth.Object // acknowledged and not to be evicted
	last    []InstanceID                // of these, in the last load
	acked   int
	refused int
}

func newFaultyRun(t *testing.T, disk *faultdisk.Apart, errno syscall.Errno) *faultyRun {
	t.Helper()
	r := &faultyRun{T: t, disk: disk, dir: t.TempDir(), segments: filepath.Join(disk.Dir, fmt.Sprint(int(errno))),
		clock: newClock(), errno: errno, during: "nothing", held: map[InstanceID]synth.Object{}}
	if err := errors.Join(os.Mkdir(r.segments, 0o700), os.Symlink(r.segments, filepath.Join(r.dir, segmentsDir))); err != nil {
		t.Fatal(err)
	}
	r.o = Options{SegmentSize: 256 << 10, AllocateStep: 64 << 10, PoolBytes: 600 << 10, ReserveBytes: -1, MinFree: -1,
		Retention: time.Hour, Now: r.clock.now, probeEvery: time.Millisecond}
	r.s = openSpool(t, r.dir, r.o)
	return r
}

// work is what the disk fails in.
func (r *faultyRun) work() {
	r.load()
	r.giveBack()
}

// load stores from three goroutines small records, which share syncs, and one that is longer than a segment. Half stay.
func (r *faultyRun) load() {
	r.series++
	r.last = nil
	var senders sync.WaitGroup
	for sender := range 3 {
		senders.Go(func() {
			for i, size := range []int{3000, 20_000, 90_000, 300_000}[:3+sender%2] {
				r.send(synth.NewTemplate(size, uint64(size)).Object(r.series, sender, i), (i+sender)%2 == 0)
			}
		})
	}
	senders.Wait()
}

// send stores an object, and looks whether a refusal tells the storage SCP which status to answer.
func (r *faultyRun) send(o synth.Object, stays bool) (acknowledged bool) {
	name := "cloud"
	if stays {
		name = "held"
	}
	receipt, err := send(r.s, incoming(o), o.Data, to(name)...)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.acked++
		if stays {
			r.held[receipt.Instance.ID] = o
			r.last = append(r.last, receipt.Instance.ID)
		}
		return true
	}
	r.refused++
	switch {
	case r.errno == syscall.ENOSPC && !errors.Is(err, ErrFull): // A700
		r.Errorf("%s: refused with %v", r.during, err)
	case r.errno != syscall.ENOSPC && (!errors.Is(err, r.errno) || errors.Is(err, ErrFull) || errors.Is(err, ErrUnhealthy)): // 0110
		r.Errorf("%s: refused with %v", r.during, err)
	}
	return false
}

// giveBack delivers what is for the cloud, and evicts it.
func (r *faultyRun) giveBack() {
	deliverAll(r, r.s, "cloud")
	r.clock.advance(2 * time.Hour)
	_, _ = r.s.evictPass() // fails if the disk does
}

// sendOne stores one small instance more, when nobody else does.
func (r *faultyRun) sendOne() (acknowledged bool) {
	r.series++
	return r.send(synth.NewTemplate(3000, 1).Object(r.series, 0, 0), true)
}

// stillSick expects a spool that tells of a disk that fails. One that is full is no ill health.
func (r *faultyRun) stillSick() {
	if !r.sendOne() && r.errno != syscall.ENOSPC && !errors.Is(r.s.Health(), r.errno) {
		r.Errorf("%s: health: %v", r.during, r.s.Health())
	}
}

// wellAgain expects a spool that works as if nothing had been.
func (r *faultyRun) wellAgain() {
	r.Helper()
	r.s.pressure.refuse.Store(0)
	r.s.pressure.next.Store(0)
	if !r.sendOne() {
		r.Errorf("%s: nothing can be stored afterwards", r.during)
	}
	if err := r.s.Health(); err != nil {
		r.Errorf("%s: after a good write: %v", r.during, err)
	}
	flush(r, r.s)
	if _, err := r.s.evictPass(); err != nil {
		r.Errorf("%s: evict afterwards: %v", r.during, err)
	}
	stats, err := r.s.payloads.Stats()
	if err != nil || stats.LanesLeased != 0 {
		r.Errorf("%s: %+v, %v", r.during, stats, err)
	}
	if files := r.files(); files != stats.Segments+stats.PoolSegments {
		r.Errorf("%s: %d files of segments, %d in use and %d in the pool", r.during, files, stats.Segments, stats.PoolSegments)
	}
	if st := r.s.Stats(); st.Instances+st.Evicted != int64(r.acked) || st.Unindexed != 0 {
		r.Errorf("%s: %d stored, %d evicted, %d not indexed, %d acknowledged", r.during, st.Instances, st.Evicted, st.Unindexed, r.acked)
	}
	for _, id := range r.last {
		r.same(id)
	}
	if r.Failed() {
		r.FailNow()
	}
}

func (r *faultyRun) same(id InstanceID) {
	r.Helper()
	if got := dataSet(r, r.s, id); string(got) != string(r.held[id].Data) {
		r.Errorf("%s: an instance of %d bytes has %d, or others", r.during, len(r.held[id].Data), len(got))
	}
}

// files counts the files of segments.
func (r *faultyRun) files() int {
	r.Helper()
	entries, err := os.ReadDir(r.segments)
	if err != nil {
		r.Fatal(err)
	}
	return len(slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !strings.Contains(e.Name(), ".") }))
}

// reopen opens the spool again, once with each call failing that this takes, and reads all that was acknowledged.
func (r *faultyRun) reopen() {
	r.Helper()
	if err := r.s.Close(); err != nil {
		r.Fatal(err)
	}
	if r.errno == syscall.EIO {
		for _, op := range []faultdisk.Op{faultdisk.OpOpenRW, faultdisk.OpList, faultdisk.OpSync} {
			r.openFailing(op)
		}
	}
	r.during = "opened again"
	r.s = openSpool(r, r.dir, r.o)
	for id := range r.held {
		r.same(id)
	}
	verifyClean(r, r.s)
}

// openFailing opens the spool while a call fails, which either says so or does not matter.
func (r *faultyRun) openFailing(op faultdisk.Op) {
	r.Helper()
	r.disk.Fail(r, faultdisk.Rule{Errno: r.errno, Ops: []faultdisk.Op{op}})
	s, err := Open(r.dir, r.o)
	r.disk.Heal(r)
	if err == nil {
		err = s.Close()
	} else if errors.Is(err, r.errno) {
		err = nil
	}
	if err != nil {
		r.Errorf("open while %s fails: %v", op, err)
	}
}

// TestSettingAsideFails opens a spool with a torn record on a disk that takes everything but its copy. The log says so, nothing
// acknowledged is lost, and instances are taken as ever.
func TestSettingAsideFails(t *testing.T) {
	disk := faultdisk.MountApart(t)
	for _, errno := range faultdisk.Errnos {
		t.Run(errno.Error(), func(t *testing.T) {
			r := newFaultyRun(t, disk, errno)
			r.load()
			r.tear()
			var log bytes.Buffer
			r.o.Logger = slog.New(slog.NewTextHandler(&log, nil))
			r.disk.Fail(t, faultdisk.Rule{Errno: errno, Path: filepath.Join(filepath.Base(r.segments), segment.QuarantineDir)})
			r.s = openSpool(t, r.dir, r.o)
			if n := r.disk.Heal(t); n == 0 {
				t.Error("nothing was set aside")
			}
			if got := r.s.Recovery(); got.Torn != 1 || got.Damaged != 0 || len(got.Quarantined) != 0 {
				t.Errorf("%+v", got)
			}
			for id := range r.held {
				r.same(id)
			}
			if !r.sendOne() {
				t.Error("nothing can be stored")
			}
			verifyClean(t, r.s)
			if err := r.s.Close(); err != nil { // with everybody who logs
				t.Error(err)
			}
			if told := log.String(); !strings.Contains(told, "torn record could not be set aside") || !strings.Contains(told, segment.QuarantineDir) || !strings.Contains(told, errno.Error()) {
				t.Errorf("the log says %s", told)
			}
		})
	}
}

// tear closes the spool as if it had been killed while it received: the last record has a header and no trailer, and the index
// does not know it.
func (r *faultyRun) tear() {
	r.Helper()
	index, before := filepath.Join(r.dir, indexDir), filepath.Join(r.dir, "before")
	err := errors.Join(r.s.Close(), os.CopyFS(before, os.DirFS(index)))
	r.s = openSpool(r, r.dir, r.o)
	l := mustSend(r, r.s, synth.NewTemplate(20_000, 1).Object(99, 0, 0)).Instance.location
	err = errors.Join(err, r.s.Close(), os.RemoveAll(index), os.Rename(before, index))
	f, e := os.OpenFile(filepath.Join(r.segments, fmt.Sprintf("%08x.seg", uint32(l.Segment))), os.O_WRONLY, 0)
	if e != nil {
		r.Fatal(e)
	}
	_, e = f.WriteAt(make([]byte, 4096), l.Offset+l.Length-4096)
	if err = errors.Join(err, e, f.Close()); err != nil {
		r.Fatal(err)
	}
}
