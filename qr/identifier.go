package qr

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"dcmgate/dicom"
)

// Bounds of an identifier that is read.
const (
	MaxIdentifier = 64 << 10 // bytes of its encoding
	maxAttributes = 1024     // items' included
	maxValue      = 4 << 10  // bytes of one value that is no list of UIDs
)

// Attribute is an element of an identifier with its values as text.
type Attribute struct {
	Tag    dicom.Tag
	VR     string
	Values []string      // nil of a sequence, and of one without a value
	Items  [][]Attribute // of a sequence
}

// Identifier is the data set of a C-FIND request or response.
type Identifier struct {
	// CharacterSet is the Specific Character Set (0008,0005) that text is in, terms divided by backslashes.
	CharacterSet string
	Attributes   []Attribute // in ascending order, without (0008,0005) and group lengths
}

// Find returns an attribute; nil if there is none.
func (id *Identifier) Find(tag dicom.Tag) *Attribute {
	i := slices.IndexFunc(id.Attributes, func(a Attribute) bool { return a.Tag == tag })
	if i < 0 {
		return nil
	}
	return &id.Attributes[i]
}

// ParseIdentifier reads an identifier in a transfer syntax. charset is what its text is taken to be in where it does not
// say; "" for the default repertoire. Text that is not valid in its character set and that can hardly be anything but
// UTF-8 or GBK is read as that, see dicom.TextCharset; CharacterSet is then the one that was found. Errors hold no values.
func ParseIdentifier(data []byte, ts dicom.UID, charset string) (*Identifier, error) {
	if len(data) > MaxIdentifier {
		return nil, fmt.Errorf("identifier is longer than %d bytes", MaxIdentifier)
	}
	elements, err := dicom.ParseElements(data, ts)
	if err != nil {
		return nil, err
	}
	r := identifierReader{left: maxAttributes, read: charset}
	attributes, err := r.attributes(elements, charset)
	if err != nil {
		return nil, err
	}
	return &Identifier{CharacterSet: r.read, Attributes: attributes}, nil
}

type identifierReader struct {
	left int    // attributes that may still come
	read string // the character set that text was read in
}

var errTooManyAttributes = fmt.Errorf("identifier has more than %d attributes", maxAttributes)

