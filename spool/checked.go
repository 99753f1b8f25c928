package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
)

// checkedChunk bounds what is read at a time, so that what is hashed is still in the processor's cache.
const checkedChunk = 128 << 10

// Checked reads the data set once, from its beginning, and compares its digest on the way. The last bytes are given out
// only once the digest is known to be right: whoever gets as many bytes as the data set has, got what was committed. If
// it is wrong the error is ErrDamaged and the instance is marked (FlagDamaged). For one goroutine.
func (r *Reader) Checked() io.Reader {
	return &checked{r: r, at: r.HeaderLength(), digest: sha256.New()}
}

type checked struct {
	r      *Reader
	at     int64 // within the Part 10 file
	digest hash.Hash
	err    error // final
}

func (c *checked) Read(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.r.ReadAt(b[:min(len(b), checkedChunk)], c.at)
	c.at += int64(n)
	c.digest.Write(b[:n])
	if c.at < c.r.Size() {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			c.err = fmt.Errorf("read instance %s: %w: %w", c.r.in.ID, ErrDamaged, err)
			return 0, c.err
		}
		return n, err
	}
	c.err = io.EOF
	if [sha256.Size]byte(c.digest.Sum(nil)) != c.r.in.Digest {
		c.r.s.suspect(&c.r.in, ErrDamaged)
		c.err = fmt.Errorf("read instance %s: %w: digest of the data set is wrong", c.r.in.ID, ErrDamaged)
		return 0, c.err
	}
	return n, nil
}
