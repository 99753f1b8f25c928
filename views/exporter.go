package views

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"

	"golang.org/x/sys/unix"
)

// incoming is the folder under an export's root in which files are written before they are moved to their places.
const incoming = ".incoming"

// Permissions of what is exported: the group may read, so that the process that shares the folder can be let in.
const (
	exportFile   = 0o640
	exportFolder = 0o750
)

// Opener opens instances; [spool.Spool] is one.
type Opener interface {
	Open(id spool.InstanceID) (*spool.Reader, error)
	// Quiet is for how long nobody has been storing; 0 while somebody is.
	Quiet() time.Duration
}

// Copying writes each byte a second time, which takes the disk and the page cache from those who store. While somebody does,
// an exporter rests exportRest times as long as a copy took, until an instance has waited for exportPatience: then it rests
// no longer than it works. A gap of exportGap between two writers ends a rest.
const (
	exportRest     = 9
	exportPatience = 2 * time.Minute
	exportGap      = 3 * time.Millisecond
)

// Exporter copies instances as Part 10 files into a shared folder. It implements [Files].
type Exporter struct {
	spool   Opener
	root    string
	prefix  string // of FilePathName, in place of the root
	dirty   atomic.Bool
	syncing func() error // syncs the root's file system
}

// NewExporter makes the folder if it is not there and throws away what an earlier run left half written. prefix stands for
// the root in FilePathName: an address, or \\SERVER\SHARE, which gets backslashes; "" is the root itself.
func NewExporter(s Opener, root, prefix string) (*Exporter, error) {
	if err := os.MkdirAll(filepath.Join(root, incoming), exportFolder); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	left, err := filepath.Glob(filepath.Join(root, incoming, "*"))
	if err != nil {
		return nil, err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
	}
	return (&Exporter{spool: s, root: root}).Renamed(prefix), nil
}

// Renamed is the exporter with another prefix, for publishers that take over from those that have this one.
func (e *Exporter) Renamed(prefix string) *Exporter {
	other := &Exporter{spool: e.spool, root: e.root, prefix: prefix}
	other.syncing = other.sync
	if prefix == "" {
		other.prefix = other.root
	}
	return other
}

// place is where an instance's file is below the root. Nothing that a sender chooses is part of it. A later version of an
// instance has a place of its own, so that no file ever changes.
func place(in *spool.Instance) string {
	return filepath.Join(folderName(in.StudyInstanceUID), folderName(in.SeriesInstanceUID), in.ID.String()+".dcm")
}

func folderName(uid dicom.UID) string { return rowKey(uid)[:16] }

func (e *Exporter) address(place string) string {
	path := strings.TrimRight(e.prefix, `/\`) + "/" + place
	if strings.HasPrefix(path, `\\`) {
		path = strings.ReplaceAll(path, "/", `\`)
	}
	return path
}

// Ready implements [Files]. The file is seen whole or not at all, and its data set has the digest that it was received
// with.
func (e *Exporter) Ready(ctx context.Context, in *spool.Instance) (File, error) {
	if err := ctx.Err(); err != nil {
		return File{}, err
	}
	to := place(in)
	file := File{Path: e.address(to), State: FileReady}
	info, err := os.Stat(filepath.Join(e.root, to))
	if err == nil && info.Size() == in.HeaderLength+in.Size {
		return file, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return file, fmt.Errorf("export: %w", err)
	}
	began := time.Now()
	err = e.copy(in, filepath.Join(e.root, to))
	if errors.Is(err, spool.ErrEvicted) || errors.Is(err, spool.ErrNotFound) || errors.Is(err, spool.ErrDamaged) {
		return File{State: FileMissing}, nil
	}
	if err != nil {
		return file, fmt.Errorf("export: %w", err)
	}
	e.dirty.Store(true)
	return file, e.rest(ctx, in, time.Since(began))
}

// restAfter is how long to rest after a copy that took so long of an instance that has waited.
func restAfter(took, waited time.Duration) time.Duration {
	if waited < exportPatience {
		return exportRest * took
	}
	return took
}

// rest lets those who store go first, after a copy that took so long.
func (e *Exporter) rest(ctx context.Context, in *spool.Instance, took time.Duration) error {
	end := time.NewTimer(restAfter(took, time.Since(in.Received)))
	defer end.Stop()
	look := time.NewTicker(exportGap / 3)
	defer look.Stop()
	for e.spool.Quiet() < exportGap {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return nil
		case <-look.C:
		}
	}
	return nil
}

func (e *Exporter) copy(in *spool.Instance, to string) (err error) {
	r, err := e.spool.Open(in.ID)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := os.CreateTemp(filepath.Join(e.root, incoming), "*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), os.Remove(f.Name()))
		}
	}()
	w := &digester{f: f, skip: in.HeaderLength, sum: sha256.New()}
	if _, err := r.WriteTo(w); err != nil {
		return err
	}
	if [32]byte(w.sum.Sum(nil)) != in.Digest {
		return fmt.Errorf("instance %s: %w", in.ID, spool.ErrDamaged)
	}
	if err := f.Chmod(exportFile); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), exportFolder); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), to); err != nil {
		return err
	}
	return f.Close()
}

// digester writes a file and takes the sum of what follows its header.
type digester struct {
	f    *os.File
	skip int64
	sum  hash.Hash
}

func (d *digester) Write(p []byte) (int, error) {
	n, err := d.f.Write(p)
	past := min(d.skip, int64(n))
	d.skip -= past
	d.sum.Write(p[past:n])
	return n, err
}

// Sync implements [Files]: one sync of the file system for all files of a batch.
func (e *Exporter) Sync() error {
	if !e.dirty.Swap(false) {
		return nil
	}
	if err := e.syncing(); err != nil {
		e.dirty.Store(true)
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

func (e *Exporter) sync() error {
	f, err := os.Open(e.root)
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}

// Remove implements [Files]. Folders that become empty go as well.
func (e *Exporter) Remove(in *spool.Instance) error {
	path := filepath.Join(e.root, place(in))
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("export: %w", err)
	}
	for range 2 {
		path = filepath.Dir(path)
		if os.Remove(path) != nil { // others are in it
			break
		}
	}
	return nil
}
