package qr

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/spool"
)

// blackFrame is a lossless JPEG frame of 16-bit samples, all of them as predicted: a bit each.
func blackFrame(rows, columns int) []byte {
	var b []byte
	add := func(p ...byte) { b = append(b, p...) }
	add(0xFF, 0xD8, 0xFF, 0xC3, 0, 11, 16, byte(rows>>8), byte(rows), byte(columns>>8), byte(columns), 1, 1, 0x11, 0)
	add(0xFF, 0xC4, 0, 20, 0, 1)
	add(make([]byte, 15+1)...) // a code of one bit, for no difference
	add(0xFF, 0xDA, 0, 8, 1, 1, 0, 1, 0, 0)
	add(make([]byte, rows*columns/8)...)
	return append(b, 0xFF, 0xD9)
}

// A cancel does not wait for a frame that is being decoded, and decoding it does not go on behind the answer.
func TestGetCancelledWhileAFrameIsDecoded(t *testing.T) {
	const side = 8192 // 128 MiB
	frame := blackFrame(side, side)
	data := synth.NewTemplate(1000, 9).Object(5, 1, 0).Data
	data = bytes.Clone(data[:bytes.LastIndex(data, []byte("\xE0\x7F\x10\x00OW"))])
	for _, element := range []string{"\x28\x00\x10\x00US\x02\x00", "\x28\x00\x11\x00US\x02\x00"} {
		binary.LittleEndian.PutUint16(data[bytes.Index(data, []byte(element))+len(element):], side)
	}
	data = append(data, "\xE0\x7F\x10\x00OB\x00\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x00\x00\x00\x00\xFE\xFF\x00\xE0"...)
	data = append(binary.LittleEndian.AppendUint32(data, uint32(len(frame))), frame...)
	data = append(data, "\xFE\xFF\xDD\xE0\x00\x00\x00\x00"...)
	s, _, _ := big(t, 0, 1000)
	w, err := s.Begin(spool.Incoming{SOPClassUID: ctImage, SOPInstanceUID: "1.2.3", TransferSyntaxUID: dicom.JPEGLosslessSV1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(nil); err != nil {
		t.Fatal(err)
	}
	for patience := 50 * time.Millisecond; ; patience *= 2 { // until it is read and compared, before which nothing is decoded
		g := &getter{t: t}
		p := g.begin(g.associate(s, ctImage), StudyRootGet, bigStudy)
		time.Sleep(patience)
		begun := time.Now()
		if err := p.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		c := g.finish(p).final()
		answered := time.Since(begun)
		peertest.Eventually(t, 10*time.Second, "the request is done with", func() bool { return g.ended.Load() == 1 })
		t.Logf("answered after %v, done with after %v", answered, time.Since(begun))
		if counts(c) == "0 0 0 0" && patience < 5*time.Second {
			continue // it had not come to that on a busy machine
		}
		if c.Status != dimse.StatusCancel || counts(c) != "0 0 0 1" || len(g.sops()) != 0 {
			t.Errorf("%v, %s, got %v", c.Status, counts(c), g.sops())
		}
		return
	}
}
