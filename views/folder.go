package views

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// incoming is the folder under an export's root in which files are written before they are moved to their places.
const incoming = ".incoming"

// Permissions of what is exported: the group may read, so that the process that shares the folder can be let in.
const (
	exportFile   = 0o640
	exportFolder = 0o750
)

// Copying writes each byte a second time, which takes the disk and the page cache from those who store. While somebody does,
// an export rests exportRest times as long as a copy took, until what is copied has waited for exportPatience: then it rests
// no longer than it works. A gap of exportGap between two writers ends a rest.
const (
	exportRest     = 9
	exportPatience = 2 * time.Minute
	exportGap      = 3 * time.Millisecond
)

// Host is the spool that an export is made of, or beside. [spool.Spool] is one.
type Host interface {
	// Quiet is for how long nobody has been storing; 0 while somebody is.
	Quiet() time.Duration
	// MakeRoom is an error if a file of so many bytes in a folder would take what the spool needs. It waits a moment for room.
	MakeRoom(ctx context.Context, folder string, bytes int64) error
}

// folder is one that somebody else shares, with files that are seen whole or not at all.
type folder struct {
	host   Host
	root   string
	prefix string // of addresses, in place of the root
	files  *unsynced
}

// openFolder makes the folder if it is not there and throws away what an earlier run left half written.
func openFolder(h Host, root, prefix string) (*folder, error) {
	if err := os.MkdirAll(filepath.Join(root, incoming), exportFolder); err != nil {
		return nil, fmt.Errorf("export: %w%s", err, folderRemedy(err))
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
	return newFolder(h, root, prefix), nil
}

// folderRemedy says how a folder comes to be one that may be written to, where that is what an error is about.
func folderRemedy(err error) string {
	switch {
	case errors.Is(err, syscall.EROFS): // mostly the sandbox of a service
		return "; have ReadWritePaths= of the service name the folder, as systemd/examples/export-folder.conf does, or mount it to be written to"
	case errors.Is(err, fs.ErrPermission):
		return "; give the user of dcmgate the right to make and write it"
	}
	return ""
}

func newFolder(h Host, root, prefix string) *folder {
	return &folder{host: h, root: root, prefix: prefix, files: newUnsynced(root)}
}

// renamed is the same folder with other addresses.
func (f *folder) renamed(prefix string) *folder {
	return &folder{host: f.host, root: f.root, prefix: prefix, files: f.files}
}

// address is where others find the file of a place.
func (f *folder) address(place string) string {
	path := strings.TrimRight(f.prefix, `/\`) + "/" + place
	if strings.HasPrefix(path, `\\`) {
		path = strings.ReplaceAll(path, "/", `\`)
	}
	return path
}

// has tells whether a file of this size is at a place: one that is there is whole.
func (f *folder) has(place string, size int64) (bool, error) {
	info, err := os.Stat(filepath.Join(f.root, place))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("export: %w", err)
	}
	return err == nil && info.Size() == size && !f.files.doubted(place), nil
}

// put writes a file, unless it is there; what it is of was received at a time. Afterwards it lets those who store go first.
func (f *folder) put(ctx context.Context, place string, size int64, received time.Time, write func(io.Writer) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if there, err := f.has(place, size); err != nil || there {
		return err
	}
	if err := f.host.MakeRoom(ctx, f.root, size); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	began := time.Now()
	if err := f.write(place, write); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return f.rest(ctx, received, time.Since(began))
}

func (f *folder) write(place string, write func(io.Writer) error) error {
	w, err := f.files.begin()
	if err != nil {
		return err
	}
	defer w.end()
	half, err := os.CreateTemp(filepath.Join(f.root, incoming), "*")
	if err != nil {
		return err
	}
	defer func() {
		half.Close()           // nothing if all went well
		os.Remove(half.Name()) // likewise; if it stays the next start does it
	}()
	if err := write(half); err != nil {
		return err
	}
	if err := half.Chmod(exportFile); err != nil {
		return err
	}
	if err := half.Close(); err != nil { // with which network file systems tell what they could not write
		return err
	}
	if err := os.MkdirAll(filepath.Join(f.root, filepath.Dir(place)), exportFolder); err != nil {
		return err
	}
	return w.place(half.Name(), place)
}

// restAfter is how long to rest after a copy that took so long of what has waited.
func restAfter(took, waited time.Duration) time.Duration {
	if waited < exportPatience {
		return exportRest * took
	}
	return took
}

// rest lets those who store go first, after a copy that took so long.
func (f *folder) rest(ctx context.Context, received time.Time, took time.Duration) error {
	end := time.NewTimer(restAfter(took, time.Since(received)))
	defer end.Stop()
	look := time.NewTicker(exportGap / 3)
	defer look.Stop()
	for f.host.Quiet() < exportGap {
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

// Sync makes durable what was put: one sync of the file system for all files of a batch.
func (f *folder) Sync() error {
	if err := f.files.sync(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return nil
}

// remove takes a file away, and the folders that become empty, so many levels up.
func (f *folder) remove(place string, levels int) error {
	f.files.removed(place)
	path := filepath.Join(f.root, place)
	if err := os.Remove(path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return fmt.Errorf("export: %w", err)
	}
	for range levels {
		path = filepath.Dir(path)
		if os.Remove(path) != nil { // others are in it
			break
		}
	}
	return nil
}
