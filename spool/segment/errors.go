package segment

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var (
	// ErrNoSpace says that the file system or a quota has no room. errors.Is(err, syscall.ENOSPC) or syscall.EDQUOT
	// holds as well. Nothing was written that counts, and the caller may try again once there is room.
	ErrNoSpace = errors.New("no space left for records")
	// ErrTooManyWriters says that Options.MaxLanes writers are open.
	ErrTooManyWriters = errors.New("segment: too many writers at once")
	// ErrGone says that a location holds its record no more: it was freed, or its segment recycled.
	ErrGone = errors.New("segment: record is gone")
	// ErrDamaged says that a record's bytes are not those that were committed; see DamageError.
	ErrDamaged = errors.New("segment: record is damaged")
	// ErrLocked says that another process has the directory; see LockError.
	ErrLocked = errors.New("segment: directory is in use")
	// ErrClosed says that the store, writer or payload was closed.
	ErrClosed = errors.New("segment: closed")
	// ErrNotReplayed says that Begin was called before Replay had found where writing goes on.
	ErrNotReplayed = errors.New("segment: not replayed yet")
	// ErrInUse says that a segment cannot be recycled because it still takes records.
	ErrInUse = errors.New("segment: segment is being written")
)

// LockError names the directory that another process has. errors.Is(err, ErrLocked) holds.
type LockError struct {
	Dir string
	PID int // of that process, as it was told by itself; 0: not known
	Err error
}

func (e *LockError) Error() string {
	who := ""
	if e.PID != 0 {
		who = fmt.Sprintf(" (process %d)", e.PID)
	}
	return fmt.Sprintf("segment: %s is in use by another dcmgate%s: stop that one, or give this one a directory of its own", e.Dir, who)
}

// Is reports ErrLocked.
func (e *LockError) Is(target error) bool { return target == ErrLocked }

// Unwrap returns what the kernel answered.
func (e *LockError) Unwrap() error { return e.Err }

// FormatError says that a newer version wrote something. It is left as it is.
type FormatError struct {
	What          string
	Format, Known int
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("%s has format %d, and this dcmgate knows formats up to %d: a newer version wrote it; run that version, "+
		"or bring back a copy of the data folder from before the upgrade", e.What, e.Format, e.Known)
}

// NotAFileError says that something else has the name of a segment's file.
type NotAFileError struct {
	Path string
	Mode os.FileMode // its type
}

func (e *NotAFileError) Error() string {
	what := "no file"
	switch e.Mode {
	case os.ModeSymlink:
		what = "a symbolic link"
	case os.ModeDir:
		what = "a folder"
	}
	return fmt.Sprintf("%s has the name of a segment and is %s: put the segment's file itself in its place (the folder of all segments may be a symbolic link)", e.Path, what)
}

// DamageError says which bytes are damaged and how. errors.Is(err, ErrDamaged) holds.
type DamageError struct {
	Range Range
	Err   error // of reading, if that is what failed
}

func (e *DamageError) Error() string {
	r := e.Range
	return fmt.Sprintf("segment %08x: record at %d (%d bytes) is damaged: %s", uint32(r.Segment), r.Offset, r.Length, r.Reason)
}

// Is reports ErrDamaged.
func (e *DamageError) Is(target error) bool { return target == ErrDamaged }

// Unwrap returns the error of reading, if any.
func (e *DamageError) Unwrap() error { return e.Err }

// failed wraps err with what was done to which segment, and marks it where the cause is a full disk.
func failed(what string, id ID, err error) error {
	return fmt.Errorf("segment %08x: %s: %w", uint32(id), what, asNoSpace(err))
}

// asNoSpace marks an error whose cause is a full disk.
func asNoSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
