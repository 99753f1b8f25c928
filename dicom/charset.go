package dicom

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/simplifiedchinese"
)

const esc = 0x1B

// repertoire is what a Specific Character Set says (PS3.3 C.12.1.1.2): either
// code sets to be used by ISO 2022, or one encoding for everything.
type repertoire struct {
	whole  encoding.Encoding // GB18030, GBK; nil otherwise
	utf8   bool
	plain  bool       // nothing but the default repertoire is named
	g0, g1 *codeSet   // what is active at first; g1 may be nil
	absent *codeSet   // read in place of a G1 that is nil
	sets   []*codeSet // all that are named, in their order
}

// terms are the defined terms of PS3.3 tables C.12-2 to C.12-5 by the number
// of their registration; "ISO_IR n" and "ISO 2022 IR n" name the same sets.
var terms = map[string][2]*codeSet{
	"6":   {ascii, nil},
	"13":  {romaji, katakana},
	"58":  {ascii, hanzi},
	"87":  {kanji, nil},
	"100": {ascii, latin1},
	"101": {ascii, latin2},
	"109": {ascii, latin3},
	"110": {ascii, latin4},
	"126": {ascii, greek},
	"127": {ascii, arabic},
	"138": {ascii, hebrew},
	"144": {ascii, cyrillic},
	"148": {ascii, latin5},
	"149": {ascii, hangul},
	"159": {kanji2, nil},
	"166": {ascii, thai},
	"203": {ascii, latin9},
}

