package dicom

import "strings"

// PersonName is a value of VR PN: up to three component groups, each of which
// has up to five components divided by "^" (PS3.5 6.2.1).
type PersonName struct {
	Alphabetic  string
	Ideographic string
	Phonetic    string
}

// ParsePersonName divides one decoded value into its component groups. Empty
// components at the end of a group are dropped, as they mean nothing.
func ParsePersonName(s string) PersonName {
	alphabetic, rest, _ := strings.Cut(s, "=")
	ideographic, phonetic, _ := strings.Cut(rest, "=")
	return PersonName{
		Alphabetic:  trimGroup(alphabetic),
		Ideographic: trimGroup(ideographic),
		Phonetic:    trimGroup(phonetic),
	}
}

func trimGroup(s string) string { return strings.TrimRight(s, "^ \x00") }

// String joins the component groups again.
func (n PersonName) String() string {
	return strings.TrimRight(n.Alphabetic+"="+n.Ideographic+"="+n.Phonetic, "=")
}
