package dicom

import "fmt"

// Tag identifies an element: the group number in the upper 16 bits, the element
// number in the lower (PS3.5 7.1). Tags compare in the order in which elements
// stand in a data set.
type Tag uint32

// NewTag composes a tag of its two numbers.
func NewTag(group, element uint16) Tag { return Tag(group)<<16 | Tag(element) }

// Group is the tag's group number.
func (t Tag) Group() uint16 { return uint16(t >> 16) }

// Element is the tag's element number.
func (t Tag) Element() uint16 { return uint16(t) }

// Private tells whether the tag is in a private group, that is an odd one
// (PS3.5 7.8).
func (t Tag) Private() bool { return t&0x10000 != 0 }

// String writes the tag as the standard does: "(0008,0018)".
func (t Tag) String() string {
	return fmt.Sprintf("(%04X,%04X)", t.Group(), t.Element())
}
