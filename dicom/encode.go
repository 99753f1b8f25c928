package dicom

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

// EncodeElements is the inverse of [ParseElements]: it lays out a data set in a
// transfer syntax. Of each element it takes tag, VR, and either Items or the
// value field as that transfer syntax has it; a value of odd length is padded as
// its VR demands. Elements come in ascending order whatever the order given.
//
// An error is a *[FormatError]: a value that is longer than its length field
// can tell.
func EncodeElements(elements []DataElement, ts UID) ([]byte, error) {
	w := elementWriter{implicit: ts.ImplicitVR(), order: binary.LittleEndian}
	if ts.BigEndian() {
		w.order = binary.BigEndian
	}
	out, err := w.dataSet(nil, elements)
	if err != nil || !ts.Deflated() {
		return out, err
	}
	return deflateData(out), nil
}

// deflateData compresses a data set; the result is of even length (PS3.5 A.5).
func deflateData(data []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic("dicom: deflate into memory: " + err.Error())
	}
	if b.Len()%2 != 0 {
		b.WriteByte(0)
	}
	return b.Bytes()
}

type elementWriter struct {
	implicit bool
	order    binary.AppendByteOrder
}

func (w *elementWriter) dataSet(dst []byte, elements []DataElement) ([]byte, error) {
	if !slices.IsSortedFunc(elements, compareTags) {
		elements = slices.SortedStableFunc(slices.Values(elements), compareTags)
	}
	var err error
	for i := range elements {
		if dst, err = w.element(dst, &elements[i]); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func compareTags(a, b DataElement) int {
	switch {
	case a.Tag < b.Tag:
		return -1
	case a.Tag > b.Tag:
		return 1
	}
	return 0
}

func (w *elementWriter) element(dst []byte, e *DataElement) ([]byte, error) {
	if e.Items != nil || e.VR == "SQ" {
		value, err := w.items(e.Items)
		if err != nil {
			return nil, err
		}
		return append(w.header(dst, e.Tag, "SQ", len(value)), value...), nil
	}
	n := len(e.Value) + len(e.Value)%2
	v, known := vrNamed(e.VR)
	if limit := math.MaxUint16; n > limit && !w.implicit && known && !v.long || n > math.MaxInt32 {
		return nil, &FormatError{Tag: e.Tag, Reason: fmt.Sprintf("a value of %d bytes is too long for its VR", len(e.Value))}
	}
	dst = append(w.header(dst, e.Tag, e.VR, n), e.Value...)
	if n > len(e.Value) {
		dst = append(dst, paddingOf(e.VR))
	}
	return dst, nil
}

// paddingOf is what PS3.5 6.2 pads a value of odd length with.
func paddingOf(vr string) byte {
	if v, ok := vrNamed(vr); ok && v.text && vr != "UI" {
		return ' '
	}
	return 0
}

func (w *elementWriter) items(items [][]DataElement) (dst []byte, err error) {
	for _, item := range items {
		value, err := w.dataSet(nil, item)
		if err != nil {
			return nil, err
		}
		dst = append(w.tagAndLength(dst, tagItem, len(value)), value...)
	}
	return dst, nil
}

// header writes an element header (PS3.5 7.1.2, 7.1.3).
func (w *elementWriter) header(dst []byte, tag Tag, vr string, length int) []byte {
	if w.implicit {
		return w.tagAndLength(dst, tag, length)
	}
	v, known := vrNamed(vr)
	if !known {
		vr, v = "UN", &vrs[vrIndex[26*int('U'-'A')+int('N'-'A')]]
	}
	dst = w.order.AppendUint16(dst, tag.Group())
	dst = w.order.AppendUint16(dst, tag.Element())
	dst = append(dst, vr[0], vr[1])
	if !v.long {
		return w.order.AppendUint16(dst, uint16(length))
	}
	return w.order.AppendUint32(append(dst, 0, 0), uint32(length))
}

func (w *elementWriter) tagAndLength(dst []byte, tag Tag, length int) []byte {
	dst = w.order.AppendUint16(dst, tag.Group())
	dst = w.order.AppendUint16(dst, tag.Element())
	return w.order.AppendUint32(dst, uint32(length))
}
