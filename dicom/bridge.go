package dicom

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"

	godicom "github.com/grailbio/go-dicom"
	"github.com/grailbio/go-dicom/dicomio"
	"github.com/grailbio/go-dicom/dicomtag"
)

// Bounds of ParseElements.
const (
	// MaxHeader is how many bytes of a data set, in front of its pixel data,
	// ParseElements looks at. Enhanced multi-frame objects need megabytes.
	MaxHeader = 4 << 20

	maxTreeDepth    = 32      // sequences within each other
	maxTreeElements = 200_000 // elements, items included
	maxTreeValues   = 1 << 19 // values that go-dicom makes a Go value of
	maxParses       = 2       // at the same time
)

// DataElement is a node of the tree that ParseElements returns.
type DataElement struct {
	Tag     Tag
	VR      string // "UN" where neither the data set nor the dictionary tells
	Keyword string // as TagName has it
	// Value is the value field as it was sent, padding included; of a sequence
	// nil, of pixel data in fragments all of these with their item tags. It
	// refers to the bytes that were parsed.
	Value []byte
	// Values are the values as text, decoded by the Specific Character Set that
	// applies; nil for binary VRs such as OB, and what is too much to show.
	Values []string
	// Items are those of a sequence; nil for other elements.
	Items [][]DataElement
}

// parsing bounds how many headers are parsed at the same time, as a tree takes
// many times the memory of the bytes.
var parsing = make(chan struct{}, maxParses)

// ParseElements returns the tree of elements of a data set, up to its pixel
// data, for views of details and for rules. header begins with the data set and
// need not reach beyond the begin of the pixel data. The tree refers to header
// unless ts is deflated.
//
// It takes some microseconds and as many allocations per element: nothing for
// the receiving path, where [Scanner] is. A few calls run at the same time, the
// others wait.
//
// Values are interpreted by go-dicom. That library takes lengths and nesting at
// their word, and a data set can make it exhaust memory or stack, which no
// recover helps against. So it does not get to see the data set: a strict
// reader of our own finds the elements and writes down, in explicit VR with
// right lengths, those go-dicom can cope with.
//
// An error is a *[FormatError].
func ParseElements(header []byte, ts UID) ([]DataElement, error) {
	parsing <- struct{}{}
	defer func() { <-parsing }()
	if ts.Deflated() {
		header = inflateHeader(header)
	}
	r := treeReader{data: header[:min(len(header), MaxHeader)], cut: len(header) > MaxHeader}
	r.implicit, r.big = ts.ImplicitVR(), ts.BigEndian()
	if len(header) >= shortHeader {
		r.implicit, r.big = detectEncoding(header, r.implicit, r.big)
	}
	r.outBig = r.big
	tree, err := r.dataSet(len(r.data), false)
	if err != nil {
		return nil, err
	}
	parsed, err := readWithGoDicom(r.out, r.outBig)
	if err != nil {
		return nil, err
	}
	return tree, interpret(tree, parsed, nil)
}

// inflateHeader inflates as much as ParseElements looks at. An error shows in
// what is missing then.
func inflateHeader(header []byte) []byte {
	data, _ := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(header)), MaxHeader+1))
	return data
}

// treeReader finds the elements of a data set and writes its copy for go-dicom.
type treeReader struct {
	data          []byte
	cut           bool // there is more than data
	pos           int
	implicit, big bool
	depth         int
	elements      int
	values        int

	out    []byte
	outBig bool
}

// dataSet reads elements up to end or, if delimited, to an item delimiter, which
// it takes as well.
func (r *treeReader) dataSet(end int, delimited bool) ([]DataElement, error) {
	var elements []DataElement
	for r.pos < end {
		begin := r.pos
		tag, v, length, err := r.header(end)
		switch {
		case err != nil:
			return nil, err
		case delimited && tag == tagItemDelimitation:
			return elements, nil
		case tag.Group() == tagItem.Group():
			return nil, r.fail(tag, begin, "delimiter in place of an element")
		case r.depth == 0 && tag.Group() >= tagPixelData.Group() && tag.Group() < 0x8000:
			return elements, nil
		}
		e, err := r.element(tag, v, length, end)
		if err != nil {
			return nil, err
		}
		elements = append(elements, e)
	}
	if delimited {
		return nil, r.fail(tagItem, end, "item is not delimited")
	}
	if r.depth == 0 && r.cut {
		return nil, r.fail(0, end, "header is too long")
	}
	return elements, nil
}

