package transcode

import (
	"bufio"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/mrdata"
	"dcmgate/internal/peertest"
)

// standardDictionary keeps DCMTK from giving private attributes the VRs of its own list.
var standardDictionary = []string{"DCMDICTPATH=/usr/share/libdcmtk17/dicom.dic"}

// readFile returns transfer syntax and data set of a Part 10 file.
func readFile(t testing.TB, file string) (dicom.UID, []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	meta, begin, err := dicom.ReadFileMeta(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		t.Fatal(err)
	}
	return meta.TransferSyntaxUID, data[begin:]
}

// writeFile makes a Part 10 file of a data set.
func writeFile(t testing.TB, file string, ts dicom.UID, data []byte) {
	t.Helper()
	meta := dicom.FileMeta{SOPClassUID: secondaryCapture, SOPInstanceUID: "1.2.3", TransferSyntaxUID: ts}
	if err := os.WriteFile(file, append(meta.Append(nil), data...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// dcmtk runs one of DCMTK's converters and returns the data set that it wrote; false if it refused.
func dcmtk(t testing.TB, program, in string, options ...string) ([]byte, bool) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out.dcm")
	args := append([]string{"-q"}, options...)
	if said, status := peertest.Run(t, standardDictionary, peertest.Require(t, program), append(args, in, out)...); status != 0 {
		t.Logf("%s %s: %s", program, filepath.Base(in), said)
		return nil, false
	}
	_, data := readFile(t, out)
	return data, true
}

// Uncompressed data sets become byte for byte what dcmconv makes of them, whose sequences all have defined length or all
// undefined.
func TestNativeAsDCMTK(t *testing.T) {
	peertest.Require(t, "dcmconv")
	compared := 0
	for _, file := range peertest.PydicomFiles(t) {
		if strings.Contains(file, "charset_files") || isUnfit[filepath.Base(file)] {
			continue
		}
		from, data := readFile(t, file)
		if from.Encapsulated() {
			continue
		}
		for option, to := range map[string]dicom.UID{"+te": explicit, "+ti": implicit, "+tb": big} {
			if to == from {
				continue
			}
			got := convert(t, from, to, data)
			lengths := []string{"+e"}
			if bytes.Contains(data, []byte("\xFE\xFF\xDD\xE0")) || bytes.Contains(data, []byte("\xFF\xFE\xE0\xDD")) {
				lengths = append(lengths, "-e")
			}
			groups := "+g="
			if from.ImplicitVR() != to.ImplicitVR() {
				groups = "-g"
			}
			same := false
			for _, l := range lengths {
				want, ok := dcmtk(t, "dcmconv", file, option, l, groups)
				same = same || ok && bytes.Equal(got, want)
			}
			if !same {
				t.Errorf("%s to %s differs from dcmconv's", filepath.Base(file), name(to))
			}
			compared++
		}
	}
	if compared < 50 {
		t.Errorf("only %d conversions compared", compared)
	}
}

// isUnfit are files that break the rules, or whose sequences are of both kinds of length, so that dcmconv makes something
// else.
var isUnfit = map[string]bool{
	"MR_truncated.dcm": true, "rtplan_truncated.dcm": true, "no_meta.dcm": true, "meta_missing_tsyntax.dcm": true, "nested_priv_SQ.dcm": true,
}

// picture is an image for the tests.
type picture struct {
	rows, columns, samples, allocated, stored, frames int
	signed                                            bool
	planar                                            int
	photometric                                       string
}

const secondaryCapture = "1.2.840.10008.5.1.4.1.1.7"

func us(v int) []byte { return []byte{byte(v), byte(v >> 8)} }

// dataSet makes an explicit little endian data set with attributes around those of the image that a conversion has to leave
// alone.
func (p picture) dataSet(t testing.TB) []byte {
	t.Helper()
	pixels := make([]byte, p.rows*p.columns*p.samples*p.allocated/8*p.frames)
	random := rand.New(rand.NewPCG(uint64(p.rows), uint64(p.stored)))
	size := p.allocated / 8
	for i := range len(pixels) / size {
		v := i*3 + i/(p.columns*p.samples)*5 + random.IntN(4)
		if i%97 > 90 {
			v = random.IntN(1 << p.stored)
		}
		v &= 1<<p.stored - 1
		if p.signed && v >= 1<<(p.stored-1) {
			v -= 1 << p.stored
		}
		for k := range size {
			pixels[i*size+k] = byte(v >> (8 * k))
		}
	}
	representation := 0
	if p.signed {
		representation = 1
	}
	vr := "OW"
	if size == 1 {
		vr = "OB"
	}
	elements := []dicom.DataElement{
		{Tag: 0x00080005, VR: "CS", Value: []byte("ISO_IR 192")},
		{Tag: 0x00080016, VR: "UI", Value: []byte(secondaryCapture)},
		{Tag: 0x00080018, VR: "UI", Value: []byte("1.2.3")},
		{Tag: 0x00081140, VR: "SQ", Items: [][]dicom.DataElement{{{Tag: 0x00081155, VR: "UI", Value: []byte("1.2.3.4")}}}},
		{Tag: 0x00090010, VR: "LO", Value: []byte("ACME")},
		{Tag: 0x00091001, VR: "UN", Value: []byte{1, 2, 3, 4}},
		{Tag: 0x00100010, VR: "PN", Value: []byte("A^B")},
		{Tag: dicom.TagSamplesPerPixel, VR: "US", Value: us(p.samples)},
		{Tag: dicom.TagPhotometricInterpretation, VR: "CS", Value: []byte(p.photometric)},
		{Tag: dicom.TagRows, VR: "US", Value: us(p.rows)},
		{Tag: dicom.TagColumns, VR: "US", Value: us(p.columns)},
		{Tag: dicom.TagBitsAllocated, VR: "US", Value: us(p.allocated)},
		{Tag: dicom.TagBitsStored, VR: "US", Value: us(p.stored)},
		{Tag: 0x00280102, VR: "US", Value: us(p.stored - 1)},
		{Tag: dicom.TagPixelRepresentation, VR: "US", Value: us(representation)},
		{Tag: 0x00280106, VR: "US", Value: us(1)},
		{Tag: dicom.TagPixelData, VR: vr, Value: pixels},
		{Tag: 0xFFFCFFFC, VR: "OB", Value: []byte{0, 0}},
	}
	if p.samples > 1 {
		elements = append(elements, dicom.DataElement{Tag: dicom.TagPlanarConfiguration, VR: "US", Value: us(p.planar)})
	}
	if p.frames > 1 {
		elements = append(elements, dicom.DataElement{Tag: dicom.TagNumberOfFrames, VR: "IS", Value: fmt.Append(nil, p.frames)})
	}
	if p.photometric == "PALETTE COLOR" {
		for _, tag := range []dicom.Tag{0x00281101, 0x00281102, 0x00281103} {
			elements = append(elements, dicom.DataElement{Tag: tag, VR: "US", Value: append(us(2), 0, 0, 16, 0)},
				dicom.DataElement{Tag: tag + 0x100, VR: "OW", Value: []byte{0, 0, 255, 255}})
		}
	}
	data, err := dicom.EncodeElements(elements, explicit)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

var (
	grey8    = picture{rows: 33, columns: 47, samples: 1, allocated: 8, stored: 8, frames: 1, photometric: "MONOCHROME2"}
	grey12   = picture{rows: 40, columns: 31, samples: 1, allocated: 16, stored: 12, frames: 3, photometric: "MONOCHROME1"}
	grey16   = picture{rows: 19, columns: 64, samples: 1, allocated: 16, stored: 16, frames: 1, photometric: "MONOCHROME2"}
	signed16 = picture{rows: 19, columns: 64, samples: 1, allocated: 16, stored: 16, frames: 2, photometric: "MONOCHROME2", signed: true}
	signed12 = picture{rows: 19, columns: 21, samples: 1, allocated: 16, stored: 12, frames: 1, photometric: "MONOCHROME2", signed: true}
	rgb      = picture{rows: 51, columns: 35, samples: 3, allocated: 8, stored: 8, frames: 2, photometric: "RGB"}
	planes   = picture{rows: 21, columns: 35, samples: 3, allocated: 8, stored: 8, frames: 1, photometric: "RGB", planar: 1}
	rgb16    = picture{rows: 21, columns: 15, samples: 3, allocated: 16, stored: 16, frames: 2, photometric: "RGB"}
	palette  = picture{rows: 15, columns: 15, samples: 1, allocated: 8, stored: 8, frames: 1, photometric: "PALETTE COLOR"}
	ybr      = picture{rows: 15, columns: 16, samples: 3, allocated: 8, stored: 8, frames: 1, photometric: "YBR_FULL"}
	tall     = picture{rows: 3000, columns: 1, samples: 1, allocated: 16, stored: 10, frames: 1, photometric: "MONOCHROME2"}
	large    = picture{rows: 256, columns: 256, samples: 3, allocated: 8, stored: 8, frames: 3, photometric: "RGB"}
)

// What DCMTK has compressed becomes, byte for byte of the whole data set, what DCMTK's own decoders make of it.
func TestCompressedAsDCMTK(t *testing.T) {
	const jpeg, rle = "dcmcjpeg", "dcmcrle"
	decoders := map[string]string{jpeg: "dcmdjpeg", rle: "dcmdrle"}
	for program, decoder := range decoders {
		peertest.Require(t, program)
		peertest.Require(t, decoder)
	}
	for _, test := range []struct {
		pictures []picture
		program  string
		options  []string
		decode   string // an option of the decoder
	}{
		{[]picture{grey8, grey12, grey16, signed16, signed12, rgb, rgb16, palette, tall, ybr, large}, jpeg, []string{"+e1"}, "+cn"},
		{[]picture{grey12, rgb}, jpeg, []string{"+el", "+sv", "2"}, ""},
		{[]picture{grey12, rgb}, jpeg, []string{"+el", "+sv", "3"}, ""},
		{[]picture{grey12, rgb}, jpeg, []string{"+el", "+sv", "4"}, ""},
		{[]picture{grey12, rgb}, jpeg, []string{"+el", "+sv", "5"}, ""},
		{[]picture{grey12, rgb}, jpeg, []string{"+el", "+sv", "6"}, ""},
		{[]picture{grey12, rgb, signed16}, jpeg, []string{"+el", "+sv", "7"}, ""},
		{[]picture{grey12, grey8}, jpeg, []string{"+el", "+sv", "1", "+pl", "+pt", "3"}, ""},
		{[]picture{grey8, rgb, large}, jpeg, []string{"+eb"}, ""},
		{[]picture{rgb, large}, jpeg, []string{"+eb", "+s4"}, ""},
		{[]picture{rgb, large}, jpeg, []string{"+eb", "+n1"}, ""},
		{[]picture{rgb, large}, jpeg, []string{"+eb", "+np"}, ""},
		{[]picture{rgb, large}, jpeg, []string{"+eb", "+n2"}, ""},
		{[]picture{rgb}, jpeg, []string{"+eb", "+cr", "+q", "30"}, ""},
		{[]picture{rgb, grey8}, jpeg, []string{"+eb", "-ho", "+q", "5"}, ""},
		{[]picture{grey8, grey12, tall}, jpeg, []string{"+ee"}, ""},
		{[]picture{grey12}, jpeg, []string{"+ee", "+q", "20", "+bt"}, ""},
		{[]picture{large}, jpeg, []string{"+e1", "+fs", "16", "-ot"}, ""},
		{[]picture{large}, jpeg, []string{"+eb", "+fs", "4"}, ""},
		{[]picture{grey8, grey12, grey16, signed16, signed12, rgb, planes, rgb16, palette, tall, ybr, large}, rle, nil, ""},
		{[]picture{large}, rle, []string{"+fs", "16", "-ot"}, ""},
	} {
		for _, p := range test.pictures {
			dir := t.TempDir()
			in, compressed := filepath.Join(dir, "in.dcm"), filepath.Join(dir, "compressed.dcm")
			writeFile(t, in, explicit, p.dataSet(t))
			said, status := peertest.Run(t, nil, peertest.Require(t, test.program), append(append([]string{"-q"}, test.options...), in, compressed)...)
			if status != 0 {
				t.Errorf("%s %v of %+v: %s", test.program, test.options, p, said)
				continue
			}
			var options []string
			if test.decode != "" {
				options = []string{test.decode}
			}
			if test.program == rle {
				options = nil
			}
			want, ok := dcmtk(t, decoders[test.program], compressed, options...)
			from, data := readFile(t, compressed)
			got, err := tryConvert(from, explicit, bytes.NewReader(data))
			if err != nil || !ok || !bytes.Equal(got, want) {
				at := 0
				for at < min(len(got), len(want)) && got[at] == want[at] {
					at++
				}
				t.Errorf("%s %v of %+v, %s: %v; %d bytes, want %d; the first that differs is at %d", test.program, test.options, p, name(from), err, len(got), len(want), at)
				continue
			}
			checkOtherTargets(t, from, data, got)
		}
	}
}

// checkOtherTargets decodes to the other native transfer syntaxes, which have to be what the explicit one is converted to.
func checkOtherTargets(t *testing.T, from dicom.UID, data, decoded []byte) {
	t.Helper()
	for _, to := range []dicom.UID{implicit, deflated} {
		if got := convert(t, from, to, data); !bytes.Equal(got, convert(t, explicit, to, decoded)) {
			t.Errorf("%s to %s is not the same as by way of explicit", name(from), name(to))
		}
	}
	if got := convert(t, big, implicit, convert(t, from, big, data)); !bytes.Equal(got, convert(t, explicit, implicit, decoded)) {
		t.Errorf("%s to big endian is not the same as by way of explicit", name(from))
	}
}

// A real MR comes out of lossless compression as it was.
func TestRealImagesComeOutAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.dcm")
	n := 0
	err := mrdata.Walk(func(f mrdata.File) error {
		if n++; n%100 != 1 {
			return nil
		}
		if err := os.WriteFile(in, f.Data, 0o600); err != nil {
			return err
		}
		_, want := readFile(t, in)
		for _, program := range []string{"dcmcjpeg", "dcmcrle"} {
			out := filepath.Join(dir, program)
			if said, status := peertest.Run(t, nil, peertest.Require(t, program), "-q", in, out); status != 0 {
				t.Fatal(said)
			}
			from, data := readFile(t, out)
			got := convert(t, from, explicit, data)
			if i, j := bytes.Index(got, pixelData), bytes.Index(want, pixelData); i < 0 || !bytes.Equal(got[i:], want[j:]) {
				t.Errorf("%s: %s changed the pixels", f.Name, program)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

var pixelData = []byte("\xE0\x7F\x10\x00OW\x00\x00")
