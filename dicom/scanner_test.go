package dicom

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
)

// dataSet builds data sets element by element.
type dataSet struct {
	bytes    []byte
	implicit bool
	big      bool
}

func (d *dataSet) order() binary.AppendByteOrder {
	if d.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// head appends an element's header with the length given.
func (d *dataSet) head(tag Tag, vr string, length uint32) *dataSet {
	d.bytes = d.order().AppendUint16(d.bytes, tag.Group())
	d.bytes = d.order().AppendUint16(d.bytes, tag.Element())
	v, known := &vrs[0], false
	if len(vr) == 2 {
		v, known = vrOf(vr[0], vr[1])
	}
	switch {
	case d.implicit || vr == "":
		d.bytes = d.order().AppendUint32(d.bytes, length)
	case v.long || !known && upper(vr[0]):
		d.bytes = append(d.bytes, vr[0], vr[1], 0, 0)
		d.bytes = d.order().AppendUint32(d.bytes, length)
	default:
		d.bytes = append(d.bytes, vr...)
		d.bytes = d.order().AppendUint16(d.bytes, uint16(length))
	}
	return d
}

// add appends an element as it is, without padding.
func (d *dataSet) add(tag Tag, vr, value string) *dataSet {
	d.head(tag, vr, uint32(len(value)))
	d.bytes = append(d.bytes, value...)
	return d
}

// sequence begins a sequence of undefined length, item an item in it; end ends
// the one and the other.
func (d *dataSet) sequence(tag Tag, vr string) *dataSet { return d.head(tag, vr, undefinedLength) }
func (d *dataSet) item() *dataSet                       { return d.head(tagItem, "", undefinedLength) }
func (d *dataSet) endItem() *dataSet                    { return d.head(tagItemDelimitation, "", 0) }
func (d *dataSet) endSequence() *dataSet                { return d.head(tagSequenceDelimitation, "", 0) }

// scanOf scans in one write.
func scanOf(t *testing.T, ts UID, data []byte, wanted ...Tag) *Scanner {
	t.Helper()
	s := NewScanner(ts, wanted)
	if n, err := s.Write(data); n != len(data) || err != nil {
		t.Fatalf("Write = %d, %v, want %d, nil", n, err, len(data))
	}
	return s
}

// expect compares the elements found with "tag VR value" triples in one string
// per element.
func expect(t *testing.T, s *Scanner, want ...string) {
	t.Helper()
	var got []string
	for _, e := range s.Elements() {
		got = append(got, e.Tag.String()+" "+e.VR+" "+string(e.Value))
	}
	if !slices.Equal(got, want) {
		t.Errorf("elements:\n got %q\nwant %q\n err %v", got, want, s.Err())
	}
}

const (
	tagSequence = Tag(0x00081140) // Referenced Image Sequence
	tagPrivate  = Tag(0x00091001)
	tagLast     = TagPatientID
)

func TestScanner(t *testing.T) {
	plain := func() *dataSet { return new(dataSet).add(TagSOPInstanceUID, "UI", "1.2\x00") }
	tests := []struct {
		name string
		data *dataSet
		want []string
		err  string
	}{
		{
			name: "values are kept with their padding",
			data: plain().add(TagModality, "CS", "CT").add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "empty value",
			data: plain().add(tagLast, "LO", ""),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO "},
		}, {
			name: "long forms, known and to come",
			data: plain().add(0x00081196, "OV", "12345678").add(0x00081197, "ZZ", strings.Repeat("x", 70000)).add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "placeholder VR has the short form",
			data: plain().add(0x00081196, "??", "1234").add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "sequence of defined length is passed over",
			data: plain().add(tagSequence, "SQ", string(new(dataSet).add(tagItem, "", "junk").bytes)).add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "elements within sequences are not taken",
			data: plain().sequence(tagSequence, "SQ").
				item().add(tagLast, "LO", "no").sequence(tagSequence, "SQ").item().add(tagLast, "LO", "no").endItem().endSequence().endItem().
				add(tagItem, "", string(new(dataSet).add(tagLast, "LO", "no").bytes)).
				endSequence().add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "empty sequence and empty item",
			data: plain().sequence(tagSequence, "SQ").endSequence().sequence(tagSequence, "SQ").item().endItem().endSequence().add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "fragments of pixel data in an icon",
			data: plain().sequence(0x00088888, "SQ").item().sequence(tagPixelData, "OB").add(tagItem, "", "").add(tagItem, "", "abcd").endSequence().endItem().endSequence().add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "sequence delimiter closes an open item",
			data: plain().sequence(tagSequence, "SQ").item().add(tagLast, "LO", "no").endSequence().add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "delimiters of nothing",
			data: plain().endItem().endSequence().add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "item delimiter behind an item of defined length",
			data: plain().sequence(tagSequence, "SQ").add(tagItem, "", "").endItem().endSequence().add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "the first of duplicates counts",
			data: plain().add(TagSOPInstanceUID, "UI", "9.9\x00").add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 "},
		}, {
			name: "elements out of order",
			data: new(dataSet).add(tagPrivate, "LO", "x ").add(tagLast, "LO", "7 ").add(TagSOPInstanceUID, "UI", "1.2\x00"),
			want: []string{"(0010,0020) LO 7 ", "(0008,0018) UI 1.2\x00"},
		}, {
			name: "wanted sequence is not kept",
			data: plain().add(tagLast, "SQ", "1234"),
			want: []string{"(0008,0018) UI 1.2\x00"},
		}, {
			name: "value too long to keep",
			data: plain().add(tagLast, "UT", strings.Repeat("x", MaxScannedValue+2)),
			want: []string{"(0008,0018) UI 1.2\x00"},
		}, {
			name: "longest value that is kept",
			data: plain().add(tagLast, "UT", strings.Repeat("x", MaxScannedValue)),
			want: []string{"(0008,0018) UI 1.2\x00", "(0010,0020) UT " + strings.Repeat("x", MaxScannedValue)},
		}, {
			name: "pixel data ends the scan",
			data: plain().head(tagPixelData, "OW", 4).add(tagLast, "LO", "no"),
			want: []string{"(0008,0018) UI 1.2\x00"},
		}, {
			name: "nothing in place of an item",
			data: plain().sequence(tagSequence, "SQ").add(tagLast, "LO", "7 "),
			want: []string{"(0008,0018) UI 1.2\x00"},
			err:  "dicom: (0010,0020) at offset 24: neither item nor delimiter in a sequence",
		}, {
			name: "item outside a sequence",
			data: plain().add(tagItem, "", "1234"),
			want: []string{"(0008,0018) UI 1.2\x00"},
			err:  "dicom: (FFFE,E000) at offset 12: item outside a sequence",
		}, {
			name: "unknown delimiter",
			data: plain().add(0xFFFE0001, "", ""),
			want: []string{"(0008,0018) UI 1.2\x00"},
			err:  "dicom: (FFFE,0001) at offset 12: unknown delimiter",
		}, {
			name: "undefined length of a text",
			data: plain().head(0x00081196, "UT", undefinedLength),
			want: []string{"(0008,0018) UI 1.2\x00"},
			err:  "dicom: (0008,1196) at offset 12: undefined length in a VR that has none",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := scanOf(t, ExplicitVRLittleEndian, test.data.bytes, TagSOPInstanceUID, tagLast)
			expect(t, s, test.want...)
			expectError(t, s.Err(), test.err)
			// The same in single bytes.
			s.Reset(ExplicitVRLittleEndian)
			for i := range test.data.bytes {
				s.Write(test.data.bytes[i : i+1])
			}
			expect(t, s, test.want...)
			expectError(t, s.Err(), test.err)
		})
	}
}

