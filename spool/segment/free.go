package segment

import (
	"errors"
	"os"
)

// Free gives the blocks of a record back to the file system, at once or when the last Payload on it is closed, and
// OpenPayload answers ErrGone from now on. What is gone already is no error. Nothing is noted on disk: the tombstone is
// the index's, and after a loss of power some or all of the bytes may be there again, so that the record shows up as
// whole or as damaged: free again what the index says is deleted.
func (s *Store) Free(l Location) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	g, err := s.pin(l)
	if errors.Is(err, ErrGone) {
		return nil
	}
	f, err := s.files.acquire(g)
	if err != nil {
		s.unpin(g, l, nil)
		return failed("open", g.id, err)
	}
	defer s.files.release(g)
	if _, err := present(f, g.identity, l); errors.Is(err, ErrGone) {
		s.unpin(g, l, nil)
		return nil // freed before, or not the record of that place: hands off
	}
	return s.free(g, l, f)
}

// free punches out a pinned record, or leaves it to the last payload.
func (s *Store) free(g *segment, l Location, f file) error {
	s.mu.Lock()
	r := g.readers[l.Offset]
	r.freed = true
	if r.count > 1 {
		r.count--
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	err := s.punch(g, l, f)
	s.unpin(g, l, nil)
	return err
}

// punch gives a record's blocks back. Where the file system cannot, they are overwritten, since what is freed for
// privacy must not stay readable.
func (s *Store) punch(g *segment, l Location, f file) error {
	err := f.punch(l.Offset, l.Length)
	if errors.Is(err, errUnsupported) {
		err = wipe(f, l.Offset, l.Length)
	}
	if err != nil {
		return failed("free record", g.id, err)
	}
	s.refresh(g, f)
	return nil
}

// wipe overwrites whole blocks with zeros.
func wipe(f file, offset, length int64) error {
	for at := offset; at < offset+length; at += Alignment {
		if _, err := f.WriteAt(zeros[:], at); err != nil {
			return err
		}
	}
	return nil
}

// Retire ends the use of an open segment that no writer has, so that it can be recycled. ErrInUse says that a writer
// has it. A segment that takes no records any more stays as it is.
func (s *Store) Retire(id ID) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	l, err := s.takeLane(id)
	if l == nil {
		return err
	}
	s.seal(l)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.seg.open, l.seg.leased = false, false
	s.files.release(l.seg)
	return nil
}

// takeLane takes the idle lane of a segment for good; it is nil without an error if the segment is not open. The
// segment stays open for Recycle to see until the seal is written.
func (s *Store) takeLane(id ID) (*lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch g := s.segments[id]; {
	case g == nil:
		return nil, ErrGone
	case !g.open:
		return nil, nil
	case g.leased:
		return nil, ErrInUse
	}
	for i, l := range s.idle {
		if l.seg.id == id {
			return s.pop(i), nil
		}
	}
	return nil, ErrInUse // being leased at this moment
}

// Recycle takes a segment out of use in which no record lives any more: it goes to the pool, to be overwritten under a
// new generation once no Payload on it is open, or is removed. The caller has made sure that its index, on disk, refers
// to no record in it. ErrInUse says that the segment still takes records (see Retire), ErrGone that there is no
// such segment in use.
func (s *Store) Recycle(id ID) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	g, keep, err := s.takeSegment(id)
	if err != nil {
		return err
	}
	if !keep {
		if err := s.files.remove(g); err != nil {
			s.restore(g)
			return failed("remove", id, err)
		}
		return nil
	}
	if err := s.files.rename(g, fileName(id, freeSuffix)); err != nil {
		s.restore(g)
		return failed("rename", id, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool = append(s.pool, g)
	return nil
}

// takeSegment takes a segment out of use and says whether the pool has room for it. One that failed is not used again,
// and one that is too long but still being read cannot be cut.
func (s *Store) takeSegment(id ID) (g *segment, keep bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch g = s.segments[id]; {
	case g == nil:
		return nil, false, ErrGone
	case g.open || s.phase == opened:
		return nil, false, ErrInUse
	}
	delete(s.segments, id)
	fits := s.poolBytes()+min(g.allocated, s.o.SegmentSize) <= s.o.PoolBytes
	return g, fits && !g.failed && (g.size <= s.o.SegmentSize || len(g.readers) == 0), nil
}

func (s *Store) restore(g *segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.segments[g.id] = g
}

// poolBytes is what the pool takes on disk. The caller holds s.mu.
func (s *Store) poolBytes() (n int64) {
	for _, g := range s.pool {
		n += g.allocated
	}
	return n
}

// Shrink removes segments of the pool until so many bytes are given back to the file system, or the pool is empty.
func (s *Store) Shrink(bytes int64) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	for bytes > 0 {
		g := s.takePool()
		if g == nil {
			return nil
		}
		if err := s.removeBlank(g); err != nil {
			return err
		}
		bytes -= g.allocated
	}
	return nil
}

// removeBlank removes a segment that holds nothing and that nobody else knows of. If it cannot be, it is in the pool.
func (s *Store) removeBlank(g *segment) error {
	if err := s.files.remove(g); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.putBack(g)
		return failed("remove", g.id, err)
	}
	return nil
}

// trimPool removes what the pool holds beyond its bound, which may have become smaller since.
func (s *Store) trimPool() {
	for {
		s.mu.Lock()
		n := len(s.pool)
		if n == 0 || s.poolBytes() <= s.o.PoolBytes {
			s.mu.Unlock()
			return
		}
		g := s.pool[n-1]
		s.pool = s.pool[:n-1]
		s.mu.Unlock()
		if s.removeBlank(g) != nil {
			return // it goes when room is wanted
		}
	}
}
