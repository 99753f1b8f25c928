package pdu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

const (
	// maxPData caps P-DATA-TF where the peer sets no limit.
	maxPData = 1 << 20

	// defaultWriterSize holds two PDUs of 128 KiB, the most DCMTK takes, and
	// the command before them.
	defaultWriterSize = 256<<10 + 4<<10

	minimumWriterSize = 1 << 10
	frameHeaderLength = headerLength + pdvHeaderLength
)

// ErrMaximumLength is returned for a peer whose Maximum-length-received leaves
// no room for a single byte of a message (1 to 6).
var ErrMaximumLength = errors.New("the peer's maximum length leaves no room for a fragment")

// Writer encodes PDUs into one buffer and writes it when it is full or flushed,
// always with a single call of the underlying Write. Each P-DATA-TF it makes
// holds one presentation data value, so commands and data sets never share a
// PDU. It is for one goroutine.
//
// An error of the underlying writer lasts: every later call returns it.
type Writer struct {
	w       io.Writer
	size    int
	buf     []byte
	written int64
	err     error
}

// NewWriter returns a Writer on w. Its buffer grows to size bytes at most, which
// also bounds the PDUs it makes; 0 chooses a size for bursts of 256 KiB.
func NewWriter(w io.Writer, size int) *Writer {
	if size <= 0 {
		size = defaultWriterSize
	}
	return &Writer{w: w, size: max(size, minimumWriterSize)}
}

// Written returns how many bytes the underlying writer has taken.
func (w *Writer) Written() int64 { return w.written }

// Buffered returns how many bytes wait for Flush.
func (w *Writer) Buffered() int { return len(w.buf) }

// Err returns the lasting error of the underlying writer, nil if there is none.
// After a failed Data it tells whose failure it was.
func (w *Writer) Err() error { return w.err }

// Flush writes what is buffered.
func (w *Writer) Flush() error {
	if w.err != nil || len(w.buf) == 0 {
		return w.err
	}
	n, err := w.w.Write(w.buf)
	if n < 0 || n > len(w.buf) {
		n, err = 0, errInvalidCount
	}
	w.written += int64(n)
	if err == nil && n < len(w.buf) {
		err = io.ErrShortWrite
	}
	w.buf, w.err = w.buf[:0], err
	return err
}

// PDU buffers a PDU. One that cannot be encoded leaves the Writer as it was.
func (w *Writer) PDU(p PDU) error {
	if w.err != nil {
		return w.err
	}
	kept := w.buf
	buf, err := p.Append(w.buf)
	if err != nil {
		return err
	}
	w.buf = buf
	if len(buf) < w.size {
		return nil
	}
	err = w.Flush()
	if cap(buf) > w.size {
		w.buf = kept[:0]
	}
	return err
}

// Command buffers a command set, in as many fragments as maximum demands: the
// peer's Maximum-length-received, 0 for no limit.
func (w *Writer) Command(contextID byte, set []byte, maximum uint32) error {
	limit, err := w.fragmentLimit(maximum)
	if err != nil {
		return err
	}
	for {
		n := min(len(set), limit)
		at, room, err := w.frame(n, limit)
		if err != nil {
			return err
		}
		n = min(n, room)
		copy(w.buf[at+frameHeaderLength:at+frameHeaderLength+n], set)
		set = set[n:]
		w.seal(at, n, contextID, true, len(set) == 0)
		if len(set) == 0 {
			return nil
		}
	}
}

// Data buffers a data set read from r, in as many fragments as maximum and the
// buffer demand, and writes whenever the buffer is full. It reads straight into
// the buffer. size is the number of bytes to read; if it is negative, r is read
// to io.EOF, one byte ahead, so that the last fragment is flagged. A data set
// without bytes is one empty last fragment; r may be nil then.
//
// It returns the number of bytes of the data set framed so far. If r fails or
// ends early the message is incomplete, some of it may have been sent, and only
// an abort of the association is left; Err tells such a failure from one of the
// underlying writer.
func (w *Writer) Data(contextID byte, r io.Reader, size int64, maximum uint32) (int64, error) {
	limit, err := w.fragmentLimit(maximum)
	if err != nil {
		return 0, err
	}
	if size < 0 {
		return w.dataToEOF(contextID, r, limit)
	}
	var total int64
	for {
		left := size - total
		n := int(min(left, int64(limit)))
		at, room, err := w.frame(n, limit)
		if err != nil {
			return total, err
		}
		n = min(n, room)
		body := w.buf[at+frameHeaderLength : at+frameHeaderLength+n]
		if _, err := io.ReadFull(r, body); err != nil {
			w.buf = w.buf[:at]
			return total, dataError(unexpected(err))
		}
		total += int64(n)
		w.seal(at, n, contextID, false, total == size)
		if total == size {
			return total, nil
		}
	}
}

