package transcode

import (
	"bytes"
	"context"
	"io"

	"dcmgate/dicom"
)

// converter is a conversion under way.
type converter struct {
	ctx      context.Context
	budget   *Budget
	from, to dicom.UID
	in       *input
	settled  bool // there is nothing to be gained by reading ahead
}

// coding is how the elements of a data set are encoded, and are to be.
type coding struct {
	in, out dicom.Encoding
	// exact says that headers keep their size, so that all lengths remain true.
	exact bool
}

// level is the data set itself, or an item of a sequence.
type level struct {
	coding
	depth int
	// end is where the item ends, as an offset of the input; negative if that is not known.
	end int64
	// delimited says that a delimiter ends it.
	delimited bool
	image     *attributes
}

// dataSet converts a data set.
func (c *converter) dataSet(out io.Writer) error {
	first, err := c.in.r.Peek(dicom.HeaderSize)
	if err != nil && err != io.EOF {
		return err
	}
	l := level{end: -1, image: &attributes{}}
	l.in, l.out = c.from.Encoding().Detect(first), c.to.Encoding()
	l.exact = l.in.ImplicitVR == l.out.ImplicitVR && !c.from.Encapsulated()
	return c.elements(out, &l)
}

// elements converts the elements of a level.
func (c *converter) elements(out io.Writer, l *level) error {
	for l.end < 0 || c.in.offset < l.end {
		h, _, err := c.in.header(l.in)
		if err == io.EOF && l.depth == 0 {
			return nil
		}
		if err != nil {
			return c.in.unexpected(err)
		}
		if h.Tag.Group() == dicom.TagItem.Group() {
			over, err := c.delimiter(h, l)
			if over || err != nil {
				return err
			}
			continue
		}
		if err := l.within(c.in, h.Length); err != nil {
			return err
		}
		if err := c.element(out, l, h); err != nil {
			return err
		}
	}
	return l.ended(c.in)
}

// ended checks that what is within has not gone beyond the end.
func (l *level) ended(in *input) error {
	if in.offset > l.end {
		return in.fail("is longer than what it is within")
	}
	return nil
}

// within checks that a value fits the item.
func (l *level) within(in *input, length uint32) error {
	if l.end >= 0 && length != dicom.UndefinedLength && in.offset+int64(length) > l.end {
		return in.fail("is longer than what it is within")
	}
	return nil
}

// delimiter deals with a delimiter in place of an element: it ends the item, or is one of nothing, as senders leave them
// behind what they gave a length.
func (c *converter) delimiter(h dicom.ElementHeader, l *level) (over bool, err error) {
	switch {
	case h.Tag == dicom.TagItem:
		return false, c.in.fail("item outside a sequence")
	case h.Length != 0:
		return false, c.in.fail("delimiter with a value")
	case h.Tag == dicom.TagItemDelimitation && l.delimited:
		return true, nil
	case l.delimited:
		return false, c.in.fail("item is not delimited")
	}
	return false, c.in.leaveOut(dicom.HeaderSize)
}

// element converts an element, whose header has been read.
func (c *converter) element(out io.Writer, l *level, h dicom.ElementHeader) error {
	if c.from.Encapsulated() && h.Tag == dicom.TagPixelData {
		if h.Length == dicom.UndefinedLength {
			return c.decode(out, l)
		}
		if l.depth == 0 {
			return c.in.fail("pixel data is not encapsulated")
		}
	}
	if !l.exact && h.Tag.Element() == 0 || c.from.Encapsulated() && describesFragments(h.Tag) {
		if h.Length == dicom.UndefinedLength {
			return c.in.fail("has undefined length")
		}
		return c.in.discard(int64(h.Length))
	}
	c.settled = c.settled || l.depth == 0 && h.Tag == dicom.TagPixelData
	vr := l.image.valueRepresentation(l.in, h)
	switch {
	case h.Length == dicom.UndefinedLength && h.Tag == dicom.TagPixelData:
		return c.in.fail("pixel data has undefined length in a native transfer syntax")
	case vr == "UN" && h.Length == dicom.UndefinedLength:
		// What is in it is implicit VR little endian, and remains so (PS3.5 6.2.2 note 2).
		le := dicom.Encoding{ImplicitVR: true}
		return c.sequence(out, l, h, vr, coding{in: le, out: le, exact: true})
	case vr == "SQ":
		return c.sequence(out, l, h, vr, l.coding)
	case h.Length == dicom.UndefinedLength:
		return c.in.fail("undefined length in a VR that has none")
	}
	return c.value(out, l, h, vr)
}

