package transcode

import (
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
)

// BenchmarkDecode reports MB of native pixel data per second, of dcmgate and of DCMTK's program for the same, whose time
// includes starting it, reading a file and writing one.
func BenchmarkDecode(b *testing.B) {
	ct := picture{rows: 512, columns: 512, samples: 1, allocated: 16, stored: 12, frames: 100, photometric: "MONOCHROME2"}
	cr := picture{rows: 3000, columns: 2500, samples: 1, allocated: 16, stored: 16, frames: 4, photometric: "MONOCHROME2"}
	us := picture{rows: 480, columns: 640, samples: 3, allocated: 8, stored: 8, frames: 60, photometric: "RGB"}
	for _, c := range []struct {
		name, program, decoder string
		picture                picture
		options                []string
	}{
		{"RLE", "dcmcrle", "dcmdrle", ct, nil},
		{"RLE colour", "dcmcrle", "dcmdrle", us, nil},
		{"JPEG baseline colour", "dcmcjpeg", "dcmdjpeg", us, []string{"+eb"}},
		{"JPEG extended 12 bits", "dcmcjpeg", "dcmdjpeg", ct, []string{"+ee"}},
		{"JPEG lossless 16 bits", "dcmcjpeg", "dcmdjpeg", cr, []string{"+e1"}},
		{"JPEG lossless 12 bits selection 6", "dcmcjpeg", "dcmdjpeg", ct, []string{"+el", "+sv", "6"}},
		{"JPEG lossless colour", "dcmcjpeg", "dcmdjpeg", us, []string{"+e1"}},
	} {
		p := c.picture
		size := int64(p.rows * p.columns * p.samples * p.allocated / 8 * p.frames)
		dir := b.TempDir()
		in, compressed := filepath.Join(dir, "in.dcm"), filepath.Join(dir, "compressed.dcm")
		writeFile(b, in, explicit, p.dataSet(b))
		if said, status := peertest.Run(b, nil, peertest.Require(b, c.program), append(append([]string{"-q"}, c.options...), in, compressed)...); status != 0 {
			b.Fatal(said)
		}
		from, data := readFile(b, compressed)
		b.Run(c.name+"/dcmgate", func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				drain(b, from, data)
			}
		})
		decoder := peertest.Require(b, c.decoder)
		b.Run(c.name+"/"+c.decoder, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				if out, err := exec.Command(decoder, compressed, filepath.Join(dir, "out.dcm")).CombinedOutput(); err != nil {
					b.Fatalf("%v: %s", err, out)
				}
			}
		})
	}
}

func drain(b *testing.B, from dicom.UID, data []byte) {
	to := explicit
	if from == explicit {
		to = implicit
	}
	r, err := New(b.Context(), nil, from, to, bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkNative(b *testing.B) {
	p := picture{rows: 512, columns: 512, samples: 1, allocated: 16, stored: 12, frames: 1, photometric: "MONOCHROME2"}
	data := p.dataSet(b)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		drain(b, explicit, data)
	}
}
