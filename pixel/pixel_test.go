package pixel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"testing"
	"testing/iotest"

	"dcmgate/dicom"
)

// element encapsulates fragments, the first of which is the Basic Offset Table (PS3.5 A.4).
func element(fragments ...string) []byte {
	var b []byte
	for _, f := range fragments {
		b = binary.LittleEndian.AppendUint32(append(b, 0xFE, 0xFF, 0x00, 0xE0), uint32(len(f)))
		b = append(b, f...)
	}
	return append(b, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0)
}

func gathered(f *Frames) (frames []string, err error) {
	for {
		frame, err := f.Next()
		if err == io.EOF {
			return frames, nil
		}
		if err != nil {
			return frames, err
		}
		frames = append(frames, string(frame))
	}
}

func TestFramesAreGathered(t *testing.T) {
	const a, b = "\xFF\xD8\xFFaaaa", "\xFF\xD8\xFFbbbb"
	header := make([]byte, headSize)
	header[0], header[4] = 1, headSize
	rle := string(header)
	for name, test := range map[string]struct {
		begins    func([]byte) bool
		fragments []string
		want      []string
	}{
		"none":                       {beginsJPEG, []string{""}, nil},
		"one":                        {beginsJPEG, []string{"", a}, []string{a}},
		"a fragment each":            {beginsJPEG, []string{"", a, b, a}, []string{a, b, a}},
		"with an offset table":       {beginsJPEG, []string{"\x00\x00\x00\x00\x0F\x00\x00\x00", a, b}, []string{a, b}},
		"with a wrong offset table":  {beginsJPEG, []string{"\x07\x00", a, b}, []string{a, b}},
		"several fragments each":     {beginsJPEG, []string{"", a, "cc", "dd", b, "ee"}, []string{a + "ccdd", b + "ee"}},
		"fragments longer than seen": {beginsJPEG, []string{"", a + rle + rle, "ee" + rle + rle, b + rle}, []string{a + rle + rle + "ee" + rle + rle, b + rle}},
		"empty fragments":            {beginsJPEG, []string{"", "", a, "", b, ""}, []string{a, b}},
		"no SOI":                     {beginsJPEG, []string{"", "xx", "yy"}, []string{"xxyy"}},
		"RLE":                        {beginsRLE(1), []string{"", rle + "aa", rle, "cc"}, []string{rle + "aa", rle + "cc"}},
		"RLE of other segments":      {beginsRLE(2), []string{"", rle + "aa", rle}, []string{rle + "aa" + rle}},
	} {
		for _, r := range []io.Reader{bytes.NewReader(element(test.fragments...)), iotest.OneByteReader(bytes.NewReader(element(test.fragments...)))} {
			got, err := gathered(&Frames{r: r, begins: test.begins, limit: 1000})
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
	}
}

func TestFramesLeaveWhatFollows(t *testing.T) {
	r := bytes.NewReader(append(element("", "aa"), "next"...))
	if _, err := gathered(&Frames{r: r, begins: beginsJPEG, limit: 10}); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "next" {
		t.Errorf("%q is left", rest)
	}
}

func TestHostileFragmentsAreRefused(t *testing.T) {
	item := []byte{0xFE, 0xFF, 0x00, 0xE0}
	table := append(bytes.Clone(item), 0, 0, 0, 0)
	for name, data := range map[string][]byte{
		"nothing":               nil,
		"no item":               {8, 0, 5, 0, 0, 0, 0, 0},
		"item delimiter":        append(bytes.Clone(table), 0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0),
		"undefined length":      append(append(bytes.Clone(table), item...), 255, 255, 255, 255),
		"longest length":        append(append(bytes.Clone(table), item...), 254, 255, 255, 255),
		"longest table":         append(bytes.Clone(item), 254, 255, 255, 255),
		"no end":                append(append(bytes.Clone(table), item...), 2, 0, 0, 0, 1, 2),
		"cut":                   append(append(bytes.Clone(table), item...), 100, 0, 0, 0, 1, 2),
		"frame beyond limit":    element("", string(make([]byte, 70)), string(make([]byte, 70))),
		"fragment beyond limit": element("", string(make([]byte, 101))),
	} {
		if got, err := gathered(&Frames{r: bytes.NewReader(data), begins: beginsJPEG, limit: 100}); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestImagesThatCannotBeAreRefused(t *testing.T) {
	good := Image{Rows: 2, Columns: 3, SamplesPerPixel: 1, BitsAllocated: 16, NumberOfFrames: 1, PhotometricInterpretation: "MONOCHROME2"}
	colour := Image{Rows: 2, Columns: 3, SamplesPerPixel: 3, BitsAllocated: 8, NumberOfFrames: 1, PhotometricInterpretation: "RGB"}
	change := func(i Image, f func(*Image)) Image { f(&i); return i }
	for name, test := range map[string]struct {
		ts    dicom.UID
		image Image
		ok    bool
	}{
		"grey":                   {dicom.JPEGLossless, good, true},
		"colour":                 {dicom.JPEGBaseline, colour, true},
		"RLE of 32 bits":         {dicom.RLELossless, change(colour, func(i *Image) { i.BitsAllocated = 32 }), true},
		"native":                 {dicom.ExplicitVRLittleEndian, good, false},
		"JPEG 2000":              {dicom.JPEG2000, good, false},
		"no rows":                {dicom.JPEGLossless, change(good, func(i *Image) { i.Rows = 0 }), false},
		"too many columns":       {dicom.JPEGLossless, change(good, func(i *Image) { i.Columns = 65536 }), false},
		"no samples":             {dicom.JPEGLossless, change(good, func(i *Image) { i.SamplesPerPixel = 0 }), false},
		"many samples":           {dicom.RLELossless, change(good, func(i *Image) { i.SamplesPerPixel = 65535 }), false},
		"1 bit":                  {dicom.RLELossless, change(good, func(i *Image) { i.BitsAllocated = 1 }), false},
		"12 bits":                {dicom.JPEGLossless, change(good, func(i *Image) { i.BitsAllocated = 12 }), false},
		"JPEG of 32 bits":        {dicom.JPEGLossless, change(good, func(i *Image) { i.BitsAllocated = 32 }), false},
		"RLE of 16 bytes":        {dicom.RLELossless, change(good, func(i *Image) { i.BitsAllocated, i.SamplesPerPixel = 32, 4 }), false},
		"no frames":              {dicom.JPEGLossless, change(good, func(i *Image) { i.NumberOfFrames = 0 }), false},
		"frame of 8 GB":          {dicom.JPEGLossless, change(good, func(i *Image) { i.Rows, i.Columns = 65535, 65535 }), false},
		"more than 4 GB":         {dicom.JPEGLossless, change(good, func(i *Image) { i.NumberOfFrames = math.MaxInt32 }), false},
		"RLE with halved chroma": {dicom.RLELossless, change(colour, func(i *Image) { i.PhotometricInterpretation = "YBR_FULL_422" }), false},
		"partial range":          {dicom.JPEGBaseline, change(colour, func(i *Image) { i.PhotometricInterpretation = "YBR_PARTIAL_420" }), false},
	} {
		_, err := NewDecoder(test.ts, test.image)
		if _, mine := errors.AsType[*Error](err); test.ok != (err == nil) || !test.ok && !mine {
			t.Errorf("%s: %v", name, err)
		}
	}
	d, err := NewDecoder(dicom.JPEGLossless, change(good, func(i *Image) { i.Rows, i.Columns = 8000, 8000 }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Decode(t.Context(), make([]byte, 1000)); err == nil || d.frame != nil {
		t.Errorf("memory for 128 MB because of 1000 bytes: %v", err)
	}
}

// PS3.3 C.7.6.3.1.2 and PS3.5 8.2.1: only colour of lossy JPEG changes.
func TestInterpretation(t *testing.T) {
	for _, test := range []struct {
		ts           dicom.UID
		before, want string
	}{
		{dicom.JPEGBaseline, "YBR_FULL_422", "RGB"}, {dicom.JPEGBaseline, "YBR_FULL", "RGB"}, {dicom.JPEGExtended, "YBR_FULL", "RGB"},
		{dicom.JPEGBaseline, "RGB", "RGB"}, {dicom.JPEGBaseline, "MONOCHROME1", "MONOCHROME1"},
		{dicom.JPEGLosslessSV1, "YBR_FULL", "YBR_FULL"}, {dicom.RLELossless, "YBR_FULL", "YBR_FULL"}, {dicom.RLELossless, "PALETTE COLOR", "PALETTE COLOR"},
		{dicom.ExplicitVRLittleEndian, "YBR_FULL_422", "YBR_FULL_422"},
	} {
		if got := Interpretation(test.ts, test.before); got != test.want {
			t.Errorf("%s in %s becomes %s, want %s", test.before, test.ts, got, test.want)
		}
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(element("", "\xFF\xD8\xFFaaaa", "bb"), false)
	f.Add(element("", "\x01\x00\x00\x00\x40\x00\x00\x00"+string(make([]byte, 56))+"xx"), true)
	f.Fuzz(func(t *testing.T, data []byte, rle bool) {
		frames := Frames{r: bytes.NewReader(data), begins: beginsJPEG, limit: 1000}
		if rle {
			frames.begins = beginsRLE(1)
		}
		got, _ := gathered(&frames)
		total := 0
		for _, frame := range got {
			if total += len(frame); len(frame) > 1000 {
				t.Errorf("frame of %d bytes", len(frame))
			}
		}
		if total > len(data) {
			t.Errorf("%d bytes out of %d", total, len(data))
		}
	})
}
