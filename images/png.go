package images

import (
	"compress/zlib"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"io"
)

// depths are the bit depths of each colour type (PNG 11.2.2), channels its samples per pixel.
var (
	depths   = map[byte][]byte{0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
	channels = map[byte]int{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
)

// adam7 are the passes of an interlaced image: first column and row, and the steps (PNG 8.2).
var adam7 = [...]struct{ x, y, dx, dy int }{{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}}

// pngReader reads chunks.
type pngReader struct {
	*input
	crc  hash.Hash32
	name string
	left int64 // bytes of the chunk that are to be read

	buffer [8 << 10]byte
	ahead  []byte // of buffer: image data that was read, and is not inflated
}

// png checks a PNG file (PNG, third edition): every chunk's sum, and that the image data is as many rows as the header says.
func (in *input) png() (Info, error) {
	if err := in.skip(8); err != nil {
		return Info{}, err
	}
	p := &pngReader{input: in, crc: crc32.NewIEEE()}
	if err := p.next(); err != nil {
		return Info{}, err
	}
	if p.name != "IHDR" || p.left != 13 {
		return Info{}, in.bad("it does not begin with IHDR")
	}
	h, err := p.data()
	if err != nil {
		return Info{}, err
	}
	info, err := p.header(h)
	if err != nil {
		return info, err
	}
	palette := false
	for {
		if err := p.next(); err != nil {
			return info, err
		}
		switch p.name {
		case "PLTE":
			if palette || p.left == 0 || p.left%3 != 0 || p.left > 3*256 {
				return info, in.bad("palette")
			}
			palette = true
			err = p.finish()
		case "IDAT":
			if h[9] == 3 && !palette {
				return info, in.bad("no palette")
			}
			if err = p.rows(info, h); err == nil {
				return info, p.rest()
			}
		default:
			err = p.ancillary()
		}
		if err != nil {
			return info, err
		}
	}
}

func (p *pngReader) header(h []byte) (Info, error) {
	width, height := binary.BigEndian.Uint32(h), binary.BigEndian.Uint32(h[4:])
	if width > maxSide || height > maxSide {
		width, height = 0, 0
	}
	info, err := p.size(int(width), int(height))
	if err != nil {
		return info, err
	}
	known := false
	for _, d := range depths[h[9]] {
		known = known || d == h[8]
	}
	if !known || h[10] != 0 || h[11] != 0 || h[12] > 1 {
		return info, p.bad("header")
	}
	return info, nil
}

// next begins a chunk.
func (p *pngReader) next() error {
	head, err := p.bytes(8)
	if err != nil {
		return err
	}
	p.name, p.left = string(head[4:]), int64(binary.BigEndian.Uint32(head))
	if p.left > 1<<31-1 {
		return p.bad("length of a chunk")
	}
	for _, c := range head[4:] {
		if (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return p.bad("name of a chunk")
		}
	}
	p.crc.Reset()
	p.crc.Write(head[4:])
	return nil
}

// data reads a short chunk whole.
func (p *pngReader) data() ([]byte, error) {
	b, err := p.bytes(int(p.left))
	if err != nil {
		return nil, err
	}
	p.crc.Write(b)
	p.left = 0
	return b, p.finish()
}

// finish reads the rest of a chunk and its sum.
func (p *pngReader) finish() error {
	n, err := io.CopyN(p.crc, p.r, p.left)
	p.at += n
	if err != nil {
		return err
	}
	p.left = 0
	sum, err := p.bytes(4)
	if err == nil && binary.BigEndian.Uint32(sum) != p.crc.Sum32() {
		err = p.bad("checksum of a chunk")
	}
	return err
}

// ancillary passes over what nobody has to understand (PNG 5.4).
func (p *pngReader) ancillary() error {
	if p.name[0] < 'a' {
		return p.bad("chunk %s, which is unknown or out of place", p.name)
	}
	return p.finish()
}

// rest reads the chunks behind the image data.
func (p *pngReader) rest() error {
	for {
		if err := p.next(); err != nil {
			return err
		}
		if p.name == "IEND" && p.left == 0 {
			return p.finish()
		}
		if err := p.ancillary(); err != nil {
			return err
		}
	}
}

// rows inflates the image data and counts the rows.
func (p *pngReader) rows(info Info, h []byte) error {
	z, err := zlib.NewReader(p)
	if err != nil {
		return p.inflated(err)
	}
	bits := int64(h[8]) * int64(channels[h[9]])
	pixels := make([]byte, 8<<10)
	row := func(width, height int) error {
		if width == 0 {
			return nil
		}
		for range height {
			var filter [1]byte
			if _, err := io.ReadFull(z, filter[:]); err != nil {
				return p.inflated(err)
			}
			if filter[0] > 4 {
				return p.bad("filter of a row")
			}
			for left := (int64(width)*bits + 7) / 8; left > 0; {
				n, err := io.ReadFull(z, pixels[:min(left, int64(len(pixels)))])
				if err != nil {
					return p.inflated(err)
				}
				left -= int64(n)
			}
		}
		return nil
	}
	if h[12] == 0 {
		err = row(info.Width, info.Height)
	}
	for i := 0; h[12] == 1 && i < len(adam7) && err == nil; i++ {
		a := adam7[i]
		err = row((info.Width-a.x+a.dx-1)/a.dx, (info.Height-a.y+a.dy-1)/a.dy)
	}
	if err != nil {
		return err
	}
	var more [1]byte
	if _, err := io.ReadFull(z, more[:]); err == nil {
		return p.bad("more image data than rows")
	} else if !errors.Is(err, io.EOF) {
		return p.inflated(err)
	}
	if p.left > 0 || len(p.ahead) > 0 {
		return p.bad("image data goes on after its end")
	}
	return p.finish()
}

// inflated says of an error of the decompressor what it means. One of the file itself is the source's.
func (p *pngReader) inflated(err error) error {
	if _, ok := errors.AsType[*FormatError](err); ok {
		return err
	}
	return p.bad("image data: %v", err)
}

// Read implements io.Reader over the image data, which consecutive chunks IDAT hold.
func (p *pngReader) Read(b []byte) (int, error) {
	if err := p.fill(); err != nil {
		return 0, err
	}
	n := copy(b, p.ahead)
	p.ahead = p.ahead[n:]
	return n, nil
}

// ReadByte implements io.ByteReader, so that the decompressor takes no byte that it does not need.
func (p *pngReader) ReadByte() (byte, error) {
	if err := p.fill(); err != nil {
		return 0, err
	}
	b := p.ahead[0]
	p.ahead = p.ahead[1:]
	return b, nil
}

// fill sees to it that there is image data ahead.
func (p *pngReader) fill() error {
	if len(p.ahead) > 0 {
		return nil
	}
	for p.left == 0 {
		if err := p.finish(); err != nil {
			return err
		}
		if err := p.next(); err != nil {
			return err
		}
		if p.name != "IDAT" {
			return p.bad("image data ends early")
		}
	}
	n, err := p.r.Read(p.buffer[:min(int64(len(p.buffer)), p.left)])
	p.ahead = p.buffer[:n]
	p.crc.Write(p.ahead)
	p.at, p.left = p.at+int64(n), p.left-int64(n)
	if n > 0 {
		return nil
	}
	return err
}
