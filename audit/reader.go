package audit

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Position is a place in the log, between two lines.
type Position struct {
	File   string `json:"file"` // "" before the first
	Offset int64  `json:"offset"`
}

// lines reads the lines of the log from a position on, from file to file. It is for one goroutine.
type lines struct {
	dir     string
	at      Position // behind the last line that was returned
	skipped int      // files that were gone
	damaged int      // lines that were too long or torn

	f      *os.File
	buffer []byte // read and not yet returned, from at on
}

// next returns the next line, which is valid until the next call, without its end; io.EOF if there is none at present.
func (r *lines) next() ([]byte, error) {
	for {
		if r.f == nil {
			if err := r.open(); err != nil {
				return nil, err
			}
		}
		if i := bytes.IndexByte(r.buffer, '\n'); i >= 0 {
			line := r.buffer[:i]
			r.buffer = r.buffer[i+1:]
			r.at.Offset += int64(i) + 1
			return line, nil
		}
		if len(r.buffer) > 2*maxLine { // none of ours
			r.damaged++
			r.at.Offset += int64(len(r.buffer))
			r.buffer = nil
		}
		more := make([]byte, 64<<10)
		n, err := r.f.ReadAt(more, r.at.Offset+int64(len(r.buffer)))
		r.buffer = append(slices.Clone(r.buffer), more[:n]...)
		if n > 0 {
			continue
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		following, err := r.following()
		if err != nil {
			return nil, err
		}
		if following == "" {
			return nil, io.EOF
		}
		// The next file may have been begun after this one was read to its end.
		if info, err := r.f.Stat(); err == nil && info.Size() > r.at.Offset+int64(len(r.buffer)) {
			continue
		}
		if len(r.buffer) > 0 {
			r.damaged++
		}
		r.close()
		r.at = Position{File: following}
	}
}

// open opens the file of the position, or the first after it.
func (r *lines) open() error {
	if r.at.File != "" {
		f, err := os.Open(filepath.Join(r.dir, r.at.File))
		if err == nil {
			r.f, r.buffer = f, nil
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		r.skipped++
	}
	following, err := r.following()
	if err != nil {
		return err
	}
	if following == "" {
		return io.EOF
	}
	r.at = Position{File: following}
	r.f, err = os.Open(filepath.Join(r.dir, following))
	r.buffer = nil
	return err
}

// following is the first file behind that of the position.
func (r *lines) following() (string, error) {
	names, err := files(r.dir)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if name > r.at.File {
			return name, nil
		}
	}
	return "", nil
}

func (r *lines) close() {
	if r.f != nil {
		r.f.Close()
	}
	r.f, r.buffer = nil, nil
}

// end is the position behind all lines there are.
func end(dir string) (Position, error) {
	names, err := files(dir)
	if err != nil || len(names) == 0 {
		return Position{}, err
	}
	last := names[len(names)-1]
	info, err := os.Stat(filepath.Join(dir, last))
	if err != nil {
		return Position{}, err
	}
	return Position{last, info.Size()}, nil
}

// Reader reads the messages of a log, while it is written, too. It is for one goroutine.
type Reader struct {
	lines lines
	since time.Time
	other int // lines that hold no message
}

// NewReader reads the log in a directory from a moment on. The zero time is its begin.
func NewReader(dir string, since time.Time) (*Reader, error) {
	names, err := files(dir)
	if err != nil {
		return nil, err
	}
	r := &Reader{lines: lines{dir: dir}, since: since}
	// A message may be written some time after what it tells of.
	early := since.Add(-tellAfter)
	for i, name := range names {
		if t, _ := begun(name); i == 0 || !t.After(early) {
			r.lines.at = Position{File: name}
		}
	}
	return r, nil
}

// Next returns the next message. The error io.EOF says that there is none at present: there may be later.
func (r *Reader) Next() (Entry, error) {
	for {
		line, err := r.lines.next()
		if err != nil {
			return Entry{}, err
		}
		if len(line) == 0 {
			continue // ends a torn line
		}
		e, err := parse(line)
		if err != nil {
			r.other++
			continue
		}
		if !e.Time.Before(r.since) {
			return e, nil
		}
	}
}

// Damaged is how many lines were skipped because they hold no whole message, as after a crash.
func (r *Reader) Damaged() int { return r.lines.damaged + r.other }

// Close closes the file that is read.
func (r *Reader) Close() error {
	r.lines.close()
	return nil
}
