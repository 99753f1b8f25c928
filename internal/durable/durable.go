// Package durable writes small files so that they survive the loss of power: the one copy of that sequence of calls.
package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// ErrInPlace says that a file has its new content, but may have the old one again after a loss of power: its folder could not be
// synced.
var ErrInPlace = errors.New("the new content is in place, but not durable")

// Beside is what the name of a file ends with that [WriteFile] or [WriteFrom] has not finished: it is beside the file that it would become.
const Beside = ".new"

// WriteFile replaces a file, which has the old content or the new one, whole, at every moment and after a loss of power. What
// is half written is beside it as PATH.new, and overwritten the next time: one writer at a time. An error of ErrInPlace comes
// after the replacement, any other before it.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	return WriteFrom(path, bytes.NewReader(data), mode)
}

// WriteFrom is WriteFile for content that is not in memory.
func WriteFrom(path string, content io.Reader, mode os.FileMode) error {
	beside := path + Beside
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(beside, path)
	}
	if err != nil {
		_ = os.Remove(beside) // if it stays it is overwritten
		return err
	}
	if err := SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%w: %w", ErrInPlace, err)
	}
	return nil
}

// SyncDir makes durable which files a folder has, and their names.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