// dataToEOF reads one byte more than a fragment holds. If there is one, the
// fragment is not the last and the byte begins the next.
func (w *Writer) dataToEOF(contextID byte, r io.Reader, limit int) (total int64, err error) {
	var ahead [1]byte
	carried := 0
	for {
		at, room, err := w.frame(limit, limit)
		if err != nil {
			return total, err
		}
		body := w.buf[at+frameHeaderLength : at+frameHeaderLength+room+1]
		copy(body, ahead[:carried])
		n, err := io.ReadFull(r, body[carried:])
		n += carried
		last := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !last {
			w.buf = w.buf[:at]
			return total, dataError(err)
		}
		if !last {
			n--
			carried = copy(ahead[:], body[n:])
		}
		total += int64(n)
		w.seal(at, n, contextID, false, last)
		if last {
			return total, nil
		}
	}
}

func dataError(err error) error { return fmt.Errorf("reading the data set to send: %w", err) }

// fragmentLimit is how many bytes of a message fit in a PDU of at most maximum bytes
// behind its header, which is how PS3.8 D.1 counts. It is even where possible:
// PS3.8 E.1 wants every fragment even, and some peers insist.
func (w *Writer) fragmentLimit(maximum uint32) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if maximum == 0 || maximum > maxPData {
		maximum = maxPData
	}
	if maximum <= pdvHeaderLength {
		return 0, fmt.Errorf("%w: %d", ErrMaximumLength, maximum)
	}
	// One byte of the buffer is for reading ahead.
	return even(min(int(maximum)-pdvHeaderLength, w.size-frameHeaderLength-1)), nil
}

func even(n int) int {
	if n > 1 {
		n &^= 1
	}
	return n
}

// frame makes room behind the buffer's contents for a PDU of n message bytes
// and one to read ahead, and returns where it begins and how many message bytes
// fit, at most limit. If less than n fit, it flushes first, unless that much is
// free that a shorter PDU fills the buffer better.
func (w *Writer) frame(n, limit int) (at, room int, err error) {
	free := w.size - len(w.buf) - frameHeaderLength - 1
	if free < n && free < w.size/2 {
		if err := w.Flush(); err != nil {
			return 0, 0, err
		}
		free = w.size - frameHeaderLength - 1
	}
	room = even(min(free, limit))
	at = len(w.buf)
	w.reserve(at + frameHeaderLength + min(n, room) + 1)
	return at, room, nil
}

// reserve extends the buffer's capacity to n at least. It starts small, since
// most associations of a server send nothing but responses, and never exceeds
// size.
func (w *Writer) reserve(n int) {
	if n <= cap(w.buf) {
		return
	}
	grown := make([]byte, len(w.buf), min(w.size, max(n, 2*cap(w.buf), minimumWriterSize)))
	copy(grown, w.buf)
	w.buf = grown
}

// seal writes the headers of PDU and presentation data value (PS3.8 9.3.5) in
// front of n message bytes and takes the whole into the buffer.
func (w *Writer) seal(at, n int, contextID byte, command, last bool) {
	w.buf = w.buf[:at+frameHeaderLength+n]
	b := w.buf[at:]
	b[0], b[1] = byte(TypePData), 0
	binary.BigEndian.PutUint32(b[2:], uint32(n+pdvHeaderLength))
	binary.BigEndian.PutUint32(b[6:], uint32(n+pdvItemMinimum))
	b[10], b[11] = contextID, 0
	if command {
		b[11] |= controlCommand
	}
	if last {
		b[11] |= controlLast
	}
}
