package segment

// Verify reads a record back and checks all of it: header, Part 10 header, digest, metadata and trailer. The error is
// ErrGone or a *DamageError.
func (s *Store) Verify(l Location) error {
	return s.inspect(l, func(c *scanner, h found) error {
		if _, reason, err := c.check(h); reason != "" {
			return damage(l, reason, err)
		}
		return nil
	})
}

// ReadRecord returns a record's metadata and digest as they were committed, without reading its payload. Meta belongs
// to the caller. The error is ErrGone or a *DamageError.
func (s *Store) ReadRecord(l Location) (Record, error) {
	var rec Record
	err := s.inspect(l, func(c *scanner, h found) error {
		tail := make([]byte, int(h.metaLength)+trailerSize)
		if err := readFull(c.f, tail, h.offset+headerSize+h.payloadLength); err != nil {
			return damage(l, unreadable(err, "trailer"), err)
		}
		meta, digest, ok := h.parseTrailer(tail, h.crc)
		if !ok {
			return damage(l, "trailer is not whole", nil)
		}
		rec = Record{Location: l, Meta: meta, Digest: digest}
		return nil
	})
	return rec, err
}

// inspect keeps the record at l in place while look reads it.
func (s *Store) inspect(l Location, look func(*scanner, found) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	p, h, err := s.openPayload(l)
	if err != nil {
		return err
	}
	defer p.Close()
	return look(newScanner(p.f, p.seg.identity), h)
}
