package images

import (
	"encoding/binary"
)

// Compressions of BMP files (BITMAPINFOHEADER.biCompression).
const (
	bmpRGB       = 0
	bmpRLE8      = 1
	bmpRLE4      = 2
	bmpBitFields = 3
)

// bmpHeader is what the headers of a BMP file say.
type bmpHeader struct {
	Info
	topDown     bool
	bits        int
	compression uint32
}

// bmp checks a BMP file: its headers, and that there are as many rows as they say.
func (in *input) bmp() (Info, error) {
	file, err := in.bytes(18)
	if err != nil {
		return Info{}, err
	}
	offset, length := int64(binary.LittleEndian.Uint32(file[10:])), binary.LittleEndian.Uint32(file[14:])
	switch length {
	case 12, 40, 52, 56, 108, 124:
	default:
		return Info{}, in.bad("header of %d bytes", length)
	}
	b, err := in.bytes(int(length) - 4)
	if err != nil {
		return Info{}, err
	}
	h, colours, err := in.bmpHeader(b)
	if err != nil {
		return Info{}, err
	}
	// Between headers and rows are masks or a palette, and maybe a gap.
	gap := offset - in.at
	if gap < colours || gap > 4096 {
		return Info{}, in.bad("place of the rows")
	}
	if err := in.skip(gap); err != nil {
		return Info{}, err
	}
	if h.compression == bmpRLE8 || h.compression == bmpRLE4 {
		return h.Info, in.runs(h)
	}
	stride := (int64(h.Width)*int64(h.bits) + 31) / 32 * 4
	return h.Info, in.skip(stride * int64(h.Height))
}

// bmpHeader reads the second header without its length, and reckons the least that has to stand behind it.
func (in *input) bmpHeader(b []byte) (h bmpHeader, colours int64, err error) {
	le := binary.LittleEndian
	var width, height int32
	planes, entry, used := uint16(0), int64(4), uint32(0)
	if len(b) == 8 { // BITMAPCOREHEADER
		width, height, planes, h.bits, entry = int32(le.Uint16(b)), int32(le.Uint16(b[2:])), le.Uint16(b[4:]), int(le.Uint16(b[6:])), 3
	} else {
		width, height, planes, h.bits = int32(le.Uint32(b)), int32(le.Uint32(b[4:])), le.Uint16(b[8:]), int(le.Uint16(b[10:]))
		h.compression, used = le.Uint32(b[12:]), le.Uint32(b[28:])
	}
	if height < 0 && height > -maxSide {
		height, h.topDown = -height, true
	}
	if h.Info, err = in.size(int(width), int(height)); err != nil {
		return h, 0, err
	}
	if planes != 1 {
		return h, 0, in.bad("%d planes", planes)
	}
	switch {
	case h.bits == 1 || h.bits == 4 || h.bits == 8:
		if used > 1<<h.bits {
			return h, 0, in.bad("palette")
		}
		if used == 0 {
			used = 1 << h.bits
		}
		colours = int64(used) * entry
	case h.bits == 16 || h.bits == 24 || h.bits == 32:
	default:
		return h, 0, in.bad("%d bits per pixel", h.bits)
	}
	switch {
	case h.compression == bmpRGB:
	case h.compression == bmpRLE8 && h.bits == 8 && !h.topDown, h.compression == bmpRLE4 && h.bits == 4 && !h.topDown:
	case h.compression == bmpBitFields && (h.bits == 16 || h.bits == 32):
		if len(b) == 36 {
			colours = 12
		}
	default:
		return h, 0, in.bad("compression %d with %d bits per pixel", h.compression, h.bits)
	}
	return h, colours, nil
}

// runs reads run-length encoded rows up to their end.
func (in *input) runs(h bmpHeader) error {
	x, y := 0, 0
	for {
		pair, err := in.bytes(2)
		if err != nil {
			return err
		}
		n, code := int(pair[0]), int(pair[1])
		switch {
		case n > 0:
			x += n
		case code == 0: // end of a row
			x, y = 0, y+1
		case code == 1: // end of the image
			return nil
		case code == 2: // go on elsewhere
			if pair, err = in.bytes(2); err != nil {
				return err
			}
			x, y = x+int(pair[0]), y+int(pair[1])
		default: // so many pixels as they are, padded to words
			x += code
			if err := in.skip(int64((code*h.bits+15)/16) * 2); err != nil {
				return err
			}
		}
		// A run may go on beyond the row by what fills a byte.
		if x > h.Width+1 || y > h.Height || y == h.Height && x > 0 {
			return in.bad("a run leaves the image")
		}
	}
}
