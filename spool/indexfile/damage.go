package indexfile

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// maxDamages bounds what is listed of an index.
const maxDamages = 100

// ErrChecksum says that bytes are not those that were written.
var ErrChecksum = errors.New("checksum does not match")

// Damage is a part of an index that cannot be read, or is not what was written.
type Damage struct {
	Path   string
	Offset int64 // in the file, bytes
	Length int64 // 0: to the end of the file, or the file itself is missing
	Err    error
}

func (d Damage) Error() string {
	name := filepath.Join(filepath.Base(filepath.Dir(d.Path)), filepath.Base(d.Path))
	switch {
	case errors.Is(d.Err, fs.ErrNotExist):
		return name + " is missing"
	case d.Length == 0:
		return fmt.Sprintf("%s from byte %d on: %v", name, d.Offset, d.Err)
	}
	return fmt.Sprintf("%s, %d bytes at %d: %v", name, d.Length, d.Offset, d.Err)
}

func (d Damage) Unwrap() error { return d.Err }

// Report is what was found in an index.
type Report struct {
	Bytes   int64    // read
	Damages []Damage // the first 100
	Count   int      // of all
}

// add notes damages; what follows without a gap is one.
func (r *Report) add(damages ...Damage) {
	for _, d := range damages {
		if n := len(r.Damages); n > 0 {
			if last := &r.Damages[n-1]; last.Path == d.Path && last.Length > 0 && d.Length > 0 && last.Offset+last.Length == d.Offset {
				last.Length += d.Length
				continue
			}
		}
		if r.Count++; len(r.Damages) < maxDamages {
			r.Damages = append(r.Damages, d)
		}
	}
}

// Err is nil if the index is whole, and else names the first damage and how many more there are.
func (r *Report) Err() error {
	switch r.Count {
	case 0:
		return nil
	case 1:
		return r.Damages[0]
	}
	return fmt.Errorf("%w, and %d more", r.Damages[0], r.Count-1)
}
