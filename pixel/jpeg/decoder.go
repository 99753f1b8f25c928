package jpeg

import (
	"context"
	"fmt"
)

// Format is what a frame has to be, and where its samples go.
type Format struct {
	Rows, Columns int // from 1 to 65535
	Samples       int // components, from 1 to 4
	// SampleBytes is the size of a sample in the result, 1 or 2; little endian.
	SampleBytes int
	// PixelStride and SampleStride lead from a pixel to the next and from a sample of a pixel to the next, in samples: 3
	// and 1 for colour by pixel, 1 and Rows*Columns for colour by plane.
	PixelStride, SampleStride int
	// RGB asks that three components are taken for YCbCr and become RGB. Lossless frames are left as they are.
	RGB bool
}

// Size is the length of the result in bytes.
func (f Format) Size() int { return f.Rows * f.Columns * f.Samples * f.SampleBytes }

func (f Format) check() error {
	pixels := f.Rows * f.Columns
	last := (pixels-1)*f.PixelStride + (f.Samples-1)*f.SampleStride
	if f.Rows < 1 || f.Rows > 65535 || f.Columns < 1 || f.Columns > 65535 || f.Samples < 1 || f.Samples > maxComponents ||
		f.SampleBytes < 1 || f.SampleBytes > 2 || f.PixelStride < 1 || f.SampleStride < 0 || last >= pixels*f.Samples {
		return fmt.Errorf("jpeg: no such format: %+v", f)
	}
	return nil
}

// A Decoder decodes frames one after the other and keeps its memory for the next. The zero value is ready. It is for one
// goroutine.
type Decoder struct {
	ctx  context.Context // of the frame; asked once a row
	data []byte
	want Format
	out  []byte

	frame           frame
	quantization    [4]quantizationTable
	huffman         [2][4]huffmanTable // DC and lossless, AC
	tables          int                // that have come
	restartInterval int

	dct8  dct[uint8]
	dct16 dct[uint16]
	rows  [maxComponents][2][]uint16 // of a lossless scan: the last and the present one
}

type quantizationTable struct {
	defined bool
	values  [64]int32 // in natural order
}

// Decode decodes one frame, from SOI on, into dst, of which it needs want.Size() bytes. The frame has to be complete; what
// follows its last scan is not looked at. A frame that is not what want says, or whose precision does not fit its samples, is
// refused. Errors are *FormatError, *UnsupportedError and that of ctx, which is heeded between rows; dst is then worth nothing.
func (d *Decoder) Decode(ctx context.Context, dst, frame []byte, want Format) error {
	if err := want.check(); err != nil {
		return err
	}
	if len(dst) < want.Size() {
		return fmt.Errorf("jpeg: %d bytes for a frame of %d", len(dst), want.Size())
	}
	d.reset(ctx, frame, want, dst)
	defer d.reset(context.Background(), nil, Format{}, nil)
	if err := d.parse(); err != nil {
		return err
	}
	if d.frame.lossless() {
		return nil
	}
	return d.output()
}

func (d *Decoder) reset(ctx context.Context, data []byte, want Format, out []byte) {
	d.ctx, d.data, d.want, d.out = ctx, data, want, out
	d.frame, d.restartInterval, d.tables = frame{}, 0, 0
	for i := range d.quantization {
		d.quantization[i].defined = false
		d.huffman[0][i].defined, d.huffman[1][i].defined = false, false
	}
}

// begin takes memory for the frame.
func (d *Decoder) begin() error {
	switch {
	case d.frame.lossless():
	case d.frame.precision == 8:
		d.dct8.begin(&d.frame)
	default:
		d.dct16.begin(&d.frame)
	}
	return nil
}

// decodeScan decodes the scan whose bits begin at pos and returns where they end.
func (d *Decoder) decodeScan(s scan, pos int) (int, error) {
	r := &bitReader{data: d.data, pos: pos}
	var err error
	switch {
	case d.frame.lossless():
		err = d.losslessScan(s, r)
	case d.frame.precision == 8:
		err = decodeDCT(d, &d.dct8, s, r)
	default:
		err = decodeDCT(d, &d.dct16, s, r)
	}
	return r.pos, err
}

func (d *Decoder) output() error {
	if d.frame.precision == 8 {
		return write(d, &d.dct8)
	}
	return write(d, &d.dct16)
}

// intervals counts the MCUs of a scan and reads the restart markers between its intervals.
type intervals struct {
	length, left, next int
}

func newIntervals(length int) intervals { return intervals{length: length, left: length} }

// due is called before each MCU; it reports whether the MCU begins an interval.
func (i *intervals) due(d *Decoder, r *bitReader) (begins bool, err error) {
	if i.length == 0 {
		return false, nil
	}
	if i.left > 0 {
		i.left--
		return false, nil
	}
	if !r.restart(i.next) {
		return false, d.fail(r.pos, "no restart marker at the end of an interval")
	}
	i.next++
	i.left = i.length - 1
	return true, nil
}
