package jpeg

import (
	"encoding/binary"
	"fmt"
)

// Markers of T.81 table B.1.
const (
	markerSOF0 = 0xC0 // baseline DCT
	markerSOF1 = 0xC1 // extended sequential DCT
	markerSOF3 = 0xC3 // lossless, sequential
	markerDHT  = 0xC4
	markerSOFF = 0xCF // the last of the SOFn; DHT, JPG and DAC are among them
	markerJPG  = 0xC8
	markerDAC  = 0xCC
	markerRST0 = 0xD0
	markerRST7 = 0xD7
	markerSOI  = 0xD8
	markerEOI  = 0xD9
	markerSOS  = 0xDA
	markerDQT  = 0xDB
	markerDNL  = 0xDC
	markerDRI  = 0xDD
	markerTEM  = 0x01
)

// maxComponents is what Format allows.
const maxComponents = 4

// A FormatError says where and why a frame cannot be decoded.
type FormatError struct {
	Offset int // in bytes from the begin of the frame
	Reason string
}

func (e *FormatError) Error() string { return fmt.Sprintf("jpeg: %s at offset %d", e.Reason, e.Offset) }

// An UnsupportedError names a coding process that this package does not decode.
type UnsupportedError struct{ Process string }

func (e *UnsupportedError) Error() string { return "jpeg: " + e.Process + " is not supported" }

// sofNames are the processes that are not decoded, by their marker.
var sofNames = map[byte]string{
	0xC2: "progressive DCT", 0xC5: "hierarchical coding", 0xC6: "hierarchical coding", 0xC7: "hierarchical coding",
	0xC9: "arithmetic coding", 0xCA: "arithmetic coding", 0xCB: "arithmetic coding", 0xCD: "arithmetic coding",
	0xCE: "arithmetic coding", 0xCF: "arithmetic coding",
}

// component is a component of the frame (T.81 B.2.2).
type component struct {
	id            byte
	h, v          int // sampling factors
	quantization  byte
	width, height int // in samples
	decoded       bool
}

// frame is what SOFn says.
type frame struct {
	marker     byte
	precision  int
	rows       int
	columns    int
	components []component
	hMax, vMax int
}

func (f *frame) lossless() bool { return f.marker == markerSOF3 }

// scan is what SOS says (B.2.3).
type scan struct {
	components []scanComponent
	ss, se     int // the selection value, or the first and last coefficient
	ah, al     int // the point transform is al
}

type scanComponent struct {
	index  int // in frame.components
	dc, ac byte
}

func (d *Decoder) fail(offset int, reason string) error { return &FormatError{offset, reason} }

// marker finds the next marker at or behind pos. Anything before it, fill bytes among it, is passed over.
func (d *Decoder) marker(pos int) (marker byte, next int, err error) {
	for ; pos+1 < len(d.data); pos++ {
		if m := d.data[pos+1]; d.data[pos] == 0xFF && m != 0 && m != 0xFF {
			return m, pos + 2, nil
		}
	}
	return 0, pos, d.fail(len(d.data), "ends before all components have come")
}

// segment returns the parameters of the marker segment at pos and what is behind it.
func (d *Decoder) segment(pos int) (parameters []byte, next int, err error) {
	if pos+2 > len(d.data) {
		return nil, pos, d.fail(pos, "ends within a marker segment")
	}
	length := int(binary.BigEndian.Uint16(d.data[pos:]))
	if length < 2 || pos+length > len(d.data) {
		return nil, pos, d.fail(pos, fmt.Sprintf("marker segment of %d bytes", length))
	}
	return d.data[pos+2 : pos+length], pos + length, nil
}

// parse reads marker by marker until each component has had its scan.
func (d *Decoder) parse() error {
	if len(d.data) < 2 || d.data[0] != 0xFF || d.data[1] != markerSOI {
		return d.fail(0, "does not begin with SOI")
	}
	for pos := 2; ; {
		m, at, err := d.marker(pos)
		if err != nil {
			return err
		}
		switch {
		case m == markerEOI:
			return d.fail(at, "ends before all components have come")
		case m == markerSOI, m == markerTEM, m >= markerRST0 && m <= markerRST7:
			pos = at
			continue
		}
		parameters, next, err := d.segment(at)
		if err != nil {
			return err
		}
		if m != markerSOS {
			if err := d.parameters(m, parameters, at); err != nil {
				return err
			}
			pos = next
			continue
		}
		s, err := d.readScan(parameters, at)
		if err != nil {
			return err
		}
		if pos, err = d.decodeScan(s, next); err != nil {
			return err
		}
		if d.complete() {
			return nil
		}
	}
}

func (d *Decoder) complete() bool {
	for i := range d.frame.components {
		if !d.frame.components[i].decoded {
			return false
		}
	}
	return true
}

// parameters takes a marker segment other than a scan's. Applications' data and comments, and DNL, which repeats what the
// caller knows, are passed over.
func (d *Decoder) parameters(m byte, p []byte, at int) error {
	switch {
	case m == markerDHT:
		return d.readHuffmanTables(p, at)
	case m == markerDQT:
		return d.readQuantizationTables(p, at)
	case m == markerDRI:
		if len(p) != 2 {
			return d.fail(at, "restart interval has a wrong length")
		}
		d.restartInterval = int(binary.BigEndian.Uint16(p))
	case m == markerDAC:
		return &UnsupportedError{"arithmetic coding"}
	case m >= markerSOF0 && m <= markerSOFF && m != markerJPG:
		return d.readFrame(m, p, at)
	}
	return nil
}

