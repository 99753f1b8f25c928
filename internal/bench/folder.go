package bench

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dcmgate/internal/machine"
)

// folderPrefix begins the names of temporary folders, by which those of runs that were killed are found.
const folderPrefix = ".dcmgate-bench-"

// folder is the temporary folder of a run. It is locked as long as the run goes on.
type folder struct {
	path string
	lock *os.File
}

// newFolder makes one in dir, after removing what runs that were killed have left there.
func newFolder(dir string) (*folder, error) {
	left, err := filepath.Glob(filepath.Join(dir, folderPrefix+"*"))
	if err != nil {
		return nil, err
	}
	for _, path := range left {
		if lock, err := lockFolder(path); err == nil { // else its run goes on
			os.RemoveAll(path)
			lock.Close()
		}
	}
	path, err := os.MkdirTemp(dir, folderPrefix)
	if err != nil {
		return nil, fmt.Errorf("make a folder to measure in: %w; name another with --dir", err)
	}
	lock, err := lockFolder(path)
	if err != nil {
		os.Remove(path)
		return nil, err
	}
	return &folder{path, lock}, nil
}

func lockFolder(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return f, nil
}

func (f *folder) remove() error {
	err := os.RemoveAll(f.path)
	f.lock.Close()
	return err
}

// checkRoom fails if the file system of dir has not so many bytes left.
func checkRoom(dir string, need int64) error {
	f, err := machine.FileSystemOf(dir)
	if err != nil {
		return err
	}
	if f.Free < need {
		return fmt.Errorf("%s has %.1f GB free, and measuring needs %.1f GB for a while; name another folder with --dir, or smaller or fewer --sizes and --associations",
			dir, float64(f.Free)/1e9, float64(need)/1e9)
	}
	return nil
}
