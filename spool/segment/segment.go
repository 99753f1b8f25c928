package segment

import (
	"fmt"
	"io"
)

// segment is a file of records.
type segment struct {
	identity // generation is 0 while nothing says what it is

	name   string  // of the file; guarded by handles.mu
	handle *handle // likewise

	// Guarded by Store.mu from here on.
	end       int64 // offset behind the last record; the file's size until Replay
	size      int64 // of the file
	allocated int64 // bytes the file system gave to it, when last asked
	open      bool  // takes further records: a lane has it
	leased    bool  // and a writer has that lane
	failed    bool  // a write or sync failed: its file is not to be used again
	foreign   bool  // the label is damaged: identity is what the records say
	sealed    bool  // end is from the seal
	readers   map[int64]*readers
}

// readers are the open payloads of the record at one offset.
type readers struct {
	count int
	freed bool // the record is to be punched out with the last of them, or is being punched out
}

// identify reads label and seal of g, or lets the records say who they belong to.
func (s *Store) identify(g *segment) error {
	f, err := s.files.acquire(g)
	if err != nil {
		return err
	}
	defer s.files.release(g)
	var b [firstRecord]byte
	if n, err := f.ReadAt(b[:], 0); err != nil && err != io.EOF {
		clear(b[n:]) // an unreadable label is a damaged one
	}
	if version, newer := newerLabel(b[:]); newer {
		return &FormatError{What: fmt.Sprintf("segment %08x", uint32(g.id)), Format: version, Known: labelVersion}
	}
	id, ok := parseLabel(b[:])
	if ok && id.id == g.id {
		g.identity = id
	} else {
		g.foreign = true
		g.identity = adopt(f, g.id, g.size)
	}
	if end, ok := g.parseSeal(b[sealOffset:]); ok && end <= g.size {
		g.end, g.sealed = end, true
	}
	return nil
}

// adopt looks for the first record that a segment with this ID may hold, and takes its word for the generation.
func adopt(f file, id ID, size int64) identity {
	found := identity{id: id}
	c := scanner{f: f, accept: func(h header) bool { return h.id == id && h.generation > 0 }}
	if h, ok := c.nextHeader(firstRecord, size); ok {
		found = h.header.identity
	}
	return found
}

// refresh asks the file system how much it gave to g.
func (s *Store) refresh(g *segment, f file) {
	size, allocated, err := f.stat()
	if err != nil {
		return // the figures are for people; the next call brings better ones
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g.size, g.allocated = size, allocated
}
