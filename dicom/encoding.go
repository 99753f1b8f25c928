package dicom

import "encoding/binary"

// Encoding is how the elements of a data set are laid out in bytes (PS3.5 annex A).
type Encoding struct {
	ImplicitVR bool
	BigEndian  bool
}

// Encoding returns how the elements of transfer syntax u are laid out, once what is deflated has been inflated.
func (u UID) Encoding() Encoding { return Encoding{u.ImplicitVR(), u.BigEndian()} }

// Detect looks at the first [HeaderSize] bytes of a data set that is said to be encoded so, and tells how it is encoded
// beyond doubt. Modalities exist that say one thing and send another.
func (e Encoding) Detect(b []byte) Encoding {
	if len(b) < shortHeader {
		return e
	}
	implicit, big := detectEncoding(b, e.ImplicitVR, e.BigEndian)
	return Encoding{implicit, big}
}

const (
	// HeaderSize is the least size of an element's header, MaxHeaderSize the greatest, in bytes (PS3.5 7.1).
	HeaderSize    = shortHeader
	MaxHeaderSize = fullHeader
	// UndefinedLength stands in place of a length where a delimiter tells the end (PS3.5 7.1.1).
	UndefinedLength = undefinedLength
)

// Tags that are no elements but structure (PS3.5 7.5).
const (
	TagItem                 = tagItem
	TagItemDelimitation     = tagItemDelimitation
	TagSequenceDelimitation = tagSequenceDelimitation
)

// ElementHeader is what stands before the value of an element. Of items and delimiters VR is empty.
type ElementHeader struct {
	Tag Tag
	// VR holds the two characters that the data set has, whether these are a value representation or not; in implicit VR
	// it is empty.
	VR     string
	Length uint32 // of the value in bytes, or UndefinedLength
}

// Header reads an element's header from the begin of b. size is how many bytes it takes; if b has fewer, the header is not
// complete.
func (e Encoding) Header(b []byte) (h ElementHeader, size int) {
	if len(b) < shortHeader {
		return h, shortHeader
	}
	tag, _, length, used := readHeader(b, e.ImplicitVR, e.BigEndian)
	h = ElementHeader{Tag: tag, Length: length}
	if !e.ImplicitVR && tag.Group() != tagItem.Group() {
		h.VR = string(b[4:6])
	}
	return h, used
}

// AppendHeader appends an element's header, or that of an item or delimiter. ok is false, and nothing appended, if the
// header of that VR has no room for the length.
func (e Encoding) AppendHeader(dst []byte, h ElementHeader) (out []byte, ok bool) {
	var order binary.AppendByteOrder = binary.LittleEndian
	if e.BigEndian {
		order = binary.BigEndian
	}
	long := longHeader(h.VR)
	if !e.ImplicitVR && h.VR != "" && !long && h.Length > 0xFFFF {
		return dst, false
	}
	dst = order.AppendUint16(dst, h.Tag.Group())
	dst = order.AppendUint16(dst, h.Tag.Element())
	switch {
	case e.ImplicitVR || h.VR == "":
		return order.AppendUint32(dst, h.Length), true
	case long:
		return order.AppendUint32(append(dst, h.VR[0], h.VR[1], 0, 0), h.Length), true
	}
	return order.AppendUint16(append(dst, h.VR[0], h.VR[1]), uint16(h.Length)), true
}

// longHeader tells whether the explicit header of a VR has a 32-bit length. See readHeader for what is no VR.
func longHeader(vr string) bool {
	if len(vr) != 2 {
		return false
	}
	v, known := vrOf(vr[0], vr[1])
	return v.long || !known && upper(vr[0]) && upper(vr[1])
}

// Pixel data (PS3.3 C.7.6.3), and what describes it.
const (
	TagPixelRepresentation Tag = 0x00280103
	TagPlanarConfiguration Tag = 0x00280006
	TagPixelData           Tag = tagPixelData
)
