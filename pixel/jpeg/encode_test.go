package jpeg

import (
	"encoding/binary"
	"math/bits"
)

// encoder writes lossless frames for the tests, straight from the rules of T.81 annex H.
type encoder struct {
	rows, columns, precision int
	selection, transform     int
	restartRows              int // rows of a restart interval, 0 for none
	scans                    [][]int
	samples                  [][]uint16 // of each component
	padding                  []byte     // fill bytes in front of each marker behind the first

	out  []byte
	acc  uint64
	used int
}

// losslessCodes has a code for each of the 17 categories: T.81 table K.3 goes to 11 only. Lengths 2, 3 and so on up to 16.
var losslessCodes = struct{ counts, values []byte }{
	counts: []byte{0, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0},
	values: []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
}

// codeOf derives a code from a table as annex C does.
func codeOf(counts, values []byte, value byte) (code, length int) {
	index := 0
	for n, count := range counts {
		for range count {
			if values[index] == value {
				return code, n + 1
			}
			index, code = index+1, code+1
		}
		code <<= 1
	}
	panic("no code")
}

func (e *encoder) segment(marker byte, p ...byte) {
	e.out = append(append(e.out, e.padding...), 0xFF, marker)
	e.out = append(binary.BigEndian.AppendUint16(e.out, uint16(len(p)+2)), p...)
}

func (e *encoder) encode() []byte {
	e.out = []byte{0xFF, markerSOI}
	frame := []byte{byte(e.precision), byte(e.rows >> 8), byte(e.rows), byte(e.columns >> 8), byte(e.columns), byte(len(e.samples))}
	for i := range e.samples {
		frame = append(frame, byte(i+1), 0x11, 0)
	}
	e.segment(markerSOF3, frame...)
	e.segment(markerDHT, append(append([]byte{0}, losslessCodes.counts...), losslessCodes.values...)...)
	if e.restartRows > 0 {
		n := e.restartRows * e.columns
		e.segment(markerDRI, byte(n>>8), byte(n))
	}
	for _, s := range e.scans {
		p := []byte{byte(len(s))}
		for _, c := range s {
			p = append(p, byte(c+1), 0)
		}
		e.segment(markerSOS, append(p, byte(e.selection), 0, byte(e.transform))...)
		e.scan(s)
	}
	return append(e.out, 0xFF, markerEOI)
}

func (e *encoder) scan(components []int) {
	for y := range e.rows {
		first := y == 0
		if e.restartRows > 0 && y > 0 && y%e.restartRows == 0 {
			e.flush()
			e.out = append(append(e.out, e.padding...), 0xFF, markerRST0+byte(y/e.restartRows-1)&7)
			first = true
		}
		for x := range e.columns {
			for _, c := range components {
				at := func(y, x int) int { return int(e.samples[c][y*e.columns+x]) >> e.transform }
				var p int
				switch {
				case x == 0 && first:
					p = 1 << (e.precision - e.transform - 1)
				case x == 0:
					p = at(y-1, 0)
				case first:
					p = at(y, x-1)
				default:
					a, b, c := at(y, x-1), at(y-1, x), at(y-1, x-1)
					p = []int{0, a, b, c, a + b - c, a + (b-c)>>1, b + (a-c)>>1, (a + b) >> 1}[e.selection]
				}
				e.difference(at(y, x) - p)
			}
		}
	}
	e.flush()
}

// difference writes a difference modulo 2^16, from -32767 to 32768 (H.1.2.2).
func (e *encoder) difference(d int) {
	d = int(int16(d))
	if d == -32768 {
		e.code(16)
		return
	}
	category := bits.Len(uint(max(d, -d)))
	e.code(byte(category))
	if d < 0 {
		d += 1<<category - 1
	}
	e.bits(uint64(d), category)
}

func (e *encoder) code(value byte) {
	code, length := codeOf(losslessCodes.counts, losslessCodes.values, value)
	e.bits(uint64(code), length)
}

func (e *encoder) bits(v uint64, n int) {
	e.acc = e.acc<<n | v
	for e.used += n; e.used >= 8; e.used -= 8 {
		b := byte(e.acc >> (e.used - 8))
		if e.out = append(e.out, b); b == 0xFF {
			e.out = append(e.out, 0)
		}
	}
}

// flush fills the last byte with ones (F.1.2.3).
func (e *encoder) flush() {
	if e.used > 0 {
		e.bits(1<<(8-e.used)-1, 8-e.used)
	}
}
