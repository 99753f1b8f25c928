package pixel

import (
	"context"
	"fmt"
	"io"
	"slices"

	"dcmgate/dicom"
	"dcmgate/pixel/jpeg"
	"dcmgate/pixel/rle"
)

// compression is a family of transfer syntaxes that are decoded alike.
type compression int

const (
	lossyJPEG compression = iota
	losslessJPEG
	losslessRLE
)

var compressions = map[dicom.UID]compression{
	dicom.JPEGBaseline:    lossyJPEG,
	dicom.JPEGExtended:    lossyJPEG,
	dicom.JPEGLossless:    losslessJPEG,
	dicom.JPEGLosslessSV1: losslessJPEG,
	dicom.RLELossless:     losslessRLE,
}

// Decodable tells whether pixel data of transfer syntax ts can be decoded.
func Decodable(ts dicom.UID) bool {
	_, ok := compressions[ts]
	return ok
}

// maxRatio is how many samples a byte of a compressed frame makes at most: a block of 64 takes two bits in JPEG, a run of 128
// bytes takes two in RLE. Memory for a frame is not taken where less has come.
const maxRatio = 256

// A Decoder decodes the frames of one object. It is for one goroutine.
type Decoder struct {
	image       Image
	compression compression
	jpeg        jpeg.Decoder
	frame       []byte
}

// NewDecoder makes a decoder of the pixel data of an object in transfer syntax ts. Errors are *Error: the transfer syntax is
// not decodable, or the image is none, or too large.
func NewDecoder(ts dicom.UID, image Image) (*Decoder, error) {
	c, known := compressions[ts]
	if !known {
		return nil, &Error{fmt.Sprintf("transfer syntax %s is not decoded", ts)}
	}
	if err := image.check(); err != nil {
		return nil, err
	}
	if c != losslessRLE && image.BitsAllocated > 16 {
		return nil, &Error{fmt.Sprintf("%d bits allocated in JPEG", image.BitsAllocated)}
	}
	if c == losslessRLE && image.segments() > 15 {
		return nil, &Error{fmt.Sprintf("pixels of %d bytes in RLE", image.segments())}
	}
	if !image.interpretable(c) {
		return nil, &Error{fmt.Sprintf("Photometric Interpretation %q in this transfer syntax", image.PhotometricInterpretation)}
	}
	return &Decoder{image: image, compression: c}, nil
}

// segments is the number of bytes of a pixel, each of which has an RLE segment of its own.
func (i Image) segments() int { return i.SamplesPerPixel * i.BitsAllocated / 8 }

// interpretations are those of three samples that pixel data decoded from a transfer syntax can have (PS3.5 8.2). The chroma
// of YBR_FULL_422 is halved natively, that of compressed frames comes out at full size.
var interpretations = map[compression][]string{
	lossyJPEG:    {"RGB", ybrFull, ybrFull422},
	losslessJPEG: {"RGB", ybrFull},
	losslessRLE:  {"RGB", ybrFull},
}

const (
	ybrFull    = "YBR_FULL"
	ybrFull422 = "YBR_FULL_422"
)

func (i Image) interpretable(c compression) bool {
	return i.SamplesPerPixel != 3 || slices.Contains(interpretations[c], i.PhotometricInterpretation)
}

// Interpretation is the Photometric Interpretation of what is decoded from transfer syntax ts: colour of lossy JPEG becomes
// RGB, all else remains what it was.
func Interpretation(ts dicom.UID, photometric string) string {
	if c, known := compressions[ts]; known && c == lossyJPEG && (photometric == ybrFull || photometric == ybrFull422) {
		return "RGB"
	}
	return photometric
}

// Memory is how many bytes the decoder takes for frames, apart from compressed ones: one frame, and its components where they
// are not decoded straight into it.
func (d *Decoder) Memory() int64 {
	n := int64(d.image.FrameSize())
	if d.compression == lossyJPEG {
		n *= 2
	}
	return n
}

// Frames makes a reader of the object's frames. r is read from behind the header of the pixel data element.
func (d *Decoder) Frames(r io.Reader) *Frames {
	f := &Frames{r: r, begins: beginsJPEG, limit: 4*d.image.FrameSize() + 1<<20}
	if d.compression == losslessRLE {
		f.begins = beginsRLE(d.image.segments())
	}
	return f
}

// Decode decodes a frame. The samples of the result are little endian and arranged as Planar Configuration says. The slice is
// good until the next call. Errors are those of packages jpeg and rle, and that of ctx, which ends it within a row of JPEG or a
// segment of RLE.
func (d *Decoder) Decode(ctx context.Context, frame []byte) ([]byte, error) {
	if len(frame) < d.image.Rows*d.image.Columns*d.image.SamplesPerPixel/maxRatio {
		return nil, &Error{fmt.Sprintf("compressed frame of %d bytes cannot hold %d", len(frame), d.image.FrameSize())}
	}
	if d.frame == nil {
		d.frame = make([]byte, d.image.FrameSize())
	}
	var err error
	if d.compression == losslessRLE {
		err = rle.Decode(ctx, d.frame, frame, rle.Layout{
			Pixels: d.image.Rows * d.image.Columns, Samples: d.image.SamplesPerPixel, SampleBytes: d.image.BitsAllocated / 8,
			ByPlane: d.image.PlanarConfiguration == 1,
		})
	} else {
		err = d.jpeg.Decode(ctx, d.frame, frame, d.format())
	}
	return d.frame, err
}

func (d *Decoder) format() jpeg.Format {
	i := d.image
	f := jpeg.Format{
		Rows: i.Rows, Columns: i.Columns, Samples: i.SamplesPerPixel, SampleBytes: i.BitsAllocated / 8,
		PixelStride: i.SamplesPerPixel, SampleStride: 1,
		RGB: d.compression == lossyJPEG && i.SamplesPerPixel == 3 && i.PhotometricInterpretation != "RGB",
	}
	if i.PlanarConfiguration == 1 {
		f.PixelStride, f.SampleStride = 1, i.Rows*i.Columns
	}
	return f
}