// repertoireOf interprets the value of (0008,0005). Terms nobody knows count as
// if they were not there.
func repertoireOf(charset string) repertoire {
	r := repertoire{g0: ascii, plain: true}
	for i, term := range strings.Split(charset, `\`) {
		switch name := canonicalTerm(term); name {
		case "192", "UTF8":
			return repertoire{utf8: true}
		case "GB18030":
			return repertoire{whole: simplifiedchinese.GB18030}
		case "GBK", "GB2312":
			return repertoire{whole: simplifiedchinese.GBK}
		default:
			if sets, ok := terms[name]; ok {
				r.add(i, sets)
			}
		}
	}
	return r
}

// add takes in the sets of value i, counted from 0.
func (r *repertoire) add(i int, sets [2]*codeSet) {
	if i == 0 && !sets[0].wide {
		r.g0 = sets[0]
	}
	if i == 0 && sets[1] != nil && !sets[1].wide {
		r.g1 = sets[1]
	}
	// Value 1 does not have sets of two bytes, and may be empty. Senders are
	// known that do without the escape sequence of the only set it could be.
	if r.absent == nil {
		r.absent = sets[1]
	}
	for _, set := range sets {
		if set != nil {
			r.plain = r.plain && set == ascii
			r.sets = append(r.sets, set)
		}
	}
}

// canonicalTerm reduces a defined term, however it is spelt, to the number of
// its registration or to its name.
func canonicalTerm(term string) string {
	term = strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z':
			return c - 'a' + 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
			return c
		}
		return -1
	}, term)
	for _, prefix := range []string{"ISO2022IR", "ISOIR", "ISO2022"} {
		if rest, ok := strings.CutPrefix(term, prefix); ok {
			return rest
		}
	}
	return term
}

// Text decodes the value field of an element. charset is the value field of the
// Specific Character Set (0008,0005) that applies to it, nil if there is none;
// vr its value representation, which tells whether charset matters at all and
// which characters delimit. An unknown VR is treated as text.
//
// Padding at the end is removed. What charset cannot explain becomes U+FFFD,
// unless it is UTF-8 or GBK whose sender forgot to say so, see [TextCharset].
// Several values remain divided by backslashes; to split them is safe now, while
// in the bytes a backslash may be half a character.
func Text(charset []byte, raw []byte, vr string) string {
	text, _ := decodeText(charset, raw, vr)
	return text
}

// TextCharset tells by which Specific Character Set [Text] reads a value:
// charset, or ISO_IR 192 or GB18030 where the bytes are not valid in charset and
// can hardly be anything else than that.
func TextCharset(charset []byte, raw []byte, vr string) string {
	_, read := decodeText(charset, raw, vr)
	return read
}

func decodeText(charset []byte, raw []byte, vr string) (text, read string) {
	v, known := vrNamed(vr)
	fixed := known && v.fixed
	if fixed {
		charset = nil
	}
	read = string(charset)
	if isPlain(raw) && !bytes.Contains(charset, []byte("13")) {
		return trimPadding(string(raw)), read
	}
	r := repertoireOf(read)
	switch {
	case r.utf8, r.plain && utf8.Valid(raw) && bytes.IndexByte(raw, esc) < 0:
		text = strings.ToValidUTF8(string(raw), "\uFFFD")
		if !r.utf8 {
			read = "ISO_IR 192" // cannot be mistaken for anything
		}
	case r.whole != nil:
		decoded, err := r.whole.NewDecoder().Bytes(raw)
		if err != nil {
			decoded = []byte("\uFFFD") // these decoders do not fail
		}
		return trimPadding(string(decoded)), read
	default:
		d := decoder{repertoire: r, pn: vr == "PN", single: singleValued(vr)}
		text = d.decode(raw)
	}
	if !fixed && strings.ContainsFunc(text, undefined) && !(r.utf8 && damagedUTF8(raw)) {
		if gbk, ok := unlabelledGBK(raw); ok {
			text, read = gbk, "GB18030"
		}
	}
	return trimPadding(text), read
}

// undefined tells a character that no text holds: what could not be decoded, and
// the upper control characters, to which ISO 8859 maps what it leaves free.
func undefined(r rune) bool { return r == utf8.RuneError || r >= 0x80 && r < 0xA0 }

// damagedUTF8 tells UTF-8 that was cut off or holds a stray byte from what never
// was UTF-8: that has no character of three bytes in it, but by chance of two.
func damagedUTF8(raw []byte) bool {
	stray := false
	for len(raw) > 0 {
		r, size := utf8.DecodeRune(raw)
		if size > 2 || !utf8.FullRune(raw) && !stray {
			return true
		}
		stray = stray || r == utf8.RuneError
		raw = raw[size:]
	}
	return false
}

// unlabelledGBK reads bytes as GBK if they are valid in it and hold at least one
// of the ideographs of GB 2312, which nearly every Chinese text does. Letters
// with diacritics seldom stand side by side, and so do not look like it.
func unlabelledGBK(raw []byte) (text string, ok bool) {
	hanzi := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == esc:
			return "", false
		case c < utf8.RuneSelf:
			continue
		case i+1 == len(raw):
			return "", false
		default:
			i++
			hanzi = hanzi || c >= 0xB0 && c <= 0xF7 && raw[i] >= 0xA1
		}
	}
	if !hanzi {
		return "", false
	}
	decoded, err := simplifiedchinese.GBK.NewDecoder().Bytes(raw)
	if err != nil || bytes.ContainsRune(decoded, utf8.RuneError) {
		return "", false
	}
	return string(decoded), true
}

func vrNamed(name string) (*vr, bool) {
	if len(name) != 2 {
		return nil, false
	}
	return vrOf(name[0], name[1])
}

// singleValued tells whether a backslash in a value of the VR is just that.
func singleValued(vr string) bool {
	switch vr {
	case "LT", "ST", "UT", "UR":
		return true
	}
	return false
}

// isPlain tells whether raw reads the same in all sets but JIS X 0201.
func isPlain(raw []byte) bool {
	for _, c := range raw {
		if c >= utf8.RuneSelf || c == esc {
			return false
		}
	}
	return true
}

func trimPadding(s string) string { return strings.TrimRight(s, " \x00") }

// decoder decodes one value field by ISO 2022 as PS3.5 6.1.2.5 restricts it.
type decoder struct {
	repertoire
	pn     bool
	single bool
	text   strings.Builder
}

func (d *decoder) decode(raw []byte) string {
	initial := d.repertoire
	d.text.Grow(len(raw))
	for len(raw) > 0 {
		c, used := raw[0], 1
		switch {
		case c == esc:
			used = d.designate(raw)
		case d.delimits(c):
			// PS3.5 6.1.2.5.3: the sets of value 1 are active again.
			d.repertoire = initial
			d.text.WriteByte(c)
		case c >= utf8.RuneSelf && d.g1 == nil:
			used = d.character(d.absent, raw)
		case c >= utf8.RuneSelf:
			used = d.character(d.g1, raw)
		default:
			used = d.character(d.g0, raw)
		}
		raw = raw[used:]
	}
	return d.text.String()
}

// designate obeys an escape sequence and returns its length.
func (d *decoder) designate(raw []byte) int {
	for n := 2; n <= 3 && n < len(raw); n++ {
		set, ok := codeSets[string(raw[1:1+n])]
		if !ok {
			continue
		}
		if set.g1 {
			d.g1 = set
		} else {
			d.g0 = set
		}
		return 1 + n
	}
	d.text.WriteRune(utf8.RuneError)
	return 1
}

// delimits tells whether c ends what escape sequences are good for: any control
// character and, unless it is half of a character, the delimiters of values and
// of the parts of a person name.
func (d *decoder) delimits(c byte) bool {
	switch {
	case c < ' ':
		return true
	case d.g0.wide:
		return false
	case c == '\\':
		return !d.single
	}
	return d.pn && (c == '^' || c == '=')
}

// character decodes a character of the set and returns the length of its code.
func (d *decoder) character(set *codeSet, raw []byte) int {
	switch {
	case set == nil:
		d.text.WriteRune(utf8.RuneError)
		return 1
	case set == katakana:
		return d.katakana(raw)
	case !set.wide:
		d.text.WriteRune(set.decode(raw[0], 0))
		return 1
	case raw[0] == ' ' || raw[0] == 0x7F: // not in a set of 94 characters
		d.text.WriteByte(raw[0])
		return 1
	case len(raw) < 2 || raw[0]&0x80 != raw[1]&0x80 || raw[1]&0x7F < 0x21 || raw[1]&0x7F == 0x7F:
		d.text.WriteRune(utf8.RuneError)
		return 1
	}
	d.text.WriteRune(set.decode(raw[0], raw[1]))
	return 2
}

// katakana decodes a katakana, or what looks like a character of Shift JIS,
// which is sent under the name of JIS X 0201 at times: its first bytes are
// those that are free here.
func (d *decoder) katakana(raw []byte) int {
	if r := katakana.decode(raw[0], 0); r != utf8.RuneError {
		d.text.WriteRune(r)
		return 1
	}
	if len(raw) > 1 {
		if r := decodeOne(japanese.ShiftJIS, raw[0], raw[1]); r != utf8.RuneError {
			d.text.WriteRune(r)
			return 2
		}
	}
	d.text.WriteRune(utf8.RuneError)
	return 1
}

// UnrepresentableError tells that a character set lacks characters of a text.
type UnrepresentableError struct {
	CharacterSet string
	Characters   int // how many of the text are missing
}

func (e *UnrepresentableError) Error() string {
	return fmt.Sprintf("dicom: %d characters are not in character set %q", e.Characters, e.CharacterSet)
}

// EncodeText encodes text by a Specific Character Set, given as the value of
// (0008,0005), several terms divided by backslashes. Characters that are not in
// it become question marks, and a *[UnrepresentableError] tells so; the bytes are
// of use all the same. Padding is not added.
func EncodeText(charset string, s string) ([]byte, error) {
	e := encoder{repertoire: repertoireOf(charset)}
	switch {
	case e.utf8:
		e.missing = strings.Count(strings.ToValidUTF8(s, "\uFFFD"), "\uFFFD")
		e.out = []byte(strings.ToValidUTF8(s, "?"))
	case e.whole != nil:
		for _, r := range s {
			e.wholly(r)
		}
	default:
		e.encode(s)
	}
	if e.missing > 0 {
		return e.out, &UnrepresentableError{CharacterSet: charset, Characters: e.missing}
	}
	return e.out, nil
}

// encoder encodes one value.
type encoder struct {
	repertoire
	out     []byte
	missing int
}

// wholly encodes a character in an encoding that has one for everything.
func (e *encoder) wholly(r rune) {
	if r < utf8.RuneSelf {
		e.out = append(e.out, byte(r))
		return
	}
	code := encodeOne(e.whole, r)
	if code == nil {
		e.missing++
		code = []byte{'?'}
	}
	e.out = append(e.out, code...)
}

// encode encodes with code sets. Whoever decodes resets at delimiters, which
// depend on the VR; not knowing it, encode has value 1's G0 back before anything
// that could be one, and designates G1 anew behind it.
func (e *encoder) encode(s string) {
	initial := e.repertoire
	known := true // that G1 is what e.g1 says
	for _, r := range s {
		if r < ' ' || r == '\\' || r == '^' || r == '=' {
			e.use(initial.g0)
			e.out = append(e.out, byte(r))
			known = known && e.g1 == initial.g1
			continue
		}
		set, code := e.find(r, initial)
		if set.g1 && !known {
			e.g1, known = nil, true
		}
		e.use(set)
		e.out = append(e.out, code...)
	}
	e.use(initial.g0)
}

// find chooses a set for a character: an active one, one of value 1, or the
// first that has it.
func (e *encoder) find(r rune, initial repertoire) (*codeSet, []byte) {
	for _, set := range append([]*codeSet{e.g0, e.g1, initial.g0, initial.g1}, e.sets...) {
		if set == nil {
			continue
		}
		if code, ok := set.encode(nil, r); ok {
			return set, code
		}
	}
	e.missing++
	return initial.g0, []byte{'?'}
}

// use makes a set active.
func (e *encoder) use(set *codeSet) {
	active := &e.g0
	if set.g1 {
		active = &e.g1
	}
	if *active != set {
		e.out = append(append(e.out, esc), set.escape...)
		*active = set
	}
}
