package audit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dcmgate/internal/durable"
)

// Files are named by the moment of their first line, so that the order of their names is that of their lines. The last
// one is written to, and none is ever renamed: what reads them can remember where it was by name and offset.
const (
	filePrefix = "audit-"
	fileSuffix = ".log"
	fileTime   = "20060102T150405.000Z"
)

func fileName(t time.Time) string { return filePrefix + t.UTC().Format(fileTime) + fileSuffix }

// begun is the moment that a file is named by; false if it is none of the log's.
func begun(name string) (time.Time, bool) {
	text, ok := strings.CutPrefix(name, filePrefix)
	text, ok2 := strings.CutSuffix(text, fileSuffix)
	t, err := time.Parse(fileTime, text)
	return t, ok && ok2 && err == nil
}

// files lists the log's files in a directory, oldest first.
func files(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if _, ok := begun(e.Name()); ok && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// appender writes lines to the last of a directory's files, and begins a new one when it is large or old. It is for one
// goroutine.
type appender struct {
	dir  string
	size int64         // from which on a new file is begun
	age  time.Duration // likewise

	f       *os.File
	begun   time.Time
	unnamed bool  // the file's name may not be durable
	good    int64 // bytes of whole lines
	synced  int64 // bytes of them that are durable
	dirty   bool  // written since the last sync
	again   bool  // the last sync failed, and the system may have forgotten what is not durable
	torn    bool  // there may be more than good in the file
}

// open continues the last file, or begins the first.
func (a *appender) open(now time.Time) error {
	names, err := files(a.dir)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return a.begin(now)
	}
	name := names[len(names)-1]
	f, err := os.OpenFile(filepath.Join(a.dir, name), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	a.f = f
	a.begun, _ = begun(name)
	if a.good, err = f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	a.synced = a.good
	last := []byte{'\n'}
	if a.good > 0 {
		if _, err := f.ReadAt(last, a.good-1); err != nil {
			return err
		}
	}
	if last[0] != '\n' { // torn by a crash; readers skip it
		return a.write([]byte{'\n'}, now, false)
	}
	return nil
}

// begin makes a new file.
func (a *appender) begin(now time.Time) error {
	if !now.After(a.begun) { // the clock was set back; files are read in the order of their names
		now = a.begun.Add(time.Millisecond)
	}
	for {
		f, err := os.OpenFile(filepath.Join(a.dir, fileName(now)), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		if errors.Is(err, fs.ErrExist) {
			now = now.Add(time.Millisecond)
			continue
		}
		if err != nil {
			return err
		}
		*a = appender{dir: a.dir, size: a.size, age: a.age, f: f, begun: now, unnamed: true}
		return nil
	}
}

// turn begins a new file if it is time to.
func (a *appender) turn(now time.Time) error {
	if a.good == 0 || a.good < a.size && now.Sub(a.begun) < a.age {
		return nil
	}
	if err := a.sync(); err != nil { // while there still is a file that it can be tried with again
		return err
	}
	if err := a.close(); err != nil {
		return err
	}
	return a.begin(now)
}

// write appends whole lines, and makes them durable if they are to be written through. After an error nothing of them is in the
// file, or will be overwritten.
func (a *appender) write(lines []byte, now time.Time, through bool) error {
	if a.f == nil {
		if err := a.begin(now); err != nil {
			return err
		}
	}
	if a.unnamed {
		if err := durable.SyncDir(a.dir); err != nil {
			return err
		}
		a.unnamed = false
	}
	if a.torn {
		if err := a.f.Truncate(a.good); err != nil {
			return err
		}
		a.torn = false
	}
	if _, err := a.f.WriteAt(lines, a.good); err != nil {
		a.torn = true
		return err
	}
	a.good += int64(len(lines))
	a.dirty = true
	if !through {
		return nil
	}
	err := a.sync()
	if err != nil {
		a.good -= int64(len(lines))
		a.torn = true
	}
	return err
}

// sync makes the lines durable. What a failed sync was about is written again before the next one: the system takes it for
// written, although it is not on the disk.
func (a *appender) sync() error {
	if !a.dirty || a.f == nil {
		return nil
	}
	if a.again {
		if err := a.rewrite(); err != nil {
			return err
		}
	}
	if err := a.f.Sync(); err != nil {
		a.again = true
		return err
	}
	a.dirty, a.again, a.synced = false, false, a.good
	return nil
}

func (a *appender) rewrite() error {
	_, err := io.Copy(io.NewOffsetWriter(a.f, a.synced), io.NewSectionReader(a.f, a.synced, a.good-a.synced))
	return err
}

func (a *appender) close() error {
	if a.f == nil {
		return nil
	}
	err := errors.Join(a.sync(), a.f.Close())
	a.f = nil
	return err
}

// prune removes the oldest files: those whose last line is older than keep, and beyond that what is more than most bytes
// in all. The last file stays. It returns how many are gone.
func prune(dir string, keep time.Duration, most int64, now time.Time) (gone int, err error) {
	names, err := files(dir)
	if err != nil {
		return 0, err
	}
	var total int64
	sizes := make([]int64, len(names))
	for i, name := range names {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	for i := 0; i < len(names)-1; i++ {
		ended, _ := begun(names[i+1]) // its last line is not younger
		if now.Sub(ended) < keep && total <= most {
			break
		}
		if err := os.Remove(filepath.Join(dir, names[i])); err != nil {
			return gone, err
		}
		total -= sizes[i]
		gone++
	}
	return gone, nil
}

// lockDir makes sure that one process at a time writes the log.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("audit log in %s is written by another process: %w", dir, err)
	}
	return f, nil
}
