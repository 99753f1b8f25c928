package spool

import (
	"strings"

	"dcmgate/dicom"
)

// Metadata is what the scanner kept of a data set: raw values in the object's own character set.
type Metadata struct {
	Elements []dicom.Element // in the order of the data set, which is that of the tags as a rule
}

// Raw returns an element's raw value, nil if it was not there.
func (m Metadata) Raw(tag dicom.Tag) []byte {
	for i := range m.Elements {
		if m.Elements[i].Tag == tag {
			return m.Elements[i].Value
		}
	}
	return nil
}

// Text returns an element's value decoded by the object's Specific Character Set (0008,0005), without padding.
func (m Metadata) Text(tag dicom.Tag) string {
	for i := range m.Elements {
		if e := &m.Elements[i]; e.Tag == tag {
			return trimPadding(dicom.Text(m.Raw(dicom.TagSpecificCharacterSet), e.Value, e.VR))
		}
	}
	return ""
}

// UID returns an element's value as a UID without padding.
func (m Metadata) UID(tag dicom.Tag) dicom.UID { return dicom.ParseUID(m.Raw(tag)) }

// trimPadding removes what PS3.5 6.2 lets stand around a value: spaces, and NUL after a UID.
func trimPadding(s string) string { return strings.Trim(s, " \x00") }
