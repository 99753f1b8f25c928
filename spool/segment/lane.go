package segment

import (
	"errors"
	"os"
	"slices"
)

// lane is an open segment and where its next record goes. Between Begin and the end of the record one writer has it.
type lane struct {
	seg      *segment
	f        file
	offset   int64 // of the next record
	reserved int64 // the file has blocks up to here
}

// reserve makes sure that the file has blocks up to end, in steps.
func (l *lane) reserve(end, step int64) error {
	if end <= l.reserved {
		return nil
	}
	n := (end - l.reserved + step - 1) / step * step
	if err := l.f.allocate(l.reserved, n); err != nil && !errors.Is(err, errUnsupported) {
		return failed("reserve space", l.seg.id, err)
	}
	l.reserved += n
	return nil
}

// ahead is how far a lane reserves before it accepts data.
func (s *Store) ahead(l *lane) int64 {
	return l.offset + max(s.o.minRoom(), min(s.o.AllocateStep, s.o.SegmentSize-l.offset))
}

// full reports whether a lane's segment takes no further record.
func (s *Store) full(l *lane) bool { return s.o.SegmentSize-l.offset < s.o.minRoom() }

// lease gives a lane with space reserved: the one used last, so that few stay in use and few segments partly filled.
func (s *Store) lease() (*lane, error) {
	l, err := s.takeIdle()
	if err != nil {
		return nil, err
	}
	if l == nil {
		l, err = s.newLane()
	} else if l.reserved < s.ahead(l) {
		if err = l.reserve(s.ahead(l), s.o.AllocateStep); err != nil {
			l, err = s.instead(l, err)
		} else {
			s.refresh(l.seg, l.f)
		}
	}
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.leased--
		return nil, err
	}
	return l, nil
}

// instead finds a lane in place of l, for which nothing could be reserved: another one that needs no reservation, or,
// if the disk is full, a segment of the pool.
func (s *Store) instead(l *lane, err error) (*lane, error) {
	s.giveBack(l)
	if other := s.takeReserved(); other != nil {
		return other, nil
	}
	if !errors.Is(err, ErrNoSpace) {
		return nil, err
	}
	return s.newLane()
}

// SetMaxLanes changes Options.MaxLanes. Writers that are open go on.
func (s *Store) SetMaxLanes(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maxLanes = n
}

// takeIdle counts a lease and takes the lane used last; it is nil if a new one is to be made.
func (s *Store) takeIdle() (*lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase == opened:
		return nil, ErrNotReplayed
	case s.leased >= s.maxLanes:
		return nil, ErrTooManyWriters
	}
	s.leased++
	if len(s.idle) == 0 {
		return nil, nil
	}
	return s.pop(len(s.idle) - 1), nil
}

// takeReserved takes an idle lane that needs no reservation.
func (s *Store) takeReserved() *lane {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.idle) - 1; i >= 0; i-- {
		if l := s.idle[i]; l.offset+s.o.minRoom() <= l.reserved {
			return s.pop(i)
		}
	}
	return nil
}

// pop takes the idle lane i. The caller holds s.mu.
func (s *Store) pop(i int) *lane {
	l := s.idle[i]
	s.idle = slices.Delete(s.idle, i, i+1)
	l.seg.leased = true
	return l
}

// giveBack puts a lane that could not be leased where it is met last. The lease stays counted.
func (s *Store) giveBack(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.seg.leased = false
	s.idle = slices.Insert(s.idle, 0, l)
}

// release ends a lease. The lane is used again unless a write or sync failed on it, or it is full.
func (s *Store) release(l *lane, broken bool) {
	again := !broken && !s.full(l)
	switch {
	case s.isClosed():
		again = false // and hands off the files: the directory may be another's by now
	case broken:
		s.retire(l)
	case !again:
		s.seal(l)
	case l.reserved > s.o.SegmentSize:
		s.trim(l, s.o.SegmentSize) // after a long record was abandoned
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leased--
	s.lastWriter = s.o.Now()
	l.seg.leased = false
	if again {
		s.idle = append(s.idle, l)
		return
	}
	l.seg.open = false
	s.files.release(l.seg)
}

func (s *Store) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == closed
}

// seal notes in the file where its records end. It is not synced: it only shortens a later Replay.
func (s *Store) seal(l *lane) {
	var b [Alignment]byte
	l.seg.putSeal(b[:], l.offset)
	l.f.WriteAt(b[:], sealOffset)
	if l.reserved-l.offset >= s.o.minRoom() {
		s.trim(l, l.offset)
	}
	s.refresh(l.seg, l.f)
}

