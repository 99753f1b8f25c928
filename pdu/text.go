package pdu

import "strings"

const (
	aeTitleLength = 16 // PS3.8 9.3.2: called and calling AE titles are 16 characters
	padding       = " \x00"
)

// TrimAETitle removes what is not significant in an AE title: leading and
// trailing spaces (PS3.5 6.2), and the NULs some peers pad with instead.
func TrimAETitle(s string) string { return strings.Trim(s, padding) }

// trimUID removes the padding some peers add although PS3.8 annex F has UIDs
// unpadded: a trailing NUL as in data sets, or spaces.
func trimUID(s string) string { return strings.TrimRight(s, padding) }

// Printable makes a string a peer sent (an AE title, a version name, a UID) fit
// for a log line or message: at most 64 bytes, anything but printable ASCII
// replaced by '?', a cut marked by "...".
func Printable(s string) string {
	const most = 64
	cut := len(s) > most
	if cut {
		s = s[:most-3]
	}
	clean := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, s)
	if cut {
		clean += "..."
	}
	return clean
}
