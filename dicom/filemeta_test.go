package dicom

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

var testMeta = FileMeta{
	SOPClassUID:               "1.2.840.10008.5.1.4.1.1.2",
	SOPInstanceUID:            "1.2.3.4",
	TransferSyntaxUID:         ExplicitVRLittleEndian,
	ImplementationClassUID:    "1.2.3",
	ImplementationVersionName: "V1",
	SourceAETitle:             "CT1",
}

// PS3.10 table 7.1-1, byte by byte.
func TestFileMetaAppend(t *testing.T) {
	want := "DICM" +
		"\x02\x00\x00\x00UL\x04\x00\x80\x00\x00\x00" +
		"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01" +
		"\x02\x00\x02\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.2\x00" +
		"\x02\x00\x03\x00UI\x08\x001.2.3.4\x00" +
		"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\x00" +
		"\x02\x00\x12\x00UI\x06\x001.2.3\x00" +
		"\x02\x00\x13\x00SH\x02\x00V1" +
		"\x02\x00\x16\x00AE\x04\x00CT1 "
	got := testMeta.Append([]byte("before"))
	if !bytes.Equal(got[:6+128], append([]byte("before"), make([]byte, 128)...)) {
		t.Errorf("preamble is %x", got[:6+128])
	}
	if string(got[6+128:]) != want {
		t.Errorf("got %q\nwant %q", got[6+128:], want)
	}
}

// The group length is right and the reader understands what was written.
func TestFileMetaRoundTrip(t *testing.T) {
	for _, m := range []FileMeta{
		testMeta,
		{SOPClassUID: "1.2", SOPInstanceUID: "1.2.3", TransferSyntaxUID: "1.2.840.10008.1.2.4.50"},
		{SOPClassUID: "1.2", SOPInstanceUID: UID(strings.Repeat("1", 901)), TransferSyntaxUID: "1.2.3"},
		{SOPClassUID: "1.2", SOPInstanceUID: "1.2.3", TransferSyntaxUID: DeflatedExplicitVRLittleEndian, SourceAETitle: "0123456789abcdefLONG"},
	} {
		want := m
		if m.ImplementationClassUID == "" {
			want.ImplementationClassUID, want.ImplementationVersionName = ImplementationClassUID, ImplementationVersionName
		}
		want.SourceAETitle = m.SourceAETitle[:min(16, len(m.SourceAETitle))]
		head := m.Append(nil)
		// A data set, deflated for instance, that looks like more of the group.
		data := append(bytes.Clone(head), "\x02\x00\x10\x00UI\x02\x009\x00"...)
		if !m.TransferSyntaxUID.Deflated() {
			data = append(bytes.Clone(head), "\x08\x00\x05\x00CS\x00\x00"...)
		}
		r := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(data)))
		got, n, err := ReadFileMeta(r)
		if err != nil || got != want || n != int64(len(head)) {
			t.Errorf("ReadFileMeta = %+v, %d, %v, want %+v, %d", got, n, err, want, len(head))
		}
		if rest, _ := io.ReadAll(r); !bytes.Equal(rest, data[len(head):]) {
			t.Errorf("%q remains, want %q", rest, data[len(head):])
		}
	}
}

