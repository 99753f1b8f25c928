package views

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/faultdisk"
	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// idle is a spool that nobody stores into.
type idle struct{ *spool.Spool }

// Quiet implements [Spool].
func (idle) Quiet() time.Duration { return time.Hour }

// shareDir is the export's folder on the disk.
const shareDir = "share"

// failingShare is a publisher with its SQLite file and its exported files on a disk that fails.
type failingShare struct {
	*testing.T
	disk   *faultdisk.Apart
	spool  *spool.Spool
	o      Options
	p      *Publisher
	stored map[string][]byte // Part 10 files by SOP Instance UID
	seen   map[string]bool   // whose rows were there
}

func newFailingShare(t *testing.T) *failingShare {
	t.Helper()
	f := &failingShare{T: t, disk: faultdisk.MountApart(t), spool: openSpool(t, spool.Options{}), stored: map[string][]byte{}, seen: map[string]bool{}}
	files, err := NewExporter(idle{f.spool}, filepath.Join(f.disk.Dir, shareDir), "")
	if err != nil {
		t.Fatal(err)
	}
	source, err := ParseSource("sqlite:rows.db", f.disk.Dir)
	if err != nil {
		t.Fatal(err)
	}
	f.o = Options{Name: "test", Source: source, Spool: idle{f.spool}, Settings: settings(), Files: files}
	if f.p, err = New(f.o); err != nil {
		t.Fatal(err)
	}
	f.prepare(f.o)
	return f
}

// fill stores images of three studies.
func (f *failingShare) fill(instances int) {
	f.Helper()
	for k := range instances {
		o := image(1+k%3, 1, k)
		f.stored[o["SOPInstanceUID"]] = part10(f, f.spool, store(f, f.spool, o).Instance.ID)
	}
	if err := f.spool.Flush(f.Context()); err != nil {
		f.Fatal(err)
	}
}

// prepare makes the tables, of a spool without instances, so that all that comes later is published in the order in which it comes.
func (f *failingShare) prepare(o Options) {
	f.Helper()
	p, stop := runPublisher(f, o)
	caughtUp(f, f.spool, p)
	stop()
}

// made has calls fail while the tables are made: the next attempt makes all of them.
func (f *failingShare) made(errno syscall.Errno, times, stride int) {
	f.Helper()
	f.disk.Each(f, faultdisk.Rule{Errno: errno, Path: "fresh.db", Times: times}, stride, func(failing func(func())) {
		source, err := ParseSource("sqlite:fresh.db", f.disk.Dir)
		if err != nil {
			f.Fatal(err)
		}
		begin := func() (err error) {
			db, err := source.Open()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, db.Close()) }()
			_, err = f.p.begin(f.Context(), source.dialect, db)
			return err
		}
		failing(func() { _ = begin() })
		if err := begin(); err != nil {
			f.Errorf("once the disk works: %v", err)
		}
		for _, view := range tables {
			if n, err := Export(f.Context(), source, view.view.Name, false, io.Discard); n != 0 || err != nil {
				f.Errorf("%s: %d rows, %v", view.view.Name, n, err)
			}
		}
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if err := os.Remove(source.Database + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				f.Error(err)
			}
		}
	})
}

// publish opens the database, brings the next change into it, and closes it.
func (f *failingShare) publish() (err error) {
	db, err := f.o.Source.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	s, err := f.p.begin(f.Context(), f.o.Source.dialect, db)
	if err != nil {
		return err
	}
	changes, err := f.spool.Changes(s.state.sequence, 1)
	if err == nil && len(changes) > 0 {
		_, err = s.publish(f.Context(), changes)
	}
	return err
}

// whole expects rows in the order of the changes, each of a file that is there and whole.
func (f *failingShare) whole(least int) {
	f.Helper()
	rows := imageRows(f, f.o.Source)
	if len(rows) < least {
		f.Errorf("%d rows, want %d", len(rows), least)
	}
	for _, r := range rows {
		uid := r["SOPInstanceUID"].(string)
		if f.seen[uid] {
			continue
		}
		f.seen[uid] = true
		if data, err := os.ReadFile(r["FilePathName"].(string)); err != nil || !bytes.Equal(data, f.stored[uid]) {
			f.Errorf("the file of a row: %d bytes, %v", len(data), err)
		}
	}
}

