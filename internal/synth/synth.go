// Package synth makes DICOM data sets for tests, benchmarks and load: CT images of any size whose UIDs, patient and
// numbers differ, built at the cost of one copy, and multi-gigabyte ones that are streamed and never held in memory.
// All of them are valid Explicit VR Little Endian (PS3.5 7.1.2) with an odd-free even layout; nobody in them is real.
package synth

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"dcmgate/dicom"
)

// UIDs that the objects use.
const (
	CTImageStorage         = "1.2.840.10008.5.1.4.1.1.2"
	ExplicitVRLittleEndian = "1.2.840.10008.1.2.1"
)

// Object is one synthetic instance.
type Object struct {
	StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID string
	Data                                                []byte // the data set, without File Meta Information
}

// uidLength is the length of every UID made here: a fixed width lets a template be patched in place.
const uidLength = 44

// uid returns "2.25.1" followed by the numbers, padded with zeros to uidLength characters (even, so never padded).
func uid(kind byte, seed uint64, a, b, c int) string {
	return fmt.Sprintf("2.25.1%c%013d%07d%05d%012d", kind, seed%1e13, a%1e7, b%1e5, c%1e12)
}

// Template is a CT image with the places of its identifying values known.
type Template struct {
	data                       []byte
	study, series, sop, number int
	patient, accession, pixels int
	seed                       uint64
}

// header returns the elements in front of the pixel data; places are filled into t.
func (t *Template) header(rows, columns, frames int) []byte {
	var b []byte
	short := func(group, element uint16, vr, value string) int {
		b = binary.LittleEndian.AppendUint16(b, group)
		b = binary.LittleEndian.AppendUint16(b, element)
		b = append(b, vr...)
		if len(value)%2 == 1 {
			value += " "
		}
		b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
		at := len(b)
		b = append(b, value...)
		return at
	}
	us := func(group, element uint16, v int) {
		short(group, element, "US", string(binary.LittleEndian.AppendUint16(nil, uint16(v))))
	}
	blank := uid('0', 0, 0, 0, 0)
	short(0x0008, 0x0005, "CS", "GB18030")
	short(0x0008, 0x0008, "CS", `ORIGINAL\PRIMARY\AXIAL`)
	short(0x0008, 0x0016, "UI", CTImageStorage+"\x00")
	t.sop = short(0x0008, 0x0018, "UI", blank)
	short(0x0008, 0x0020, "DA", "20260102")
	short(0x0008, 0x0030, "TM", "081500")
	t.accession = short(0x0008, 0x0050, "SH", "A0000000000000")
	short(0x0008, 0x0060, "CS", "CT")
	short(0x0008, 0x0070, "LO", "SYNTHETIC")
	short(0x0008, 0x1030, "LO", "\xd0\xd8\xb2\xbf\x43\x54")  // 胸部CT in GB18030
	short(0x0010, 0x0010, "PN", "\xb2\xe2\xca\xd4^\xd2\xbb") // 测试^一
	t.patient = short(0x0010, 0x0020, "LO", "P0000000000000")
	short(0x0010, 0x0030, "DA", "19700101")
	short(0x0010, 0x0040, "CS", "O")
	short(0x0018, 0x0015, "CS", "CHEST")
	t.study = short(0x0020, 0x000d, "UI", blank)
	t.series = short(0x0020, 0x000e, "UI", blank)
	short(0x0020, 0x0010, "SH", "1")
	short(0x0020, 0x0011, "IS", "1")
	t.number = short(0x0020, 0x0013, "IS", "00000000")
	us(0x0028, 0x0002, 1)
	short(0x0028, 0x0004, "CS", "MONOCHROME2")
	if frames > 1 {
		short(0x0028, 0x0008, "IS", fmt.Sprint(frames))
	}
	us(0x0028, 0x0010, rows)
	us(0x0028, 0x0011, columns)
	us(0x0028, 0x0100, 16)
	us(0x0028, 0x0101, 12)
	us(0x0028, 0x0102, 11)
	us(0x0028, 0x0103, 0)
	return b
}

