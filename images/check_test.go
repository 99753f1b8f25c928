package images

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// samples are the images that Go's own decoders are tested with: every sampling, progressive ones, restarts, and the PNG suite.
func samples(t testing.TB, patterns ...string) []string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src/image", pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		all = append(all, found...)
	}
	return all
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What Go's decoders decode is taken with the same dimensions; each of it cut, or with something behind it, is not.
func TestWholeImagesAreTaken(t *testing.T) {
	taken := 0
	for _, path := range samples(t, "testdata/*.jpeg", "testdata/*.png", "png/testdata/*.png", "png/testdata/pngsuite/*.png") {
		data := read(t, path)
		cfg, kind, err := image.DecodeConfig(bytes.NewReader(data))
		if err == nil {
			_, _, err = image.Decode(bytes.NewReader(data))
		}
		info, checked := Check(bytes.NewReader(data))
		if err != nil {
			if checked == nil {
				t.Errorf("%s is taken; decoding it says %v", path, err)
			}
			continue
		}
		if strings.HasSuffix(path, "truncated.jpeg") {
			if checked == nil {
				t.Errorf("%s is taken", path)
			}
			continue
		}
		taken++
		want := Info{PNG, cfg.Width, cfg.Height}
		if kind == "jpeg" {
			want.Kind = JPEG
		}
		if checked != nil || info != want {
			t.Errorf("%s: %+v, %v; want %+v", path, info, checked, want)
			continue
		}
		if len(data) > 20_000 {
			continue // they are in other ways like smaller ones
		}
		for _, n := range []int{1, 2, 10, len(data) / 2} {
			if _, err := Check(bytes.NewReader(data[:len(data)-n])); err == nil {
				t.Errorf("%s without its last %d bytes is taken", path, n)
			}
		}
		if _, err := Check(iotest.OneByteReader(io.MultiReader(bytes.NewReader(data), strings.NewReader("\x00\x00")))); err != nil {
			t.Errorf("%s with padding, read by the byte: %v", path, err)
		}
		for _, behind := range []string{"PK\x03\x04", "<script>", "\x00x", string(make([]byte, maxPadding+1))} {
			if _, err := Check(io.MultiReader(bytes.NewReader(data), strings.NewReader(behind))); err == nil {
				t.Errorf("%s followed by %.10q is taken", path, behind)
			}
		}
	}
	if taken < 60 {
		t.Errorf("only %d samples", taken)
	}
}

// bmpFile makes a BMP file of 5 x 3 pixels.
func bmpFile(bits, compression int, height int32, headerLength int, tail, rows []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("BM"), 0)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(14+headerLength+len(tail)))
	h := make([]byte, headerLength)
	binary.LittleEndian.PutUint32(h, uint32(headerLength))
	if headerLength == 12 {
		binary.LittleEndian.PutUint16(h[4:], 5)
		binary.LittleEndian.PutUint16(h[6:], uint16(height))
		h[8], h[10] = 1, byte(bits)
	} else {
		h[4], h[12], h[14], h[16] = 5, 1, byte(bits), byte(compression)
		binary.LittleEndian.PutUint32(h[8:], uint32(height))
	}
	return append(append(append(b, h...), tail...), rows...)
}