// attributes reads a data set; charset is the one around it.
func (r *identifierReader) attributes(elements []dicom.DataElement, charset string) ([]Attribute, error) {
	if r.left -= len(elements); r.left < 0 {
		return nil, errTooManyAttributes
	}
	for i := range elements {
		if e := &elements[i]; e.Tag == dicom.TagSpecificCharacterSet {
			if own := strings.Trim(string(e.Value), " \x00"); own != "" {
				charset, r.read = own, own
			}
		}
	}
	out := make([]Attribute, 0, len(elements))
	for i := range elements {
		e := &elements[i]
		if e.Tag.Element() == 0 || e.Tag.Group() <= 2 || e.Tag == dicom.TagSpecificCharacterSet {
			continue
		}
		a, err := r.attribute(e, charset)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	slices.SortStableFunc(out, func(a, b Attribute) int { return int(int64(a.Tag) - int64(b.Tag)) })
	return slices.CompactFunc(out, func(a, b Attribute) bool { return a.Tag == b.Tag }), nil
}

func (r *identifierReader) attribute(e *dicom.DataElement, charset string) (Attribute, error) {
	a := Attribute{Tag: e.Tag, VR: e.VR}
	if vr := dicom.TagVR(e.Tag); vr != "" && e.VR == "UN" {
		a.VR = vr
	}
	if e.Items != nil {
		a.VR, a.Items = "SQ", make([][]Attribute, len(e.Items))
		for i, item := range e.Items {
			var err error
			if a.Items[i], err = r.attributes(item, charset); err != nil {
				return a, err
			}
		}
		return a, nil
	}
	if len(e.Value) > maxValue && a.VR != "UI" {
		return a, &dicom.FormatError{Tag: e.Tag, Reason: fmt.Sprintf("a value of more than %d bytes", maxValue)}
	}
	switch {
	case isNumeric(a.VR) || a.VR == "AT":
		a.Values = e.Values
	case isText(a.VR):
		if read := dicom.TextCharset([]byte(charset), e.Value, a.VR); read != charset && !fixedRepertoire(a.VR) {
			r.read = read
		}
		a.Values = splitValues(dicom.Text([]byte(charset), e.Value, a.VR), a.VR)
	}
	return a, nil
}

// splitValues divides the decoded value field of an element; nil if it is empty.
func splitValues(text, vr string) []string {
	if text = strings.Trim(text, " \x00"); text == "" {
		return nil
	}
	switch vr {
	case "LT", "ST", "UT", "UR":
		return []string{text}
	}
	values := strings.Split(text, `\`)
	for i := range values {
		values[i] = strings.Trim(values[i], " \x00")
	}
	return values
}

// isText tells a VR whose value is made of characters (PS3.5 6.2).
func isText(vr string) bool {
	switch vr {
	case "AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT":
		return true
	}
	return false
}

// fixedRepertoire tells a VR to which Specific Character Set does not apply (PS3.5 6.1.2.2).
func fixedRepertoire(vr string) bool {
	switch vr {
	case "LO", "LT", "PN", "SH", "ST", "UC", "UT":
		return false
	}
	return true
}

// isNumeric tells a VR whose values are binary numbers.
func isNumeric(vr string) bool {
	switch vr {
	case "US", "SS", "UL", "SL", "FL", "FD":
		return true
	}
	return false
}

// readable tells whether a character set has all the characters of the identifier.
func (id *Identifier) readable(charset string) bool { return readable(id.Attributes, charset) }

func readable(attributes []Attribute, charset string) bool {
	for i := range attributes {
		a := &attributes[i]
		for _, v := range a.Values {
			if fixedRepertoire(a.VR) {
				continue
			}
			if _, err := dicom.EncodeText(charset, v); err != nil {
				return false
			}
		}
		for _, item := range a.Items {
			if !readable(item, charset) {
				return false
			}
		}
	}
	return true
}

// Encode lays the identifier out in a transfer syntax, (0008,0005) included unless CharacterSet is empty. Values that are
// not of their VR are left out, characters that are not in CharacterSet become question marks.
func (id *Identifier) Encode(ts dicom.UID) ([]byte, error) {
	w := identifierWriter{charset: id.CharacterSet, order: binary.LittleEndian}
	if ts.BigEndian() {
		w.order = binary.BigEndian
	}
	elements := w.elements(id.Attributes)
	if id.CharacterSet != "" {
		elements = append(elements, dicom.DataElement{Tag: dicom.TagSpecificCharacterSet, VR: "CS", Value: []byte(id.CharacterSet)})
	}
	return dicom.EncodeElements(elements, ts)
}

type identifierWriter struct {
	charset string
	order   binary.AppendByteOrder
}

func (w *identifierWriter) elements(attributes []Attribute) []dicom.DataElement {
	out := make([]dicom.DataElement, 0, len(attributes)+1)
	for i := range attributes {
		a := &attributes[i]
		e := dicom.DataElement{Tag: a.Tag, VR: a.VR}
		switch {
		case a.VR == "SQ":
			for _, item := range a.Items {
				e.Items = append(e.Items, w.elements(item))
			}
		case isNumeric(a.VR):
			e.Value = w.numbers(a)
		case fixedRepertoire(a.VR):
			e.Value = []byte(strings.Join(a.Values, `\`))
		default:
			// What cannot be encoded shows as a question mark, which is as good as it gets.
			e.Value, _ = dicom.EncodeText(w.charset, strings.Join(a.Values, `\`))
		}
		out = append(out, e)
	}
	return out
}

var errNotANumber = errors.New("not a number of its VR")

func (w *identifierWriter) numbers(a *Attribute) (out []byte) {
	for _, v := range a.Values {
		b, err := w.number(a.VR, v)
		if err != nil {
			return nil
		}
		out = append(out, b...)
	}
	return out
}

// number encodes a binary number (PS3.5 table 6.2-1).
func (w *identifierWriter) number(vr, text string) ([]byte, error) {
	bits := 32
	switch vr {
	case "US", "SS":
		bits = 16
	case "FD":
		bits = 64
	case "FL", "UL", "SL":
	default:
		return nil, errNotANumber
	}
	switch vr {
	case "FL", "FD":
		f, err := strconv.ParseFloat(text, bits)
		if err != nil {
			return nil, errNotANumber
		}
		if bits == 32 {
			return w.order.AppendUint32(nil, math.Float32bits(float32(f))), nil
		}
		return w.order.AppendUint64(nil, math.Float64bits(f)), nil
	case "SS", "SL":
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return nil, errNotANumber
		}
		return w.integer(uint64(n), bits), nil
	}
	n, err := strconv.ParseUint(text, 10, bits)
	if err != nil {
		return nil, errNotANumber
	}
	return w.integer(n, bits), nil
}

func (w *identifierWriter) integer(n uint64, bits int) []byte {
	if bits == 16 {
		return w.order.AppendUint16(nil, uint16(n))
	}
	return w.order.AppendUint32(nil, uint32(n))
}

// unsignedValues reads the US values of a stored element.
func unsignedValues(value []byte, big bool) (values []string) {
	for ; len(value) >= 2; value = value[2:] {
		n := binary.LittleEndian.Uint16(value)
		if big {
			n = binary.BigEndian.Uint16(value)
		}
		values = append(values, strconv.Itoa(int(n)))
	}
	return values
}