// pixelHeader is the header of (7FE0,0010), VR OW, 32-bit length.
func pixelHeader(b []byte, length uint32) []byte {
	b = append(b, 0xe0, 0x7f, 0x10, 0x00, 'O', 'W', 0, 0)
	return binary.LittleEndian.AppendUint32(b, length)
}

// NewTemplate returns a template for data sets of about size bytes (at least some 800). Objects of one seed always have the
// same UIDs and bytes.
func NewTemplate(size int, seed uint64) *Template {
	t := &Template{seed: seed}
	const columns = 512
	rows := 1
	if n := size / (2 * columns); n > 0 && n < 1<<16 {
		rows = n
	}
	t.data = t.header(rows, columns, 1)
	length := max(size-len(t.data)-12, 2) &^ 1
	t.data = pixelHeader(t.data, uint32(length))
	t.pixels = len(t.data)
	for i := range length {
		t.data = append(t.data, byte(i*7+i>>9))
	}
	return t
}

// Size is the length of the template's data sets in bytes.
func (t *Template) Size() int { return len(t.data) }

// Object returns the instance with these numbers, in memory of its own. Its pixel data differ too.
func (t *Template) Object(study, series, number int) Object {
	o := Object{Data: bytes.Clone(t.data)}
	t.Fill(&o, study, series, number)
	return o
}

// Fill makes o the instance with these numbers, reusing o.Data, which a call of Object of the same template has made.
func (t *Template) Fill(o *Object, study, series, number int) {
	o.StudyInstanceUID = uid('1', t.seed, study, 0, 0)
	o.SeriesInstanceUID = uid('2', t.seed, study, series, 0)
	o.SOPInstanceUID = uid('3', t.seed, study, series, number)
	copy(o.Data[t.study:], o.StudyInstanceUID)
	copy(o.Data[t.series:], o.SeriesInstanceUID)
	copy(o.Data[t.sop:], o.SOPInstanceUID)
	copy(o.Data[t.accession+1:], fmt.Sprintf("%013d", study))
	copy(o.Data[t.patient+1:], fmt.Sprintf("%013d", study))
	copy(o.Data[t.number:], fmt.Sprintf("%08d", number%1e8))
	if t.pixels+8 <= len(o.Data) {
		binary.LittleEndian.PutUint64(o.Data[t.pixels:], uint64(study)<<40|uint64(series)<<32|uint64(number))
	}
}

// Part10 returns the instance as a Part 10 file (PS3.10 7.1).
func (o *Object) Part10() []byte {
	meta := dicom.FileMeta{SOPClassUID: CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: ExplicitVRLittleEndian}
	return append(meta.Append(nil), o.Data...)
}

// Stream returns a multi-frame data set of about size bytes (up to 4 GiB of pixel data, PS3.5 7.1.1) that is produced as it is
// read, its length, and the object without Data.
func Stream(size int64, seed uint64) (io.Reader, int64, Object) {
	const frame = 1024 * 1024 * 2
	frames := max(size/frame, 1)
	t := &Template{seed: seed}
	head := t.header(1024, 1024, int(frames))
	length := min(frames*frame, 0xfffffffe)
	head = pixelHeader(head, uint32(length))
	t.pixels = len(head) // behind what Fill may change
	o := Object{Data: head}
	t.Fill(&o, 1, 1, 1)
	o.Data = nil
	return io.MultiReader(bytes.NewReader(head), io.LimitReader(&pattern{}, length)), int64(len(head)) + length, o
}

// pattern is an endless, cheap, not constant stream of bytes.
type pattern struct{ at uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	n := len(b)
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, p.at*0x9e3779b97f4a7c15)
		p.at++
		b = b[8:]
	}
	for i := range b {
		b[i] = byte(p.at)
	}
	return n, nil
}
