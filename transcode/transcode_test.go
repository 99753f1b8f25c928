package transcode

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"dcmgate/dicom"
)

const (
	implicit = dicom.ImplicitVRLittleEndian
	explicit = dicom.ExplicitVRLittleEndian
	big      = dicom.ExplicitVRBigEndian
	deflated = dicom.DeflatedExplicitVRLittleEndian
)

func convert(t testing.TB, from, to dicom.UID, data []byte) []byte {
	t.Helper()
	out, err := tryConvert(from, to, bytes.NewReader(data))
	if err != nil {
		t.Fatalf("%s to %s: %v", name(from), name(to), err)
	}
	return out
}

func tryConvert(from, to dicom.UID, in io.Reader) ([]byte, error) {
	r, err := New(context.Background(), nil, from, to, in)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// bytesOf joins strings, of which those of tags and numbers are written as \x.
func bytesOf(parts ...string) []byte { return []byte(strings.Join(parts, "")) }

// golden is one data set in the three encodings, written by hand from PS3.5 7.1 and 7.5.
var golden = map[dicom.UID][]byte{
	explicit: bytesOf(
		"\x08\x00\x05\x00CS\x0A\x00ISO_IR 100",
		"\x08\x00\x40\x11SQ\x00\x00\x1E\x00\x00\x00", // Referenced Image Sequence, defined lengths
		"\xFE\xFF\x00\xE0\x16\x00\x00\x00", "\x08\x00\x55\x11UI\x04\x001.2\x00", "\x08\x00\x60\x11IS\x02\x004 ",
		"\x09\x00\x10\x00LO\x04\x00ACME",
		"\x09\x00\x01\x10UN\x00\x00\x04\x00\x00\x00\x01\x02\x03\x04", // private, unknown
		"\x18\x00\x50\x00DS\x02\x005 ",
		"\x28\x00\x09\x00AT\x04\x00\x18\x00\x63\x10", // Frame Increment Pointer
		"\x28\x00\x03\x01US\x02\x00\x01\x00",         // Pixel Representation: signed
		"\x28\x00\x06\x01SS\x02\x00\xFE\xFF",         // Smallest Image Pixel Value: US or SS
		"\x40\x00\x80\x09SQ\x00\x00\xFF\xFF\xFF\xFF", // undefined lengths
		"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF", "\x18\x00\x73\x90FD\x08\x00\x01\x02\x03\x04\x05\x06\x07\x08", "\xFE\xFF\x0D\xE0\x00\x00\x00\x00",
		"\xFE\xFF\xDD\xE0\x00\x00\x00\x00",
		"\xE0\x7F\x10\x00OW\x00\x00\x04\x00\x00\x00\x01\x00\xFF\x7F",
	),
	implicit: bytesOf(
		"\x08\x00\x05\x00\x0A\x00\x00\x00ISO_IR 100",
		"\x08\x00\x40\x11\x1E\x00\x00\x00",
		"\xFE\xFF\x00\xE0\x16\x00\x00\x00", "\x08\x00\x55\x11\x04\x00\x00\x001.2\x00", "\x08\x00\x60\x11\x02\x00\x00\x004 ",
		"\x09\x00\x10\x00\x04\x00\x00\x00ACME",
		"\x09\x00\x01\x10\x04\x00\x00\x00\x01\x02\x03\x04",
		"\x18\x00\x50\x00\x02\x00\x00\x005 ",
		"\x28\x00\x09\x00\x04\x00\x00\x00\x18\x00\x63\x10",
		"\x28\x00\x03\x01\x02\x00\x00\x00\x01\x00",
		"\x28\x00\x06\x01\x02\x00\x00\x00\xFE\xFF",
		"\x40\x00\x80\x09\xFF\xFF\xFF\xFF",
		"\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF", "\x18\x00\x73\x90\x08\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08", "\xFE\xFF\x0D\xE0\x00\x00\x00\x00",
		"\xFE\xFF\xDD\xE0\x00\x00\x00\x00",
		"\xE0\x7F\x10\x00\x04\x00\x00\x00\x01\x00\xFF\x7F",
	),
	big: bytesOf(
		"\x00\x08\x00\x05CS\x00\x0AISO_IR 100",
		"\x00\x08\x11\x40SQ\x00\x00\x00\x00\x00\x1E",
		"\xFF\xFE\xE0\x00\x00\x00\x00\x16", "\x00\x08\x11\x55UI\x00\x041.2\x00", "\x00\x08\x11\x60IS\x00\x024 ",
		"\x00\x09\x00\x10LO\x00\x04ACME",
		"\x00\x09\x10\x01UN\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04",
		"\x00\x18\x00\x50DS\x00\x025 ",
		"\x00\x28\x00\x09AT\x00\x04\x00\x18\x10\x63",
		"\x00\x28\x01\x03US\x00\x02\x00\x01",
		"\x00\x28\x01\x06SS\x00\x02\xFF\xFE",
		"\x00\x40\x09\x80SQ\x00\x00\xFF\xFF\xFF\xFF",
		"\xFF\xFE\xE0\x00\xFF\xFF\xFF\xFF", "\x00\x18\x90\x73FD\x00\x08\x08\x07\x06\x05\x04\x03\x02\x01", "\xFF\xFE\xE0\x0D\x00\x00\x00\x00",
		"\xFF\xFE\xE0\xDD\x00\x00\x00\x00",
		"\x7F\xE0\x00\x10OW\x00\x00\x00\x00\x00\x04\x00\x01\x7F\xFF",
	),
}

// Every native transfer syntax into every other, read in one go and byte by byte.
func TestNativeIntoEachOther(t *testing.T) {
	inputs := map[dicom.UID][]byte{deflated: convert(t, explicit, deflated, golden[explicit])}
	for ts, data := range golden {
		inputs[ts] = data
	}
	for from, data := range inputs {
		for _, to := range Targets(from) {
			got := convert(t, from, to, data)
			slow, err := tryConvert(from, to, iotest.OneByteReader(bytes.NewReader(data)))
			if err != nil || !bytes.Equal(got, slow) {
				t.Errorf("%s to %s byte by byte: %v", name(from), name(to), err)
			}
			if to == deflated {
				if len(got)%2 != 0 {
					t.Errorf("deflated to %d bytes, an odd number", len(got))
				}
				got, to = convert(t, deflated, explicit, got), explicit
			}
			if !bytes.Equal(got, golden[to]) {
				t.Errorf("%s to %s:\n% x\nwant\n% x", name(from), name(to), got, golden[to])
			}
		}
	}
}

func TestElementsInParticular(t *testing.T) {
	long := strings.Repeat("x", 65536)
	const sq, item, endItem, end = "\x08\x00\x40\x11", "\xFE\xFF\x00\xE0", "\xFE\xFF\x0D\xE0\x00\x00\x00\x00", "\xFE\xFF\xDD\xE0\x00\x00\x00\x00"
	const nothing, open = "\x00\x00\x00\x00", "\xFF\xFF\xFF\xFF"
	const uid = "\x08\x00\x18\x00UI\x04\x001.2\x00"
	for name, test := range map[string]struct {
		from, to dicom.UID
		in, want string
	}{
		"group lengths remain where all lengths do": {explicit, big, uid + "\x10\x00\x00\x00UL\x04\x00\x00\x00\x00\x00", "\x00\x08\x00\x18UI\x00\x041.2\x00\x00\x10\x00\x00UL\x00\x04\x00\x00\x00\x00"},
		"group lengths are left out":                {explicit, implicit, "\x08\x00\x00\x00UL\x04\x00\x0C\x00\x00\x00" + uid, "\x08\x00\x18\x00\x04\x00\x00\x001.2\x00"},
		"group lengths of items are left out": {implicit, explicit, sq + "\x14\x00\x00\x00" + item + "\x0C\x00\x00\x00\x08\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00",
			sq + "SQ\x00\x00\x08\x00\x00\x00" + item + nothing},
		"lengths are found anew": {implicit, explicit, sq + "\x17\x00\x00\x00" + item + "\x0F\x00\x00\x00\x40\x00\x10\xA0\x07\x00\x00\x00CONTAIN",
			sq + "SQ\x00\x00\x17\x00\x00\x00" + item + "\x0F\x00\x00\x00\x40\x00\x10\xA0CS\x07\x00CONTAIN"},
		"empty sequences":                {implicit, explicit, sq + nothing, sq + "SQ\x00\x00" + nothing},
		"empty items":                    {implicit, explicit, sq + "\x08\x00\x00\x00" + item + nothing, sq + "SQ\x00\x00\x08\x00\x00\x00" + item + nothing},
		"empty sequences, delimited":     {implicit, explicit, sq + open + end, sq + "SQ\x00\x00" + open + end},
		"defined items in undefined":     {implicit, explicit, sq + open + item + nothing + end, sq + "SQ\x00\x00" + open + item + nothing + end},
		"undefined items in defined":     {implicit, explicit, sq + "\x10\x00\x00\x00" + item + open + endItem, sq + "SQ\x00\x00\x10\x00\x00\x00" + item + open + endItem},
		"delimiters of nothing":          {explicit, implicit, uid + end + endItem, "\x08\x00\x18\x00\x04\x00\x00\x001.2\x00"},
		"unknown sequences":              {implicit, explicit, "\x09\x00\x02\x10" + open + item + nothing + end, "\x09\x00\x02\x10SQ\x00\x00" + open + item + nothing + end},
		"UN remains UN":                  {explicit, big, "\x09\x00\x02\x10UN\x00\x00\x02\x00\x00\x00\x01\x02", "\x00\x09\x10\x02UN\x00\x00\x00\x00\x00\x02\x01\x02"},
		"UN of undefined length":         {explicit, implicit, "\x09\x00\x02\x10UN\x00\x00" + open + item + "\x0A\x00\x00\x00\x08\x00\x16\x00\x02\x00\x00\x00\x31\x00" + end, "\x09\x00\x02\x10" + open + item + "\x0A\x00\x00\x00\x08\x00\x16\x00\x02\x00\x00\x00\x31\x00" + end},
		"UN within remains as it was":    {explicit, big, "\x09\x00\x02\x10UN\x00\x00" + open + item + "\x0A\x00\x00\x00\x08\x00\x16\x00\x02\x00\x00\x00\x31\x00" + end, "\x00\x09\x10\x02UN\x00\x00" + open + item + "\x0A\x00\x00\x00\x08\x00\x16\x00\x02\x00\x00\x00\x31\x00" + end},
		"too long for its VR becomes UN": {implicit, explicit, "\x08\x00\x70\x00\x00\x00\x01\x00" + long, "\x08\x00\x70\x00UN\x00\x00\x00\x00\x01\x00" + long},
		"a VR of the future":             {explicit, big, "\x09\x00\x02\x10XX\x00\x00\x02\x00\x00\x00\x01\x02", "\x00\x09\x10\x02XX\x00\x00\x00\x00\x00\x02\x01\x02"},
		"numbers of all sizes": {big, explicit, "\x00\x08\x00\x01UL\x00\x04\x01\x02\x03\x04\x00\x28\x00\x01SV\x00\x00\x00\x00\x00\x08\x01\x02\x03\x04\x05\x06\x07\x08",
			"\x08\x00\x01\x00UL\x04\x00\x04\x03\x02\x01\x28\x00\x01\x00SV\x00\x00\x08\x00\x00\x00\x08\x07\x06\x05\x04\x03\x02\x01"},
		"bytes are no words":            {explicit, big, "\xE0\x7F\x10\x00OB\x00\x00\x02\x00\x00\x00\x01\x02", "\x7F\xE0\x00\x10OB\x00\x00\x00\x00\x00\x02\x01\x02"},
		"unsigned by default":           {implicit, explicit, "\x28\x00\x06\x01\x02\x00\x00\x00\x01\x00", "\x28\x00\x06\x01US\x02\x00\x01\x00"},
		"overlays are words":            {implicit, explicit, "\x02\x60\x00\x30\x02\x00\x00\x00\x01\x00", "\x02\x60\x00\x30OW\x00\x00\x02\x00\x00\x00\x01\x00"},
		"LUT Data":                      {implicit, explicit, "\x28\x00\x06\x30\x02\x00\x00\x00\x01\x00", "\x28\x00\x06\x30OW\x00\x00\x02\x00\x00\x00\x01\x00"},
		"LUT Data of one entry":         {implicit, explicit, "\x28\x00\x02\x30\x06\x00\x00\x00\x01\x00\x00\x00\x10\x00\x28\x00\x06\x30\x02\x00\x00\x00\x01\x00", "\x28\x00\x02\x30US\x06\x00\x01\x00\x00\x00\x10\x00\x28\x00\x06\x30US\x02\x00\x01\x00"},
		"explicit though said implicit": {implicit, big, uid, "\x00\x08\x00\x18UI\x00\x041.2\x00"},
		"implicit though said explicit": {explicit, big, "\x08\x00\x18\x00\x04\x00\x00\x001.2\x00", "\x00\x08\x00\x18UI\x00\x041.2\x00"},
		"nothing":                       {explicit, implicit, "", ""},
	} {
		if got := convert(t, test.from, test.to, []byte(test.in)); string(got) != test.want {
			t.Errorf("%s:\n% x\nwant\n% x", name, clip(got), clip([]byte(test.want)))
		}
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 100)] }

