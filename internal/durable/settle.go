package durable

import (
	"io"
	"os"
)

// Settled calls sync until nothing is left to write. That it fails at first may be news of an earlier write: the kernel keeps
// the error of a write that nobody waited for, as the process was killed, for whoever syncs the file next, and tells it once.
// The pages of that write are clean afterwards, whether they were written or not, so that what the page cache shows may not
// be on the disk; the second call has the rest written. If that fails as well, the disk does.
func Settled(sync func() error) (told, err error) {
	if told = sync(); told == nil {
		return nil, nil
	}
	return told, sync()
}

// Settle makes a file durable that an earlier process may not have synced. If the kernel tells of a write that failed, what can
// be read of the file is written anew: what was written, or what the disk has in its place, which is for the reader to tell by
// checksums. told is what the kernel told; err, if the file is not durable.
func Settle(path string) (told, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if told = f.Sync(); told == nil {
		return nil, nil
	}
	info, err := f.Stat()
	if err != nil {
		return told, err
	}
	// A section is copied by reading; of a whole file the kernel may clone what is on the disk.
	return told, WriteFrom(path, io.NewSectionReader(f, 0, info.Size()), info.Mode().Perm())
}