// header reads an element's header within a container that ends at end.
func (r *treeReader) header(end int) (Tag, *vr, uint32, error) {
	b := r.data[r.pos:end]
	if len(b) < shortHeader {
		return 0, nil, 0, r.fail(0, r.pos, "ends within an element header")
	}
	tag, v, length, used := readHeader(b, r.implicit, r.big)
	if used > len(b) {
		return 0, nil, 0, r.fail(tag, r.pos, "ends within an element header")
	}
	if r.elements++; r.elements > maxTreeElements {
		return 0, nil, 0, r.fail(tag, r.pos, "too many elements")
	}
	r.pos += used
	return tag, v, length, nil
}

// element reads the value of an element whose header was read.
func (r *treeReader) element(tag Tag, v *vr, length uint32, end int) (DataElement, error) {
	e := DataElement{Tag: tag, VR: v.name, Keyword: TagName(tag)}
	if r.implicit {
		e.VR = TagVR(tag)
	}
	if e.VR == "" {
		e.VR = "UN"
	}
	if length != undefinedLength && int64(length) > int64(end-r.pos) {
		return e, r.fail(tag, r.pos, fmt.Sprintf("length %d exceeds what contains it", length))
	}
	switch {
	case tag == tagPixelData && length == undefinedLength:
		err := r.fragments(&e, end)
		return e, err
	case length == undefinedLength:
		err := r.undefined(&e, v, end)
		return e, err
	case e.VR == "SQ":
		err := r.sequence(&e, r.pos+int(length), false)
		return e, err
	}
	e.Value = r.data[r.pos : r.pos+int(length)]
	r.pos += int(length)
	r.write(e)
	return e, nil
}

// undefined reads an element of undefined length, by the same rules as
// Scanner.openElement.
func (r *treeReader) undefined(e *DataElement, v *vr, end int) error {
	if !r.implicit && !v.open {
		return r.fail(e.Tag, r.pos, "undefined length in a VR that has none")
	}
	implicit, big := r.implicit, r.big
	if v.name == "UN" {
		r.implicit, r.big = true, false
	}
	e.VR = "SQ"
	err := r.sequence(e, end, true)
	r.implicit, r.big = implicit, big
	return err
}

// sequence reads items up to end or, if delimited, to a sequence delimiter.
func (r *treeReader) sequence(e *DataElement, end int, delimited bool) error {
	if r.depth++; r.depth > maxTreeDepth {
		return r.fail(e.Tag, r.pos, "sequences nested too deeply")
	}
	e.Items = [][]DataElement{}
	r.writeHeader(e.Tag, "SQ", undefinedLength)
	for r.pos < end {
		begin := r.pos
		tag, _, length, err := r.header(end)
		if err != nil {
			return err
		}
		if delimited && tag == tagSequenceDelimitation {
			return r.endSequence()
		}
		if tag != tagItem {
			return r.fail(tag, begin, "neither item nor delimiter in a sequence")
		}
		item, err := r.item(length, end)
		if err != nil {
			return err
		}
		e.Items = append(e.Items, item)
	}
	if delimited {
		return r.fail(e.Tag, end, "sequence is not delimited")
	}
	return r.endSequence()
}

func (r *treeReader) endSequence() error {
	r.depth--
	r.writeHeader(tagSequenceDelimitation, "", 0)
	return nil
}

// item reads an item whose header was read.
func (r *treeReader) item(length uint32, end int) ([]DataElement, error) {
	r.writeHeader(tagItem, "", undefinedLength)
	if length != undefinedLength {
		if int64(length) > int64(end-r.pos) {
			return nil, r.fail(tagItem, r.pos, fmt.Sprintf("length %d exceeds what contains it", length))
		}
		end = r.pos + int(length)
	}
	elements, err := r.dataSet(end, length == undefinedLength)
	r.writeHeader(tagItemDelimitation, "", 0)
	return elements, err
}

// fragments reads encapsulated pixel data within a sequence (PS3.5 A.4).
func (r *treeReader) fragments(e *DataElement, end int) error {
	begin := r.pos
	for {
		at := r.pos
		tag, _, length, err := r.header(end)
		switch {
		case err != nil:
			return err
		case tag == tagSequenceDelimitation:
			e.Value = r.data[begin:at]
			r.write(*e)
			return nil
		case tag != tagItem || int64(length) > int64(end-r.pos):
			return r.fail(tag, at, "not a fragment of pixel data")
		}
		r.pos += int(length)
	}
}

func (r *treeReader) fail(tag Tag, at int, reason string) error {
	return &FormatError{Tag: tag, Offset: int64(at), Reason: reason}
}

// write writes an element for go-dicom, as OB if it should better not look into
// it.
func (r *treeReader) write(e DataElement) {
	vr, n := e.VR, e.count()
	if n == 0 || r.big != r.outBig || r.values+n > maxTreeValues || e.Tag == tagPixelData {
		vr, n = "OB", 0
	}
	r.values += n
	padded := (len(e.Value) + 1) &^ 1
	r.writeHeader(e.Tag, vr, uint32(padded))
	r.out = append(r.out, e.Value...)
	if padded > len(e.Value) {
		r.out = append(r.out, 0)
	}
}

