package bench

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
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
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if free := int64(s.Bavail) * int64(s.Bsize); free < need {
		return fmt.Errorf("%s has %.1f GB free, and measuring needs %.1f GB for a while; name another folder with --dir, or smaller or fewer --sizes and --associations",
			dir, float64(free)/1e9, float64(need)/1e9)
	}
	return nil
}

// fileSystems are the names of those that gateways are put on (statfs(2)), and whether they keep nothing on a disk.
var fileSystems = map[uint32]struct {
	name     string
	inMemory bool
}{
	0xef53: {"ext4", false}, 0x58465342: {"xfs", false}, 0x9123683e: {"btrfs", false}, 0x2fc12fc1: {"zfs", false}, 0xf2f52010: {"f2fs", false},
	0x794c7630: {"overlay", false}, 0x6969: {"nfs", false}, 0xff534d42: {"cifs", false}, 0xfe534d42: {"smb2", false}, 0x65735546: {"fuse", false},
	0x01021994: {"tmpfs", true}, 0x858458f6: {"ramfs", true},
}

func fileSystem(dir string) (name string, inMemory bool) {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return "unknown", false
	}
	kind := uint32(s.Type)
	if f, ok := fileSystems[kind]; ok {
		return f.name, f.inMemory
	}
	return fmt.Sprintf("%#x", kind), false
}
