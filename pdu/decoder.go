package pdu

import (
	"encoding/binary"
	"fmt"
)

// decoder walks over the bytes of a PDU or item. The first error sticks; from
// then on fields read as zero and nothing more is consumed, so that parsing
// code needs no error handling of its own. Nothing it returns aliases buf,
// which is the Reader's.
type decoder struct {
	pdu  Type
	buf  []byte // not yet consumed
	base int64  // offset of buf[0] in the PDU
	err  error  // *FormatError
}

// fail records that the field about to be read is wrong.
func (d *decoder) fail(field, reason string) { d.failAt(d.base, field, reason) }

func (d *decoder) failAt(offset int64, field, reason string) {
	if d.err == nil {
		d.err = &FormatError{PDU: d.pdu, Field: field, Offset: offset, Reason: reason}
		d.buf = nil
	}
}

func (d *decoder) len() int { return len(d.buf) }

// take consumes n bytes. It returns n bytes always or nil, so callers may index.
func (d *decoder) take(field string, n int) []byte {
	if n > len(d.buf) {
		d.fail(field, fmt.Sprintf("needs %d bytes, %d left", n, len(d.buf)))
		return nil
	}
	b := d.buf[:n:n]
	d.buf = d.buf[n:]
	d.base += int64(n)
	return b
}

func (d *decoder) skip(field string, n int) { d.take(field, n) }

func (d *decoder) uint8(field string) byte {
	if b := d.take(field, 1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) uint16(field string) uint16 {
	if b := d.take(field, 2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint32(field string) uint32 {
	if b := d.take(field, 4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// clone consumes n bytes into memory of their own, never nil unless it fails.
func (d *decoder) clone(field string, n int) []byte {
	b := d.take(field, n)
	if d.err != nil {
		return nil
	}
	return append([]byte{}, b...)
}

// uid consumes n bytes as a UID without its padding.
func (d *decoder) uid(field string, n int) string {
	if n > maxUID {
		d.fail(field, fmt.Sprintf("%d bytes, at most %d are accepted", n, maxUID))
		return ""
	}
	return trimUID(string(d.take(field, n)))
}

// sized consumes a field preceded by its length in two bytes.
func (d *decoder) sized(lengthField, field string) []byte {
	return d.clone(field, d.length16(lengthField))
}

// sizedUID consumes a UID preceded by its length in two bytes.
func (d *decoder) sizedUID(lengthField, field string) string {
	return d.uid(field, d.length16(lengthField))
}

// length16 reads a length of two bytes and blames it, not the field behind it,
// if it points beyond the end.
func (d *decoder) length16(field string) int {
	at := d.base
	n := int(d.uint16(field))
	if n > len(d.buf) {
		d.failAt(at, field, fmt.Sprintf("%d bytes, %d left", n, len(d.buf)))
		return 0
	}
	return n
}

// room fails if a list that holds n entries may not grow.
func (d *decoder) room(n, most int) bool {
	if n >= most {
		d.fail(fieldItemType, fmt.Sprintf("more than %d of this kind", most))
	}
	return n < most
}

// sub consumes n bytes as a decoder of their own; adopt takes its error over.
func (d *decoder) sub(field string, n int) decoder {
	base := d.base
	return decoder{pdu: d.pdu, buf: d.take(field, n), base: base, err: d.err}
}

func (d *decoder) adopt(sub *decoder) {
	if d.err == nil && sub.err != nil {
		d.err, d.buf = sub.err, nil
	}
}

// items calls f for each item up to the end: type, reserved byte, length of two
// bytes, value (PS3.8 9.3.1). f ignores the types it does not know.
func (d *decoder) items(f func(kind byte, item *decoder)) {
	var item decoder // one for all, since f makes it escape
	for len(d.buf) > 0 {
		kind := d.uint8(fieldItemType)
		d.skip("Reserved", 1)
		item = d.sub("Item", d.length16(fieldItemLength))
		if d.err == nil {
			f(kind, &item)
			d.adopt(&item)
		}
	}
}
