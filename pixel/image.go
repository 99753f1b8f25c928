package pixel

import (
	"fmt"
	"math"
)

// MaxFrame is the size of the largest frame that is decoded, in bytes.
const MaxFrame = 256 << 20

// Image says how pixel data is made up (PS3.3 C.7.6.3.1).
type Image struct {
	Rows, Columns   int
	SamplesPerPixel int
	BitsAllocated   int
	// NumberOfFrames is 1 where the object does not tell.
	NumberOfFrames            int
	PhotometricInterpretation string
	// PlanarConfiguration is 0 for colour by pixel, 1 for colour by plane.
	PlanarConfiguration int
}

// check tells what cannot be, or is too large to be decoded.
func (i Image) check() error {
	switch {
	case i.Rows < 1 || i.Rows > math.MaxUint16 || i.Columns < 1 || i.Columns > math.MaxUint16:
		return &Error{fmt.Sprintf("image of %d rows and %d columns", i.Rows, i.Columns)}
	case i.SamplesPerPixel < 1 || i.SamplesPerPixel > 4:
		return &Error{fmt.Sprintf("%d samples per pixel", i.SamplesPerPixel)}
	case i.BitsAllocated < 8 || i.BitsAllocated > 64 || i.BitsAllocated%8 != 0:
		return &Error{fmt.Sprintf("%d bits allocated", i.BitsAllocated)}
	case i.NumberOfFrames < 1:
		return &Error{fmt.Sprintf("%d frames", i.NumberOfFrames)}
	case i.FrameSize() > MaxFrame:
		return &Error{fmt.Sprintf("frame of %d bytes; the limit is %d", i.FrameSize(), MaxFrame)}
	case i.length() >= math.MaxUint32:
		return &Error{fmt.Sprintf("%d bytes of pixel data do not fit an element", i.length())}
	}
	return nil
}

// FrameSize is the length of a native frame in bytes.
func (i Image) FrameSize() int {
	return i.Rows * i.Columns * i.SamplesPerPixel * (i.BitsAllocated / 8)
}

func (i Image) length() int64 { return int64(i.FrameSize()) * int64(i.NumberOfFrames) }

// Length is the length of the native pixel data in bytes, which is even (PS3.5 8.1.1).
func (i Image) Length() uint32 { return uint32(i.length()+1) &^ 1 }

// An Error says why pixel data cannot be decoded.
type Error struct{ Reason string }

func (e *Error) Error() string { return "pixel data: " + e.Reason }
