package dicom

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// outline writes a tree as text, one element in a line.
func outline(tree []DataElement) string {
	var b strings.Builder
	var write func(indent string, tree []DataElement)
	write = func(indent string, tree []DataElement) {
		for _, e := range tree {
			fmt.Fprintf(&b, "%s%s %s %s %q %d\n", indent, e.Tag, e.VR, e.Keyword, e.Values, len(e.Value))
			for i, item := range e.Items {
				fmt.Fprintf(&b, "%s item %d\n", indent, i+1)
				write(indent+"  ", item)
			}
		}
	}
	write("", tree)
	return b.String()
}

// sample is a data set with something of everything.
func sample(d *dataSet) []byte {
	d.add(TagSpecificCharacterSet, "CS", `\ISO 2022 IR 144`)
	d.add(TagModality, "CS", "CT")
	d.sequence(tagSequence, "SQ")
	d.item().add(TagSpecificCharacterSet, "CS", "GB18030 ").add(TagPatientName, "PN", "\xcd\xf5^\xd0\xa1\xb6\xab").endItem()
	d.item().sequence(0x00081199, "SQ").endSequence().endItem()
	d.endSequence()
	d.add(0x00091001, "UN", "a\\b")
	d.add(TagPatientName, "PN", "a\x1b-L\xbb\\b ")
	d.add(TagPatientID, "LO", "")
	d.add(0x00204000, "LT", `a\b`)
	number := func(tag Tag, vr string, value ...uint16) {
		d.head(tag, vr, uint32(2*len(value)))
		for _, v := range value {
			d.bytes = d.order().AppendUint16(d.bytes, v)
		}
	}
	number(TagRows, "US", 512)
	number(0x00280009, "AT", 0x0018, 0x1063)
	number(0x00280106, "SS", 0xFFFF)
	return d.bytes
}

const sampleOutline = `(0008,0005) CS SpecificCharacterSet ["" "ISO 2022 IR 144"] 16
(0008,0060) CS Modality ["CT"] 2
(0008,1140) SQ ReferencedImageSequence [] 0
 item 1
  (0008,0005) CS SpecificCharacterSet ["GB18030"] 8
  (0010,0010) PN PatientName ["王^小东"] 7
 item 2
  (0008,1199) SQ ReferencedSOPSequence [] 0
(0009,1001) UN  [] 3
(0010,0010) PN PatientName ["aЛ" "b"] 8
(0010,0020) LO PatientID [] 0
(0020,4000) LT ImageComments ["a\\b"] 3
(0028,0010) US Rows ["512"] 2
(0028,0009) AT FrameIncrementPointer ["(0018,1063)"] 4
(0028,0106) SS SmallestImagePixelValue ["-1"] 2
`

func TestParseElements(t *testing.T) {
	pixels := func(b []byte) []byte {
		return append(bytes.Clone(b), "\xe0\x7f\x10\x00OW\x00\x00\xff\xff\xff\x7fmore"...)
	}
	explicit := sample(new(dataSet))
	for _, test := range []struct {
		name string
		ts   UID
		data []byte
	}{
		{"explicit", ExplicitVRLittleEndian, explicit},
		{"up to pixel data", ExplicitVRLittleEndian, pixels(explicit)},
		{"big endian", ExplicitVRBigEndian, sample(&dataSet{big: true})},
		{"deflated", DeflatedExplicitVRLittleEndian, deflate(t, pixels(explicit))},
		{"unknown syntax", "1.2.3", explicit},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree, err := ParseElements(test.data, test.ts)
			if got := outline(tree); err != nil || got != sampleOutline {
				t.Errorf("%v\n got:\n%s\nwant:\n%s", err, got, sampleOutline)
			}
		})
	}
	// Implicit VR has the VRs of the dictionary: US for what may be SS.
	tree, err := ParseElements(sample(&dataSet{implicit: true}), ImplicitVRLittleEndian)
	want := strings.Replace(sampleOutline, `(0028,0106) SS SmallestImagePixelValue ["-1"]`, `(0028,0106) US SmallestImagePixelValue ["65535"]`, 1)
	if got := outline(tree); err != nil || got != want {
		t.Errorf("%v\n got:\n%s\nwant:\n%s", err, got, want)
	}
}

