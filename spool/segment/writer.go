package segment

import "fmt"

const (
	bufferSize = 128 << 10 // what a writer collects before it writes
	directSize = 64 << 10  // pieces from this size on are written without a copy
	flushSize  = 8 << 20   // written but not yet on its way to the disk, at most

	// A writer that is alone has the disk begin sooner, while the sender still sends. Not sooner than this: each request
	// costs the disk as much as a hundred kilobytes do, so that a record of 0.5 MB is written fastest in one. Among several
	// writers the disk has enough to do, and early writes only part what one sync would have written together.
	flushSizeAlone = 1 << 20
)

// scratch is a writer's memory; scratches are reused.
type scratch struct {
	buf  [bufferSize]byte
	head [Alignment]byte
	tail []byte    // metadata and trailer
	turn chan bool // of a commit in a group
}

// Writer takes the payload of one record. It is not for several goroutines at once. It ends with Commit or Abort; Abort
// after Commit does nothing, so that it can be deferred.
type Writer struct {
	store *Store
	lane  *lane
	mem   *scratch
	size  int64 // of the payload so far

	// The record's bytes: those up to written are in the file, except for the first block, which mem.head holds until
	// Commit so that nothing looks like a record before. The rest is in buf. written is a multiple of Alignment.
	written int64
	buf     []byte
	flushed int64 // the kernel was told to begin writing back up to here
	flushAt int64 // bytes after which it is told again

	err    error
	broken bool // a write failed: the lane must not be used again
}

// Begin leases a lane and gives a Writer for one record. When it returns, space is reserved on disk: AllocateStep, or
// what is left of the segment, but at least 1 MiB; a longer record reserves more as it grows. Errors: ErrNoSpace,
// ErrTooManyWriters, ErrNotReplayed, ErrClosed.
func (s *Store) Begin() (*Writer, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	l, err := s.lease()
	if err != nil {
		return nil, err
	}
	w := &Writer{store: s, lane: l, mem: s.scratch.Get().(*scratch), flushAt: s.flushStep()}
	w.buf = w.mem.buf[:headerSize]
	clear(w.buf)
	return w, nil
}

// flushStep is how often the record that begins now is handed to the disk.
func (s *Store) flushStep() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leased > 1 {
		return flushSize
	}
	return flushSizeAlone
}

// Size is the number of payload bytes taken so far.
func (w *Writer) Size() int64 { return w.size }

// Write appends to the payload. After an error the record cannot be committed; ErrNoSpace says that the disk is full.
func (w *Writer) Write(p []byte) (int, error) {
	if w.mem == nil {
		return 0, ErrClosed
	}
	if err := w.store.enter(); err != nil {
		return 0, err
	}
	defer w.store.leave()
	if w.err == nil && w.size+int64(len(p)) > maxPayload {
		w.err = fmt.Errorf("segment: payload exceeds %d bytes", int64(maxPayload))
	}
	if w.err != nil {
		return 0, w.err
	}
	if err := w.append(p); err != nil {
		w.err = err
		return 0, err
	}
	w.size += int64(len(p))
	return len(p), nil
}

// append adds p to the record, through the buffer or around it.
func (w *Writer) append(p []byte) error {
	if len(p) >= directSize {
		// Whole blocks only: part of a block would make the kernel read the rest of it where a recycled
		// segment is overwritten.
		n := copy(w.buf[len(w.buf):aligned(int64(len(w.buf)))], p)
		w.buf, p = w.buf[:len(w.buf)+n], p[n:]
		direct := len(p) &^ (Alignment - 1)
		if err := w.flush(); err != nil {
			return err
		}
		if err := w.put(p[:direct]); err != nil {
			return err
		}
		p = p[direct:]
	}
	for len(p) > 0 {
		if len(w.buf) == bufferSize {
			if err := w.flush(); err != nil {
				return err
			}
		}
		n := copy(w.mem.buf[len(w.buf):], p)
		w.buf, p = w.buf[:len(w.buf)+n], p[n:]
	}
	return nil
}

// flush writes what the buffer holds, which is whole blocks. The first block of a record stays in memory.
func (w *Writer) flush() error {
	b := w.buf
	if w.written == 0 {
		copy(w.mem.head[:], b)
		b, w.written = b[Alignment:], Alignment
	}
	w.buf = w.mem.buf[:0]
	return w.put(b)
}

// put writes whole blocks.
func (w *Writer) put(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	l := w.lane
	at := l.offset + w.written
	if err := l.reserve(at+int64(len(b)), w.store.o.AllocateStep); err != nil {
		return err
	}
	if _, err := l.f.WriteAt(b, at); err != nil {
		w.broken = true
		return failed("write", l.seg.id, err)
	}
	if w.written += int64(len(b)); w.written-w.flushed >= w.flushAt {
		// Otherwise a long record's sync has all of it to write while the sender waits.
		l.f.flush(l.offset+w.flushed, w.written-w.flushed)
		w.flushed = w.written
	}
	return nil
}

// Abort abandons the record; the next one of the lane takes its place.
func (w *Writer) Abort() {
	if w.mem == nil {
		return
	}
	if w.store.enter() == nil {
		defer w.store.leave()
	}
	w.end(w.broken)
}

// end gives memory and lane back.
func (w *Writer) end(broken bool) {
	w.store.scratch.Put(w.mem)
	w.mem, w.buf = nil, nil
	w.store.release(w.lane, broken)
}
