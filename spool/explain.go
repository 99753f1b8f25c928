package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"dcmgate/internal/machine"
	"dcmgate/spool/segment"

	"golang.org/x/sys/unix"
)

// remedies are what to do about errors of the system that keep a spool from being opened.
var remedies = []struct {
	errnos []syscall.Errno
	remedy func(dir string) string
}{
	{[]syscall.Errno{syscall.EROFS}, func(string) string {
		return "a service of systemd may write only to its StateDirectory= and to what ReadWritePaths= names. " +
			"A disk that failed is read-only until it was checked and mounted again: see dmesg, then umount, e2fsck (or fsck), mount"
	}},
	{[]syscall.Errno{syscall.EACCES, syscall.EPERM}, func(dir string) string {
		return fmt.Sprintf("the folder and all in it have to belong to %s, by whom the gateway runs: chown -R %d:%d %s", machine.User(), os.Geteuid(), os.Getegid(), dir)
	}},
	{[]syscall.Errno{syscall.ENOSPC, syscall.EDQUOT}, func(dir string) string {
		return fmt.Sprintf("free space on the file system of %s (df -h), or inodes, if those are what it lacks (df -i), or raise the quota of %s", dir, machine.User())
	}},
	{[]syscall.Errno{syscall.EMFILE, syscall.ENFILE}, func(string) string {
		return "raise how many files may be open: LimitNOFILE= of the service, ulimit -n of a shell; of the whole machine, fs.file-max"
	}},
	{[]syscall.Errno{syscall.EIO}, func(string) string {
		return "the disk fails: see dmesg. Nothing is lost by a start that fails; if it was for once, the next one goes on. Else stop the service, umount, e2fsck (or fsck), mount"
	}},
	{[]syscall.Errno{syscall.ESTALE, syscall.ENOTCONN}, func(dir string) string {
		return fmt.Sprintf("the file system of %s is gone: umount, mount", dir)
	}},
}

// explained adds to an error of opening the spool in dir what to do about it, if it does not say so.
func explained(dir string, err error) error {
	if _, ok := errors.AsType[*segment.FormatError](err); ok || errors.Is(err, ErrLocked) || errors.Is(err, errSaysWhatToDo) {
		return err
	}
	if remedy := remedyFor(err); remedy != nil {
		return fmt.Errorf("%w; %s", err, remedy(dir))
	}
	return err
}

// remedyFor finds what to do about an error of the system; nil if err is of another kind.
func remedyFor(err error) func(dir string) string {
	for _, r := range remedies {
		for _, errno := range r.errnos {
			// Badger passes on the text of an error and not the error.
			if errors.Is(err, errno) || strings.HasSuffix(err.Error(), ": "+errno.Error()) {
				return r.remedy
			}
		}
	}
	return nil
}

// badgerError is an error of Badger on one line.
type badgerError struct{ error }

func (e badgerError) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }
func (e badgerError) Unwrap() error { return e.error }

// notOpened is why Badger has not opened an index that can be read through: the system's error, or content that it does not
// take.
func notOpened(dir string, err error) error {
	err = badgerError{err}
	if remedyFor(err) != nil {
		return err
	}
	return advise("%s: %w; the instances are in the segments: make the index anew with verify --rebuild", dir, err)
}

// errSaysWhatToDo is matched by errors that name their remedy.
var errSaysWhatToDo = errors.New("says what to do")

// adviceError is an error that names its remedy.
type adviceError struct{ error }

func (e adviceError) Is(target error) bool { return target == errSaysWhatToDo }
func (e adviceError) Unwrap() error        { return e.error }

func advise(format string, args ...any) error { return adviceError{fmt.Errorf(format, args...)} }

// checkReplaceable looks whether a new index can take the place of the one there is.
func checkReplaceable(dir string) error {
	var here, there unix.Stat_t
	path := filepath.Join(dir, indexDir)
	if unix.Stat(dir, &here) != nil || unix.Lstat(path, &there) != nil || there.Mode&unix.S_IFMT != unix.S_IFDIR || here.Dev == there.Dev {
		return nil // or what follows says it
	}
	return advise("%s is a mount point, in whose place no new index can be put: umount it, mount it elsewhere, make %[1]s a symbolic link to that place, and repeat the command; "+
		"the new index will be in %s, from where it can be moved", path, dir)
}

// checkFolders looks whether what has to be folders of the data folder is. What is not there is made, unless it is a
// symbolic link to what is not there.
func checkFolders(dir string) error {
	for _, name := range []string{segmentsDir, indexDir} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		switch {
		case err == nil && !info.IsDir():
			return advise("%s is a file, not a folder: move it away, and put the folder there, if there is one", path)
		case errors.Is(err, os.ErrNotExist):
			if to, err := os.Readlink(path); err == nil {
				return advise("%s is a symbolic link to %s, which is not there: mount its file system, or make the folder", path, to)
			}
		case err != nil:
			return err
		}
	}
	return nil
}
