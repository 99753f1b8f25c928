package spool

import (
	"encoding/binary"
	"errors"
)

// errBadRecord says that bytes of the index or of a record's metadata are not what this program writes.
var errBadRecord = errors.New("spool: malformed record")

// appendString appends s with its length; the counterpart of decoder.str.
func appendString[T ~string](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decoder takes values off a record. The first thing that does not fit makes every later value zero and sets bad, so
// that callers check once. Nothing it returns is longer than what it was given.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) byte() byte {
	if v := d.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (d *decoder) uint32() uint32 {
	if v := d.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if v := d.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.bad || n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }

func (d *decoder) str() string { return string(d.bytes()) }

// count takes a number of items that take at least size bytes each; more than can be there is malformed.
func (d *decoder) count(size uint64) int {
	n := d.uvarint()
	if n > uint64(len(d.b))/size {
		d.bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) err() error {
	if d.bad {
		return errBadRecord
	}
	return nil
}
