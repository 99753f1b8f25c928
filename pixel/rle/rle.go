// Package rle decodes the RLE Lossless compression of PS3.5 annex G.
//
// A frame is a header of sixteen 32-bit numbers and up to 15 segments, one for each byte of a pixel: the most significant byte
// of all first samples, then the next byte of these, and so on, then those of the second samples. Each segment is packed by
// itself (G.3.1). Decode unpacks the segments straight to where their bytes belong; it takes no memory.
package rle

import (
	"context"
	"encoding/binary"
	"fmt"
)

const (
	headerSize  = 64
	maxSegments = 15 // PS3.5 G.5
)

// Layout says what a frame holds and where its bytes go.
type Layout struct {
	Pixels      int
	Samples     int // of a pixel
	SampleBytes int // of a sample; little endian in the result
	// ByPlane asks for all first samples, then all second ones, as Planar Configuration 1 does; otherwise the samples of a
	// pixel are together.
	ByPlane bool
}

// Size is the length of the result in bytes.
func (l Layout) Size() int { return l.Pixels * l.Samples * l.SampleBytes }

// place returns where the first byte of a segment goes and how far the next ones are apart.
func (l Layout) place(segment int) (at, stride int) {
	sample, significance := segment/l.SampleBytes, l.SampleBytes-1-segment%l.SampleBytes
	if l.ByPlane {
		return sample*l.Pixels*l.SampleBytes + significance, l.SampleBytes
	}
	return sample*l.SampleBytes + significance, l.Samples * l.SampleBytes
}

// A FormatError says where and why a frame cannot be decoded.
type FormatError struct {
	Segment int // from 1, 0 for the header
	Reason  string
}

func (e *FormatError) Error() string {
	if e.Segment == 0 {
		return "rle: " + e.Reason
	}
	return fmt.Sprintf("rle: segment %d: %s", e.Segment, e.Reason)
}

// Decode decodes one frame into dst, of which it needs l.Size() bytes. What a segment has beyond the pixels of the frame is
// not looked at: its padding. Errors are *FormatError and that of ctx, which is heeded between segments; dst is then worth
// nothing.
func Decode(ctx context.Context, dst, frame []byte, l Layout) error {
	if l.Pixels < 1 || l.Samples < 1 || l.SampleBytes < 1 || l.Samples*l.SampleBytes > maxSegments {
		return fmt.Errorf("rle: no such layout: %+v", l)
	}
	if len(dst) < l.Size() {
		return fmt.Errorf("rle: %d bytes for a frame of %d", len(dst), l.Size())
	}
	segments, err := split(frame, l.Samples*l.SampleBytes)
	if err != nil {
		return err
	}
	for i, s := range segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		at, stride := l.place(i)
		if reason := unpack(dst[at:], s, l.Pixels, stride); reason != "" {
			return &FormatError{i + 1, reason}
		}
	}
	return nil
}

// split finds the segments by the header (G.5).
func split(frame []byte, want int) ([][]byte, error) {
	if len(frame) < headerSize {
		return nil, &FormatError{0, fmt.Sprintf("frame of %d bytes", len(frame))}
	}
	number := func(i int) uint32 { return binary.LittleEndian.Uint32(frame[4*i:]) }
	if n := number(0); n != uint32(want) {
		return nil, &FormatError{0, fmt.Sprintf("%d segments where the pixels need %d", n, want)}
	}
	segments := make([][]byte, want)
	for i := range segments {
		begin, end := uint64(number(i+1)), uint64(len(frame))
		if i+1 < want {
			end = uint64(number(i + 2))
		}
		if begin < headerSize || begin > end || end > uint64(len(frame)) {
			return nil, &FormatError{0, fmt.Sprintf("segment %d from %d to %d in a frame of %d bytes", i+1, begin, end, len(frame))}
		}
		segments[i] = frame[begin:end]
	}
	return segments, nil
}

// unpack writes n bytes of a segment to dst, stride apart (G.3.2).
func unpack(dst, segment []byte, n, stride int) (problem string) {
	at, pos := 0, 0
	for n > 0 {
		if pos+1 >= len(segment) {
			return "ends early"
		}
		count := int(segment[pos])
		pos++
		switch {
		case count < 128: // literal bytes
			count = count + 1
			if count > n || pos+count > len(segment) {
				return "literal run over its end"
			}
			if stride == 1 {
				copy(dst[at:], segment[pos:pos+count])
			} else {
				for i, b := range segment[pos : pos+count] {
					dst[at+i*stride] = b
				}
			}
			pos += count
		case count > 128: // a byte that is repeated
			count = 257 - count
			if count > n {
				return "replicate run over its end"
			}
			b := segment[pos]
			pos++
			for i := range count {
				dst[at+i*stride] = b
			}
		default:
			continue // 128 says nothing
		}
		at += count * stride
		n -= count
	}
	return ""
}
