package segment

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"

	"dcmgate/internal/durable"
)

// memDisk is a directory in memory that forgets, when the power is cut, what was not synced: any subset of the blocks
// written since the last sync of their file, and any suffix of the directory's changes since its last sync. It also
// fails calls on demand.
type memDisk struct {
	mu      sync.Mutex
	names   map[string]*memInode
	durable map[string]*memInode // names as of the last sync
	changes []func(map[string]*memInode)
	space   int64 // left to allocate; unlimited if negative
	fail    func(op, name string, off int64) error
	aside   map[string][]byte
	locked  bool
}

const sector = 512

var (
	// errKilled fails a call that the process did not live to make.
	errKilled = errors.New("killed")
	// errKept fails a sync that leaves pages to be written; after another error none are left.
	errKept = errors.New("some pages are still dirty")
)

// memInode is a file's content: what is on the platter, and what is in the cache above it.
type memInode struct {
	data   []byte
	stable []byte
	dirty  map[int64]bool // sectors written since the last sync
	hole   map[int64]bool // blocks without data
	name   string
}

func newMemInode(name string, data []byte) *memInode {
	return &memInode{data: data, stable: bytes.Clone(data), dirty: map[int64]bool{}, hole: map[int64]bool{}, name: name}
}

func newMemDisk() *memDisk {
	return &memDisk{names: map[string]*memInode{}, durable: map[string]*memInode{}, space: -1, aside: map[string][]byte{}}
}

func (d *memDisk) check(op, name string, off int64) error {
	if d.fail == nil {
		return nil
	}
	return d.fail(op, name, off)
}

type memLock struct{ d *memDisk }

func (l memLock) Close() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.d.locked = false
	return nil
}

func (d *memDisk) lock() (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked {
		return nil, &LockError{Dir: "memory"}
	}
	d.locked = true
	return memLock{d}, nil
}

func (d *memDisk) path(name string) string { return name }

func (d *memDisk) list() ([]entry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var es []entry
	for name, n := range d.names {
		es = append(es, entry{name: name, size: int64(len(n.data)), allocated: n.allocated()})
	}
	return es, nil
}

func (n *memInode) allocated() int64 {
	return max(0, aligned(int64(len(n.data)))-int64(len(n.hole))*Alignment)
}

func (d *memDisk) open(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	if n == nil {
		return nil, os.ErrNotExist
	}
	return &memFile{d, n}, d.check("open", name, 0)
}

func (d *memDisk) create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] != nil {
		return nil, os.ErrExist
	}
	if err := d.check("create", name, 0); err != nil {
		return nil, err
	}
	n := newMemInode(name, nil)
	d.change(func(m map[string]*memInode) { m[name] = n })
	return &memFile{d, n}, nil
}

func (d *memDisk) change(f func(map[string]*memInode)) {
	f(d.names)
	d.changes = append(d.changes, f)
}

func (d *memDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("rename", from, 0); err != nil {
		return err
	}
	n := d.names[from]
	if n == nil {
		return os.ErrNotExist
	}
	d.change(func(m map[string]*memInode) { delete(m, from); m[to] = n })
	n.name = to
	return nil
}

func (d *memDisk) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("remove", name, 0); err != nil {
		return err
	}
	if n := d.names[name]; n != nil {
		if d.space >= 0 {
			d.space += n.allocated()
		}
		d.change(func(m map[string]*memInode) { delete(m, name) })
		return nil
	}
	return os.ErrNotExist
}

func (d *memDisk) sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check("syncdir", "", 0); err != nil {
		return err
	}
	d.settle(len(d.changes))
	return nil
}

// settle makes the first n changes of names durable.
func (d *memDisk) settle(n int) {
	for _, f := range d.changes[:n] {
		f(d.durable)
	}
	d.changes = d.changes[n:]
}

func (d *memDisk) usage() (int64, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.space, d.space, nil
}

func (d *memDisk) quarantine() quarantine { return d }

func (d *memDisk) tidy() (int, error) {
	maps.DeleteFunc(d.aside, func(name string, _ []byte) bool { return strings.HasSuffix(name, durable.Beside) })
	return len(d.aside), nil
}

func (d *memDisk) put(name string, content io.Reader) error {
	b, err := io.ReadAll(content)
	d.aside[name] = b
	return err
}

// cut loses the power: what comes back is a disk of its own. unit is the size of the blocks that are written or
// not, a multiple of sector; keep is the chance of an unsynced one to be there.
func (d *memDisk) cut(r *rand.Rand, unit int64, keep float64) *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle(r.IntN(len(d.changes) + 1))
	after := newMemDisk()
	after.space = d.space
	for name, n := range d.durable {
		c := newMemInode(name, n.afterCut(r, unit, keep))
		after.names[name], after.durable[name] = c, c
	}
	return after
}

