package segment

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// scanChunk is how much is read at a time, both to look for headers and to verify payloads.
const scanChunk = 256 << 10

// scanner reads a segment's records.
type scanner struct {
	f      file
	accept func(header) bool // whether a header is of the segment and its generation

	buf    []byte
	tail   []byte
	digest hash.Hash
}

// newScanner reads the records that belong to d.
func newScanner(f file, d identity) *scanner {
	return &scanner{f: f, accept: func(h header) bool { return h.identity == d }}
}

// found is a record's header, and where it is.
type found struct {
	header
	offset int64
	crc    uint32 // the header's own
}

// headerAt reads the header at offset. It is false if there is none that the scanner accepts.
func (c *scanner) headerAt(offset int64) (found, bool, error) {
	var b [headerSize]byte
	if err := readFull(c.f, b[:], offset); err != nil {
		return found{}, false, err
	}
	h, ok := c.parse(b[:], offset)
	return h, ok, nil
}

func (c *scanner) parse(b []byte, offset int64) (found, bool) {
	h, ok := parseHeader(b)
	if !ok || !c.accept(h) {
		return found{}, false
	}
	return found{header: h, offset: offset, crc: checksum(b[:60])}, true
}

// check verifies the whole record h. reason is empty if it is whole; err is of reading, and then there is a reason as
// well. meta is valid until the next check.
func (c *scanner) check(h found) (rec Record, reason string, err error) {
	n := int(h.metaLength) + trailerSize
	if cap(c.tail) < n {
		c.tail = make([]byte, MaxMeta+trailerSize)
	}
	tail := c.tail[:n]
	if err := readFull(c.f, tail, h.offset+headerSize+h.payloadLength); err != nil {
		return rec, unreadable(err, "trailer"), err
	}
	meta, digest, ok := h.parseTrailer(tail, h.crc)
	if !ok {
		return rec, "trailer is not whole", nil
	}
	rec = Record{Location: h.location(h.offset), Meta: meta, Digest: digest}
	reason, err = c.checkPayload(h, digest)
	return rec, reason, err
}

// checkPayload reads the payload and compares CRC and digest.
func (c *scanner) checkPayload(h found, digest [32]byte) (reason string, err error) {
	if c.digest == nil {
		c.digest = sha256.New()
	}
	c.digest.Reset()
	crc, left := uint32(0), int(h.headerLength)
	r := io.NewSectionReader(c.f, h.offset+headerSize, h.payloadLength)
	for r.Size() > 0 {
		n, err := r.Read(c.chunk())
		b := c.buf[:n]
		part10 := b[:min(left, n)]
		left -= len(part10)
		crc = crc32.Update(crc, castagnoli, part10)
		c.digest.Write(b[len(part10):])
		if err == io.EOF {
			break
		}
		if err != nil {
			return unreadable(err, "payload"), err
		}
	}
	var sum [32]byte
	switch {
	case crc != h.headerCRC || left > 0:
		return "CRC of the Part 10 header is wrong", nil
	case [32]byte(c.digest.Sum(sum[:0])) != digest:
		return "digest of the data set is wrong", nil
	}
	return "", nil
}

func (c *scanner) chunk() []byte {
	if c.buf == nil {
		c.buf = make([]byte, scanChunk)
	}
	return c.buf
}

// readFull fills b; a file that ends before is no error here but zeros, as in a hole: nothing is whole that reaches
// there.
func readFull(f file, b []byte, offset int64) error {
	n, err := f.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == io.EOF || err == nil {
		clear(b[n:])
		return nil
	}
	return err
}

func unreadable(err error, what string) string {
	return fmt.Sprintf("%s cannot be read: %v", what, err)
}

// gap describes what nextHeader passed over.
type gap struct {
	junk bool  // something that was neither hole nor zeros
	err  error // the first of reading
}

// nextHeader looks for the first header from offset on, which is a multiple of Alignment. Holes cost next to nothing.
func (c *scanner) nextHeader(offset, limit int64) (found, bool) {
	h, ok, _ := c.seek(offset, limit)
	return h, ok
}

func (c *scanner) seek(offset, limit int64) (h found, ok bool, g gap) {
	for offset < limit {
		data, err := c.f.nextData(offset)
		switch {
		case err == io.EOF:
			return found{}, false, g
		case err == nil:
			offset = max(offset, data&^(Alignment-1))
		} // else: no help, so read everything
		for end := min(offset+8*scanChunk, limit); offset < end; {
			b := c.chunk()[:min(scanChunk, limit-offset)]
			n, err := c.f.ReadAt(b, offset)
			if n < len(b) && err != nil && err != io.EOF {
				if g.err == nil {
					g.err = err
				}
				g.junk = true
				n = n&^(Alignment-1) + Alignment // pass over the block that cannot be read
				clear(b[max(0, n-Alignment):min(n, len(b))])
			}
			n = min(n, len(b))
			for i := 0; i < n; i += Alignment {
				block := b[i:min(i+Alignment, n)]
				if h, ok := c.parse(block, offset+int64(i)); ok {
					return h, true, g
				}
				g.junk = g.junk || !zero(block)
			}
			if n == 0 {
				return found{}, false, g // the file ends before limit
			}
			offset = offset + aligned(int64(n))
		}
	}
	return found{}, false, g
}

var zeros [Alignment]byte

func zero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
