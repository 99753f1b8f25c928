package segment

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
)

// Payload reads the payload of one record. While it is open the record's bytes stay where they are: Free and Recycle
// wait for it without blocking. All methods but Close may be called by many goroutines.
type Payload struct {
	store    *Store
	seg      *segment
	f        file
	location Location
	closed   atomic.Bool
}

// OpenPayload opens the payload of a record. One small read proves that the record is still there: the error is
// ErrGone if it was freed or its segment recycled, and a *DamageError if its header is not whole. The digest is not
// checked; see Verify.
func (s *Store) OpenPayload(l Location) (*Payload, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	p, _, err := s.openPayload(l)
	return p, err
}

// openPayload is OpenPayload without the guard against Close.
func (s *Store) openPayload(l Location) (*Payload, found, error) {
	g, err := s.pin(l)
	if err != nil {
		return nil, found{}, err
	}
	f, err := s.files.acquire(g)
	if err != nil {
		s.unpin(g, l, nil)
		return nil, found{}, failed("open", g.id, err)
	}
	h, err := present(f, g.identity, l)
	if err != nil {
		s.unpin(g, l, f)
		s.files.release(g)
		return nil, found{}, err
	}
	return &Payload{store: s, seg: g, f: f, location: l}, h, nil
}

// present reads the header of the record at l.
func present(f file, d identity, l Location) (found, error) {
	c := newScanner(f, d)
	h, ok, err := c.headerAt(l.Offset)
	switch {
	case err != nil:
		return h, damage(l, unreadable(err, "header"), err)
	case ok && h.matches(l):
		return h, nil
	case ok:
		return h, ErrGone // another record took the place of one that was never committed
	}
	var b [headerSize]byte
	if readFull(f, b[:], l.Offset) == nil && zero(b[:]) {
		return h, ErrGone
	}
	return h, damage(l, "header is not whole", nil)
}

func damage(l Location, reason string, err error) error {
	return &DamageError{Range: Range{Segment: l.Segment, Offset: l.Offset, Length: l.Length, Reason: reason}, Err: err}
}

// pin keeps the bytes of the record at l in place, if they are.
func (s *Store) pin(l Location) (*segment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.segments[l.Segment]
	if g == nil || g.generation != l.Generation || l.Offset < firstRecord || l.Offset%Alignment != 0 ||
		l.Length <= 0 || l.Offset > g.end-l.Length {
		return nil, ErrGone
	}
	r := g.readers[l.Offset]
	if r == nil {
		r = &readers{}
		if g.readers == nil {
			g.readers = map[int64]*readers{}
		}
		g.readers[l.Offset] = r
	}
	if r.freed {
		return nil, ErrGone
	}
	r.count++
	return g, nil
}

// unpin undoes pin. The last one punches out a record that was freed meanwhile; f may be nil if it cannot.
func (s *Store) unpin(g *segment, l Location, f file) {
	s.mu.Lock()
	r := g.readers[l.Offset]
	if r.count--; r.count > 0 {
		s.mu.Unlock()
		return
	}
	if r.freed && f != nil && s.phase != closed {
		s.mu.Unlock()
		s.punch(g, l, f) // the index has its tombstone; a failure here costs space until the segment is recycled
		s.mu.Lock()
	}
	delete(g.readers, l.Offset)
	s.mu.Unlock()
}

// Size is the payload's length in bytes.
func (p *Payload) Size() int64 { return p.location.PayloadLength }

// HeaderLength is the length of the Part 10 header; the data set follows it.
func (p *Payload) HeaderLength() int64 { return p.location.HeaderLength }

// ReadAt implements io.ReaderAt over the payload.
func (p *Payload) ReadAt(b []byte, off int64) (int, error) {
	if p.closed.Load() {
		return 0, ErrClosed
	}
	if off < 0 {
		return 0, fmt.Errorf("segment: negative offset %d", off)
	}
	left := p.Size() - off
	if left <= 0 {
		return 0, io.EOF
	}
	whole := int64(len(b)) <= left
	n, err := p.f.ReadAt(b[:min(int64(len(b)), left)], p.location.PayloadOffset()+off)
	if err == io.EOF && off+int64(n) < p.Size() {
		err = io.ErrUnexpectedEOF // the file is shorter than its record
	} else if err == nil && !whole {
		err = io.EOF
	}
	return n, err
}

// DataSet reads the data set alone.
func (p *Payload) DataSet() *io.SectionReader {
	return io.NewSectionReader(p, p.HeaderLength(), p.Size()-p.HeaderLength())
}

// WriteTo implements io.WriterTo: it writes the whole payload, and lets the kernel copy where w can, as a
// *net.TCPConn does.
func (p *Payload) WriteTo(w io.Writer) (int64, error) {
	if r, ok := w.(io.ReaderFrom); ok && p.Size() >= directSize {
		if f, err := p.File(); err == nil {
			defer f.Close()
			n, err := r.ReadFrom(io.LimitReader(f, p.Size()))
			if err == nil && n < p.Size() {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	mem := p.store.scratch.Get().(*scratch)
	defer p.store.scratch.Put(mem)
	src := io.NewSectionReader(p, 0, p.Size())
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, mem.buf[:])
}

// File opens a descriptor of its own, positioned at the first byte of the payload, for sendfile and its like. The
// caller reads Size bytes and no more, closes it, and keeps the Payload open until then.
func (p *Payload) File() (*os.File, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	f, err := p.f.reopen()
	if err != nil {
		return nil, failed("open", p.location.Segment, err)
	}
	if _, err := f.Seek(p.location.PayloadOffset(), io.SeekStart); err != nil {
		f.Close()
		return nil, failed("seek", p.location.Segment, err)
	}
	return f, nil
}

// Close gives the record up. Safe to call twice.
func (p *Payload) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	p.store.unpin(p.seg, p.location, p.f)
	p.store.files.release(p.seg)
	return nil
}
