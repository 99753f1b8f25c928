package transcode

import (
	"encoding/binary"
	"strconv"
	"strings"

	"dcmgate/dicom"
	"dcmgate/pixel"
)

// attributes are those of a level, in little endian, that say how its pixel data and ambiguous attributes are to be
// understood; nil where they have not come.
type attributes struct {
	outer *attributes

	samplesPerPixel, photometric, planar, frames, rows, columns, bitsAllocated []byte
	pixelRepresentation, lutDescriptor                                         []byte
}

// item makes the attributes of an item. Pixel Representation is also that of the data set around it.
func (a *attributes) item() *attributes { return &attributes{outer: a} }

const tagLUTDescriptor dicom.Tag = 0x00283002

// field returns where to keep the value of an attribute, nil if it is not one of these.
func (a *attributes) field(tag dicom.Tag) *[]byte {
	switch tag {
	case dicom.TagSamplesPerPixel:
		return &a.samplesPerPixel
	case dicom.TagPhotometricInterpretation:
		return &a.photometric
	case dicom.TagPlanarConfiguration:
		return &a.planar
	case dicom.TagNumberOfFrames:
		return &a.frames
	case dicom.TagRows:
		return &a.rows
	case dicom.TagColumns:
		return &a.columns
	case dicom.TagBitsAllocated:
		return &a.bitsAllocated
	case dicom.TagPixelRepresentation:
		return &a.pixelRepresentation
	case tagLUTDescriptor:
		return &a.lutDescriptor
	}
	return nil
}

// number is the first number of a US value, 0 if there is none.
func number(value []byte) int {
	if len(value) < 2 {
		return 0
	}
	return int(binary.LittleEndian.Uint16(value))
}

func text(value []byte) string { return strings.Trim(string(value), " \x00") }

// pixels describes the pixel data of the level.
func (a *attributes) pixels() (pixel.Image, error) {
	i := pixel.Image{
		Rows: number(a.rows), Columns: number(a.columns), SamplesPerPixel: number(a.samplesPerPixel), BitsAllocated: number(a.bitsAllocated),
		PhotometricInterpretation: text(a.photometric), PlanarConfiguration: number(a.planar), NumberOfFrames: 1,
	}
	if s := text(a.frames); s != "" {
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil {
			return i, &pixel.Error{Reason: "Number of Frames is no number"}
		}
		i.NumberOfFrames = max(int(n), 1)
	}
	return i, nil
}

func (a *attributes) signed() bool {
	for ; a != nil; a = a.outer {
		if a.pixelRepresentation != nil {
			return number(a.pixelRepresentation) == 1
		}
	}
	return false
}

// valueRepresentation is the VR of an element: as the data set has it, or, where that is implicit, as PS3.6 has it.
func (a *attributes) valueRepresentation(e dicom.Encoding, h dicom.ElementHeader) string {
	switch {
	case !e.ImplicitVR:
		return h.VR
	case h.Length == dicom.UndefinedLength:
		return "SQ" // nothing else has, in implicit VR
	}
	if vr := a.ambiguous(h.Tag); vr != "" {
		return vr
	}
	if vr := dicom.TagVR(h.Tag); vr != "" {
		return vr
	}
	return "UN"
}

// ambiguous decides on the VR of the attributes that PS3.6 gives several; it is empty for others. Which one it is does not
// make a difference to the bytes of the value.
func (a *attributes) ambiguous(tag dicom.Tag) string {
	group, element := tag.Group(), tag.Element()
	if group&1 == 0 && (group&0xFF00 == 0x5000 && (element == 0x200C || element == 0x3000) || group&0xFF00 == 0x6000 && element == 0x3000) {
		return "OW" // curve, audio and overlay data (PS3.5 A.1)
	}
	switch tag {
	case dicom.TagPixelData, 0x00143050, 0x00143070, 0x54000110, 0x54000112, 0x5400100A, 0x54001010, 0x00281200:
		return "OW" // PS3.5 A.1
	case 0x00283006: // LUT Data: US if the descriptor says that it has one entry (PS3.3 C.11.1.1.2)
		if number(a.lutDescriptor) == 1 {
			return "US"
		}
		return "OW"
	case 0x00189810, 0x00221452, 0x00280071, 0x00280104, 0x00280105, 0x00280106, 0x00280107, 0x00280108, 0x00280109, 0x00280110,
		0x00280111, 0x00280120, 0x00280121, 0x00281100, 0x00281101, 0x00281102, 0x00281103, 0x00281111, 0x00281112, 0x00281113,
		0x00283002, 0x00409211, 0x00409216, 0x00603004, 0x00603006:
		if a.signed() {
			return "SS"
		}
		return "US"
	}
	return ""
}
