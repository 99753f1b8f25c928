package pdu

import (
	"encoding/binary"
	"fmt"
	"math"
)

// encoder appends a PDU to a buffer. The first error sticks.
type encoder struct {
	pdu   Type
	buf   []byte
	start int // where the PDU begins in buf
	err   error
}

func newEncoder(dst []byte, t Type) *encoder {
	return &encoder{pdu: t, buf: append(dst, byte(t), 0, 0, 0, 0, 0), start: len(dst)}
}

// finish fills in PDU-length.
func (e *encoder) finish(dst []byte) ([]byte, error) {
	if e.err != nil {
		return dst, e.err
	}
	binary.BigEndian.PutUint32(e.buf[e.start+2:], uint32(len(e.buf)-e.start-headerLength))
	return e.buf, nil
}

func (e *encoder) failf(format string, args ...any) {
	if e.err == nil {
		e.err = fmt.Errorf("encoding %v: %w", e.pdu, fmt.Errorf(format, args...))
	}
}

// check records err about a presentation context ID.
func (e *encoder) check(err error) {
	if err != nil {
		e.failf("presentation context ID %w", err)
	}
}

func (e *encoder) bytes(b []byte)  { e.buf = append(e.buf, b...) }
func (e *encoder) uint8(v byte)    { e.buf = append(e.buf, v) }
func (e *encoder) uint16(v uint16) { e.buf = binary.BigEndian.AppendUint16(e.buf, v) }
func (e *encoder) uint32(v uint32) { e.buf = binary.BigEndian.AppendUint32(e.buf, v) }

func (e *encoder) flag(v bool) {
	if v {
		e.uint8(1)
	} else {
		e.uint8(0)
	}
}

func (e *encoder) aeTitle(field, s string) {
	if len(s) > aeTitleLength {
		e.failf("%s has %d characters, at most %d are possible", field, len(s), aeTitleLength)
		return
	}
	e.buf = append(e.buf, s...)
	for range aeTitleLength - len(s) {
		e.buf = append(e.buf, ' ')
	}
}

func (e *encoder) length16(field string, n int) {
	if n > math.MaxUint16 {
		e.failf("%s of %d bytes exceeds its length field", field, n)
	}
	e.uint16(uint16(n))
}

// item appends an item whose value f appends (PS3.8 9.3.1).
func (e *encoder) item(kind byte, f func()) {
	e.buf = append(e.buf, kind, 0, 0, 0)
	at := len(e.buf)
	f()
	n := len(e.buf) - at
	if n > math.MaxUint16 {
		e.failf("item %02XH of %d bytes exceeds its length field", kind, n)
	}
	binary.BigEndian.PutUint16(e.buf[at-2:], uint16(n))
}

func (e *encoder) checkUID(uid string) {
	if len(uid) > maxUID {
		e.failf("UID of %d characters, at most %d are possible", len(uid), maxUID)
	}
}

func (e *encoder) uidItem(kind byte, uid string) {
	e.checkUID(uid)
	e.item(kind, func() { e.buf = append(e.buf, uid...) })
}

func (e *encoder) sized(b []byte) {
	e.length16("field", len(b))
	e.bytes(b)
}

func (e *encoder) sizedUID(uid string) {
	e.checkUID(uid)
	e.sized([]byte(uid))
}
