package dicom

import (
	"errors"
	"strings"
)

// UID is a unique identifier without its padding, such as
// "1.2.840.10008.1.1" (PS3.5 9). A UID that came from the network may hold
// anything; see [UID.Valid].
type UID string

// maxUIDLength is the longest UID that PS3.5 9.1 permits, in characters.
const maxUIDLength = 64

// Reasons why a UID is not valid, as [UID.Valid] returns them.
var (
	ErrUIDEmpty     = errors.New("UID is empty")
	ErrUIDTooLong   = errors.New("UID is longer than 64 characters")
	ErrUIDCharacter = errors.New("UID holds a character other than digits and dots")
	ErrUIDComponent = errors.New("UID has an empty component or one with a leading zero")
)

// Valid tells whether the UID is formed as PS3.5 9.1 demands: at most 64
// characters, components of digits divided by dots, no component empty or with
// a leading zero. Such defects are common in the field; a gateway reports them
// and carries on.
func (u UID) Valid() error {
	switch {
	case u == "":
		return ErrUIDEmpty
	case len(u) > maxUIDLength:
		return ErrUIDTooLong
	}
	begin := 0
	for i := 0; i <= len(u); i++ {
		if i < len(u) && u[i] != '.' {
			if u[i] < '0' || u[i] > '9' {
				return ErrUIDCharacter
			}
			continue
		}
		if i == begin || (u[begin] == '0' && i-begin > 1) {
			return ErrUIDComponent
		}
		begin = i + 1
	}
	return nil
}

// ParseUID takes a UID out of the value field of an element: it drops the
// padding NUL that PS3.5 9.1 prescribes and the spaces that senders put in its
// place. It does not judge what remains.
func ParseUID(value []byte) UID {
	return UID(strings.Trim(string(value), "\x00 "))
}
