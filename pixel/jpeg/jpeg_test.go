package jpeg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	stdjpeg "image/jpeg"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func interleaved(rows, columns, samples, size int) Format {
	return Format{Rows: rows, Columns: columns, Samples: samples, SampleBytes: size, PixelStride: samples, SampleStride: 1}
}

// noise makes samples that change little from one to the next, and now and then a lot.
func noise(random *rand.Rand, n, precision int) []uint16 {
	s := make([]uint16, n)
	v := 1 << (precision - 1)
	for i := range s {
		if v += random.IntN(7) - 3; random.IntN(9) == 0 {
			v = random.IntN(1 << precision)
		}
		v = min(max(v, 0), 1<<precision-1)
		s[i] = uint16(v)
	}
	return s
}

func TestLosslessFramesComeOutAsTheyWentIn(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range [][2]int{{1, 1}, {1, 7}, {5, 1}, {13, 17}} {
		for selection := 1; selection <= 7; selection++ {
			for _, precision := range []int{2, 8, 12, 15, 16} {
				for _, scans := range [][][]int{{{0}}, {{0, 1, 2}}, {{0}, {1}, {2}}, {{2, 0}, {1}}} {
					for _, restart := range []int{0, 1, 2} {
						e := encoder{rows: size[0], columns: size[1], precision: precision, selection: selection, restartRows: restart, scans: scans}
						e.transform = random.IntN(min(precision, 3))
						components := 0
						for _, s := range scans {
							components += len(s)
						}
						for range components {
							samples := noise(random, e.rows*e.columns, precision)
							for i := range samples {
								samples[i] &^= 1<<e.transform - 1
							}
							e.samples = append(e.samples, samples)
						}
						if restart == 2 {
							e.padding = []byte{0xFF, 0xFF}
						}
						checkLossless(t, &e)
					}
				}
			}
		}
	}
}

// checkLossless decodes a frame by pixel and by plane.
func checkLossless(t *testing.T, e *encoder) {
	t.Helper()
	data := e.encode()
	pixels := e.rows * e.columns
	size := 1
	if e.precision > 8 {
		size = 2
	}
	by := interleaved(e.rows, e.columns, len(e.samples), size)
	plane := by
	plane.PixelStride, plane.SampleStride = 1, pixels
	var d Decoder
	for _, f := range []Format{by, plane} {
		out := make([]byte, f.Size())
		if err := d.Decode(t.Context(), out, data, f); err != nil {
			t.Fatalf("%d rows, %d columns, selection %d, %d bits, scans %v, restart %d: %v", e.rows, e.columns, e.selection, e.precision, e.scans, e.restartRows, err)
		}
		for c, samples := range e.samples {
			for p, want := range samples {
				at := p*f.PixelStride + c*f.SampleStride
				got := uint16(out[at*size])
				if size == 2 {
					got = binary.LittleEndian.Uint16(out[at*2:])
				}
				if got != want {
					t.Fatalf("%+v, selection %d, %d bits, component %d, pixel %d: %d, want %d", f, e.selection, e.precision, c, p, got, want)
				}
			}
		}
	}
}

// T.81 table H.1, with Ra = 100, Rb = 40, Rc = 71, and where the sum is beyond 16 bits.
func TestPredictors(t *testing.T) {
	for _, test := range []struct {
		a, b, c uint16
		want    [8]uint16
	}{
		{100, 40, 71, [8]uint16{1: 100, 40, 71, 69, 84, 54, 70}},
		{65535, 65535, 0, [8]uint16{1: 65535, 65535, 0, 65534, 32766, 32766, 65535}},
		{0, 0, 65535, [8]uint16{1: 0, 0, 65535, 1, 32768, 32768, 0}},
	} {
		for selection := 1; selection <= 7; selection++ {
			if got := predict(selection, []uint16{test.a, 0}, []uint16{test.c, test.b}, 1); got != test.want[selection] {
				t.Errorf("selection %d of %+v: %d", selection, test, got)
			}
		}
	}
}

