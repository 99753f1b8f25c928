package dicom

import (
	"bytes"
	"compress/flate"
	"math/rand/v2"
	"strings"
	"testing"
)

func deflate(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestScannerDeflated(t *testing.T) {
	noise := make([]byte, 20_000)
	source := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(source.Uint32())
	}
	d := new(dataSet).add(TagSOPInstanceUID, "UI", "1.2\x00").add(tagPrivate, "UN", string(noise)).add(tagLast, "LO", "7 ")
	d.add(tagPixelData, "OW", strings.Repeat("pixels", 10_000))
	data := deflate(t, d.bytes)
	for _, piece := range []int{1, 1000, len(data)} {
		s := NewScanner(DeflatedExplicitVRLittleEndian, []Tag{TagSOPInstanceUID, tagLast})
		for rest := data; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			s.Write(rest[:min(piece, len(rest))])
		}
		expect(t, s, "(0008,0018) UI 1.2\x00", "(0010,0020) LO 7 ")
	}
	// The data set ends before there is enough for an attempt.
	short := deflate(t, new(dataSet).add(tagLast, "LO", "7 ").bytes)
	s := scanOf(t, DeflatedExplicitVRLittleEndian, short, tagLast)
	if v, ok := s.Value(tagLast); !ok || string(v) != "7 " {
		t.Errorf("Value = %q, %v", v, ok)
	}
}

func TestScannerNotDeflated(t *testing.T) {
	s := scanOf(t, DeflatedExplicitVRLittleEndian, bytes.Repeat([]byte{0xFF}, 10_000), tagLast)
	if s.Err() == nil || !s.Done() {
		t.Errorf("Err = %v, Done = %v", s.Err(), s.Done())
	}
}

// A small input that inflates to much more than is looked at.
func TestScannerDeflateBomb(t *testing.T) {
	d := new(dataSet).add(tagPrivate, "UN", strings.Repeat("\x00", 3*maxInflated)).add(tagLast, "LO", "7 ")
	s := scanOf(t, DeflatedExplicitVRLittleEndian, deflate(t, d.bytes), tagLast)
	expect(t, s)
	if !s.Done() {
		t.Error("goes on")
	}
}
