package pdu

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	// DefaultMaximumLength is the Maximum-length-received to offer if there is
	// no reason for another: headers and system calls no longer count, and a
	// Reader of the default size holds a PDU of that length whole.
	DefaultMaximumLength = 256 << 10

	// DefaultMaxAssociateLength bounds association PDUs if [Limits] does not. A
	// request with 128 contexts of ten transfer syntaxes each has 50 KiB.
	DefaultMaxAssociateLength = 1 << 20

	defaultReaderSize = DefaultMaximumLength + 64 // a whole PDU with its headers

	// firstSize is the buffer of a Reader that has not met a data set of more
	// than one small fragment yet. Associations that only verify or query, and
	// connections that never become one, cost little.
	firstSize = 4 << 10

	// directSize is the least room in the caller's memory worth a read of its
	// own. For less, reading ahead into the buffer saves system calls.
	directSize = 32 << 10

	associateHeadLength = 68 // bytes 7 to 74, before the variable items (PS3.8 9.3.2)
	pdvHeaderLength     = 6  // Item-length, Presentation-context-ID, Message Control Header
	pdvItemMinimum      = 2  // what Item-length counts beside the fragment itself

	controlCommand = 1 << 0 // Message Control Header (PS3.8 E.2)
	controlLast    = 1 << 1

	maxEmptyReads = 100 // give up on a stream that yields neither bytes nor an error
)

// Limits bounds what a [Reader] accepts.
type Limits struct {
	// MaxAssociateLength bounds PDU-length of A-ASSOCIATE-RQ and -AC; 0 means
	// DefaultMaxAssociateLength.
	MaxAssociateLength uint32
	// MaxPDataLength is the Maximum-length-received we offered: a longer
	// P-DATA-TF is refused (PS3.8 D.1). 0 is no limit. It may be large at no
	// cost, since fragments are streamed.
	MaxPDataLength uint32
}

func (l Limits) check(h Header) error {
	switch h.Type {
	case TypeAssociateRQ, TypeAssociateAC:
		if h.Length > l.MaxAssociateLength {
			return lengthError(h, "%d bytes, at most %d are accepted", h.Length, l.MaxAssociateLength)
		}
		if h.Length < associateHeadLength {
			return lengthError(h, "%d bytes, must be at least %d", h.Length, associateHeadLength)
		}
	case TypePData:
		if l.MaxPDataLength > 0 && h.Length > l.MaxPDataLength {
			return lengthError(h, "%d bytes, the maximum length offered is %d", h.Length, l.MaxPDataLength)
		}
		if h.Length < pdvHeaderLength {
			return lengthError(h, "%d bytes hold no presentation data value", h.Length)
		}
	default:
		if h.Type == TypeAssociateRJ && h.Length&0xFF == 0xE0 {
			return lengthError(h, "looks like RDP") // TPKT 03 00 nn nn, X.224 connection request nn E0
		}
		if h.Length != fixedLength {
			return lengthError(h, "%d bytes, must be %d", h.Length, fixedLength)
		}
	}
	return nil
}

func lengthError(h Header, format string, args ...any) error {
	return &FormatError{PDU: h.Type, Field: fieldLength, Offset: 2, Reason: fmt.Sprintf(format, args...)}
}

// Fragment is the head of one presentation data value of P-DATA-TF (PS3.8
// 9.3.5.1, E.2).
type Fragment struct {
	ContextID byte
	Command   bool  // belongs to a command set, otherwise to a data set
	Last      bool  // no more of this command set or data set follows
	Length    int64 // bytes of the fragment; may be 0
}

// Reader reads PDUs from a stream through one buffer. It is for one goroutine.
//
// An error of the stream loses nothing that has been read. After a timeout
// while waiting for a PDU, Next may be called again.
type Reader struct {
	src    io.Reader
	limits Limits
	size   int    // of buf once there is P-DATA
	buf    []byte // buf[r:w] is read ahead
	r, w   int

	header   Header
	bodyLeft uint32 // bytes of the current PDU not consumed yet
	fragLeft uint32 // bytes of the current fragment not consumed yet
}