func TestReadFileMeta(t *testing.T) {
	group := func(m FileMeta) []byte { return m.Append(nil)[132:] }
	dataSetOf := func(d *dataSet) []byte {
		return d.add(TagSOPClassUID, "UI", "1.9\x00").add(TagSOPInstanceUID, "UI", "1.9.1\x00").add(TagModality, "CS", "CT").bytes
	}
	little := dataSetOf(new(dataSet))
	noLength := append(make([]byte, 128), "DICM"...)
	noLength = append(noLength, group(testMeta)[12:]...)
	wrongLength := testMeta.Append(nil)
	wrongLength[132+8] = 3
	noSyntax := testMeta
	noSyntax.TransferSyntaxUID = ""
	implicitMeta := (&dataSet{implicit: true}).add(0x00020010, "", "1.2.840.10008.1.2\x00").bytes
	long := new(dataSet).add(0x00020102, "OB", strings.Repeat("x", 100_000)).bytes
	guessed := func(ts UID) FileMeta {
		return FileMeta{SOPClassUID: "1.9", SOPInstanceUID: "1.9.1", TransferSyntaxUID: ts, Guessed: true}
	}
	for _, test := range []struct {
		name string
		head []byte
		data []byte
		want FileMeta
	}{
		{"as it should be", testMeta.Append(nil), little, testMeta},
		{"no data set", testMeta.Append(nil), nil, testMeta},
		{"no preamble", testMeta.Append(nil)[128:], little, testMeta},
		{"no preamble and no prefix", group(testMeta), little, testMeta},
		{"no group length", noLength, little, testMeta},
		{"wrong group length", wrongLength, little, testMeta},
		{"long private element", append(testMeta.Append(nil), long...), little, testMeta},
		{"no transfer syntax", noSyntax.Append(nil), little, func() FileMeta { m := testMeta; m.Guessed = true; return m }()},
		{"no transfer syntax and no data set", noSyntax.Append(nil), nil,
			func() FileMeta {
				m := testMeta
				m.TransferSyntaxUID, m.Guessed = ImplicitVRLittleEndian, true
				return m
			}()},
		{"implicit VR", implicitMeta, dataSetOf(&dataSet{implicit: true}), FileMeta{SOPClassUID: "1.9", SOPInstanceUID: "1.9.1", TransferSyntaxUID: ImplicitVRLittleEndian}},
		{"no meta, explicit", nil, little, guessed(ExplicitVRLittleEndian)},
		{"no meta, implicit", nil, dataSetOf(&dataSet{implicit: true}), guessed(ImplicitVRLittleEndian)},
		{"no meta, big endian", nil, dataSetOf(&dataSet{big: true}), guessed(ExplicitVRBigEndian)},
		{"preamble, no meta", append(make([]byte, 128), "DICM"...), little, guessed(ExplicitVRLittleEndian)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.want == testMeta || test.want.SOPInstanceUID == testMeta.SOPInstanceUID {
				test.want.ImplementationClassUID = testMeta.ImplementationClassUID
			}
			got, n, err := ReadFileMeta(bytes.NewReader(append(bytes.Clone(test.head), test.data...)))
			if err != nil || got != test.want || n != int64(len(test.head)) {
				t.Errorf("ReadFileMeta = %+v, %d, %v\nwant %+v, %d", got, n, err, test.want, len(test.head))
			}
		})
	}
}

func TestReadFileMetaErrors(t *testing.T) {
	head := testMeta.Append(nil)
	for _, test := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, ErrNotDICOM.Error()},
		{"short", []byte("DIC"), ErrNotDICOM.Error()},
		{"a text", []byte(strings.Repeat("This is a text. ", 100)), ErrNotDICOM.Error()},
		{"zeros", make([]byte, 1000), ErrNotDICOM.Error()},
		{"ends within a header", append(bytes.Clone(head), "\x02\x00\x02\x01OB\x00\x00"...), "dicom: (0002,0102) at offset 272: file meta information: ends within an element header"},
		{"ends within the first header", head[:137], "dicom: (0002,0000) at offset 132: file meta information: ends within an element header"},
		{"ends within a value", head[:170], "dicom: (0002,0002) at offset 158: file meta information: ends within the value"},
		{"ends within a long value", append(bytes.Clone(head), "\x02\x00\x02\x01OB\x00\x00\xff\x00\x00\x00abc"...), "dicom: (0002,0102) at offset 287: file meta information: ends within the value"},
		{"huge element", append(bytes.Clone(head), "\x02\x00\x02\x01OB\x00\x00\xff\xff\xff\xff"...), "dicom: (0002,0102) at offset 272: file meta information: length 4294967295 is out of bounds"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := ReadFileMeta(bytes.NewReader(test.data))
			if err == nil || err.Error() != test.want {
				t.Errorf("error %v, want %s", err, test.want)
			}
		})
	}
	broken := errors.New("broken")
	if _, _, err := ReadFileMeta(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("error %v, want one of the reader", err)
	}
	for n := range head {
		r := io.MultiReader(bytes.NewReader(head[:n]), iotest.ErrReader(broken))
		if _, _, err := ReadFileMeta(r); !errors.Is(err, broken) {
			t.Errorf("error %v after %d bytes, want one of the reader", err, n)
		}
	}
}

// FuzzFileMeta: any file gives an error or an offset within it, and what was
// understood can be written and read again.
func FuzzFileMeta(f *testing.F) {
	f.Add(testMeta.Append(nil))
	f.Add(testMeta.Append(nil)[128:])
	f.Add(new(dataSet).add(TagSOPClassUID, "UI", "1.9\x00").bytes)
	f.Add((&dataSet{implicit: true}).add(0x00020010, "", "1.2.840.10008.1.2\x00").bytes)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, n, err := ReadFileMeta(bytes.NewReader(data))
		if err != nil {
			return
		}
		if n < 0 || n > int64(len(data)) {
			t.Fatalf("data set at %d of %d", n, len(data))
		}
		head := m.Append(nil)
		again, n, err := ReadFileMeta(bytes.NewReader(head))
		if err != nil || n != int64(len(head)) {
			t.Fatalf("%+v: %d of %d, %v", m, n, len(head), err)
		}
		if again.TransferSyntaxUID != m.TransferSyntaxUID || again.SOPInstanceUID != m.SOPInstanceUID || again.SOPClassUID != m.SOPClassUID {
			t.Errorf("%+v becomes %+v", m, again)
		}
	})
}
