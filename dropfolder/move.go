package dropfolder

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	ownPrefix    = ".dcmgate-"   // of names that a Watcher gives for a moment
	reasonSuffix = ".reason.txt" // of the file beside what was moved aside
	maxName      = 255           // bytes, of a file on most file systems
	maxSameName  = 1_000         // files of one name
	modeFile     = 0o640
)

// remove removes a file if it still is what was read. It is renamed first: between looking and removing somebody could put
// another in its place, which then gets its name back. After a crash it is found again under the name in between.
func (d *directory) remove(base string, state stamp) error {
	staged := short(ownPrefix+rand.Text()[:8]+"-"+base, 0)
	err := unix.Renameat2(d.fd(), base, d.fd(), staged, unix.RENAME_NOREPLACE)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case noRenameat2(err):
		staged = base // there is no way to close the gap here
	case err != nil:
		return err
	}
	now, err := d.stat(staged)
	if err == nil && now.sameContent(state) {
		if err = unix.Unlinkat(d.fd(), staged, 0); err == nil {
			return nil
		}
	} else {
		err = errors.Join(ErrChanged, err)
	}
	if staged != base {
		err = errors.Join(err, unix.Renameat2(d.fd(), staged, d.fd(), base, unix.RENAME_NOREPLACE))
	}
	return err
}

func noRenameat2(err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS)
}

// target is a folder that files are moved to.
type target struct{ *directory }

// openTarget opens a folder that files are moved to; inside the watched one it is made.
func openTarget(folder *directory, watched, name string) (*target, error) {
	var d *directory
	var err error
	if below, inside := belowOf(watched, name); inside {
		d, err = folder.descend(below, true)
	} else {
		d, err = openFolder(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &target{d}, nil
}

// belowOf tells where a folder is below another.
func belowOf(watched, name string) (below string, inside bool) {
	below, err := filepath.Rel(watched, name)
	return below, err == nil && below != "." && below != ".." && !strings.HasPrefix(below, "../")
}

// take moves a file to the same place below the target, with a number behind its name if there is one already. It returns
// the place.
func (t *target) take(from *directory, base, place string, state stamp) (string, error) {
	folder := path.Dir(place)
	to, err := t.descend(folder, true)
	if err != nil {
		return "", err
	}
	defer to.Close()
	if now, err := from.stat(base); err != nil || !now.sameContent(state) {
		return "", errors.Join(ErrChanged, err)
	}
	for n := range maxSameName {
		name := short(path.Base(place), n)
		if there, err := to.exists(name + reasonSuffix); err != nil || there {
			if err != nil {
				return "", err
			}
			continue
		}
		err := rename(from, base, to, name)
		if errors.Is(err, unix.EXDEV) {
			err = copyOver(from, base, to, name, state)
		}
		if !errors.Is(err, fs.ErrExist) {
			return path.Join(folder, name), err
		}
	}
	return "", fmt.Errorf("%d files of one name are there", maxSameName)
}

// short is a file name with a number behind it, and room for the suffix of reasons.
func short(name string, n int) string {
	number := ""
	if n > 0 {
		number = fmt.Sprintf(".%d", n+1)
	}
	if room := maxName - len(reasonSuffix) - len(number); len(name) > room {
		sum := fmt.Sprintf("-%.8x", sha256.Sum256([]byte(name)))
		name = name[:room-len(sum)] + sum
	}
	return name + number
}

func (d *directory) exists(base string) (bool, error) {
	_, err := d.stat(base)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// rename renames without replacing; fs.ErrExist if there is something.
func rename(from *directory, base string, to *directory, name string) error {
	err := unix.Renameat2(from.fd(), base, to.fd(), name, unix.RENAME_NOREPLACE)
	if !noRenameat2(err) {
		return err
	}
	// A file system without it, such as some network ones: nobody else may write to the target.
	if there, err := to.exists(name); err != nil || there {
		return errors.Join(err, fs.ErrExist)
	}
	return unix.Renameat(from.fd(), base, to.fd(), name)
}

// copyOver copies a file to another file system, makes the copy durable and removes the file. If that fails the file alone is
// there afterwards: with the copy, each further attempt would add one.
func copyOver(from *directory, base string, to *directory, name string, state stamp) error {
	if !state.regular() {
		return errors.New("is no file and cannot be moved to another file system")
	}
	in, err := from.open(base)
	if err != nil {
		return err
	}
	defer in.Close()
	temporary := ownPrefix + rand.Text()
	fd, err := unix.Openat(to.fd(), temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, modeFile)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), "copy")
	_, err = io.Copy(out, in)
	if err == nil && !in.state.sameContent(state) {
		err = ErrChanged
	}
	if err == nil {
		err = errors.Join(in.Changed(), out.Sync())
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = rename(to, temporary, to, name)
	}
	if err != nil {
		return errors.Join(err, unix.Unlinkat(to.fd(), temporary, 0))
	}
	if err = to.Sync(); err == nil {
		err = from.remove(base, state)
	}
	if err == nil {
		return nil
	}
	if there, e := from.exists(base); e != nil || !there { // the copy may be all there is
		return errors.Join(err, e)
	}
	return errors.Join(err, unix.Unlinkat(to.fd(), name, 0))
}

// explain writes the reason beside what was moved aside.
func (t *target) explain(place, folder string, v Verdict, now time.Time) error {
	to, err := t.descend(path.Dir(place), false)
	if err != nil {
		return err
	}
	defer to.Close()
	fd, err := unix.Openat(to.fd(), path.Base(place)+reasonSuffix, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, modeFile)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "reason")
	_, err = fmt.Fprintf(f, reasonText, v.reason, v.code, now.Format(time.RFC3339), folder)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, unix.Unlinkat(to.fd(), path.Base(place)+reasonSuffix, 0))
	}
	return nil
}

// reasonText is for whoever has put the file there.
const reasonText = `Not taken: %s

Code: %s
Time: %s
Drop folder: %s

Once the cause is mended, move the file back into the drop folder.
`

// count counts the files, up to a bound.
func (t *target) count(ctx context.Context, most int) (n int) {
	walk(ctx, t.directory, func(d *directory, _, base string) step {
		switch state, err := d.stat(base); {
		case err == nil && state.folder():
			return enter
		case err != nil || strings.HasSuffix(base, reasonSuffix):
			return next
		}
		if n++; n < most {
			return next
		}
		return stop
	})
	return n
}