// NewReader returns a Reader on src. Its buffer will have size bytes, which
// bounds its memory but not the size of PDUs; 0 chooses room for a PDU of
// DefaultMaximumLength.
func NewReader(src io.Reader, size int, l Limits) *Reader {
	if size <= 0 {
		size = defaultReaderSize
	}
	if l.MaxAssociateLength == 0 {
		l.MaxAssociateLength = DefaultMaxAssociateLength
	}
	size = max(size, 64) // far more than any header
	return &Reader{src: src, limits: l, size: size, buf: make([]byte, min(size, firstSize))}
}

// Buffered returns how many bytes have been read from the stream and not yet
// consumed. Not 0 while waiting for Next means that a PDU has begun.
func (r *Reader) Buffered() int { return r.w - r.r }

// Next reads the header of the next PDU. The one before must be consumed: by
// Decode, by Fragment up to io.EOF, or by Skip. The error is io.EOF only if the
// stream ends between PDUs, and a *[FormatError] if the header is not one of
// DICOM's or its length is beyond the limits.
func (r *Reader) Next() (Header, error) {
	if r.bodyLeft > 0 {
		return Header{}, fmt.Errorf("%w: %v has %d bytes left", errMisuse, r.header.Type, r.bodyLeft)
	}
	// The first byte is judged alone: what does not speak DICOM may never send
	// the other five.
	if err := r.fill(1); err != nil {
		return Header{}, err
	}
	if t := Type(r.buf[r.r]); !t.known() {
		return Header{}, &FormatError{PDU: t, Field: fieldType, Reason: looksLike(r.buf[r.r:r.w])}
	}
	if err := r.need(headerLength); err != nil {
		return Header{}, err
	}
	b := r.buf[r.r:]
	h := Header{Type: Type(b[0]), Length: binary.BigEndian.Uint32(b[2:])}
	if err := r.limits.check(h); err != nil {
		return Header{}, err
	}
	r.r += headerLength
	r.header, r.bodyLeft = h, h.Length
	return h, nil
}

// Decode returns the PDU whose header Next returned, which must not be
// P-DATA-TF.
func (r *Reader) Decode() (PDU, error) {
	if r.header.Type == TypePData || r.bodyLeft == 0 {
		return nil, fmt.Errorf("%w: no PDU to decode", errMisuse)
	}
	n := int(r.bodyLeft)
	if n > len(r.buf) {
		return r.decodeLarge(n)
	}
	if err := r.need(n); err != nil {
		return nil, err
	}
	body := r.buf[r.r : r.r+n]
	r.r, r.bodyLeft = r.r+n, 0
	return decode(r.header.Type, body)
}

// decodeLarge grows the body as it arrives, so that memory is spent on bytes
// sent and not on bytes announced.
func (r *Reader) decodeLarge(n int) (PDU, error) {
	var body []byte
	for len(body) < n {
		if err := r.need(1); err != nil {
			return nil, err
		}
		take := min(r.Buffered(), n-len(body))
		body = append(body, r.buf[r.r:r.r+take]...)
		r.r += take
		r.bodyLeft -= uint32(take)
	}
	return decode(r.header.Type, body)
}

// Fragment reads the head of the next presentation data value of the current
// P-DATA-TF PDU; the bytes of the one before must be consumed. io.EOF says that
// the PDU holds no more.
func (r *Reader) Fragment() (Fragment, error) {
	switch {
	case r.header.Type != TypePData || r.fragLeft > 0:
		return Fragment{}, fmt.Errorf("%w: no presentation data value due", errMisuse)
	case r.bodyLeft == 0:
		return Fragment{}, io.EOF
	case r.bodyLeft < pdvHeaderLength:
		return Fragment{}, r.pdvError("%d bytes left are no presentation data value", r.bodyLeft)
	}
	if err := r.need(pdvHeaderLength); err != nil {
		return Fragment{}, err
	}
	b := r.buf[r.r : r.r+pdvHeaderLength]
	length := binary.BigEndian.Uint32(b)
	if length < pdvItemMinimum {
		return Fragment{}, r.pdvError("%d, must be at least %d", length, pdvItemMinimum)
	}
	if length > r.bodyLeft-4 {
		return Fragment{}, r.pdvError("%d bytes, %d left in the PDU", length, r.bodyLeft-4)
	}
	r.r += pdvHeaderLength
	r.bodyLeft -= pdvHeaderLength
	r.fragLeft = length - pdvItemMinimum
	f := Fragment{
		ContextID: b[4],
		Command:   b[5]&controlCommand != 0, // the other bits are never checked (PS3.8 E.2)
		Last:      b[5]&controlLast != 0,
		Length:    int64(r.fragLeft),
	}
	if len(r.buf) < r.size && !f.Command && (!f.Last || f.Length > int64(len(r.buf))) {
		r.grow()
	}
	return f, nil
}

