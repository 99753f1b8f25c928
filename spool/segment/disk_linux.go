package segment

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"dcmgate/internal/durable"

	"golang.org/x/sys/unix"
)

const lockName = "lock"

// QuarantineDir is the directory, below that of the segments, for what was being written when the process died.
const QuarantineDir = "quarantine"

// diskDir is the directory of that name.
type diskDir string

func (d diskDir) path(name string) string { return filepath.Join(string(d), name) }

// lock takes the directory until the result is closed. The kernel gives it back when the process dies, however it dies.
func (d diskDir) lock() (io.Closer, error) {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &LockError{Dir: string(d), PID: readPID(f), Err: err}
		}
		return nil, &os.PathError{Op: "flock", Path: d.path(lockName), Err: err}
	}
	writePID(f)
	return f, nil
}

// writePID says in a lock's file who has it. It is for people: where it cannot be written it is left out.
func writePID(f *os.File) {
	if f.Truncate(0) == nil {
		fmt.Fprintln(f, os.Getpid())
	}
}

// readPID reads what writePID wrote, 0 if that is nothing.
func readPID(f *os.File) int {
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return max(pid, 0)
}

func (d diskDir) list() ([]entry, error) {
	des, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, de := range des {
		var st unix.Stat_t
		if !de.Type().IsRegular() {
			if _, _, ok := parseName(de.Name()); ok { // left out, it would be replaced by a segment of that number
				return nil, &NotAFileError{Path: d.path(de.Name()), Mode: de.Type()}
			}
			continue
		}
		if err := unix.Lstat(d.path(de.Name()), &st); err != nil {
			return nil, &os.PathError{Op: "stat", Path: d.path(de.Name()), Err: err}
		}
		entries = append(entries, entry{name: de.Name(), size: st.Size, allocated: st.Blocks * 512})
	}
	return entries, nil
}

func (d diskDir) open(name string) (file, error) { return d.openFile(name, os.O_RDWR) }

func (d diskDir) create(name string) (file, error) {
	return d.openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d diskDir) openFile(name string, flags int) (file, error) {
	f, err := os.OpenFile(d.path(name), flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &diskFile{f: f, dir: d}, nil
}

func (d diskDir) rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d diskDir) remove(name string) error { return os.Remove(d.path(name)) }

func (d diskDir) sync() error { return durable.SyncDir(string(d)) }

func (d diskDir) usage() (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(string(d), &st); err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: string(d), Err: err}
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

func (d diskDir) quarantine() quarantine { return quarantinePath(d.path(QuarantineDir)) }

// quarantinePath is the quarantine directory of that path, made when first needed.
type quarantinePath string

func (q quarantinePath) tidy() (n int, err error) {
	des, err := os.ReadDir(string(q))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	for _, de := range des {
		if !strings.HasSuffix(de.Name(), durable.Beside) || os.Remove(filepath.Join(string(q), de.Name())) != nil {
			n++
		}
	}
	return n, err
}

func (q quarantinePath) put(name string, content io.Reader) error {
	if err := os.MkdirAll(string(q), 0o700); err != nil {
		return err
	}
	if err := durable.SyncDir(filepath.Dir(string(q))); err != nil {
		return err
	}
	return durable.WriteFrom(filepath.Join(string(q), name), content, 0o600)
}

// diskFile is a file of the operating system.
type diskFile struct {
	f    *os.File
	dir  diskDir
	name atomic.Pointer[string] // if it is another than when f was opened
}

func (f *diskFile) fd() int { return int(f.f.Fd()) }

func (f *diskFile) renamed(to string) { f.name.Store(&to) }

// path is where the file is now.
func (f *diskFile) path() string {
	if name := f.name.Load(); name != nil {
		return f.dir.path(*name)
	}
	return f.f.Name()
}

// wrap names the call and the file in an error. What package os said of the file has the path that it was opened by.
func (f *diskFile) wrap(call string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if pe, ok := errors.AsType[*os.PathError](err); ok {
		err = pe.Err
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = errors.Join(errUnsupported, err)
	}
	return &os.PathError{Op: call, Path: f.path(), Err: err}
}

func (f *diskFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	return n, f.wrap("read", err)
}

func (f *diskFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	return n, f.wrap("write", err)
}

func (f *diskFile) Close() error { return f.f.Close() }

// retried repeats a call that a signal interrupted. Only EINTR: a sync that failed otherwise must not be tried again.
func retried(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func (f *diskFile) datasync() error {
	return f.wrap("fdatasync", retried(func() error { return unix.Fdatasync(f.fd()) }))
}

func (f *diskFile) sync() error { return f.wrap("fsync", f.f.Sync()) }

func (f *diskFile) allocate(off, n int64) error {
	return f.wrap("fallocate", retried(func() error { return unix.Fallocate(f.fd(), 0, off, n) }))
}

func (f *diskFile) punch(off, n int64) error {
	return f.wrap("punch", retried(func() error {
		return unix.Fallocate(f.fd(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	}))
}

func (f *diskFile) truncate(size int64) error { return f.wrap("truncate", f.f.Truncate(size)) }

func (f *diskFile) flush(off, n int64) {
	unix.SyncFileRange(f.fd(), off, n, unix.SYNC_FILE_RANGE_WRITE) // advice: Commit's sync finds what this could not do
}

func (f *diskFile) drop(off, n int64) {
	unix.Fadvise(f.fd(), off, n, unix.FADV_DONTNEED) // advice
}

func (f *diskFile) nextData(off int64) (int64, error) {
	n, err := unix.Seek(f.fd(), off, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, io.EOF
	}
	return n, f.wrap("seek", err)
}

func (f *diskFile) stat() (size, allocated int64, err error) {
	var st unix.Stat_t
	err = unix.Fstat(f.fd(), &st)
	return st.Size, st.Blocks * 512, f.wrap("stat", err)
}

func (f *diskFile) reopen() (*os.File, error) {
	return os.Open(fmt.Sprintf("/proc/self/fd/%d", f.fd()))
}
