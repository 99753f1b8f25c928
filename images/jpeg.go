package images

import (
	"encoding/binary"
)

// Markers (T.81 table B.1), without their FF.
const (
	markerSOF0 = 0xC0 // baseline
	markerSOF1 = 0xC1 // extended sequential
	markerSOF2 = 0xC2 // progressive
	markerDHT  = 0xC4
	markerRST0 = 0xD0
	markerSOI  = 0xD8
	markerEOI  = 0xD9
	markerSOS  = 0xDA
	markerDQT  = 0xDB
	markerDRI  = 0xDD
	markerAPP0 = 0xE0
	markerCOM  = 0xFE
)

// maxScans bounds the scans of a progressive image: each goes over all of it, however few bytes it has.
const maxScans = 64

// maxSlack bounds the bytes between entropy-coded data and the next marker, which decoders pass over.
const maxSlack = 16

// component is one of the colours of an image.
type component struct {
	id            byte
	h, v          int // sampling factors
	quantization  byte
	width, height int // blocks of a scan of this component alone
	stride        int // blocks of a row of an interleaved scan
	// left is for each coefficient one more than the bits that scans are still to bring; 0 before the first scan.
	left [64]int
	// seen has a bit for each coefficient of each block that is not zero; of progressive images only.
	seen []uint64
}

// jpegReader walks through a JPEG file (T.81): everything but the inverse transform is done, so that the data is
// known to be whole.
type jpegReader struct {
	*input
	info        Info
	progressive bool
	mcusX       int
	mcusY       int
	components  []component
	quantizers  [4]bool
	tables      [2][4]*huffman // DC, AC
	restart     int            // interval
	scans       int

	bits  uint32
	nbits uint
	eob   int // blocks that an end of band run has to go
}

// jpeg checks a JPEG file of 8 bits per sample with Huffman coding, sequential or progressive: what every viewer shows.
func (in *input) jpeg() (Info, error) {
	j := &jpegReader{input: in}
	if err := in.skip(2); err != nil {
		return Info{}, err
	}
	for slack := 0; ; slack = maxSlack {
		m, err := j.marker(slack)
		if err != nil {
			return j.info, err
		}
		if m == markerEOI {
			return j.info, j.complete()
		}
		if err := j.segment(m); err != nil {
			return j.info, err
		}
	}
}

// marker reads up to the next marker.
func (j *jpegReader) marker(slack int) (byte, error) {
	for {
		b, err := j.readByte()
		if err != nil {
			return 0, err
		}
		for b == 0xFF {
			if b, err = j.readByte(); err != nil {
				return 0, err
			}
			if b != 0 && b != 0xFF {
				return b, nil
			}
		}
		if slack--; slack < 0 {
			return 0, j.bad("no marker")
		}
	}
}

// segment reads a marker's parameters, and behind SOS the scan.
func (j *jpegReader) segment(m byte) error {
	if m >= markerRST0 && m <= markerSOI {
		return j.bad("marker FF%02X out of place", m)
	}
	size, err := j.bytes(2)
	if err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(size)) - 2
	if n < 0 {
		return j.bad("length of a segment")
	}
	if m >= markerAPP0 && m < markerAPP0+16 || m == markerCOM {
		return j.skip(int64(n))
	}
	b, err := j.bytes(n)
	if err != nil {
		return err
	}
	switch m {
	case markerSOF0, markerSOF1, markerSOF2:
		j.progressive = m == markerSOF2
		return j.frame(b)
	case markerDHT:
		return j.huffmanTables(b)
	case markerDQT:
		return j.quantizationTables(b)
	case markerDRI:
		if len(b) != 2 {
			return j.bad("restart interval")
		}
		j.restart = int(binary.BigEndian.Uint16(b))
		return nil
	case markerSOS:
		return j.scan(b)
	}
	return j.bad("marker FF%02X; sequential and progressive images with Huffman coding are taken", m)
}

// frame reads a frame header (B.2.2).
func (j *jpegReader) frame(b []byte) (err error) {
	if j.components != nil {
		return j.bad("a second frame")
	}
	if len(b) < 6 || b[0] != 8 || len(b) != 6+3*int(b[5]) || b[5] != 1 && b[5] != 3 && b[5] != 4 {
		return j.bad("frame header; images of 1, 3 or 4 components with 8 bits are taken")
	}
	if j.info, err = j.size(int(binary.BigEndian.Uint16(b[3:])), int(binary.BigEndian.Uint16(b[1:]))); err != nil {
		return err
	}
	maxH, maxV := 1, 1
	for b := b[6:]; len(b) > 0; b = b[3:] {
		c := component{id: b[0], h: int(b[1] >> 4), v: int(b[1] & 15), quantization: b[2]}
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.quantization > 3 {
			return j.bad("component")
		}
		for _, other := range j.components {
			if other.id == c.id {
				return j.bad("two components of one number")
			}
		}
		maxH, maxV = max(maxH, c.h), max(maxV, c.v)
		j.components = append(j.components, c)
	}
	if len(j.components) == 1 { // the factors of a single one mean nothing (A.2.2)
		j.components[0].h, j.components[0].v, maxH, maxV = 1, 1, 1, 1
	}
	j.mcusX, j.mcusY = ceil(j.info.Width, 8*maxH), ceil(j.info.Height, 8*maxV)
	for i := range j.components {
		c := &j.components[i]
		c.width, c.height = ceil(ceil(j.info.Width*c.h, maxH), 8), ceil(ceil(j.info.Height*c.v, maxV), 8)
		c.stride = j.mcusX * c.h
		if j.progressive {
			c.seen = make([]uint64, c.stride*j.mcusY*c.v)
		}
	}
	return nil
}

