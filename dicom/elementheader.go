package dicom

import "encoding/binary"

// detectEncoding looks at the first 8 bytes of a data set that is said to be
// implicit or big endian, and tells what it is.
func detectEncoding(b []byte, implicit, big bool) (isImplicit, isBig bool) {
	_, explicit := vrOf(b[4], b[5])
	if explicit && (implicit || uint16At(b, big) == misreadGroup) {
		return false, binary.BigEndian.Uint16(b) == firstGroup
	}
	if !implicit && !upper(b[4]) && !upper(b[5]) &&
		binary.LittleEndian.Uint32(b[4:]) < plausibleFirstLength && binary.LittleEndian.Uint16(b) == firstGroup {
		return true, false
	}
	return implicit, big
}

// readHeader reads tag, VR and length of an element (PS3.5 7.1) from at least 8
// bytes. used is the size of the header, 8 or 12; if b is shorter than that,
// length is not known yet. The VR of implicit encoding, and of anything that is
// not one, has no name.
func readHeader(b []byte, implicit, big bool) (tag Tag, v *vr, length uint32, used int) {
	tag, v = tagAt(b, big), &vrs[0]
	if implicit || tag.Group() == tagItem.Group() {
		return tag, v, uint32At(b[4:], big), shortHeader
	}
	v, known := vrOf(b[4], b[5])
	// PS3.5 7.1.2: VRs to come are of the long form. What is not even two
	// capital letters is some toolkit's placeholder, with a short length.
	if long := v.long || (!known && upper(b[4]) && upper(b[5])); !long {
		return tag, v, uint32(uint16At(b[6:], big)), shortHeader
	}
	if len(b) < fullHeader {
		return tag, v, 0, fullHeader
	}
	return tag, v, uint32At(b[8:], big), fullHeader
}

func uint16At(b []byte, big bool) uint16 {
	if big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func uint32At(b []byte, big bool) uint32 {
	if big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func tagAt(b []byte, big bool) Tag {
	return NewTag(uint16At(b, big), uint16At(b[2:], big))
}
