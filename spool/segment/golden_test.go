package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"hash/crc32"
	"strings"
	"testing"
)

// unhex reads hexadecimal with spaces and line breaks.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGolden pins the format: what is on people's disks must stay readable.
func TestGolden(t *testing.T) {
	h := header{
		identity:      identity{id: 0x0102, generation: 0x0304050607, nonce: 0x1122334455667788},
		length:        8192,
		payloadLength: 5000,
		headerLength:  330,
		metaLength:    3,
		headerCRC:     0xAABBCCDD,
		back:          2,
	}
	want := unhex(t, `
		44475243 01 000000 02010000 4a010000
		0706050403000000 8877665544332211
		0020000000000000 8813000000000000
		03000000 ddccbbaa 02000000`)
	c := crc32.Checksum(want, crc32.MakeTable(crc32.Castagnoli))
	want = append(want, byte(c), byte(c>>8), byte(c>>16), byte(c>>24))
	got := make([]byte, headerSize)
	if crc := h.put(got); !bytes.Equal(got, want) || crc != c {
		t.Errorf("header\n got %x\nwant %x", got, want)
	}
	if back, ok := parseHeader(want); !ok || back != h {
		t.Errorf("%+v, %t", back, ok)
	}
	digest := sha256.Sum256([]byte("abc"))
	tail := append([]byte("xyz"), unhex(t, `
		ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
		8813000000000000 0706050403000000 03000000`)...)
	tail = append(tail, byte(c), byte(c>>8), byte(c>>16), byte(c>>24))
	tail = append(tail, "DGRT"...)
	tc := crc32.Checksum(tail, crc32.MakeTable(crc32.Castagnoli))
	tail = append(tail, byte(tc), byte(tc>>8), byte(tc>>16), byte(tc>>24))
	if b := h.appendTrailer([]byte("xyz"), digest, c); !bytes.Equal(b, tail) {
		t.Errorf("trailer\n got %x\nwant %x", b, tail)
	}
	if meta, d, ok := h.parseTrailer(tail, c); !ok || string(meta) != "xyz" || d != digest {
		t.Error("trailer does not parse")
	}
	for i := range tail { // no byte of it may change unseen
		tail[i] ^= 1
		if _, _, ok := h.parseTrailer(tail, c); ok {
			t.Errorf("byte %d of the trailer does not matter", i)
		}
		tail[i] ^= 1
	}
	for i := range want {
		want[i] ^= 1
		if _, ok := parseHeader(want); ok {
			t.Errorf("byte %d of the header does not matter", i)
		}
		want[i] ^= 1
	}
}

func TestHeaderBounds(t *testing.T) {
	good := header{identity: identity{id: 1, generation: 1}, length: recordLength(5000, 10), payloadLength: 5000, headerLength: 300, metaLength: 10}
	for name, change := range map[string]func(*header){
		"negative payload":         func(h *header) { h.payloadLength = -1 },
		"payload beyond the bound": func(h *header) { h.payloadLength = maxPayload + 1; h.length = recordLength(maxPayload+1, 10) },
		"length too short":         func(h *header) { h.length -= Alignment },
		"length too long":          func(h *header) { h.length += Alignment },
		"length not aligned":       func(h *header) { h.length++ },
		"meta beyond the bound":    func(h *header) { h.metaLength = MaxMeta + 1; h.length = recordLength(5000, MaxMeta+1) },
		"header beyond payload":    func(h *header) { h.headerLength = 5001 },
		"header beyond the bound":  func(h *header) { h.headerLength = MaxHeader + 1 },
	} {
		h := good
		change(&h)
		var b [headerSize]byte
		h.put(b[:])
		if _, ok := parseHeader(b[:]); ok {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"0000000a.seg", "ffffffff.free"} {
		if id, suffix, ok := parseName(name); !ok || fileName(id, suffix) != name {
			t.Errorf("%s: %d %q %t", name, id, suffix, ok)
		}
	}
	for _, name := range []string{"lock", "a.seg", "0000000A.seg", "0000000a.seg.bak", "100000000.seg", "0000000a", ".seg", "-000000a.seg"} {
		if _, _, ok := parseName(name); ok {
			t.Errorf("%s was taken for a segment", name)
		}
	}
}