// describesFragments tells whether an element is about the fragments of encapsulated pixel data: (7FE0,0001) to (7FE0,0003).
func describesFragments(tag dicom.Tag) bool { return tag >= 0x7FE00001 && tag <= 0x7FE00003 }

// sequence converts a sequence. within is how its items are encoded.
func (c *converter) sequence(out io.Writer, l *level, h dicom.ElementHeader, vr string, within coding) error {
	s := level{coding: within, depth: l.depth + 1, end: -1, image: l.image}
	if s.depth > maxDepth {
		return c.in.fail("sequences nested too deeply")
	}
	header := dicom.ElementHeader{Tag: h.Tag, VR: vr, Length: h.Length}
	return c.nest(out, l, header, &s, dicom.TagSequenceDelimitation, func(out io.Writer) error { return c.items(out, &s) })
}

// nest writes a sequence or an item: a header, what convert makes of it, and a delimiter if that is how it ends. Where the
// length has to be found what is converted is kept meanwhile. The header is encoded as the level outside is.
func (c *converter) nest(out io.Writer, outside *level, h dicom.ElementHeader, inside *level, delimiter dicom.Tag, convert func(io.Writer) error) error {
	tag, length := c.in.tag, h.Length
	if inside.delimited = length == dicom.UndefinedLength; !inside.delimited {
		inside.end = c.in.offset + int64(length)
	}
	if !inside.exact && length <= MaxBuffered {
		var kept bytes.Buffer
		if err := convert(&kept); err != nil {
			return err
		}
		h.Length = uint32(kept.Len())
		if err := writeHeader(out, outside.out, h); err != nil {
			return err
		}
		_, err := out.Write(kept.Bytes())
		return err
	}
	if !inside.exact {
		h.Length = dicom.UndefinedLength
	}
	if err := writeHeader(out, outside.out, h); err != nil {
		return err
	}
	if err := convert(out); err != nil {
		return err
	}
	c.in.tag = tag
	if h.Length != dicom.UndefinedLength {
		return nil
	}
	return writeHeader(out, inside.out, dicom.ElementHeader{Tag: delimiter})
}

// items converts the items of a sequence.
func (c *converter) items(out io.Writer, s *level) error {
	for s.end < 0 || c.in.offset < s.end {
		h, _, err := c.in.header(s.in)
		if err != nil {
			return c.in.unexpected(err)
		}
		switch {
		case h.Tag == dicom.TagSequenceDelimitation && s.delimited && h.Length == 0:
			return nil
		case h.Tag == dicom.TagItemDelimitation && h.Length == 0:
			if err := c.in.leaveOut(dicom.HeaderSize); err != nil {
				return err
			}
			continue // some add one to items of defined length
		case h.Tag != dicom.TagItem:
			return c.in.fail("neither item nor delimiter in a sequence")
		}
		if err := s.within(c.in, h.Length); err != nil {
			return err
		}
		item := level{coding: s.coding, depth: s.depth, end: -1, image: s.image.item()}
		err = c.nest(out, s, h, &item, dicom.TagItemDelimitation, func(out io.Writer) error { return c.elements(out, &item) })
		if err != nil {
			return err
		}
	}
	return s.ended(c.in)
}

// writeHeader writes the header of an element, item or delimiter.
func writeHeader(out io.Writer, e dicom.Encoding, h dicom.ElementHeader) error {
	var memory [dicom.MaxHeaderSize]byte
	b, ok := e.AppendHeader(memory[:0], h)
	if !ok {
		h.VR = "UN" // what a short length field cannot tell (PS3.5 6.2.2 note 5)
		b, _ = e.AppendHeader(memory[:0], h)
	}
	_, err := out.Write(b)
	return err
}
