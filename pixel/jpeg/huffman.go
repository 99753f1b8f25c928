package jpeg

import "encoding/binary"

// lookupBits is how long a code may be to be found with one look.
const lookupBits = 10

// maxTables bounds the Huffman tables of a frame, each of which takes some microseconds: eight for each scan of a component
// would be 32.
const maxTables = 256

// huffmanTable decodes the codes of a table (T.81 annex C, F.2.2.3).
type huffmanTable struct {
	defined bool
	// lookup holds, for the next lookupBits bits, length and value of the code that they begin with: length<<8 | value. 0 if
	// the code is longer.
	lookup [1 << lookupBits]uint16
	// whole holds the same for codes that have the bits of their number with them: number<<16 | run<<8 | length of both. 0 if
	// they are more than lookupBits, or there is no number.
	whole [1 << lookupBits]int32
	// limit holds for each length the first code beyond those of it, aligned to the left of 16 bits; offset leads from a
	// code of that length to its value.
	limit  [17]uint32
	offset [17]int
	values [256]byte
}

// readHuffmanTables reads DHT (B.2.4.2).
func (d *Decoder) readHuffmanTables(p []byte, at int) error {
	for len(p) > 0 {
		class, id := p[0]>>4, p[0]&15
		if class > 1 || id > 3 || len(p) < 17 {
			return d.fail(at, "malformed Huffman table")
		}
		if d.tables++; d.tables > maxTables {
			return d.fail(at, "too many Huffman tables")
		}
		total := 0
		for _, n := range p[1:17] {
			total += int(n)
		}
		if total > 256 || len(p) < 17+total {
			return d.fail(at, "Huffman table of too many codes")
		}
		t := &d.huffman[class][id]
		if !t.set(p[1:17], p[17:17+total]) {
			return d.fail(at, "Huffman table of more codes than their lengths allow")
		}
		if class == 0 {
			t.setWhole(0xFF)
		} else {
			t.setWhole(0x0F)
		}
		p = p[17+total:]
	}
	return nil
}

// set makes the table of the number of codes of each length from 1 to 16, and their values. It is false if there are more
// codes than fit.
func (t *huffmanTable) set(counts, values []byte) bool {
	*t = huffmanTable{defined: true}
	copy(t.values[:], values)
	code, index := 0, 0
	for length := 1; length <= 16; length++ {
		n := int(counts[length-1])
		t.offset[length] = index - code
		if code+n > 1<<length {
			return false
		}
		if length <= lookupBits {
			for i := range n {
				first := (code + i) << (lookupBits - length)
				for j := range 1 << (lookupBits - length) {
					t.lookup[first+j] = uint16(length)<<8 | uint16(values[index+i])
				}
			}
		}
		code += n
		index += n
		t.limit[length] = uint32(code) << (16 - length)
		code <<= 1
	}
	return true
}

// setWhole makes whole of lookup. The bits of a value that are in mask are the category, those above it the run (F.1.2.2).
func (t *huffmanTable) setWhole(mask byte) {
	for bits, e := range t.lookup {
		length, category, run := int(e>>8), int(byte(e)&mask), int(byte(e)&^mask>>4)
		if e == 0 || category == 0 || length+category > lookupBits {
			continue
		}
		r := bitReader{acc: uint64(bits) << (64 - lookupBits + length)}
		t.whole[bits] = r.receive(category)<<16 | int32(run<<8) | int32(length+category)
	}
}

// bitReader reads the entropy coded bits of a scan (F.2.2.5). Behind their end come zeros; overrun tells whether any of
// these was used.
type bitReader struct {
	data   []byte
	pos    int
	acc    uint64 // the next bits, from the left
	n      int    // how many of them count
	zeros  int    // of these how many are not the scan's
	broken bool   // a code was met that the table does not have
}

// refill makes sure that at least 48 bits are at hand.
func (r *bitReader) refill() {
	if r.pos+8 <= len(r.data) {
		next := binary.BigEndian.Uint64(r.data[r.pos:])
		// No byte is 0xFF if none of the complement is 0.
		if c := ^next; (c-0x0101010101010101)&^c&0x8080808080808080 == 0 {
			r.acc |= next >> r.n
			taken := (63 - r.n) >> 3
			r.pos += taken
			r.n += 8 * taken
			return
		}
	}
	r.refillByByte()
}

func (r *bitReader) refillByByte() {
	// What a refill of eight bytes has left to the right of the bits that count is the begin of the next byte, and would
	// be there twice.
	r.acc &= ^uint64(0) << (64 - r.n)
	for r.n <= 56 {
		b := uint64(0)
		switch {
		case r.pos >= len(r.data):
			r.zeros += 8
		case r.data[r.pos] != 0xFF:
			b = uint64(r.data[r.pos])
			r.pos++
		case r.pos+1 < len(r.data) && r.data[r.pos+1] == 0: // a stuffed 0xFF
			b = 0xFF
			r.pos += 2
		default: // a marker
			r.zeros += 8
		}
		r.acc |= b << (56 - r.n)
		r.n += 8
	}
}

// overrun tells whether bits were used that the scan does not have, or that make no code.
func (r *bitReader) overrun() bool { return r.broken || r.n < r.zeros }

// decode returns the value of the next code. At least 16 bits must be at hand.
func (r *bitReader) decode(t *huffmanTable) byte {
	if e := t.lookup[r.acc>>(64-lookupBits)]; e != 0 {
		length := int(e >> 8)
		r.acc <<= length
		r.n -= length
		return byte(e)
	}
	return r.decodeLong(t)
}

func (r *bitReader) decodeLong(t *huffmanTable) byte {
	code := uint32(r.acc >> 48)
	for length := 1; length <= 16; length++ {
		if code < t.limit[length] {
			r.acc <<= length
			r.n -= length
			return t.values[(int(code>>(16-length))+t.offset[length])&0xFF]
		}
	}
	r.broken = true
	return 0
}

// receive returns the next bits as the number of that category (F.2.2.1, RECEIVE and EXTEND). At least that many must be at
// hand; category is from 1 to 16.
func (r *bitReader) receive(category int) int32 {
	v := int32(r.acc >> (64 - category))
	r.acc <<= category
	r.n -= category
	if v < 1<<(category-1) {
		v += -1<<category + 1
	}
	return v
}

// restart ends an interval: what is left of the last byte is dropped and the marker RSTm taken (F.2.2.4). It is false if
// there is none.
func (r *bitReader) restart(m int) bool {
	if r.overrun() || r.n-r.zeros >= 8 {
		return false
	}
	r.acc, r.n, r.zeros = 0, 0, 0
	for r.pos+1 < len(r.data) && r.data[r.pos] == 0xFF && r.data[r.pos+1] == 0xFF {
		r.pos++ // fill bytes
	}
	if r.pos+1 >= len(r.data) || r.data[r.pos] != 0xFF || r.data[r.pos+1] != markerRST0+byte(m&7) {
		return false
	}
	r.pos += 2
	return true
}
