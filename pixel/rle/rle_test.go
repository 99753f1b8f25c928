package rle

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"
)

// pack is the encoder of PS3.5 G.3.1, for the tests.
func pack(data []byte) (out []byte) {
	for len(data) > 0 {
		n := 1
		for n < len(data) && n < 128 && data[n] == data[0] {
			n++
		}
		if n > 1 {
			out, data = append(out, byte(257-n), data[0]), data[n:]
			continue
		}
		for n < len(data) && n < 128 && (n+1 == len(data) || data[n] != data[n+1]) {
			n++
		}
		out, data = append(append(out, byte(n-1)), data[:n]...), data[n:]
	}
	if len(out)%2 != 0 {
		out = append(out, 0)
	}
	return out
}

func frameOf(segments ...[]byte) []byte {
	header := make([]byte, headerSize)
	binary.LittleEndian.PutUint32(header, uint32(len(segments)))
	var body []byte
	for i, s := range segments {
		binary.LittleEndian.PutUint32(header[4*(i+1):], uint32(headerSize+len(body)))
		body = append(body, s...)
	}
	return append(header, body...)
}

// encode encodes native samples, little endian and by pixel.
func encode(native []byte, l Layout) []byte {
	var segments [][]byte
	for i := range l.Samples * l.SampleBytes {
		at, stride := l.place(i)
		segment := make([]byte, l.Pixels)
		for p := range segment {
			segment[p] = native[at+p*stride]
		}
		segments = append(segments, pack(segment))
	}
	return frameOf(segments...)
}

// Golden bytes: two pixels of two samples of 16 bits, the most significant bytes first (PS3.5 G.2, G.5).
func TestSegmentsGoWhereTheirBytesBelong(t *testing.T) {
	frame := frameOf([]byte{1, 0x11, 0x21}, []byte{1, 0x12, 0x22}, []byte{255, 0x13}, []byte{0, 0x14, 0, 0x24, 0})
	want := []byte{0x12, 0x11, 0x14, 0x13, 0x22, 0x21, 0x24, 0x13}
	byPlane := []byte{0x12, 0x11, 0x22, 0x21, 0x14, 0x13, 0x24, 0x13}
	for plane, want := range map[bool][]byte{false: want, true: byPlane} {
		got := make([]byte, 8)
		if err := Decode(t.Context(), got, frame, Layout{Pixels: 2, Samples: 2, SampleBytes: 2, ByPlane: plane}); err != nil || !bytes.Equal(got, want) {
			t.Errorf("by plane %v: % x, %v; want % x", plane, got, err, want)
		}
	}
}

func TestDecodingEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Decode(ctx, make([]byte, 2), frameOf(pack([]byte{1, 2})), Layout{Pixels: 2, Samples: 1, SampleBytes: 1}); err != context.Canceled {
		t.Error(err)
	}
}

// PS3.5 G.3.2: n from 0 to 127 are n+1 literal bytes, -1 to -127 repeat a byte 1-n times, -128 says nothing.
func TestUnpack(t *testing.T) {
	long := bytes.Repeat([]byte{7}, 128)
	for name, test := range map[string]struct{ packed, want []byte }{
		"literal":              {[]byte{2, 1, 2, 3}, []byte{1, 2, 3}},
		"replicate":            {[]byte{0xFE, 9}, []byte{9, 9, 9}},
		"longest replicate":    {[]byte{0x81, 7}, long},
		"longest literal":      {append([]byte{127}, long...), long},
		"minus 128":            {[]byte{0x80, 0x80, 0, 5}, []byte{5}},
		"padding":              {[]byte{0, 5, 0}, []byte{5}},
		"something behind":     {[]byte{0, 5, 0x90, 5}, []byte{5}},
		"a run after the next": {[]byte{0xFF, 1, 1, 2, 3, 0xFF, 4}, []byte{1, 1, 2, 3, 4, 4}},
	} {
		got := make([]byte, len(test.want))
		if err := Decode(t.Context(), got, frameOf(test.packed), Layout{Pixels: len(got), Samples: 1, SampleBytes: 1}); err != nil || !bytes.Equal(got, test.want) {
			t.Errorf("%s: % x, %v", name, got, err)
		}
	}
}

func TestHostileFramesAreRefused(t *testing.T) {
	good := frameOf([]byte{3, 1, 2, 3, 4})
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	for name, frame := range map[string][]byte{
		"nothing":                {},
		"half a header":          good[:40],
		"no segments":            change(0, 0),
		"two segments":           change(0, 2),
		"2^32-1 segments":        change(0, 255, 255, 255, 255),
		"offset in the header":   change(4, 8),
		"offset beyond":          change(4, 200),
		"offset far beyond":      change(4, 255, 255, 255, 255),
		"literal over the end":   change(64, 4),
		"replicate over the end": change(64, 0x81),
		"literal cut":            good[:67],
		"a run and no more":      append(change(64, 0xFF, 1), 0xFF),
		"nothing but minus 128":  append(change(64), bytes.Repeat([]byte{128}, 50)...)[:64],
		"minus 128 to the end":   frameOf(bytes.Repeat([]byte{128}, 50)),
	} {
		var malformed *FormatError
		if err := Decode(t.Context(), make([]byte, 4), frame, Layout{Pixels: 4, Samples: 1, SampleBytes: 1}); !errors.As(err, &malformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, l := range []Layout{{}, {Pixels: 1, Samples: 2, SampleBytes: 8}, {Pixels: 5, Samples: 1, SampleBytes: 1}} {
		if err := Decode(t.Context(), make([]byte, 4), good, l); err == nil {
			t.Errorf("%+v is accepted", l)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 4, 4, 4, 4, 5, 6, 6, 7}, uint8(1), uint8(1), false)
	f.Add([]byte{1, 2, 3, 4, 4, 4, 4, 4, 5, 6, 6, 7}, uint8(3), uint8(2), true)
	f.Add(frameOf([]byte{3, 1, 2, 3, 4}), uint8(1), uint8(1), false)
	f.Fuzz(func(t *testing.T, data []byte, samples, size uint8, plane bool) {
		l := Layout{Samples: int(samples%4) + 1, SampleBytes: int(size%3) + 1, ByPlane: plane}
		l.Pixels = len(data) / (l.Samples * l.SampleBytes)
		if l.Pixels == 0 {
			return
		}
		data = data[:l.Size()]
		got := make([]byte, l.Size())
		if err := Decode(t.Context(), got, encode(data, l), l); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%+v: %v", l, err)
		}
		_ = Decode(t.Context(), got, data, l) // whatever it is, it must not panic
	})
}
