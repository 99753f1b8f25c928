package audit

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/faultdisk"
)

// TestTrailOnAFailingDisk has each call fail, once or from then on, that the log makes for some messages, with files that are
// turned all the time. Afterwards all messages are there, once, in order, and none is torn.
func TestTrailOnAFailingDisk(t *testing.T) {
	disk := faultdisk.MountApart(t)
	for _, sync := range []time.Duration{0, time.Second} {
		for _, errno := range faultdisk.Errnos {
			for _, times := range []int{1, 0} {
				c := &clock{now: day}
				o := options(t)
				o.Dir, o.FileSize, o.Sync, o.Now = fmt.Sprintf("%s/%v-%d-%d", disk.Dir, sync, int(errno), times), 1000, sync, c.Now
				l, err := Open(o)
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				disk.Each(t, faultdisk.Rule{Errno: errno, Times: times}, 1, func(failing func(func())) {
					look := func() {
						c.advance(2 * time.Second)
						l.Record(numbered(n))
						n++
						l.flush(queueLength)
						l.maintain()
					}
					look()
					failing(func() { look(); look() })
					look()
					if l.failing || l.waiting > 0 || len(l.queue) > 0 {
						t.Errorf("failing %v, %d messages wait", l.failing, l.waiting+len(l.queue))
					}
				})
				l.Close()
				list, damaged := entries(t, o.Dir)
				if len(list) != n || damaged > 0 {
					t.Errorf("%v, sync %v: %d entries of %d, %d damaged", errno, sync, len(list), n, damaged)
				}
				for i, e := range list {
					if want := fmt.Sprint("message ", i); e.Message.Description() != want {
						t.Fatalf("entry %d is %q", i, e.Message.Description())
					}
				}
			}
		}
	}
}

// TestLinesOfAFailedSync: what the system may have forgotten is written again before it is synced again.
func TestLinesOfAFailedSync(t *testing.T) {
	disk := faultdisk.MountApart(t)
	a := appender{dir: disk.Dir, size: 1 << 20, age: time.Hour}
	if err := errors.Join(a.open(day), a.write([]byte("first\n"), day, true), a.write([]byte("second\n"), day, false)); err != nil {
		t.Fatal(err)
	}
	defer a.close()
	disk.Fail(t, faultdisk.Rule{Errno: syscall.EIO, Ops: []faultdisk.Op{faultdisk.OpSync}})
	if err := a.sync(); !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	disk.Fail(t, faultdisk.Rule{Errno: syscall.ENOSPC, Ops: []faultdisk.Op{faultdisk.OpWrite}})
	if err := a.sync(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("synced without being written again: %v", err)
	}
	disk.Heal(t)
	if err := a.sync(); err != nil {
		t.Error(err)
	}
	disk.Fail(t, faultdisk.Rule{Errno: syscall.EIO})
	if err := a.sync(); err != nil {
		t.Errorf("nothing is left to sync: %v", err)
	}
	disk.Heal(t)
	if data, err := os.ReadFile(a.f.Name()); err != nil || string(data) != "first\nsecond\n" {
		t.Errorf("%q, %v", data, err)
	}
}