// trim gives back what a long record had reserved beyond size. If it cannot be, it waits for the recycling.
func (s *Store) trim(l *lane, size int64) {
	if l.f.truncate(size) == nil {
		l.reserved = size
	}
	s.refresh(l.seg, l.f)
}

// retire takes a lane out of use whose write or sync failed: the kernel may have dropped pages and called them clean,
// so that a second sync would succeed without having written them. The seal keeps a later Replay from taking what did
// reach the page cache for a record; writing it may fail too, which Replay provides for.
func (s *Store) retire(l *lane) {
	var b [Alignment]byte
	l.seg.putSeal(b[:], l.offset)
	if _, err := l.f.WriteAt(b[:], sealOffset); err == nil {
		l.f.datasync()
	}
	s.refresh(l.seg, l.f)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired++
	l.seg.failed = true
}

// newLane puts a segment to use: one from the pool, or a new one.
func (s *Store) newLane() (*lane, error) {
	g, f, err := s.blank()
	if err != nil {
		return nil, err
	}
	l, err := s.activate(g, f)
	if err != nil {
		s.discard(g)
		return nil, err
	}
	return l, nil
}

// blank gives a segment that holds nothing, with its file acquired.
func (s *Store) blank() (*segment, file, error) {
	var shut []*segment // cannot be opened, as on a file system that takes no writes at present
	defer func() { s.putBack(shut...) }()
	for {
		g := s.takePool()
		if g == nil {
			break
		}
		f, err := s.files.acquire(g)
		if err == nil {
			return g, f, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			shut = append(shut, g)
		}
	}
	return s.create()
}

// create makes the file of a new segment, as one of the pool's, and acquires it.
func (s *Store) create() (*segment, file, error) {
	s.mu.Lock()
	s.lastID++
	id := s.lastID
	s.mu.Unlock()
	g := &segment{identity: identity{id: id}, name: fileName(id, freeSuffix)}
	f, err := s.files.create(g)
	if err != nil {
		return nil, nil, failed("create", id, err)
	}
	return g, f, nil
}

// takePool takes a segment from the pool that no payload is open on.
func (s *Store) takePool() *segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.pool) - 1; i >= 0; i-- {
		if g := s.pool[i]; len(g.readers) == 0 {
			s.pool = slices.Delete(s.pool, i, i+1)
			return g
		}
	}
	return nil
}

// putBack puts segments that hold nothing where the pool meets them last.
func (s *Store) putBack(list ...*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pool = slices.Insert(s.pool, 0, list...)
}

// discard removes a segment that could not be put to use, whatever state it is in. If it cannot be removed it goes to the
// pool: whoever takes it from there gives it another label, and syncs all that counts.
func (s *Store) discard(g *segment) {
	s.files.release(g)
	s.removeBlank(g)
}

// activate gives a blank segment a new generation, and the space for the first record, and makes all of it durable
// before anything else is written: from then on what an older generation left in its blocks counts for nothing.
func (s *Store) activate(g *segment, f file) (*lane, error) {
	size, _, err := f.stat()
	if err != nil {
		return nil, failed("stat", g.id, err)
	}
	if size > s.o.SegmentSize {
		if err := f.truncate(s.o.SegmentSize); err != nil {
			return nil, failed("truncate", g.id, err)
		}
		size = s.o.SegmentSize
	}
	s.mu.Lock()
	g.generation, g.nonce = s.nextGeneration(), newNonce()
	s.mu.Unlock()
	l := &lane{seg: g, f: f, offset: firstRecord}
	// From the start even where blocks were written before: records punched out of them left holes.
	if err := l.reserve(max(size&^(Alignment-1), s.ahead(l)), s.o.AllocateStep); err != nil {
		return nil, err
	}
	var b [firstRecord]byte
	g.putLabel(b[:])
	if _, err := f.WriteAt(b[:], 0); err != nil {
		return nil, failed("write label", g.id, err)
	}
	if err := f.sync(); err != nil {
		return nil, failed("sync", g.id, err)
	}
	if err := s.files.rename(g, fileName(g.id, segmentSuffix)); err != nil {
		return nil, failed("rename", g.id, err)
	}
	if err := s.disk.sync(); err != nil {
		return nil, failed("sync directory", g.id, err)
	}
	s.refresh(g, f)
	s.mu.Lock()
	defer s.mu.Unlock()
	g.end, g.open, g.leased, g.sealed = l.offset, true, true, false
	s.segments[g.id] = g
	return l, nil
}
