package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// checkedChunk bounds what is read at a time, so that what is checked is still in the processor's cache.
const checkedChunk = 128 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of a data set. Beside the digest, which proves what a data set is, it finds what a disk did to
// it at a tenth of the cost, so that it can be looked at on each delivery.
type checksum struct {
	value uint32
	known bool // not of instances that dcmgate 0.1 stored
}

func (c *checksum) add(p []byte) { c.value = crc32.Update(c.value, castagnoli, p) }

// Checked reads the data set once, from its beginning, and compares its checksum on the way, or its digest where there is
// none. The last bytes are given out only once it is known to be right: whoever gets as many bytes as the data set has,
// got what was committed. If it is wrong the error is ErrDamaged and the instance is marked (FlagDamaged). For one
// goroutine.
func (r *Reader) Checked() io.Reader {
	c := &checked{r: r, at: r.HeaderLength()}
	if !r.in.checksum.known {
		c.digest = sha256.New()
	}
	return c
}

type checked struct {
	r      *Reader
	at     int64 // within the Part 10 file
	sum    checksum
	digest hash.Hash // instead of sum; nil if that serves
	err    error     // final
}

func (c *checked) Read(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.ReadAt(b[:min(len(b), checkedChunk)], c.at)
	c.at += int64(n)
	c.add(b[:n])
	if c.at < c.r.Size() {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			c.err = fmt.Errorf("read instance %s: %w: %w", c.r.in.ID, ErrDamaged, err)
			return 0, c.err
		}
		return n, err
	}
	c.err = io.EOF
	if !c.right() {
		c.r.s.suspect(&c.r.in, ErrDamaged)
		c.err = fmt.Errorf("read instance %s: %w: its data set is not what was received", c.r.in.ID, ErrDamaged)
		return 0, c.err
	}
	return n, nil
}

func (c *checked) add(p []byte) {
	if c.digest != nil {
		c.digest.Write(p)
		return
	}
	c.sum.add(p)
}

// right tells whether what was read is what was committed.
func (c *checked) right() bool {
	if c.digest != nil {
		return [sha256.Size]byte(c.digest.Sum(nil)) == c.r.in.Digest
	}
	return c.sum.value == c.r.in.checksum.value
}