func TestBMP(t *testing.T) {
	palette := func(n int) []byte { return make([]byte, 4*n) }
	for _, row := range []struct {
		name string
		file []byte
		want string // "" is taken
	}{
		{"24 bits", bmpFile(24, 0, 3, 40, nil, make([]byte, 48)), ""},
		{"24 bits, top down", bmpFile(24, 0, -3, 40, nil, make([]byte, 48)), ""},
		{"24 bits, of OS/2", bmpFile(24, 0, 3, 12, nil, make([]byte, 48)), ""},
		{"8 bits", bmpFile(8, 0, 3, 40, palette(256), make([]byte, 24)), ""},
		{"1 bit", bmpFile(1, 0, 3, 124, palette(2), make([]byte, 12)), ""},
		{"32 bits with masks", bmpFile(32, 3, 3, 40, make([]byte, 12), make([]byte, 60)), ""},
		{"RLE8", bmpFile(8, 1, 3, 40, palette(256), []byte{5, 1, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 2, 1, 1, 0, 1}), ""},
		{"RLE4", bmpFile(4, 2, 3, 40, palette(16), []byte{5, 0x12, 0, 0, 0, 5, 0x12, 0x34, 0x50, 0, 0, 1}), ""},

		{"a byte less", bmpFile(24, 0, 3, 40, nil, make([]byte, 47)), "early"},
		{"more behind", bmpFile(24, 0, 3, 40, nil, append(make([]byte, 48), 'P')), "goes on"},
		{"no palette", bmpFile(8, 0, 3, 40, nil, make([]byte, 24)), "place"},
		{"RLE without end", bmpFile(8, 1, 3, 40, palette(256), []byte{5, 1, 0, 0}), "early"},
		{"RLE beyond the row", bmpFile(8, 1, 3, 40, palette(256), []byte{200, 1, 0, 1}), "leaves"},
		{"RLE beyond the image", bmpFile(8, 1, 3, 40, palette(256), []byte{0, 2, 0, 9, 0, 1}), "leaves"},
		{"RLE with 24 bits", bmpFile(24, 1, 3, 40, nil, make([]byte, 48)), "compression"},
		{"embedded JPEG", bmpFile(0, 4, 3, 40, nil, make([]byte, 48)), "bits"},
		{"no rows", bmpFile(24, 0, 0, 40, nil, nil), "pixels"},
		{"2^31 rows", bmpFile(24, 0, -1<<31, 40, nil, nil), "pixels"},
		{"too many rows", bmpFile(24, 0, 1<<30, 40, nil, nil), "pixels"},
		{"header of 41 bytes", bmpFile(24, 0, 3, 41, nil, make([]byte, 48)), "header"},
		{"only BM", []byte("BM"), "early"},
	} {
		info, err := Check(bytes.NewReader(row.file))
		if row.want == "" && (err != nil || info != Info{BMP, 5, 3}) || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%s: %+v, %v; want %q", row.name, info, err, row.want)
		}
	}
}

// encoded is an image of w x h pixels.
func encoded(t testing.TB, kind Kind, w, h int) []byte {
	t.Helper()
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range m.Pix {
		m.Pix[i] = byte(i * i / 7)
	}
	m.Set(0, 0, color.White)
	var b bytes.Buffer
	var err error
	switch kind {
	case JPEG:
		err = jpeg.Encode(&b, m, nil)
	case PNG:
		err = png.Encode(&b, m)
	case BMP:
		return bmpFile(24, 0, 3, 40, nil, make([]byte, 48))
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWhatIsNoImageIsRefused(t *testing.T) {
	j, p := encoded(t, JPEG, 40, 30), encoded(t, PNG, 40, 30)
	broken := func(data []byte, at int, with ...byte) []byte {
		out := bytes.Clone(data)
		copy(out[at:], with)
		return out
	}
	header := func(data ...byte) []byte { // with a sum that is right
		out := broken(p, 16, data...)
		binary.BigEndian.PutUint32(out[29:], crc32.ChecksumIEEE(out[12:29]))
		return out
	}
	frame := bytes.Index(j, []byte{0xFF, 0xC0})
	for _, row := range []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "not a JPEG"},
		{"text", []byte("hello"), "not a JPEG"},
		{"GIF", []byte("GIF89a\x01\x00\x01\x00"), "not a JPEG"},
		{"TIFF", []byte("II*\x00"), "not a JPEG"},
		{"HTML", []byte("<html>"), "not a JPEG"},
		{"DICOM", append(make([]byte, 128), "DICM"...), "not a JPEG"},
		{"a PNG signature alone", p[:8], "early"},
		{"a JPEG signature alone", j[:3], "early"},
		{"PNG, 65535 x 65535", header(0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF), "pixels"},
		{"PNG, 2^31 wide", header(0x7F, 0xFF, 0xFF, 0xFF), "pixels"},
		{"PNG, a bit of its sums", broken(p, 30, p[30]^1), "checksum"},
		{"PNG, a critical chunk nobody knows", broken(p, 37, 'A', 'B', 'C', 'D'), "ABCD"},
		{"PNG, no image data", append(bytes.Clone(p[:33]), p[len(p)-12:]...), "IEND"},
		{"JPEG, 65535 x 65535", broken(j, frame+5, 0xFF, 0xFF, 0xFF, 0xFF), "pixels"},
		{"JPEG, no rows", broken(j, frame+5, 0, 0), "pixels"},
		{"JPEG, twice the rows", broken(j, frame+5, 0, 60), "early"},
		{"JPEG, half the rows", broken(j, frame+5, 0, 15), "marker"},
		{"JPEG, arithmetic coding", broken(j, frame+1, 0xC9), "FFC9"},
		{"JPEG, lossless", broken(j, frame+1, 0xC3), "FFC3"},
		{"JPEG, 12 bits", broken(j, frame+4, 12), "8 bits"},
		{"JPEG of headers alone", append(bytes.Clone(j[:frame]), 0xFF, 0xD9), "no frame"},
		{"JPEG within JPEG", append([]byte{0xFF, 0xD8}, j...), "marker FFD8"},
	} {
		_, err := Check(bytes.NewReader(row.file))
		if _, ok := errors.AsType[*FormatError](err); !ok || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: %v, want %q", row.name, err, row.want)
		}
	}
}