// A sequence longer than what is kept gets undefined length, its items still their own.
func TestLongSequencesAreNotKept(t *testing.T) {
	const uid = "\x08\x00\x18\x00\x04\x00\x00\x001.2\x00"
	item := "\xFE\xFF\x00\xE0\x0C\x00\x00\x00" + uid
	n := MaxBuffered/len(item) + 1
	in := binary.LittleEndian.AppendUint32([]byte("\x08\x00\x40\x11"), uint32(n*len(item)))
	in = append(in, strings.Repeat(item, n)...)
	want := "\x08\x00\x40\x11SQ\x00\x00\xFF\xFF\xFF\xFF" + strings.Repeat("\xFE\xFF\x00\xE0\x0C\x00\x00\x00\x08\x00\x18\x00UI\x04\x001.2\x00", n) + "\xFE\xFF\xDD\xE0\x00\x00\x00\x00"
	if got := convert(t, implicit, explicit, in); string(got) != want {
		t.Errorf("%d bytes, want %d: % x", len(got), len(want), clip(got))
	}
}

func TestHostileDataSetsAreRefused(t *testing.T) {
	nested := strings.Repeat("\x08\x00\x40\x11\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF", 100)
	for name, test := range map[string]struct {
		ts dicom.UID
		in string
	}{
		"half a header":                  {explicit, "\x08\x00\x18\x00U"},
		"header without its end":         {explicit, "\xE0\x7F\x10\x00OW\x00\x00\x00"},
		"value cut":                      {explicit, "\x08\x00\x18\x00UI\x04\x001."},
		"value far beyond the end":       {implicit, "\x08\x00\x18\x00\xFE\xFF\xFF\xFF1."},
		"undefined length of text":       {explicit, "\x08\x00\x18\x00UC\x00\x00\xFF\xFF\xFF\xFF"},
		"pixel data of undefined length": {explicit, "\xE0\x7F\x10\x00OB\x00\x00\xFF\xFF\xFF\xFF"},
		"item outside":                   {explicit, "\xFE\xFF\x00\xE0\x00\x00\x00\x00"},
		"delimiter with a value":         {explicit, "\xFE\xFF\x0D\xE0\x01\x00\x00\x00"},
		"element in a sequence":          {implicit, "\x08\x00\x40\x11\x0C\x00\x00\x00\x08\x00\x18\x00\x04\x00\x00\x001.2\x00"},
		"sequence beyond its item":       {implicit, "\x08\x00\x40\x11\x10\x00\x00\x00\xFE\xFF\x00\xE0\x08\x00\x00\x00\x08\x00\x40\x11\x10\x00\x00\x00"},
		"element beyond its item":        {implicit, "\x08\x00\x40\x11\x12\x00\x00\x00\xFE\xFF\x00\xE0\x0A\x00\x00\x00\x08\x00\x18\x00\x04\x00\x00\x001.2\x00"},
		"header beyond its item":         {implicit, "\x08\x00\x40\x11\x0C\x00\x00\x00\xFE\xFF\x00\xE0\x04\x00\x00\x00\x08\x00\x18\x00\x00\x00\x00\x00"},
		"item beyond its sequence":       {implicit, "\x08\x00\x40\x11\x08\x00\x00\x00\xFE\xFF\x00\xE0\x0C\x00\x00\x00\x08\x00\x18\x00\x04\x00\x00\x001.2\x00"},
		"delimited beyond its sequence":  {implicit, "\x08\x00\x40\x11\x08\x00\x00\x00\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF\x08\x00\x18\x00\x04\x00\x00\x001.2\x00\xFE\xFF\x0D\xE0\x00\x00\x00\x00"},
		"sequence without an end":        {implicit, "\x08\x00\x40\x11\xFF\xFF\xFF\xFF"},
		"item ended as a sequence":       {implicit, "\x08\x00\x40\x11\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\xFF\xFF\xFF\xFF\xFE\xFF\xDD\xE0\x00\x00\x00\x00"},
		"nested deeply":                  {implicit, nested},
		"not deflated":                   {deflated, "\x08\x00\x18\x00UI\x04\x001.2\x00"},
		"deflated in part":               {deflated, string(convert(t, explicit, deflated, golden[explicit])[:40])},
	} {
		to := big
		if test.ts == big {
			to = explicit
		}
		if out, err := tryConvert(test.ts, to, strings.NewReader(test.in)); err == nil {
			t.Errorf("%s: % x", name, out)
		}
	}
}

