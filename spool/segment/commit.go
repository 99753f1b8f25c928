package segment

import "fmt"

// commit is a record about to be committed.
type commit struct {
	w         *Writer
	meta      []byte
	digest    [32]byte
	header    int // length of the Part 10 header
	committed func(Location)

	// For the group.
	location Location
	err      error
}

// Commit makes the record durable: once it has returned nil the record survives a loss of power. digest is the
// SHA-256 of the data set, which is the payload from headerLength on; meta is kept beside it for Replay and ScanAll
// to give back.
//
// committed, if not nil, is called when the record is durable, before Commit returns and before the segment takes
// another record: the locations of a segment reach it in ascending order, which is what moving a checkpoint needs. It
// may be called on another writer's goroutine, and must not call the store.
//
// If Commit fails nothing is committed. The segment then takes no further record, since a failed write or sync is
// never tried again.
func (w *Writer) Commit(meta []byte, digest [32]byte, headerLength int, committed func(Location)) (Location, error) {
	if w.mem == nil {
		return Location{}, ErrClosed
	}
	if err := w.store.enter(); err != nil {
		return Location{}, err
	}
	defer w.store.leave()
	if err := w.committable(meta, headerLength); err != nil {
		return Location{}, err
	}
	c := &commit{w: w, meta: meta, digest: digest, header: headerLength, committed: committed}
	if !c.small() {
		c.alone()
	} else if c.err = w.lane.reserve(w.lane.offset+c.length(), w.store.o.AllocateStep); c.err == nil {
		w.store.group.commit(c)
	}
	w.end(c.err != nil && w.broken)
	return c.location, c.err
}

// committable checks the arguments, and that no write failed.
func (w *Writer) committable(meta []byte, headerLength int) error {
	switch {
	case w.err != nil:
		return w.err
	case len(meta) > MaxMeta:
		return fmt.Errorf("segment: metadata of %d bytes exceeds %d", len(meta), MaxMeta)
	case headerLength < 0 || headerLength > MaxHeader || int64(headerLength) > w.size:
		return fmt.Errorf("segment: Part 10 header of %d bytes in a payload of %d", headerLength, w.size)
	}
	return nil
}

// datasync makes what was written to the lane durable.
func (l *lane) datasync() error {
	if err := l.f.datasync(); err != nil {
		return failed("sync", l.seg.id, err)
	}
	return nil
}

// headerIn puts the header of the record, for the segment d and back bytes behind the first of its group, into the
// record's first block.
func (c *commit) headerIn(d identity, back int64, first []byte) (header, uint32) {
	h := header{
		identity:      d,
		length:        recordLength(c.w.size, len(c.meta)),
		payloadLength: c.w.size,
		headerLength:  uint32(c.header),
		metaLength:    uint32(len(c.meta)),
		headerCRC:     checksum(first[headerSize : headerSize+c.header]),
		back:          uint32(back / Alignment),
	}
	return h, h.put(first)
}

// alone commits a record of which a part is in the file already, or is about to be.
func (c *commit) alone() {
	l := c.w.lane
	if c.err = c.writeLong(); c.err != nil {
		return
	}
	if c.err = l.datasync(); c.err != nil {
		c.w.broken = true
		return
	}
	c.w.store.finish(l, c)
}

// writeLong writes the rest of the record: its last blocks, then its first.
func (c *commit) writeLong() error {
	w := c.w
	first := w.mem.head[:]
	if w.written == 0 {
		first = w.buf[:Alignment] // flush takes it to head
	}
	h, crc := c.headerIn(w.lane.seg.identity, 0, first)
	w.mem.tail = h.appendTrailer(append(w.mem.tail[:0], c.meta...), c.digest, crc)
	if err := w.append(w.mem.tail); err != nil {
		return err
	}
	w.pad()
	if err := w.flush(); err != nil {
		return err
	}
	if _, err := w.lane.f.WriteAt(w.mem.head[:], w.lane.offset); err != nil {
		w.broken = true
		return failed("write", w.lane.seg.id, err)
	}
	c.location = h.location(w.lane.offset)
	return nil
}

// pad fills the buffer with zeros up to a whole block.
func (w *Writer) pad() {
	n := len(w.buf)
	w.buf = w.buf[:aligned(int64(n))]
	clear(w.buf[n:])
}

// finish counts a durable record and tells the caller's index of it.
func (s *Store) finish(l *lane, c *commit) {
	l.offset = c.location.Offset + c.location.Length
	s.mu.Lock()
	l.seg.end = l.offset
	s.mu.Unlock()
	if c.committed != nil {
		c.committed(c.location)
	}
}