// A bomb promises little and inflates to much, or the other way round.
func TestDecompressionBombs(t *testing.T) {
	p := encoded(t, PNG, 500, 500)
	small := bytes.Clone(p)
	copy(small[16:], []byte{0, 0, 0, 1, 0, 0, 0, 1})
	binary.BigEndian.PutUint32(small[29:], crc32.ChecksumIEEE(small[12:29]))
	if _, err := Check(bytes.NewReader(small)); err == nil || !strings.Contains(err.Error(), "more image data") {
		t.Errorf("%v", err)
	}
}

func TestErrorsOfTheSourceAreItsOwn(t *testing.T) {
	gone := errors.New("gone")
	for _, kind := range []Kind{JPEG, PNG, BMP} {
		data := encoded(t, kind, 40, 30)
		for _, n := range []int{0, 1, 20, len(data) / 2, len(data)} {
			for _, err := range []error{gone, io.ErrUnexpectedEOF} {
				r := io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(err))
				if _, got := Check(r); !errors.Is(got, err) {
					t.Errorf("%s, %d bytes: %v, want %v", kind, n, got, err)
				}
			}
		}
	}
}

func TestMemoryDoesNotGrowWithTheImage(t *testing.T) {
	j, p := encoded(t, JPEG, 700, 700), encoded(t, PNG, 700, 700)
	for _, data := range [][]byte{j, p} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := Check(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		bytesPerRun := after.TotalAlloc - before.TotalAlloc
		if bytesPerRun > 256<<10 {
			t.Errorf("%d bytes are allocated for an image of %d", bytesPerRun, len(data))
		}
	}
}

// What is taken, Go decodes as well, unless it is of a kind that it does not know.
func FuzzCheck(f *testing.F) {
	for _, path := range samples(f, "testdata/video-005*.jpeg", "png/testdata/pngsuite/basn*.png") {
		f.Add(read(f, path))
	}
	f.Add(bmpFile(8, 1, 3, 40, make([]byte, 1024), []byte{5, 1, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 2, 1, 1, 0, 1}))
	f.Add(bmpFile(24, 0, 3, 40, nil, make([]byte, 48)))
	f.Fuzz(func(t *testing.T, data []byte) {
		info, err := Check(bytes.NewReader(data))
		if err != nil {
			if _, ok := errors.AsType[*FormatError](err); !ok {
				t.Fatal(err)
			}
			return
		}
		if info.Kind == BMP || info.Width*info.Height > 1<<20 {
			return
		}
		m, _, err := image.Decode(bytes.NewReader(data))
		if err != nil {
			var unsupported jpeg.UnsupportedError
			var unsupportedPNG png.UnsupportedError
			if errors.As(err, &unsupported) || errors.As(err, &unsupportedPNG) {
				return
			}
			t.Fatalf("taken; decoding it says %v", err)
		}
		if b := m.Bounds(); b.Dx() != info.Width || b.Dy() != info.Height {
			t.Fatalf("%v, want %+v", b, info)
		}
	})
}