// The order of T.81 figure A.6: diagonals in turn upwards and downwards.
func TestZigzag(t *testing.T) {
	k := 0
	for sum := range 15 {
		for i := range 8 {
			row := i
			if sum%2 == 0 {
				row = 7 - i
			}
			if column := sum - row; column >= 0 && column < 8 {
				if int(zigzag[k]) != 8*row+column {
					t.Fatalf("coefficient %d is at %d, want %d", k, zigzag[k], 8*row+column)
				}
				k++
			}
		}
	}
}

// The inverse transform keeps to within 1 of T.81 A.3.3, as exact as one in fixed point can be asked to be.
func TestInverseTransform(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for _, precision := range []int{8, 12} {
		center := 1 << (precision - 1)
		for n := range 300 {
			var block [64]int32
			for k := range block {
				if n%2 == 0 || random.IntN(8) == 0 {
					block[k] = int32(random.IntN(center/4+1) - center/8)
				}
			}
			want := exact(&block, center)
			var got [64]uint16
			inverse(&block, got[:], 8, precision)
			for i := range got {
				if math.Abs(float64(got[i])-want[i]) > 1 {
					t.Fatalf("%d bits: sample %d is %d, want %f", precision, i, got[i], want[i])
				}
			}
		}
		for dc := int32(-8 * int32(center)); dc < 8*int32(center); dc += 3 {
			var a, b [64]uint16
			block := [64]int32{dc}
			flat(dc, a[:], 8, precision)
			if inverse(&block, b[:], 8, precision); a != b {
				t.Fatalf("%d bits: DC %d alone makes %d and %d", precision, dc, a[0], b[0])
			}
		}
	}
}

func exact(block *[64]int32, center int) (samples [64]float64) {
	c := func(u int) float64 {
		if u == 0 {
			return math.Sqrt2 / 2
		}
		return 1
	}
	for y := range 8 {
		for x := range 8 {
			sum := 0.0
			for v := range 8 {
				for u := range 8 {
					sum += c(u) * c(v) * float64(block[8*v+u]) * math.Cos(float64(2*x+1)*float64(u)*math.Pi/16) * math.Cos(float64(2*y+1)*float64(v)*math.Pi/16)
				}
			}
			samples[8*y+x] = min(max(sum/4+float64(center), 0), float64(2*center-1))
		}
	}
	return samples
}

// Baseline frames of the standard library's encoder, which halves chroma both ways, decode to nearly what went in.
func TestBaseline(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {3, 5}, {8, 8}, {17, 33}, {64, 47}} {
		rows, columns := size[0], size[1]
		picture, grey := image.NewRGBA(image.Rect(0, 0, columns, rows)), image.NewGray(image.Rect(0, 0, columns, rows))
		for y := range rows {
			for x := range columns {
				picture.Set(x, y, color.RGBA{uint8(60 + 2*x), uint8(200 - 2*y), uint8(90 + x + y), 255})
				grey.Set(x, y, color.Gray{uint8(3*x + y)})
			}
		}
		for _, test := range []struct {
			picture image.Image
			samples int
		}{{picture, 3}, {grey, 1}} {
			data := encodeBaseline(t, test.picture)
			f := interleaved(rows, columns, test.samples, 1)
			f.RGB = test.samples == 3
			got := make([]byte, f.Size())
			if err := new(Decoder).Decode(t.Context(), got, data, f); err != nil {
				t.Fatalf("%v, %d samples: %v", size, test.samples, err)
			}
			for i := range rows * columns {
				r, g, b, _ := test.picture.At(i%columns, i/columns).RGBA()
				for c, want := range []uint32{r, g, b}[:test.samples] {
					if diff := int(got[i*test.samples+c]) - int(want>>8); diff < -6 || diff > 6 {
						t.Fatalf("%v: pixel %d of component %d is off by %d", size, i, c, diff)
					}
				}
			}
		}
	}
}

