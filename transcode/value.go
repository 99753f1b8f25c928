package transcode

import (
	"io"
	"math"

	"dcmgate/dicom"
)

// value converts an element that is no sequence.
func (c *converter) value(out io.Writer, l *level, h dicom.ElementHeader, vr string) error {
	h.VR = vr
	if !l.out.ImplicitVR && h.Length > math.MaxUint16 {
		if _, ok := l.out.AppendHeader(nil, h); !ok {
			h.VR = "UN" // see writeHeader; the value is little endian then
		}
	}
	if known := l.image.field(h.Tag); known != nil && h.Length <= maxField {
		return c.field(out, l, h, known)
	}
	if err := writeHeader(out, l.out, h); err != nil {
		return err
	}
	return c.copyValue(out, int64(h.Length), l.unit(h.VR))
}

// unit is the size of what has to be turned around in a value of the VR, 0 if nothing has.
func (l *level) unit(vr string) int {
	if l.in.BigEndian == l.out.BigEndian {
		return 0
	}
	switch vr {
	case "AT", "OW", "SS", "US":
		return 2
	case "FL", "OF", "OL", "SL", "UL":
		return 4
	case "FD", "OD", "OV", "SV", "UV":
		return 8
	}
	return 0
}

// copyValue copies a value, turning its numbers around.
func (c *converter) copyValue(out io.Writer, length int64, unit int) error {
	for length > 0 {
		n := int(min(length, int64(c.in.r.Size())))
		b, err := c.in.r.Peek(n)
		if len(b) < n {
			return c.in.unexpected(err)
		}
		turn(b, unit)
		if _, err := out.Write(b); err != nil {
			return err
		}
		if _, err := c.in.r.Discard(n); err != nil {
			return err
		}
		c.in.offset += int64(n)
		length -= int64(n)
	}
	return nil
}

// turn changes the byte order of numbers of a size. What is left of the last one remains as it is.
func turn(b []byte, unit int) {
	switch unit {
	case 2:
		for i := 0; i+1 < len(b); i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
	case 4, 8:
		for i := 0; i+unit <= len(b); i += unit {
			for k := range unit / 2 {
				b[i+k], b[i+unit-1-k] = b[i+unit-1-k], b[i+k]
			}
		}
	}
}

// maxField is the longest value of an attribute that is looked at.
const maxField = 64

// field converts an attribute that says how others are to be understood.
func (c *converter) field(out io.Writer, l *level, h dicom.ElementHeader, known *[]byte) error {
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(c.in, b); err != nil {
		return c.in.unexpected(err)
	}
	value := append([]byte(nil), b...)
	if l.in.BigEndian && h.VR == "US" {
		turn(value, 2)
	}
	*known = value
	turn(b, l.unit(h.VR))
	if h.Tag == dicom.TagPhotometricInterpretation {
		var err error
		if b, err = c.interpretation(l, b); err != nil {
			return err
		}
	}
	h.Length = uint32(len(b))
	if err := writeHeader(out, l.out, h); err != nil {
		return err
	}
	_, err := out.Write(b)
	return err
}
