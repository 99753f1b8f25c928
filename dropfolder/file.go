package dropfolder

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrChanged says that a file is not what it was when it was opened: somebody still writes to it.
var ErrChanged = errors.New("drop folder: the file changes while it is read")

// openFile lets nothing but a file be opened: no link is followed, and no FIFO waits for a writer.
const openFile = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

// stamp tells one state of a file from another. The status change time cannot be set by a copying program.
type stamp struct {
	dev, ino, nlink uint64
	mode            uint32
	size            int64
	modified        unix.Timespec
	changed         unix.Timespec
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{uint64(st.Dev), st.Ino, uint64(st.Nlink), st.Mode, st.Size, st.Mtim, st.Ctim}
}

// sameContent compares but for the status change time, which a rename changes as well.
func (s stamp) sameContent(o stamp) bool {
	return s.dev == o.dev && s.ino == o.ino && s.size == o.size && s.modified == o.modified
}

func (s stamp) folder() bool  { return s.mode&unix.S_IFMT == unix.S_IFDIR }
func (s stamp) regular() bool { return s.mode&unix.S_IFMT == unix.S_IFREG }
func (s stamp) empty() bool   { return s.regular() && s.size == 0 }

// File is a complete regular file, open for reading from its begin.
type File struct {
	*os.File
	Path      string        // below the folder, with slashes; any bytes but NUL. Not for logs: it may hold a patient's name
	Size      int64         // bytes
	Unchanged time.Duration // it has been as it is for as long at least

	dir   *directory
	base  string
	state stamp
}

// Changed returns [ErrChanged] if the file is no longer what it was when it was opened. Handlers ask before they make durable
// what they have read.
func (f *File) Changed() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "fstat", Path: "file", Err: err}
	}
	if stampOf(&st) != f.state {
		return ErrChanged
	}
	return nil
}

// Sibling opens another file of the same folder by its base name, under the same rules. The caller closes it. It need not be
// complete: the caller judges what it holds and, by [File.Changed], whether it is still being written. The error is
// fs.ErrNotExist if there is no such file, or none that may be opened.
func (f *File) Sibling(base string) (*File, error) {
	s, err := f.dir.open(base)
	if err != nil {
		return nil, err
	}
	if !s.state.regular() || s.state.nlink > 1 {
		s.Close()
		return nil, fs.ErrNotExist
	}
	s.Path = path.Join(path.Dir(f.Path), base)
	return s, nil
}

// directory is a folder, open.
type directory struct {
	*os.File
	locked bool // on a walk, a sub-folder that no file may leave
}

const (
	openDirectory = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NONBLOCK | unix.O_CLOEXEC
	modeDirectory = 0o750
)

// openFolder opens a folder that the administrator has named; links on the way to it are theirs.
func openFolder(name string) (*directory, error) {
	fd, err := unix.Open(name, openDirectory, 0)
	if err != nil {
		return nil, err
	}
	return &directory{File: os.NewFile(uintptr(fd), "folder")}, nil
}

// sub opens a folder below, following no link. The result for "." is another handle of the same.
func (d *directory) sub(base string) (*directory, error) {
	fd, err := unix.Openat(d.fd(), base, openDirectory|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return &directory{File: os.NewFile(uintptr(fd), "folder")}, nil
}

// descend opens the folder of a path below, following no link; what is missing it makes if that is wanted.
func (d *directory) descend(name string, make bool) (*directory, error) {
	at, err := d.sub(".")
	if err != nil || name == "." {
		return at, err
	}
	for _, base := range strings.Split(name, "/") {
		if make {
			if err := unix.Mkdirat(at.fd(), base, modeDirectory); err != nil && !errors.Is(err, fs.ErrExist) {
				at.Close()
				return nil, err
			}
		}
		next, err := at.sub(base)
		at.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

func (d *directory) fd() int { return int(d.Fd()) }

// stat looks at a file without opening it.
func (d *directory) stat(base string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd(), base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return stamp{}, err
	}
	return stampOf(&st), nil
}

// open opens a file. It is given what it is, not what it was when it was looked at before.
func (d *directory) open(base string) (*File, error) {
	if base == "" || base == "." || base == ".." || strings.ContainsAny(base, "/\x00") {
		return nil, fs.ErrNotExist
	}
	fd, err := unix.Openat(d.fd(), base, openFile, 0)
	if errors.Is(err, unix.ELOOP) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	f := &File{File: os.NewFile(uintptr(fd), "file"), dir: d, base: base}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		f.Close()
		return nil, err
	}
	f.state, f.Size = stampOf(&st), st.Size
	return f, nil
}

// writable tells whether files may leave the folder.
func (d *directory) writable() error {
	return unix.Faccessat(d.fd(), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
}