func (r *Reader) pdvError(format string, args ...any) error {
	return &FormatError{PDU: TypePData, Field: fieldPDVLength, Offset: r.offset(), Reason: fmt.Sprintf(format, args...)}
}

// offset is the place in the current PDU of the byte to be consumed next.
func (r *Reader) offset() int64 { return headerLength + int64(r.header.Length) - int64(r.bodyLeft) }

// Read reads bytes of the current fragment; io.EOF is its end. Where p and the
// fragment are large and nothing is buffered, it reads from the stream straight
// into p.
func (r *Reader) Read(p []byte) (int, error) {
	if r.fragLeft == 0 {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	if uint64(len(p)) > uint64(r.fragLeft) {
		p = p[:r.fragLeft]
	}
	if r.r == r.w && len(p) >= directSize {
		n, err := r.fetch(p)
		r.consume(n)
		return n, unexpected(err)
	}
	if err := r.need(1); err != nil {
		return 0, err
	}
	n := copy(p, r.buf[r.r:r.w])
	r.r += n
	r.consume(n)
	return n, nil
}

// WriteTo writes the rest of the current fragment to w in slices of the buffer,
// which w must not keep. What w has taken when it fails counts as consumed.
func (r *Reader) WriteTo(w io.Writer) (int64, error) {
	n, _, err := r.writeTo(w)
	return n, err
}

// writeTo also tells whether err is the writer's.
func (r *Reader) writeTo(w io.Writer) (total int64, writers bool, err error) {
	for r.fragLeft > 0 {
		if err := r.need(1); err != nil {
			return total, false, err
		}
		b := r.buf[r.r:r.w]
		if uint64(len(b)) > uint64(r.fragLeft) {
			b = b[:r.fragLeft]
		}
		n, err := w.Write(b)
		if n < 0 || n > len(b) {
			return total, true, errInvalidCount
		}
		r.r += n
		r.consume(n)
		total += int64(n)
		if err == nil && n < len(b) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, true, err
		}
	}
	return total, false, nil
}

// Skip discards what is left of the current PDU, whatever its type.
func (r *Reader) Skip() error {
	for r.bodyLeft > 0 {
		if err := r.need(1); err != nil {
			return err
		}
		n := uint32(min(int64(r.Buffered()), int64(r.bodyLeft)))
		r.r += int(n)
		r.bodyLeft -= n
	}
	r.fragLeft = 0
	return nil
}

func (r *Reader) consume(n int) {
	r.fragLeft -= uint32(n)
	r.bodyLeft -= uint32(n)
}

// need is fill where the end of the stream is unexpected.
func (r *Reader) need(n int) error { return unexpected(r.fill(n)) }

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fill makes at least n bytes, no more than the buffer has, available at
// buf[r.r:]. It moves what is buffered only if the room behind it does not
// suffice. Outside of Decode that is less than a header: payload never moves.
func (r *Reader) fill(n int) error {
	if r.w-r.r >= n {
		return nil
	}
	if r.r == r.w {
		r.r, r.w = 0, 0
	} else if r.r+n > len(r.buf) {
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	for r.w-r.r < n {
		m, err := r.fetch(r.buf[r.w:])
		if err != nil {
			return err
		}
		r.w += m
	}
	return nil
}

// fetch reads from the stream once, or a few times if that yields nothing. It
// returns bytes or an error, not both: an error that lasts comes again.
func (r *Reader) fetch(p []byte) (int, error) {
	for range maxEmptyReads {
		n, err := r.src.Read(p)
		switch {
		case n < 0 || n > len(p):
			return 0, errInvalidCount
		case n > 0:
			return n, nil
		case err != nil:
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

// grow gives the buffer its final size.
func (r *Reader) grow() {
	buf := make([]byte, r.size)
	r.w = copy(buf, r.buf[r.r:r.w])
	r.r = 0
	r.buf = buf
}
