package indexfile

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// Check reads an index through that nobody has open. A folder that is not there, or has no MANIFEST, is whole: Badger
// makes it. The error is one of looking; what is wrong with the index is in the report.
func Check(dir string) (Report, error) {
	var r Report
	m, err := readManifest(dir)
	var d Damage
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case errors.As(err, &d):
		r.add(d)
		return r, nil
	case err != nil:
		return r, err
	}
	for _, id := range m.tables {
		if _, err := r.checkListed(tablePath(dir, id)); err != nil {
			return r, err
		}
	}
	others, err := others(dir)
	if err != nil {
		return r, err
	}
	for _, name := range others {
		n, err := copyFile(io.Discard, filepath.Join(dir, name))
		r.Bytes += n
		if looking(err) {
			return r, err
		}
		if err != nil {
			r.add(Damage{Path: filepath.Join(dir, name), Offset: n, Err: plain(err)})
		}
	}
	return r, nil
}

// CheckTables reads tables through beside the index that has them open, of which listed tells those there are. One that the
// index has removed meanwhile is passed over, as is one that cannot be looked at for a reason that is not the disk's.
func CheckTables(dir string, listed func() []uint64) Report {
	var r Report
	for _, id := range listed() {
		var one Report
		_, _ = one.checkTable(tablePath(dir, id))
		r.Bytes += one.Bytes
		if one.Count == 0 || !slices.Contains(listed(), id) { // Badger empties a file before it removes it
			continue
		}
		r.Count += one.Count
		r.Damages = append(r.Damages, one.Damages[:min(len(one.Damages), maxDamages-len(r.Damages))]...)
	}
	return r
}

// looking tells that an error is not the disk's: nothing is known of the index by it.
func looking(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// condition of a table.
type condition int

const (
	whole condition = iota
	partly
	lost // none of its blocks can be found
)

// checkTable adds the damages of a table. The error is one of looking, or says that there is no such file.
func (r *Report) checkTable(path string) (condition, error) {
	t, err := openTable(path)
	switch {
	case looking(err), errors.Is(err, fs.ErrNotExist):
		return lost, err
	case err != nil:
		d := Damage{Path: path, Err: plain(err)}
		errors.As(err, &d)
		r.add(d)
		return lost, nil
	}
	defer t.Close()
	r.Bytes += t.size
	is := whole
	for _, b := range t.blocks {
		if _, err := t.check(b); err != nil {
			r.add(Damage{path, b.offset, b.length, err})
			is = partly
		}
	}
	return is, nil
}

// checkListed is checkTable of one that the MANIFEST lists: that it is missing is a damage.
func (r *Report) checkListed(path string) (condition, error) {
	is, err := r.checkTable(path)
	if errors.Is(err, fs.ErrNotExist) {
		r.add(Damage{Path: path, Err: fs.ErrNotExist})
		return lost, nil
	}
	return is, err
}

// manifest is what a MANIFEST says.
type manifest struct {
	tables []uint64 // there are; another file of a table is what a crash has left, and Badger removes it
	end    int64    // of what is whole; a crash may have left part of a change behind it
}

// readManifest reads the MANIFEST. The error is a Damage if it is there and cannot be understood.
func readManifest(dir string) (manifest, error) {
	path := filepath.Join(dir, badger.ManifestFilename)
	f, err := os.Open(path)
	if err != nil {
		return manifest{}, err
	}
	defer f.Close()
	if n, err := io.Copy(io.Discard, f); err != nil { // Badger would not tell the disk's error
		return manifest{}, Damage{Path: path, Offset: n, Err: plain(err)}
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return manifest{}, err
	}
	m, end, err := badger.ReplayManifestFile(f, 0, badger.DefaultOptions(dir))
	if err != nil {
		return manifest{}, Damage{Path: path, Err: plain(err)}
	}
	return manifest{slices.Sorted(maps.Keys(m.Tables)), end}, nil
}

func tablePath(dir string, id uint64) string { return table.NewFilename(id, dir) }

// others lists the files of an index that are no tables.
func others(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if _, isTable := table.ParseFileID(e.Name()); e.Type().IsRegular() && !isTable {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// copyFile copies a file as far as it can be read.
func copyFile(w io.Writer, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.Copy(w, f)
}