// Two blocks in restart intervals of their own, by hand. Their DC difference is 4 times 16, so that samples are 128 + 64/8; the
// second starts from 0 again (T.81 F.2.1.3.1). With each code as short as can be: category 3 is 0, and so is the end of block.
func TestRestartOfADCTScan(t *testing.T) {
	segment := func(marker byte, p ...byte) []byte { return append([]byte{0xFF, marker, 0, byte(len(p) + 2)}, p...) }
	one := append([]byte{1}, make([]byte, 15)...) // a single code of one bit
	data := slices.Concat([]byte{0xFF, markerSOI},
		segment(markerDQT, append([]byte{0}, bytes.Repeat([]byte{16}, 64)...)...),
		segment(markerSOF0, 8, 0, 8, 0, 16, 1, 1, 0x11, 0),
		segment(markerDHT, slices.Concat([]byte{0x00}, one, []byte{3}, []byte{0x10}, one, []byte{0})...),
		segment(markerDRI, 0, 1),
		segment(markerSOS, 1, 1, 0, 0, 63, 0),
		[]byte{0b0_100_0_111, 0xFF, markerRST0, 0b0_100_0_111, 0xFF, markerEOI})
	f := interleaved(8, 16, 1, 1)
	got := make([]byte, f.Size())
	if err := new(Decoder).Decode(t.Context(), got, data, f); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{136}, 128)) {
		t.Errorf("%v, %v", got, err)
	}
	data[len(data)-4]++ // RST1 in place of RST0
	if err := new(Decoder).Decode(t.Context(), got, data, f); err == nil {
		t.Error("a restart marker out of turn is accepted")
	}
}

