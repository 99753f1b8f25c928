package indexfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// Salvage makes in to, which must not exist, a copy of the index in from, which nobody has open, that Badger can open: what
// is damaged is missing, as if it had never been written, so that older values of the same keys may come to light. Tables
// that are whole are shared with from (hard links), as Badger never changes one. The report lists what is missing. An
// error means that there is no copy to be used: the MANIFEST cannot be read, or to cannot be written.
func Salvage(from, to string) (Report, error) {
	var r Report
	m, err := readManifest(from)
	if err != nil {
		return r, err
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return r, err
	}
	names, err := others(from)
	if err != nil {
		return r, err
	}
	for _, name := range names {
		if err := r.salvageFile(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
			return r, err
		}
	}
	var gone []uint64
	for _, id := range m.tables {
		kept, err := r.salvageTable(tablePath(from, id), tablePath(to, id))
		if err != nil {
			return r, err
		}
		if !kept {
			gone = append(gone, id)
		}
	}
	return r, forget(to, m.end, gone)
}

// salvageFile copies a file that is no table as far as it can be read: of the log of a memtable Badger takes what comes
// before.
func (r *Report) salvageFile(from, to string) error {
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := &writer{file: out}
	n, err := copyFile(w, from)
	if cerr := out.Close(); w.err == nil {
		w.err = cerr
	}
	r.Bytes += n
	switch {
	case w.err != nil || looking(err):
		return errors.Join(w.err, err)
	case err == nil:
		return nil
	}
	r.add(Damage{Path: from, Offset: n, Err: plain(err)})
	if n == 0 {
		return os.Remove(to) // Badger makes what it lacks of these, and takes none that is empty
	}
	return nil
}

// writer remembers that writing failed, which is not the fault of what is read.
type writer struct {
	file *os.File
	err  error
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.file.Write(b)
	if err != nil {
		w.err = err
	}
	return n, err
}

// salvageTable brings a table over. ok is false if nothing of it can be read.
func (r *Report) salvageTable(from, to string) (ok bool, err error) {
	is, err := r.checkListed(from)
	if is == lost || err != nil {
		return false, err
	}
	if is == whole && os.Link(from, to) == nil {
		return true, nil
	}
	return copyTable(from, to)
}

// copyTable copies a table, with fillers in the place of blocks that are damaged.
func copyTable(from, to string) (ok bool, err error) {
	t, err := openTable(from)
	if err != nil {
		return false, nil
	}
	defer t.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	defer out.Close()
	next := int64(0)
	for _, b := range t.blocks {
		data, err := t.check(b)
		if err != nil {
			data = filler(b)
		}
		if data == nil { // a block of a single entry without a value
			return false, os.Remove(to)
		}
		if _, err := out.Write(data); err != nil {
			return false, err
		}
		next = b.offset + b.length
	}
	rest, err := t.read(next, t.size-next)
	if err != nil {
		return false, os.Remove(to) // it could be read a moment ago
	}
	_, err = out.Write(rest)
	return true, errors.Join(err, out.Close())
}

// forget takes tables out of the MANIFEST of a copy, which is whole up to end.
func forget(dir string, end int64, ids []uint64) error {
	if len(ids) == 0 {
		return nil
	}
	var set pb.ManifestChangeSet
	for _, id := range ids {
		set.Changes = append(set.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_DELETE})
	}
	b, err := proto.Marshal(&set)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, badger.ManifestFilename)
	if err := os.Truncate(path, end); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	head := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(b, y.CastagnoliCrcTable))
	if _, err := f.Write(append(head, b...)); err != nil {
		return fmt.Errorf("take %d tables out of the MANIFEST: %w", len(ids), err)
	}
	return f.Close()
}
