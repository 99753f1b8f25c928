package segment

import (
	"errors"
	"io"
	"os"
)

// disk is the directory that holds the segments, and file one file in it. They are interfaces so that tests can fail
// any call and cut the power; diskDir is the real one. Names are relative to the directory.
type disk interface {
	path(name string) string // for people
	lock() (io.Closer, error)
	list() ([]entry, error)         // regular files at the top
	open(name string) (file, error) // for reading and writing
	create(name string) (file, error)
	rename(from, to string) error
	remove(name string) error
	sync() error // makes creations, renames and removals durable
	usage() (free, total int64, err error)
	quarantine() quarantine
}

// entry is a file of a directory.
type entry struct {
	name      string
	size      int64
	allocated int64 // bytes the file system gave to it
}

// quarantine is the place for what was being written when the process died.
type quarantine interface {
	// tidy removes what could not be finished, and counts the files that are left.
	tidy() (int, error)
	// put makes a file durable, whole or not at all. If it has that name already it is replaced.
	put(name string, content io.Reader) error
}

// file has the calls on which durability rests.
type file interface {
	renamed(to string) // errors name it so from now on
	io.ReaderAt
	io.WriterAt
	io.Closer
	datasync() error                   // fdatasync(2)
	sync() error                       // fsync(2)
	allocate(off, n int64) error       // reserves blocks, extending the file
	punch(off, n int64) error          // gives blocks back, keeping the size
	truncate(size int64) error         // sets the size
	flush(off, n int64)                // advice: begin to write back
	drop(off, n int64)                 // advice: forget clean pages, so that what is read next comes from the disk; n 0: all that follow
	nextData(off int64) (int64, error) // next offset with data, io.EOF if there is none
	stat() (size, allocated int64, err error)
	reopen() (*os.File, error) // the same file with an offset of its own
}

// errUnsupported is what allocate and punch answer where the file system cannot.
var errUnsupported = errors.ErrUnsupported