// readFrame reads SOFn and compares it with what the caller wants.
func (d *Decoder) readFrame(m byte, p []byte, at int) error {
	if name, known := sofNames[m]; known {
		return &UnsupportedError{name}
	}
	switch {
	case d.frame.components != nil:
		return d.fail(at, "second frame header")
	case len(p) < 6 || len(p) != 6+3*int(p[5]):
		return d.fail(at, "frame header has a wrong length")
	}
	f := frame{marker: m, precision: int(p[0]), rows: int(binary.BigEndian.Uint16(p[1:])), columns: int(binary.BigEndian.Uint16(p[3:]))}
	if f.rows == 0 { // told by DNL behind the first scan
		f.rows = d.want.Rows
	}
	if f.rows != d.want.Rows || f.columns != d.want.Columns || int(p[5]) != d.want.Samples {
		return d.fail(at, fmt.Sprintf("frame of %d rows, %d columns and %d components where %d, %d and %d are expected",
			f.rows, f.columns, p[5], d.want.Rows, d.want.Columns, d.want.Samples))
	}
	if !f.precise() || f.precision > 8*d.want.SampleBytes {
		return d.fail(at, fmt.Sprintf("precision of %d bits", f.precision))
	}
	for c := p[6:]; len(c) > 0; c = c[3:] {
		f.components = append(f.components, component{id: c[0], h: int(c[1] >> 4), v: int(c[1] & 15), quantization: c[2]})
	}
	if err := f.layOut(); err != "" {
		return d.fail(at, err)
	}
	d.frame = f
	return d.begin()
}

// precise tells whether the process has the precision (T.81 table B.2).
func (f *frame) precise() bool {
	switch f.marker {
	case markerSOF0:
		return f.precision == 8
	case markerSOF1:
		return f.precision == 8 || f.precision == 12
	}
	return f.precision >= 2 && f.precision <= 16
}

// layOut checks the components and finds their dimensions (A.1.1).
func (f *frame) layOut() (problem string) {
	for _, c := range f.components {
		if c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 {
			return fmt.Sprintf("sampling factors %d and %d", c.h, c.v)
		}
		f.hMax, f.vMax = max(f.hMax, c.h), max(f.vMax, c.v)
	}
	for i := range f.components {
		c := &f.components[i]
		switch {
		case f.lossless() && (c.h != f.hMax || c.v != f.vMax):
			return "subsampled components in a lossless frame"
		case f.hMax%c.h != 0 || f.vMax%c.v != 0:
			return "components sampled by a fraction"
		}
		c.width, c.height = ceilDiv(f.columns*c.h, f.hMax), ceilDiv(f.rows*c.v, f.vMax)
		for _, other := range f.components[:i] {
			if other.id == c.id {
				return "two components of the same identifier"
			}
		}
	}
	if len(f.components) == 1 || f.lossless() {
		f.single()
	}
	return ""
}

// single makes the sampling factors 1: those of an only component mean nothing (A.2.2), nor do equal ones in a lossless
// frame.
func (f *frame) single() {
	f.hMax, f.vMax = 1, 1
	for i := range f.components {
		f.components[i].h, f.components[i].v = 1, 1
	}
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// readQuantizationTables reads DQT (B.2.4.1).
func (d *Decoder) readQuantizationTables(p []byte, at int) error {
	for len(p) > 0 {
		precision, id := p[0]>>4, p[0]&15
		size := 64 * (1 + int(precision))
		if precision > 1 || id > 3 || len(p) < 1+size {
			return d.fail(at, "malformed quantization table")
		}
		q := &d.quantization[id]
		for k := range 64 {
			if precision == 0 {
				q.values[zigzag[k]] = int32(p[1+k])
			} else {
				q.values[zigzag[k]] = int32(binary.BigEndian.Uint16(p[1+2*k:]))
			}
		}
		q.defined = true
		p = p[1+size:]
	}
	return nil
}

// readScan reads SOS and checks it against the frame.
func (d *Decoder) readScan(p []byte, at int) (s scan, err error) {
	if d.frame.components == nil {
		return s, d.fail(at, "scan without a frame header")
	}
	if len(p) < 1 || p[0] < 1 || p[0] > maxComponents || len(p) != 4+2*int(p[0]) {
		return s, d.fail(at, "scan header has a wrong length")
	}
	for c := p[1 : len(p)-3]; len(c) > 0; c = c[2:] {
		index := d.indexOf(c[0])
		if index < 0 || d.frame.components[index].decoded {
			return s, d.fail(at, "scan of an unknown component, or of one that has come before")
		}
		d.frame.components[index].decoded = true
		s.components = append(s.components, scanComponent{index, c[1] >> 4, c[1] & 15})
	}
	tail := p[len(p)-3:]
	s.ss, s.se, s.ah, s.al = int(tail[0]), int(tail[1]), int(tail[2]>>4), int(tail[2]&15)
	return s, nil
}

func (d *Decoder) indexOf(id byte) int {
	for i := range d.frame.components {
		if d.frame.components[i].id == id {
			return i
		}
	}
	return -1
}