func TestEveryPrefixOfADataSetIsRefusedOrEndsWithAnElement(t *testing.T) {
	whole, accepted := golden[implicit], 0
	for n := range whole {
		_, err := tryConvert(implicit, explicit, bytes.NewReader(whole[:n]))
		if err == nil {
			accepted++
		} else if _, ok := errors.AsType[*dicom.FormatError](err); !ok {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	// The golden data set has ten elements; each prefix of whole ones is accepted, and nothing else.
	if accepted != 10 {
		t.Errorf("%d prefixes are accepted", accepted)
	}
}

func TestWhatIsNotConvertedIsSaid(t *testing.T) {
	for _, test := range []struct {
		from, to dicom.UID
		can      bool
	}{
		{implicit, explicit, true}, {explicit, implicit, true}, {deflated, big, true}, {big, deflated, true},
		{dicom.RLELossless, explicit, true}, {dicom.JPEGBaseline, implicit, true}, {dicom.JPEGLossless, big, true}, {dicom.JPEGExtended, deflated, true},
		{explicit, explicit, false}, {explicit, dicom.JPEGLossless, false}, {dicom.JPEG2000, explicit, false}, {dicom.JPEGLSLossless, explicit, false},
		{dicom.MPEG2MainProfileMainLevel, explicit, false}, {"1.2.3", explicit, false}, {explicit, "1.2.3", false}, {"", "", false},
	} {
		in := strings.NewReader("")
		if test.from == deflated {
			in = strings.NewReader("\x03\x00") // nothing, deflated (RFC 1951 3.2.6)
		}
		_, err := New(t.Context(), nil, test.from, test.to, in)
		if Can(test.from, test.to) != test.can || (err == nil) != test.can {
			t.Errorf("%s to %s: %v, %v", test.from, test.to, Can(test.from, test.to), err)
		}
	}
	if got := Targets(dicom.RLELossless); !slices.Equal(got, []dicom.UID{explicit, implicit, deflated, big}) {
		t.Errorf("RLE can be converted to %v", got)
	}
}

// A reader that is given up ends its conversion, and reads nothing afterwards.
func TestClose(t *testing.T) {
	in := append(bytes.Clone(golden[explicit][:len(golden[explicit])-16]), "\xE0\x7F\x10\x00OW\x00\x00\x00\x00\x40\x00"...)
	in = append(in, make([]byte, 4<<20)...)
	r, err := New(t.Context(), nil, explicit, implicit, bytes.NewReader(in))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if n, err := r.Read(make([]byte, 10)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("%d bytes and %v after Close", n, err)
	}
}

// An error of the source is not taken for the end.
func TestErrorsOfTheSourceArePassedOn(t *testing.T) {
	gone := errors.New("gone")
	for n := range golden[explicit] {
		in := io.MultiReader(bytes.NewReader(golden[explicit][:n]), iotest.ErrReader(gone))
		if _, err := tryConvert(explicit, implicit, in); !errors.Is(err, gone) {
			t.Fatalf("after %d bytes: %v", n, err)
		}
	}
}

// A deflated data set of delimiters and nothing else, which takes a thousandth of the room, ends.
func TestWhatIsLeftOutIsBounded(t *testing.T) {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	some := bytes.Repeat([]byte("\xFE\xFF\x0D\xE0\x00\x00\x00\x00"), 1<<17)
	if _, err := w.Write(some); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	blocks := bytes.Clone(b.Bytes()) // they refer to nothing before them, and end at a byte
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	in := &repeated{body: blocks, times: maxLeftOut/len(some) + 2, tail: b.Bytes()[len(blocks):]}
	if _, err := New(t.Context(), nil, deflated, implicit, in); err == nil {
		t.Error("is converted to nothing")
	}
}

// What is converted to explicit little endian and on to big endian and back is the same, whatever it was.
func FuzzConvert(f *testing.F) {
	for ts, data := range golden {
		f.Add(data, ts == implicit)
	}
	f.Fuzz(func(t *testing.T, data []byte, isImplicit bool) {
		from, to := big, explicit
		if isImplicit {
			from = implicit
		}
		once, err := tryConvert(from, to, bytes.NewReader(data))
		if err != nil || len(once) >= dicom.HeaderSize && dicom.ExplicitVRLittleEndian.Encoding().Detect(once) != to.Encoding() {
			return
		}
		there, err := tryConvert(explicit, deflated, bytes.NewReader(once))
		if err != nil {
			t.Fatalf("% x: deflating: %v", once, err)
		}
		back, err := tryConvert(deflated, explicit, bytes.NewReader(there))
		if err != nil || !bytes.Equal(back, once) {
			t.Fatalf("% x: inflating: %v\n% x", once, err, back)
		}
	})
}