func expectError(t *testing.T, err error, want string) {
	t.Helper()
	var format *FormatError
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case want != "" && (!errors.As(err, &format) || err.Error() != want):
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestScannerEncodings(t *testing.T) {
	for _, test := range []struct {
		name     string
		declared UID
		data     dataSet
	}{
		{"implicit", ImplicitVRLittleEndian, dataSet{implicit: true}},
		{"explicit", ExplicitVRLittleEndian, dataSet{}},
		{"big endian", ExplicitVRBigEndian, dataSet{big: true}},
		{"encapsulated", JPEGBaseline, dataSet{}},
		{"unknown", "1.2.3", dataSet{}},
		{"implicit, said to be explicit", ExplicitVRLittleEndian, dataSet{implicit: true}},
		{"explicit, said to be implicit", ImplicitVRLittleEndian, dataSet{}},
		{"big endian, said to be little", ExplicitVRLittleEndian, dataSet{big: true}},
		{"big endian, said to be implicit", ImplicitVRLittleEndian, dataSet{big: true}},
		{"little endian, said to be big", ExplicitVRBigEndian, dataSet{}},
		{"implicit, said to be big endian", ExplicitVRBigEndian, dataSet{implicit: true}},
		{"GE private", "1.2.840.113619.5.2", dataSet{implicit: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := test.data
			d.add(TagSOPClassUID, "UI", "1.2.3\x00").sequence(tagSequence, "SQ").item().add(tagLast, "LO", "no").endItem().endSequence()
			d.add(tagLast, "LO", "7 ")
			expect(t, scanOf(t, test.declared, d.bytes, TagSOPClassUID, tagLast), "(0008,0016) UI 1.2.3\x00", "(0010,0020) LO 7 ")
		})
	}
}

// PS3.5 6.2.2, note 2: UN of undefined length is a sequence in implicit VR little
// endian, whatever the data set is.
func TestScannerUnknownSequence(t *testing.T) {
	for _, big := range []bool{false, true} {
		d := &dataSet{big: big}
		d.add(TagSOPClassUID, "UI", "1.2.3\x00").head(tagPrivate, "UN", undefinedLength)
		d.implicit, d.big = true, false
		d.item().add(tagLast, "LO", "no").sequence(tagSequence, "SQ").item().endItem().endSequence().endItem().endSequence()
		d.implicit, d.big = false, big
		d.add(tagLast, "LO", "7 ")
		expect(t, scanOf(t, ExplicitVRBigEndian, d.bytes, TagSOPClassUID, tagLast), "(0008,0016) UI 1.2.3\x00", "(0010,0020) LO 7 ")
	}
}

func TestScannerDepth(t *testing.T) {
	nested := func(n int) []byte {
		d := new(dataSet)
		for range n {
			d.sequence(tagSequence, "SQ").item()
		}
		for range n {
			d.endItem().endSequence()
		}
		return d.add(tagLast, "LO", "7 ").bytes
	}
	s := scanOf(t, ExplicitVRLittleEndian, nested(maxScanDepth), tagLast)
	expect(t, s, "(0010,0020) LO 7 ")
	s = scanOf(t, ExplicitVRLittleEndian, nested(maxScanDepth+1), tagLast)
	expect(t, s)
	if s.Err() == nil || !s.Done() {
		t.Errorf("Err = %v, Done = %v beyond the depth", s.Err(), s.Done())
	}
	scanOf(t, ExplicitVRLittleEndian, nested(50_000), tagLast)
}

func TestScannerStopsBeyondLastWanted(t *testing.T) {
	d := new(dataSet).add(TagModality, "CS", "CT").add(tagLast, "LO", "7 ")
	s := scanOf(t, ExplicitVRLittleEndian, d.bytes, TagModality)
	if !s.Done() {
		t.Error("not done")
	}
	expect(t, s, "(0008,0060) CS CT")
}

func TestScannerWithoutWishes(t *testing.T) {
	s := scanOf(t, ExplicitVRLittleEndian, []byte("anything"))
	if !s.Done() || s.Err() != nil {
		t.Errorf("Done %v, Err %v", s.Done(), s.Err())
	}
}

// Values of one data set stay within their bound, and those kept first stay
// right while the memory grows.
func TestScannerTotal(t *testing.T) {
	d, wanted := new(dataSet), []Tag(nil)
	for i := range 64 {
		tag := NewTag(0x0009, uint16(0x1000+i))
		wanted = append(wanted, tag)
		d.add(tag, "UT", strings.Repeat(string(rune('0'+i)), 3000))
	}
	s := scanOf(t, ExplicitVRLittleEndian, d.bytes, wanted...)
	total := 0
	for i, e := range s.Elements() {
		total += len(e.Value)
		if e.Tag != wanted[i] || string(e.Value) != strings.Repeat(string(rune('0'+i)), 3000) {
			t.Errorf("element %d is not what was sent", i)
		}
	}
	if total > MaxScannedTotal || total < MaxScannedTotal-3000 {
		t.Errorf("kept %d bytes", total)
	}
}

func TestScannerReset(t *testing.T) {
	s := scanOf(t, ExplicitVRLittleEndian, new(dataSet).add(tagLast, "LO", "first ").bytes, tagLast)
	s.Reset(ImplicitVRLittleEndian)
	if _, ok := s.Value(tagLast); ok {
		t.Error("value survives Reset")
	}
	s.Write((&dataSet{implicit: true}).add(tagLast, "LO", "second").bytes)
	if v, ok := s.Value(tagLast); !ok || string(v) != "second" {
		t.Errorf("Value = %q, %v", v, ok)
	}
}

func TestScannerAllocations(t *testing.T) {
	data, s := ctHeader(), NewScanner(ExplicitVRLittleEndian, DefaultTags())
	n := testing.AllocsPerRun(100, func() {
		s.Reset(ExplicitVRLittleEndian)
		s.Write(data)
	})
	if n > 0 {
		t.Errorf("%v allocations per data set", n)
	}
}

// ctHeader is a data set like those of CT scanners: some 150 elements, a few
// sequences, private groups, no pixels.
func ctHeader() []byte {
	d := new(dataSet)
	d.add(TagSpecificCharacterSet, "CS", "ISO_IR 100").add(0x00080008, "CS", `ORIGINAL\PRIMARY\AXIAL`)
	for _, tag := range defaultTags[1:] {
		if tag < 0x00200000 {
			d.add(tag, TagVR(tag), "0123456789012345")
		}
	}
	d.sequence(tagSequence, "SQ")
	for range 3 {
		d.item().add(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.2\x00").add(0x00081155, "UI", "1.2.840.113619.2.55.3.1234567890").endItem()
	}
	d.endSequence()
	private := func(group uint16, n int, vr, value string) {
		for i := range n {
			d.add(NewTag(group, uint16(0x1001+i)), vr, value)
		}
	}
	private(0x0019, 40, "DS", "1.234567")
	for _, tag := range defaultTags {
		if tag >= 0x00200000 {
			d.add(tag, TagVR(tag), "0123456789012345")
		}
	}
	private(0x0043, 30, "SH", "abcdefgh")
	return d.head(tagPixelData, "OW", 512*512*2).bytes
}

func BenchmarkScanner(b *testing.B) {
	data, s := ctHeader(), NewScanner(ExplicitVRLittleEndian, DefaultTags())
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(ExplicitVRLittleEndian)
		s.Write(data)
	}
}

func BenchmarkScannerImplicit(b *testing.B) {
	d := &dataSet{implicit: true}
	for _, tag := range defaultTags {
		d.add(tag, "", "0123456789012345")
	}
	s := NewScanner(ImplicitVRLittleEndian, DefaultTags())
	b.ReportAllocs()
	for b.Loop() {
		s.Reset(ImplicitVRLittleEndian)
		s.Write(d.bytes)
	}
}

// FuzzScanner: however a data set is cut into pieces, the result is the same,
// and it stays within its bounds.
func FuzzScanner(f *testing.F) {
	f.Add(ctHeader(), uint8(0), uint8(7))
	f.Add(new(dataSet).sequence(tagPrivate, "UN").item().endItem().endSequence().bytes, uint8(2), uint8(1))
	f.Add(deflate(f, ctHeader()), uint8(3), uint8(200))
	syntaxes := []UID{ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian}
	f.Fuzz(func(t *testing.T, data []byte, syntax, piece uint8) {
		ts := syntaxes[int(syntax)%len(syntaxes)]
		whole, pieces := NewScanner(ts, defaultTags), NewScanner(ts, defaultTags)
		whole.Write(data)
		for rest := data; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			pieces.Write(rest[:n])
			rest = rest[n:]
		}
		a, b := whole.Elements(), pieces.Elements()
		if !slices.EqualFunc(a, b, func(x, y Element) bool {
			return x.Tag == y.Tag && x.VR == y.VR && bytes.Equal(x.Value, y.Value)
		}) {
			t.Errorf("in one write %v, in pieces %v", a, b)
		}
		if (whole.Err() == nil) != (pieces.Err() == nil) || whole.Done() != pieces.Done() {
			t.Errorf("in one write %v, %v; in pieces %v, %v", whole.Done(), whole.Err(), pieces.Done(), pieces.Err())
		}
		if total := cap(whole.memory) + whole.kept; total > 4*MaxScannedTotal || whole.kept > MaxScannedTotal {
			t.Errorf("%d bytes of memory, %d kept", total, whole.kept)
		}
	})
}

// BenchmarkNewScanner is BenchmarkScanner without reuse.
func BenchmarkNewScanner(b *testing.B) {
	data := ctHeader()
	b.ReportAllocs()
	for b.Loop() {
		NewScanner(ExplicitVRLittleEndian, defaultTags).Write(data)
	}
}