func (n *memInode) afterCut(r *rand.Rand, unit int64, keep float64) []byte {
	size := len(n.stable)
	if len(n.data) != size && r.IntN(2) == 0 {
		size = len(n.data)
	}
	out := make([]byte, size)
	copy(out, n.stable)
	kept := map[int64]bool{}
	for at := range int64(len(n.data)) / sector {
		if !n.dirty[at] {
			continue
		}
		u := at * sector / unit
		if _, ok := kept[u]; !ok {
			kept[u] = r.Float64() < keep
		}
		if from := at * sector; kept[u] && from < int64(size) {
			copy(out[from:min(from+sector, int64(size))], n.data[from:])
		}
	}
	return out
}

// memFile is an open file.
type memFile struct {
	d *memDisk
	n *memInode
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.check("read", f.n.name, off); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	err := f.d.check("write", f.n.name, off)
	if err == errKilled {
		return 0, err
	} else if err != nil {
		p = p[:len(p)/2&^(sector-1)] // a short write
		if off == sealOffset {
			p = nil // half a seal would be a seal
		}
	}
	f.grow(off + int64(len(p)))
	copy(f.n.data[off:], p)
	for at := off / sector; at*sector < off+int64(len(p)); at++ {
		f.n.dirty[at] = true
		delete(f.n.hole, at*sector/Alignment)
	}
	return len(p), err
}

func (f *memFile) grow(size int64) {
	if n := size - int64(len(f.n.data)); n > 0 {
		f.n.data = append(f.n.data, make([]byte, n)...)
	}
}

func (f *memFile) datasync() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.check("datasync", f.n.name, 0); err == errKilled || err == errKept {
		return err
	} else if err != nil {
		f.n.dirty = map[int64]bool{} // the pages are clean now, and not on the disk
		return err
	}
	if len(f.n.stable) != len(f.n.data) {
		s := make([]byte, len(f.n.data))
		copy(s, f.n.stable)
		f.n.stable = s
	}
	for at := range f.n.dirty {
		from := at * sector
		if from < int64(len(f.n.data)) {
			copy(f.n.stable[from:min(from+sector, int64(len(f.n.data)))], f.n.data[from:])
		}
	}
	f.n.dirty = map[int64]bool{}
	return nil
}

func (f *memFile) sync() error { return f.datasync() }

func (f *memFile) renamed(string) {}

func (f *memFile) allocate(off, n int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.check("allocate", f.n.name, off); err != nil {
		return err
	}
	more := max(0, off+n-int64(len(f.n.data)))
	if f.d.space >= 0 {
		if more > f.d.space {
			return &os.PathError{Op: "fallocate", Path: f.n.name, Err: syscall.ENOSPC}
		}
		f.d.space -= more
	}
	f.grow(off + n)
	return nil
}

func (f *memFile) punch(off, n int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.d.check("punch", f.n.name, off); err != nil {
		return err
	}
	clear(f.n.data[off : off+n])
	for at := off / sector; at*sector < off+n; at++ {
		f.n.dirty[at] = true
		f.n.hole[at*sector/Alignment] = true
	}
	return nil
}

func (f *memFile) truncate(size int64) error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if size < int64(len(f.n.data)) {
		f.n.data = f.n.data[:size:size]
	}
	f.grow(size)
	return nil
}

func (f *memFile) flush(int64, int64) {}

// drop forgets clean pages: dirty ones stay, as in Linux.
func (f *memFile) drop(off, n int64) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if n == 0 {
		n = int64(len(f.n.data)) - off
	}
	for at := off / sector; at*sector < min(off+n, int64(len(f.n.data)), int64(len(f.n.stable))); at++ {
		if !f.n.dirty[at] {
			from, to := at*sector, min((at+1)*sector, int64(len(f.n.data)), int64(len(f.n.stable)))
			copy(f.n.data[from:to], f.n.stable[from:to])
		}
	}
}

func (f *memFile) nextData(off int64) (int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	for ; off < int64(len(f.n.data)); off = (off/Alignment + 1) * Alignment {
		if !f.n.hole[off/Alignment] {
			return off, nil
		}
	}
	return 0, io.EOF
}

func (f *memFile) stat() (int64, int64, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return int64(len(f.n.data)), f.n.allocated(), nil
}

func (f *memFile) reopen() (*os.File, error) { return nil, errors.ErrUnsupported }

func (f *memFile) Close() error { return nil }
