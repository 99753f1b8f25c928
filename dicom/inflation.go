package dicom

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
)

// Bounds of what is inflated to scan a deflated data set.
const (
	maxDeflated     = 256 << 10 // bytes of the compressed data set that are kept
	maxInflated     = 4 << 20   // bytes that may come out of them
	firstInflation  = 4 << 10   // bytes at hand for the first attempt
	inflationGrowth = 4         // times as many at hand for the next
)

// inflation lets a Scanner look at a data set of a deflated transfer syntax.
// flate pulls its input while a Scanner has it pushed; instead of a goroutine
// between the two it keeps the first part of the input and starts over when
// there is several times as much. Most headers fit the first attempt.
type inflation struct {
	compressed []byte
	next       int // attempt when so much is there
	tried      int // so much was there at the last attempt
	source     bytes.Reader
	reader     io.ReadCloser
	buffer     []byte
}

func (d *inflation) reset() {
	d.compressed, d.tried, d.next = d.compressed[:0], 0, firstInflation
}

// write keeps p as far as there is room and scans when that is worth it.
func (d *inflation) write(s *Scanner, p []byte) {
	for len(p) > 0 && !s.done {
		n := min(len(p), d.next-len(d.compressed))
		if n == 0 {
			s.done = true // the wanted elements are not in what may be looked at
			return
		}
		d.compressed = append(d.compressed, p[:n]...)
		p = p[n:]
		if len(d.compressed) == d.next {
			d.next = min(d.next*inflationGrowth, maxDeflated)
			d.attempt(s)
		}
	}
}

// settle makes up for what came since the last attempt.
func (d *inflation) settle(s *Scanner) {
	if !s.done && len(d.compressed) > d.tried {
		d.attempt(s)
	}
}

// attempt scans what there is from its begin.
func (d *inflation) attempt(s *Scanner) {
	d.tried = len(d.compressed)
	d.source.Reset(d.compressed)
	if d.reader == nil {
		d.reader = flate.NewReader(&d.source)
		d.buffer = make([]byte, 8<<10)
	} else {
		// flate documents that its readers are Resetters and that this one
		// cannot fail.
		_ = d.reader.(flate.Resetter).Reset(&d.source, nil)
	}
	s.restart()
	for left := maxInflated; !s.done && left > 0; {
		n, err := d.reader.Read(d.buffer)
		s.scan(d.buffer[:n])
		left -= n
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return // the rest is still coming
		case err == io.EOF:
			s.done = true
		case err != nil && !s.done:
			s.fail("data set is not deflated as its transfer syntax says")
		case left <= 0:
			s.done = true
		}
	}
}