func encodeBaseline(t testing.TB, picture image.Image) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := stdjpeg.Encode(&b, picture, &stdjpeg.Options{Quality: 98}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// YCbCr to RGB of PS3.3 C.7.6.3.1.2, the corners of the range included.
func TestToRGB(t *testing.T) {
	for y := 0; y < 256; y += 5 {
		for cb := 0; cb < 256; cb += 5 {
			for cr := 0; cr < 256; cr += 5 {
				a, b, c := []uint8{uint8(y)}, []uint8{uint8(cb)}, []uint8{uint8(cr)}
				toRGB(a, b, c, 8)
				fy, fb, fr := float64(y), float64(cb)-128, float64(cr)-128
				for i, want := range []float64{fy + 1.402*fr, fy - 0.344136*fb - 0.714136*fr, fy + 1.772*fb} {
					got := float64([]uint8{a[0], b[0], c[0]}[i])
					if want = min(max(want, 0), 255); math.Abs(got-want) > 0.51 {
						t.Fatalf("%d %d %d: component %d is %v, want %v", y, cb, cr, i, got, want)
					}
				}
			}
		}
	}
}

// Chroma halved horizontally, by hand: (3*nearer + other + 1 or 2) / 4.
func TestDoubleWidth(t *testing.T) {
	out := make([]uint8, 8)
	if doubleWidth(out, []uint8{10, 20, 40, 41}); !bytes.Equal(out, []uint8{10, 13, 17, 25, 35, 40, 41, 41}) {
		t.Errorf("%v", out)
	}
	if doubleSums(out, []int32{40, 80, 160, 164}); !bytes.Equal(out, []uint8{10, 12, 18, 25, 35, 40, 41, 41}) {
		t.Errorf("%v", out)
	}
}

func sampleFrames(t testing.TB) map[string][]byte {
	random := rand.New(rand.NewPCG(5, 6))
	frames := map[string][]byte{}
	for _, components := range []int{1, 3} {
		e := encoder{rows: 9, columns: 11, precision: 12, selection: 6, restartRows: 4, scans: [][]int{{0}}}
		if components == 3 {
			e.precision, e.scans, e.restartRows = 8, [][]int{{0, 1, 2}}, 0
		}
		for range components {
			e.samples = append(e.samples, noise(random, 99, e.precision))
		}
		frames[fmt.Sprint("lossless ", components)] = e.encode()
	}
	picture := image.NewRGBA(image.Rect(0, 0, 11, 9))
	random2 := rand.New(rand.NewPCG(7, 8))
	for i := range picture.Pix {
		picture.Pix[i] = uint8(random2.UintN(256))
	}
	frames["baseline 3"] = encodeBaseline(t, picture)
	return frames
}

func formatOf(name string) Format {
	f := interleaved(9, 11, int(name[len(name)-1]-'0'), 2)
	f.RGB = name == "baseline 3"
	return f
}

func TestCutFramesAreRefused(t *testing.T) {
	var d Decoder
	for name, data := range sampleFrames(t) {
		f := formatOf(name)
		out := make([]byte, f.Size())
		if err := d.Decode(t.Context(), out, data, f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range len(data) - 2 { // without EOI nothing is missing
			var malformed *FormatError
			if err := d.Decode(t.Context(), out, data[:n], f); !errors.As(err, &malformed) {
				t.Fatalf("%s, %d of %d bytes: %v", name, n, len(data), err)
			}
		}
	}
}

func TestHostileFramesAreRefused(t *testing.T) {
	good := (&encoder{rows: 2, columns: 2, precision: 8, selection: 1, scans: [][]int{{0}}, samples: [][]uint16{{1, 2, 3, 4}}}).encode()
	sof := bytes.Index(good, []byte{0xFF, markerSOF3}) + 4
	dht := bytes.Index(good, []byte{0xFF, markerDHT}) + 4
	sos := bytes.Index(good, []byte{0xFF, markerSOS}) + 4
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	for name, test := range map[string]struct {
		data        []byte
		unsupported bool
	}{
		"nothing":              {nil, false},
		"no SOI":               {good[2:], false},
		"more rows":            {change(sof+1, 0, 3), false},
		"65535 columns":        {change(sof+3, 255, 255), false},
		"precision":            {change(sof, 17), false},
		"too precise":          {change(sof, 12), false},
		"components":           {change(sof+5, 2), false},
		"sampling factor 0":    {change(sof+7, 0x01), false},
		"sampling factor 5":    {change(sof+7, 0x51), false},
		"table class":          {change(dht, 0x20), false},
		"table id":             {change(dht, 0x04), false},
		"more codes than fit":  {change(dht+1, 3), false},
		"more codes than come": {change(dht+16, 255), false},
		"unknown component":    {change(sos+1, 9), false},
		"table of scan":        {change(sos+2, 0x10), false},
		"selection 0":          {change(sos+3, 0), false},
		"selection 8":          {change(sos+3, 8), false},
		"point transform":      {change(sos+5, 8), false},
		"progressive":          {change(sof-3, 0xC2), true},
		"arithmetic":           {change(sof-3, 0xC9), true},
		"hierarchical":         {change(sof-3, 0xC5), true},
		"baseline of no bits":  {change(sof-3, 0xC0), false},
		"endless tables":       {slices.Concat(good[:dht-4], bytes.Repeat(good[dht-4:sos-4], 300), good[sos-4:]), false},
	} {
		var malformed *FormatError
		var unsupported *UnsupportedError
		err := new(Decoder).Decode(t.Context(), make([]byte, 4), test.data, interleaved(2, 2, 1, 1))
		if test.unsupported && !errors.As(err, &unsupported) || !test.unsupported && !errors.As(err, &malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(Decoder).Decode(t.Context(), make([]byte, 4), good, interleaved(2, 2, 1, 1)); err != nil {
		t.Error(err)
	}
	if err := new(Decoder).Decode(t.Context(), make([]byte, 3), good, interleaved(2, 2, 1, 1)); err == nil {
		t.Error("a frame of 4 bytes fits 3")
	}
}

func FuzzDecode(f *testing.F) {
	for name, data := range sampleFrames(f) {
		f.Add(data, uint8(formatOf(name).Samples), name == "baseline 3")
	}
	f.Fuzz(func(t *testing.T, data []byte, samples uint8, rgb bool) {
		want := interleaved(9, 11, int(samples), 2)
		if samples < 1 || samples > 4 {
			return
		}
		want.RGB = rgb
		out := make([]byte, want.Size()+1)
		out[want.Size()] = 0xA5
		var d Decoder
		if err := d.Decode(t.Context(), out[:want.Size()], data, want); err == nil {
			again := make([]byte, want.Size())
			if err := d.Decode(t.Context(), again, data, want); err != nil || !bytes.Equal(again, out[:want.Size()]) {
				t.Errorf("the second time: %v", err)
			}
		}
		if out[want.Size()] != 0xA5 {
			t.Error("wrote beyond the frame")
		}
	})
}
