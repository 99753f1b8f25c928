package segment

import (
	"bytes"
	"crypto/sha256"
	"testing"
)

func FuzzRecord(f *testing.F) {
	h := header{identity: identity{id: 3, generation: 7, nonce: 9}, length: recordLength(900, 5), payloadLength: 900, headerLength: 300, metaLength: 5}
	b := make([]byte, headerSize)
	crc := h.put(b)
	f.Add(b, h.appendTrailer([]byte("meta!"), sha256.Sum256(nil), crc))
	f.Add([]byte(headerMagic), []byte(trailerMagic))
	f.Fuzz(func(t *testing.T, head, tail []byte) {
		// Mend the CRC, so that what lies behind it is reached.
		if len(head) >= headerSize {
			m := bytes.Clone(head)
			copy(m, headerMagic)
			m[4] = recordVersion
			c := checksum(m[:60])
			m[60], m[61], m[62], m[63] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
			head = m
		}
		h, ok := parseHeader(head)
		if !ok {
			return
		}
		if h.length < headerSize+trailerSize || h.length%Alignment != 0 || h.payloadLength > h.length || int64(h.headerLength) > h.payloadLength {
			t.Fatalf("inconsistent: %+v", h)
		}
		again := make([]byte, headerSize)
		h.put(again)
		if back, ok := parseHeader(again); !ok || back != h {
			t.Fatalf("%+v became %+v", h, back)
		}
		if meta, digest, ok := h.parseTrailer(tail, checksum(head[:60])); ok {
			if got := h.appendTrailer(bytes.Clone(meta), digest, checksum(head[:60])); !bytes.Equal(got, tail) {
				t.Fatal("trailer changed on its way")
			}
		}
	})
}

// FuzzSegment lets a store recover a segment of arbitrary bytes behind a good label, and go on.
func FuzzSegment(f *testing.F) {
	d := newMemDisk()
	s, err := open(d, powerOptions())
	if err != nil {
		f.Fatal(err)
	}
	s.Replay(nil, func(Record) error { return nil })
	for i := range 3 {
		tryStore(s, newObject(uint64(i), 3000))
	}
	name := fileName(s.Segments()[0].ID, segmentSuffix)
	whole := bytes.Clone(d.names[name].data[:6*Alignment])
	f.Add(whole, true)
	f.Add(whole[:3*Alignment+100], true)
	f.Add([]byte(nil), false)
	f.Fuzz(func(t *testing.T, b []byte, label bool) {
		d := newMemDisk()
		if label && len(b) >= firstRecord {
			copy(b[:labelSize], whole)
		}
		n := &memInode{data: b, stable: bytes.Clone(b), dirty: map[int64]bool{}, hole: map[int64]bool{}, name: name}
		d.names[name], d.durable[name] = n, n
		s := openStore(t, d, powerOptions())
		if _, err := s.ScanAll(func(Record) error { return nil }); err != nil {
			t.Fatal(err)
		}
		got, _ := replayAll(t, s, nil)
		for at := range got {
			if err := s.Verify(at); err != nil {
				t.Errorf("%+v: %v", at, err)
			}
		}
		o := newObject(1, 5000)
		store(t, s, o)
		expect(t, s, o)
		for at := range got {
			if err := s.Verify(at); err != nil {
				t.Errorf("%+v after writing: %v", at, err)
			}
		}
	})
}
