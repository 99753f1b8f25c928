package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"dcmgate/internal/machine"
)

// dataDirError names the data directory that cannot be used, or the file that is in its place.
func dataDirError(dir string, err error) error {
	if errors.Is(err, syscall.ENOTDIR) {
		if no := checkDataFolder(dir); no != nil {
			return fmt.Errorf("data_dir: %w", no)
		}
	}
	return fmt.Errorf("spool in %s: %w", dir, err)
}

// checkDataFolder finds the file that stands where the data folder, or one above it, has to be. A folder that is not there is none
// of its business: the gateway makes it.
func checkDataFolder(dir string) error {
	if path, info := nearest(dir); info != nil && !info.IsDir() {
		return fmt.Errorf("%s is a file, not a folder; move it away, or set data_dir to another path", path)
	}
	return nil
}

// nearest is the path itself or the nearest above it that is there; info is nil if none can be looked at.
func nearest(path string) (found string, info fs.FileInfo) {
	for {
		info, err := os.Stat(path)
		up := filepath.Dir(path)
		switch {
		case err == nil:
			return path, info
		case up == path, !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			return path, nil
		}
		path = up
	}
}

// DataNotes looks at the file system of the data folder, or of where it will be, and says why it is no good place, one sentence each.
func (c *Config) DataNotes() []string {
	path, info := nearest(c.DataDir)
	if info == nil {
		return nil
	}
	disk, err := machine.FileSystemOf(path)
	if err != nil {
		return nil // the start says it
	}
	return dataNotes(c.DataDir, &disk)
}

func dataNotes(dir string, disk *machine.FileSystem) []string {
	if why, remedy := disk.Doubt(); why != "" {
		return []string{fmt.Sprintf("data_dir: %s: %s; %s", dir, why, remedy)}
	}
	return nil
}
