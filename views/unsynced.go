package views

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// unsynced are the files of a folder that a loss of power may take. A file system tells once that it could not write something,
// to those who had it open by then, and has forgotten the data: so the folder is open while there are such files, and after a
// failed sync all of them are doubted, whatever a later sync says. It is for several publishers at once.
type unsynced struct {
	root    string
	syncing func(folder *os.File) error // syncs the file system that it is on

	mu      sync.Mutex
	folder  *os.File        // nil: there are none
	placed  []string        // since the last sync, below the root
	doubts  map[string]bool // files that have to be made again
	failed  int             // syncs
	writing int             // files
	earlier bool            // there may be some of an earlier process
}

func newUnsynced(root string) *unsynced {
	return &unsynced{root: root, earlier: true, doubts: map[string]bool{}, syncing: func(f *os.File) error { return unix.Syncfs(int(f.Fd())) }}
}

// doubted tells whether a file may not be what was written.
func (u *unsynced) doubted(place string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.doubts[place]
}

// writing is a file that is being written.
type writing struct {
	of     *unsynced
	failed int // syncs before
}

// begin is called before a file is written, and end of what it returns when that is over.
func (u *unsynced) begin() (*writing, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.open(); err != nil {
		return nil, err
	}
	u.writing++
	return &writing{u, u.failed}, nil
}

// open opens the folder, if it is not. u.mu is held.
func (u *unsynced) open() (err error) {
	if u.folder == nil {
		u.folder, err = os.Open(u.root)
	}
	return err
}

func (w *writing) end() {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.of.writing--
}

// errDoubted is of a file that was being written when others could not be.
var errDoubted = errors.New("the disk failed while the file was written")

// place gives a file its name below the root.
func (w *writing) place(temporary, place string) error {
	u := w.of
	u.mu.Lock()
	defer u.mu.Unlock()
	if w.failed != u.failed {
		return errDoubted
	}
	if err := os.Rename(temporary, filepath.Join(u.root, place)); err != nil {
		return err
	}
	delete(u.doubts, place)
	u.placed = append(u.placed, place)
	return nil
}

// sync makes all files durable that have a name. After an error they are taken away, as far as that goes, and made again.
func (u *unsynced) sync() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.placed) == 0 && !u.earlier {
		return nil
	}
	if err := u.open(); err != nil {
		return err
	}
	err := u.syncing(u.folder)
	if err != nil {
		u.failed++
		for _, place := range u.placed {
			u.doubts[place] = true
			_ = os.Remove(filepath.Join(u.root, place))
		}
	} else {
		u.earlier = false
	}
	u.placed = nil
	if u.writing == 0 {
		err = errors.Join(err, u.folder.Close())
		u.folder = nil
	}
	return err
}

// removed forgets a file.
func (u *unsynced) removed(place string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.doubts, place)
}
