package transcode

import (
	"context"
	"errors"
	"fmt"
	"io"

	"dcmgate/dicom"
	"dcmgate/pixel"
)

// maxNested bounds the pixel data of an item of a sequence, such as an icon image.
const maxNested = 4 << 20

// interpretation is the Photometric Interpretation of what is decoded. In an item of a sequence it cannot change: whether the
// item's pixel data is encapsulated shows only later.
func (c *converter) interpretation(l *level, value []byte) ([]byte, error) {
	if l.depth > 0 {
		return value, nil
	}
	before := text(value)
	after := pixel.Interpretation(c.from, before)
	if after == before {
		return value, nil
	}
	if len(after)%2 != 0 {
		after += " "
	}
	return []byte(after), nil
}

// decode converts encapsulated pixel data, from behind its header, to native.
func (c *converter) decode(out io.Writer, l *level) error {
	image, err := l.image.pixels()
	if err != nil {
		return err
	}
	if l.depth > 0 && pixel.Interpretation(c.from, image.PhotometricInterpretation) != image.PhotometricInterpretation {
		return c.in.fail("YCbCr pixel data within a sequence is not decoded")
	}
	decoder, err := pixel.NewDecoder(c.from, image)
	if err != nil {
		return err
	}
	h := dicom.ElementHeader{Tag: dicom.TagPixelData, VR: "OW", Length: image.Length()}
	if l.depth > 0 && h.Length > maxNested {
		return c.in.fail("pixel data of more than 4 MiB within a sequence")
	}
	if l.out.BigEndian && image.BitsAllocated <= 8 {
		h.VR = "OB" // so that words need not be put together across frames
	}
	held, err := c.budget.take(c.ctx, decoder.Memory())
	if err != nil {
		return err
	}
	defer c.budget.give(held)
	frames := decoder.Frames(c.in)
	unit := l.unit(h.VR)
	for i := range image.NumberOfFrames {
		frame, err := decodeFrame(c.ctx, decoder, frames)
		if err != nil {
			return fmt.Errorf("frame %d of %d: %w", i+1, image.NumberOfFrames, err)
		}
		if i == 0 {
			c.settled = true
			if err := writeHeader(out, l.out, h); err != nil {
				return err
			}
		}
		turn(frame, unit)
		if _, err := out.Write(frame); err != nil {
			return err
		}
	}
	if _, err = frames.Next(); err == nil {
		return c.in.fail(fmt.Sprintf("more than %d frames", image.NumberOfFrames))
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	err = nil
	if image.FrameSize()*image.NumberOfFrames%2 != 0 {
		_, err = out.Write([]byte{0})
	}
	return err
}

func decodeFrame(ctx context.Context, d *pixel.Decoder, frames *pixel.Frames) ([]byte, error) {
	compressed, err := frames.Next()
	if errors.Is(err, io.EOF) {
		return nil, errMissing
	}
	if err != nil {
		return nil, err
	}
	return d.Decode(ctx, compressed)
}

var errMissing = &pixel.Error{Reason: "is missing"}