// count returns how many values go-dicom would make of the value field, 0 if it
// should not try.
func (e *DataElement) count() int {
	size := 0
	switch e.VR {
	case "AT", "FL", "SL", "UL":
		size = 4
	case "FD":
		size = 8
	case "SS", "US":
		size = 2
	}
	if size == 0 || len(e.Value)%size != 0 || len(e.Value) > 0xFFFE {
		return 0
	}
	return len(e.Value) / size
}

// writeHeader writes an element header in explicit VR; structure has no VR.
func (r *treeReader) writeHeader(tag Tag, vr string, length uint32) {
	var order binary.AppendByteOrder = binary.LittleEndian
	if r.outBig {
		order = binary.BigEndian
	}
	r.out = order.AppendUint16(r.out, tag.Group())
	r.out = order.AppendUint16(r.out, tag.Element())
	switch vr {
	case "":
		r.out = order.AppendUint32(r.out, length)
	case "OB", "SQ":
		r.out = append(r.out, vr[0], vr[1], 0, 0)
		r.out = order.AppendUint32(r.out, length)
	default:
		r.out = append(r.out, vr[0], vr[1])
		r.out = order.AppendUint16(r.out, uint16(length))
	}
}

// readWithGoDicom reads what treeReader wrote. Errors and panics of go-dicom may
// quote values, so they are not passed on.
func readWithGoDicom(data []byte, big bool) (elements []*godicom.Element, err error) {
	failed := &FormatError{Reason: "go-dicom does not read it"}
	defer func() {
		if recover() != nil {
			elements, err = nil, failed
		}
	}()
	var order binary.ByteOrder = binary.LittleEndian
	if big {
		order = binary.BigEndian
	}
	d := dicomio.NewBytesDecoder(data, order, dicomio.ExplicitVR)
	d.PushLimit(int64(len(data)))
	for !d.EOF() {
		e := godicom.ReadElement(d, godicom.ReadOptions{})
		if d.Error() != nil {
			failed.Offset = d.BytesRead()
			return nil, failed
		}
		elements = append(elements, e)
	}
	return elements, nil
}

// interpret fills in the values of the tree. charset is the value field of the
// Specific Character Set around; items may have their own (PS3.5 7.5.3).
func interpret(tree []DataElement, parsed []*godicom.Element, charset []byte) error {
	if len(tree) != len(parsed) {
		return &FormatError{Reason: "go-dicom reads other elements"}
	}
	if i := slices.IndexFunc(tree, func(e DataElement) bool { return e.Tag == TagSpecificCharacterSet }); i >= 0 {
		charset = tree[i].Value
	}
	for i := range tree {
		e, p := &tree[i], parsed[i]
		if e.Tag != NewTag(p.Tag.Group, p.Tag.Element) {
			return &FormatError{Tag: e.Tag, Reason: "go-dicom reads another element"}
		}
		switch {
		case e.Items != nil:
			if err := interpretItems(e, p, charset); err != nil {
				return err
			}
		case p.VR != "OB":
			e.Values = binaryValues(p)
		default:
			e.Values = textValues(e, charset)
		}
	}
	return nil
}

func interpretItems(e *DataElement, p *godicom.Element, charset []byte) error {
	if len(e.Items) != len(p.Value) {
		return &FormatError{Tag: e.Tag, Reason: "go-dicom reads other items"}
	}
	for i, item := range e.Items {
		parsed, ok := p.Value[i].(*godicom.Element)
		if !ok {
			return &FormatError{Tag: e.Tag, Reason: "go-dicom reads other items"}
		}
		var elements []*godicom.Element
		for _, v := range parsed.Value {
			if sub, ok := v.(*godicom.Element); ok {
				elements = append(elements, sub)
			}
		}
		if err := interpret(item, elements, charset); err != nil {
			return err
		}
	}
	return nil
}

// binaryValues writes out the numbers that go-dicom has read.
func binaryValues(p *godicom.Element) []string {
	values := make([]string, 0, len(p.Value))
	for _, v := range p.Value {
		if tag, ok := v.(dicomtag.Tag); ok {
			values = append(values, NewTag(tag.Group, tag.Element).String())
			continue
		}
		values = append(values, fmt.Sprint(v))
	}
	return values
}

// textValues decodes an element of characters and divides its values.
func textValues(e *DataElement, charset []byte) []string {
	v, ok := vrNamed(e.VR)
	if !ok || !v.text || len(e.Value) == 0 {
		return nil
	}
	text := Text(charset, e.Value, e.VR)
	if singleValued(e.VR) || strings.Count(text, `\`) > maxTreeValues/8 {
		return []string{text}
	}
	return strings.Split(text, `\`)
}