// each has one call after the other fail. What that leaves of the rows is looked at where the files may lack.
func (f *failingShare) each(rule faultdisk.Rule, stride int) {
	f.Helper()
	look := func() {}
	if rule.Path == shareDir {
		look = func() { f.whole(len(f.seen)) }
	}
	f.disk.Each(f, rule, stride, func(failing func(func())) {
		failing(func() { _ = f.publish() }) // some errors SQLite mends by itself
		look()
		err := f.publish()
		if err != nil { // the sync may tell of what has failed before
			err = f.publish()
		}
		if err != nil {
			f.Errorf("once the disk works: %v", err)
		}
	})
}

// imageRows reads V_DocImage by ChangeSeq, without when a row was changed.
func imageRows(t testing.TB, source *Source) (out []map[string]any) {
	t.Helper()
	db, err := source.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT * FROM V_DocImage ORDER BY ChangeSeq")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		values, err := scanValues(rows, images.published())
		if err != nil {
			t.Fatal(err)
		}
		row := map[string]any{}
		for i, c := range images.published() {
			row[c.Name] = values[i]
		}
		delete(row, "UpdateAt")
		out = append(out, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPublishingOnAFailingDisk has calls fail that SQLite and the export make for an image, once or from then on: no row names a
// file that is not there, whole; once the disk works a publisher goes on by itself, and in the end the rows are those of a
// database of which nothing failed, in their order.
func TestPublishingOnAFailingDisk(t *testing.T) {
	t.Parallel()
	f := newFailingShare(t)
	undisturbed := f.o
	undisturbed.Source = sqliteFile(t)
	f.prepare(undisturbed)
	f.fill(50)
	if err := f.publish(); err != nil {
		t.Fatal(err)
	}
	for _, errno := range faultdisk.Errnos {
		f.each(faultdisk.Rule{Errno: errno, Path: shareDir}, 7)
		f.each(faultdisk.Rule{Errno: errno, Path: "rows.db"}, 59)
	}
	f.made(syscall.ENOSPC, 0, 150)
	f.made(syscall.EIO, 1, 150)
	f.each(faultdisk.Rule{Errno: syscall.EIO, Path: "rows.db", Times: 1}, 47)
	f.each(faultdisk.Rule{Errno: syscall.EIO, Path: "rows.db", Times: 1, Ops: []faultdisk.Op{faultdisk.OpOpen, faultdisk.OpOpenRW, faultdisk.OpRead, faultdisk.OpStat}}, 37)
	f.each(faultdisk.Rule{Errno: syscall.ENOSPC, Path: shareDir, Ops: []faultdisk.Op{faultdisk.OpClose}}, 2)
	f.whole(10)
	if len(f.seen) >= len(f.stored) {
		t.Fatal("there are not enough images")
	}

	f.disk.Fail(t, faultdisk.Rule{Errno: syscall.EIO, Path: "rows.db"})
	p, stop := runPublisher(t, f.o)
	peertest.Eventually(t, 30*time.Second, "the publisher tells of the disk", func() bool {
		st := p.Status()
		return st.State == StateFailing && (strings.Contains(st.Error, "disk I/O error") || strings.Contains(st.Error, syscall.EIO.Error()))
	})
	f.disk.Heal(t)
	caughtUp(t, f.spool, p)
	stop()
	f.whole(len(f.stored))
	if left, err := os.ReadDir(filepath.Join(f.disk.Dir, shareDir, incoming)); err != nil || len(left) > len(f.stored)/4 {
		t.Errorf("%d of %d files are left half written, %v", len(left), len(f.stored), err)
	}

	f.prepare(undisturbed)
	if got, want := imageRows(t, f.o.Source), imageRows(t, undisturbed.Source); !reflect.DeepEqual(got, want) {
		t.Errorf("images are %v, and %v where nothing failed", got, want)
	}
	got, want := exported(t, f.o.Source, "V_StudyInfo"), exported(t, undisturbed.Source, "V_StudyInfo")
	for i := range want { // but for how often and when it changed
		if len(got) != len(want) || !reflect.DeepEqual(got[i][:len(StudyInfo.Columns)], want[i][:len(StudyInfo.Columns)]) {
			t.Errorf("studies are %v, and %v where nothing failed", got, want)
		}
	}
}