func ceil(a, b int) int { return (a + b - 1) / b }

func (j *jpegReader) quantizationTables(b []byte) error {
	for len(b) > 0 {
		n := 1 + 64*(1+int(b[0]>>4))
		if b[0]>>4 > 1 || b[0]&15 > 3 || len(b) < n {
			return j.bad("quantization table")
		}
		j.quantizers[b[0]&15] = true
		b = b[n:]
	}
	return nil
}

// complete tells whether everything that was announced has come.
func (j *jpegReader) complete() error {
	if len(j.components) == 0 {
		return j.bad("no frame")
	}
	for i := range j.components {
		for _, left := range j.components[i].left {
			if left != 1 {
				return j.bad("a scan of component %d is missing", j.components[i].id)
			}
		}
	}
	return nil
}

// huffman is a table for decoding (annex C and F.2.2.3).
type huffman struct {
	values  []byte
	min     [17]int32 // the first code of each length
	max     [17]int32 // the last one; -1 if there is none
	first   [17]int   // the place of its value
	lookup  [256]byte // a code of up to 8 bits by its first 8 bits: the length, 0 if longer
	lookupV [256]byte
}

func (j *jpegReader) huffmanTables(b []byte) error {
	for len(b) > 0 {
		if len(b) < 17 || b[0]>>4 > 1 || b[0]&15 > 3 {
			return j.bad("Huffman table")
		}
		class, id := b[0]>>4, b[0]&15
		h := &huffman{}
		code, n := int32(0), 0
		for length := 1; length <= 16; length++ {
			count := int(b[length])
			h.min[length], h.first[length], h.max[length] = code, n, -1
			if count > 0 {
				h.max[length] = code + int32(count) - 1
			}
			n, code = n+count, code+int32(count)
			if code > 1<<length {
				return j.bad("Huffman table")
			}
			code <<= 1
		}
		if n == 0 || n > 256 || len(b) < 17+n {
			return j.bad("Huffman table")
		}
		h.values = b[17 : 17+n]
		for length := 1; length <= 8; length++ {
			for code := h.min[length]; code <= h.max[length]; code++ {
				value := h.values[h.first[length]+int(code-h.min[length])]
				for i := int32(0); i < 1<<(8-length); i++ {
					at := code<<(8-length) + i
					h.lookup[at], h.lookupV[at] = byte(length), value
				}
			}
		}
		if class == 0 {
			for _, v := range h.values {
				if v > 15 {
					return j.bad("Huffman table")
				}
			}
		}
		j.tables[class][id] = h
		b = b[17+n:]
	}
	return nil
}

// fill sees to it that there are n bits, up to 16. A marker ends them.
func (j *jpegReader) fill(n uint) error {
	for j.nbits < n {
		next, err := j.r.Peek(2) // something has to follow a scan
		if err != nil {
			return err
		}
		length := 1
		if next[0] == 0xFF {
			if length = 2; next[1] != 0 {
				return j.bad("a scan ends early")
			}
		}
		j.bits = j.bits<<8 | uint32(next[0])
		j.nbits += 8
		j.at += int64(length)
		if _, err := j.r.Discard(length); err != nil {
			return err
		}
	}
	return nil
}

// take reads n bits, up to 16.
func (j *jpegReader) take(n uint) (uint32, error) {
	if err := j.fill(n); err != nil {
		return 0, err
	}
	j.nbits -= n
	return j.bits >> j.nbits & (1<<n - 1), nil
}

// symbol decodes a code. Near the end of a scan there may be fewer bits than the longest code has.
func (j *jpegReader) symbol(h *huffman) (byte, error) {
	if j.nbits >= 8 || j.fill(8) == nil {
		at := j.bits >> (j.nbits - 8) & 0xFF
		if n := h.lookup[at]; n > 0 {
			j.nbits -= uint(n)
			return h.lookupV[at], nil
		}
	}
	code := int32(0)
	for length := 1; length <= 16; length++ {
		bit, err := j.take(1)
		if err != nil {
			return 0, err
		}
		code = code<<1 | int32(bit)
		if code <= h.max[length] {
			return h.values[h.first[length]+int(code-h.min[length])], nil
		}
	}
	return 0, j.bad("code")
}