// What go-dicom cannot read or reads wrongly.
func TestParseElementsBeyondGoDicom(t *testing.T) {
	for _, test := range []struct {
		name string
		data *dataSet
		want string
	}{
		{"64-bit VRs", new(dataSet).add(0x00081196, "OV", "12345678").add(0x00081197, "SV", "12345678"), `
(0008,1196) OV WarningReason [] 8
(0008,1197) SV FailureReason [] 8
`},
		{"odd length", new(dataSet).add(TagPatientID, "LO", "123"), `
(0010,0020) LO PatientID ["123"] 3
`},
		{"number of a wrong length", new(dataSet).add(TagRows, "US", "123"), `
(0028,0010) US Rows [] 3
`},
		{"VR that does not exist", new(dataSet).add(TagPatientID, "ZZ", "12").add(TagRows, "??", "ab"), `
(0010,0020) UN PatientID [] 2
(0028,0010) UN Rows [] 2
`},
		{"UN of undefined length", func() *dataSet {
			d := new(dataSet).head(0x00091001, "UN", undefinedLength)
			d.implicit = true
			return d.item().add(TagRows, "US", "\x01\x00").endItem().endSequence()
		}(), `
(0009,1001) SQ  [] 0
 item 1
  (0028,0010) US Rows ["1"] 2
`},
		{"fragments in an icon", new(dataSet).sequence(0x00880200, "SQ").item().sequence(tagPixelData, "OB").
			add(tagItem, "", "").add(tagItem, "", "abcd").endSequence().endItem().endSequence(), `
(0088,0200) SQ IconImageSequence [] 0
 item 1
  (7FE0,0010) OB PixelData [] 20
`},
		{"sequence of defined length", new(dataSet).add(tagSequence, "SQ", "\xfe\xff\x00\xe0\x00\x00\x00\x00"), `
(0008,1140) SQ ReferencedImageSequence [] 0
 item 1
`},
		{"behind the pixel data", new(dataSet).add(0xFFFCFFFC, "OB", "12"), `
(FFFC,FFFC) OB DataSetTrailingPadding [] 2
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree, err := ParseElements(test.data.bytes, ExplicitVRLittleEndian)
			if got := "\n" + outline(tree); err != nil || got != test.want {
				t.Errorf("%v\n got: %s\nwant: %s", err, got, test.want)
			}
		})
	}
}

// The attacks that go-dicom dies of: memory by the length, stack by the depth,
// time by the length again.
func TestParseElementsHostile(t *testing.T) {
	deep := new(dataSet)
	for range 100_000 {
		deep.sequence(tagSequence, "SQ").item()
	}
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"length beyond the data", new(dataSet).head(0x00080001, "UT", 0xFFFFFFFE).bytes, "dicom: (0008,0001) at offset 12: length 4294967294 exceeds what contains it"},
		{"length of OW", new(dataSet).head(0x00080001, "OW", 0x7FFFFFFE).bytes, "dicom: (0008,0001) at offset 12: length 2147483646 exceeds what contains it"},
		{"nesting", deep.bytes, "dicom: (0008,1140) at offset 652: sequences nested too deeply"},
		{"element beyond its item", new(dataSet).sequence(tagSequence, "SQ").add(tagItem, "", string(new(dataSet).head(TagModality, "CS", 8).bytes)).add(TagModality, "CS", "12345678").bytes,
			"dicom: (0008,0060) at offset 28: length 8 exceeds what contains it"},
		{"item beyond its sequence", new(dataSet).add(tagSequence, "SQ", string(new(dataSet).head(tagItem, "", 8).bytes)).bytes,
			"dicom: (FFFE,E000) at offset 20: length 8 exceeds what contains it"},
		{"sequence without end", new(dataSet).sequence(tagSequence, "SQ").bytes, "dicom: (0008,1140) at offset 12: sequence is not delimited"},
		{"item without end", new(dataSet).sequence(tagSequence, "SQ").item().bytes, "dicom: (FFFE,E000) at offset 20: item is not delimited"},
		{"no item", new(dataSet).sequence(tagSequence, "SQ").add(TagModality, "CS", "CT").bytes, "dicom: (0008,0060) at offset 12: neither item nor delimiter in a sequence"},
		{"delimiter", new(dataSet).endItem().bytes, "dicom: (FFFE,E00D) at offset 0: delimiter in place of an element"},
		{"undefined length of text", new(dataSet).head(0x00080001, "UT", undefinedLength).bytes, "dicom: (0008,0001) at offset 12: undefined length in a VR that has none"},
		{"half a header", new(dataSet).add(TagModality, "CS", "CT").bytes[:7], "dicom: (0000,0000) at offset 0: ends within an element header"},
		{"half a long header", new(dataSet).head(TagModality, "OB", 0).bytes[:10], "dicom: (0008,0060) at offset 0: ends within an element header"},
		{"fragment beyond the data", new(dataSet).sequence(0x00880200, "SQ").item().sequence(tagPixelData, "OB").head(tagItem, "", 4).bytes, "dicom: (FFFE,E000) at offset 32: not a fragment of pixel data"},
		{"too long", bytes.Repeat(new(dataSet).add(TagModality, "OB", strings.Repeat("x", 100)).bytes, MaxHeader/112+1), "dicom: (0008,0060) at offset 4194300: length 100 exceeds what contains it"},
		{"too many elements", bytes.Repeat(new(dataSet).add(TagModality, "CS", "").bytes, maxTreeElements+1), "dicom: (0008,0060) at offset 1600000: too many elements"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseElements(test.data, ExplicitVRLittleEndian)
			expectError(t, err, test.want)
		})
	}
}

// A header that go-dicom would make hundreds of megabytes of.
func TestParseElementsAmplification(t *testing.T) {
	d := new(dataSet)
	for len(d.bytes) < MaxHeader-70_000 {
		d.add(TagRows, "US", strings.Repeat("\x01\x00", 0x7FFF))
	}
	d.add(TagPatientName, "UC", strings.Repeat(`\`, 60_000))
	tree, err := ParseElements(d.bytes, ExplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	values := 0
	for _, e := range tree {
		values += len(e.Values)
	}
	if values > maxTreeValues+60_001 {
		t.Errorf("%d values", values)
	}
}

// FuzzBridge: whatever comes, there is a tree or an error; and what the tree has
// at its top is what a Scanner finds.
func FuzzBridge(f *testing.F) {
	f.Add(sample(new(dataSet)), uint8(0))
	f.Add(sample(&dataSet{implicit: true}), uint8(1))
	f.Add(sample(&dataSet{big: true}), uint8(2))
	syntaxes := []UID{ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian}
	f.Fuzz(func(t *testing.T, data []byte, syntax uint8) {
		ts := syntaxes[int(syntax)%len(syntaxes)]
		tree, err := ParseElements(data, ts)
		if err != nil {
			if strings.Contains(err.Error(), "go-dicom") {
				t.Errorf("reader and go-dicom disagree: %v", err)
			}
			return
		}
		compareWithScanner(t, tree, data, ts)
	})
}

// compareWithScanner looks for the top of a tree with a Scanner.
func compareWithScanner(t *testing.T, tree []DataElement, data []byte, ts UID) {
	t.Helper()
	var wanted []Tag
	for _, e := range tree {
		if e.Tag < tagFloatPixelData {
			wanted = append(wanted, e.Tag)
		}
	}
	s := NewScanner(ts, wanted)
	s.Write(data)
	kept := 0
	for _, e := range s.Elements() {
		kept += len(e.Value)
		i := slices.IndexFunc(tree, func(d DataElement) bool { return d.Tag == e.Tag && d.Items == nil })
		if i < 0 || !bytes.Equal(tree[i].Value, e.Value) {
			t.Errorf("%s: scanner has %d bytes, tree does not", e.Tag, len(e.Value))
		}
	}
	if kept > MaxScannedTotal {
		t.Errorf("scanner kept %d bytes", kept)
	}
}

func BenchmarkParseElements(b *testing.B) {
	data := ctHeader()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseElements(data, ExplicitVRLittleEndian); err != nil {
			b.Fatal(err)
		}
	}
}
