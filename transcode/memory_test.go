package transcode

import (
	"bytes"
	"encoding/binary"
	"io"
	"runtime"
	"testing"

	"dcmgate/dicom"
)

// repeated reads head, then body so many times, then tail.
type repeated struct {
	head, body, tail []byte
	times            int
	now              []byte
}

func (r *repeated) Read(p []byte) (int, error) {
	for len(r.now) == 0 {
		switch {
		case r.head != nil:
			r.now, r.head = r.head, nil
		case r.times > 0:
			r.now = r.body
			r.times--
		case r.tail != nil:
			r.now, r.tail = r.tail, nil
		default:
			return 0, io.EOF
		}
	}
	n := copy(p, r.now)
	r.now = r.now[n:]
	return n, nil
}

// multiframe is an RLE object of so many frames of 512 KiB.
func multiframe(t testing.TB, frames int) io.Reader {
	p := picture{rows: 2, columns: 2, samples: 1, allocated: 16, stored: 16, frames: 1, photometric: "MONOCHROME2"}
	data := p.dataSet(t)
	data = data[:bytes.Index(data, pixelData)]
	for tag, value := range map[string]int{"\x28\x00\x10\x00US\x02\x00": 512, "\x28\x00\x11\x00US\x02\x00": 512} {
		copy(data[bytes.Index(data, []byte(tag))+8:], us(value))
	}
	rows := bytes.Index(data, []byte("\x28\x00\x10\x00"))
	number := append([]byte("\x28\x00\x08\x00IS\x06\x00"), []byte{'0' + byte(frames/100000%10), '0' + byte(frames/10000%10), '0' + byte(frames/1000%10),
		'0' + byte(frames/100%10), '0' + byte(frames/10%10), '0' + byte(frames%10)}...)
	head := append(append(bytes.Clone(data[:rows]), number...), data[rows:]...)
	head = append(head, "\xE0\x7F\x10\x00OB\x00\x00\xFF\xFF\xFF\xFF\xFE\xFF\x00\xE0\x00\x00\x00\x00"...)
	segment := bytes.Repeat([]byte{0x81, 7}, 512*512/128)
	frame := make([]byte, 64)
	binary.LittleEndian.PutUint32(frame, 2)
	binary.LittleEndian.PutUint32(frame[4:], 64)
	binary.LittleEndian.PutUint32(frame[8:], uint32(64+len(segment)))
	frame = append(append(frame, segment...), segment...)
	item := binary.LittleEndian.AppendUint32([]byte("\xFE\xFF\x00\xE0"), uint32(len(frame)))
	return &repeated{head: head, body: append(item, frame...), times: frames, tail: []byte("\xFE\xFF\xDD\xE0\x00\x00\x00\x00")}
}

// An object of dozens of MB needs no more memory than its frames.
func TestMemoryDoesNotGrowWithTheObject(t *testing.T) {
	const frames = 100
	for _, to := range []dicom.UID{explicit, implicit, big} {
		r, err := New(t.Context(), nil, dicom.RLELossless, to, multiframe(t, frames))
		if err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		var before, now runtime.MemStats
		runtime.ReadMemStats(&before)
		total, most := 0, uint64(0)
		buffer := make([]byte, 1<<20)
		for {
			n, err := io.ReadFull(r, buffer)
			if total += n; total>>22 != (total-n)>>22 {
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		r.Close()
		if total < frames*512*512*2 {
			t.Errorf("%d bytes of %d frames", total, frames)
		}
		if grown := int64(most) - int64(before.HeapAlloc); grown > 8<<20 {
			t.Errorf("%s: memory grew by %d bytes", name(to), grown)
		}
	}
}
