package dicom

import (
	"strings"
	"testing"
)

func endOf(ts UID, data []byte) Ending {
	e := NewExtent(ts)
	e.Write(data)
	return e.End()
}

func TestExtent(t *testing.T) {
	plain := func() *dataSet { return new(dataSet).add(TagSOPInstanceUID, "UI", "1.2\x00") }
	fragments := func() *dataSet {
		return plain().sequence(tagPixelData, "OB").add(tagItem, "", "").add(tagItem, "", "fragment")
	}
	for _, tc := range []struct {
		name string
		data *dataSet
		want Ending
	}{
		{"nothing", new(dataSet), EndCut},
		{"elements", plain().add(tagLast, "LO", "7 "), EndWhole},
		{"native pixel data", plain().add(tagPixelData, "OW", strings.Repeat("x", 70000)), EndWhole},
		{"elements behind pixel data", plain().add(tagPixelData, "OW", "xx").add(0xFFFCFFFC, "OB", "\x00\x00"), EndWhole},
		{"pixel data cut", plain().head(tagPixelData, "OW", 70000).add(tagLast, "LO", "xx"), EndCut},
		{"value that did not begin", plain().head(tagPixelData, "OW", 2), EndCut},
		{"fragments", fragments().endSequence(), EndWhole},
		{"fragments without delimiter", fragments(), EndOpen},
		{"fragment cut", fragments().head(tagItem, "", 9), EndCut},
		{"sequence without delimiters", plain().sequence(tagSequence, "SQ").item().add(tagLast, "LO", "7 "), EndOpen},
		{"padding to a block", &dataSet{bytes: append(plain().bytes, make([]byte, 509)...)}, EndWhole},
		{"a few bytes of padding", &dataSet{bytes: append(plain().bytes, 0, 0, 0)}, EndWhole},
		{"header cut", &dataSet{bytes: append(plain().bytes, 0x10, 0, 0x20)}, EndCut},
		{"malformed", plain().add(tagItem, "", "x"), EndWhole},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := endOf(ExplicitVRLittleEndian, tc.data.bytes); got != tc.want {
				t.Errorf("ends %v, want %v", got, tc.want)
			}
		})
	}
}

// Wherever a data set is cut but between two elements, it shows; in whatever pieces it comes.
func TestExtentOfEveryPrefix(t *testing.T) {
	for _, d := range []*dataSet{{}, {implicit: true}, {big: true}} {
		between := map[int]bool{}
		for range 4 {
			d.add(TagSOPClassUID, "UI", "1.2.840.10008.5.1.4.1.1.2\x00").add(tagLast, "LO", "7 ")
			between[len(d.bytes)] = true
			between[len(d.bytes)-len(new(dataSet).add(tagLast, "LO", "7 ").bytes)] = true
		}
		for n := range len(d.bytes) + 1 {
			want := EndCut
			if between[n] || d.big && between[n-1] { // there a tag begins with a zero, which could be padding
				want = EndWhole
			}
			e := NewExtent(ImplicitVRLittleEndian)
			for i := range n {
				e.Write(d.bytes[i : i+1])
			}
			if one := endOf(ImplicitVRLittleEndian, d.bytes[:n]); one != want || e.End() != want {
				t.Fatalf("%+v: the first %d bytes end %v and %v, want %v", d, n, one, e.End(), want)
			}
		}
	}
}

// pydicom's files are whole, but for those that are there because they are not.
func TestExtentOfCorpus(t *testing.T) {
	odd := map[string]Ending{"MR_truncated.dcm": EndCut, "rtplan_truncated.dcm": EndCut}
	for _, file := range corpus(t) {
		if got := endOf(file.meta.TransferSyntaxUID, file.data); got != odd[file.name] {
			t.Errorf("%s ends %v, want %v", file.name, got, odd[file.name])
		}
		if n := len(file.data); n > 0 && !file.meta.TransferSyntaxUID.Deflated() {
			if got := endOf(file.meta.TransferSyntaxUID, file.data[:n-1]); got == EndWhole && odd[file.name] == EndWhole && file.data[n-1] != 0 {
				t.Errorf("%s without its last byte ends %v", file.name, got)
			}
		}
	}
}

func FuzzExtent(f *testing.F) {
	f.Add(ctHeader(), 7)
	f.Fuzz(func(t *testing.T, data []byte, piece int) {
		piece = max(piece, 1)
		for _, ts := range []UID{ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, JPEGBaseline} {
			e := NewExtent(ts)
			for rest := data; len(rest) > 0; {
				n := min(piece, len(rest))
				e.Write(rest[:n])
				rest = rest[n:]
			}
			if got, want := e.End(), endOf(ts, data); got != want {
				t.Errorf("%s in pieces of %d: ends %v, in one %v", ts, piece, got, want)
			}
		}
	})
}
