package transfer

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// counting counts the reads that reach a payload: system calls, in earnest.
type counting struct {
	io.Reader
	reads int
}

func (c *counting) Read(b []byte) (int, error) { c.reads++; return c.Reader.Read(b) }
func (c *counting) Close() error               { return nil }

// TestFewReadsOfThePayload takes an instance in the fragments that a peer
// demands, as pdu.Writer does.
func TestFewReadsOfThePayload(t *testing.T) {
	data := make([]byte, 1<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	for _, test := range []struct{ fragment, buffer, most int }{
		{16384 - 6, DefaultReadAhead, 9},
		{1018 - 6, DefaultReadAhead, 9},
		{256<<10 - 6, DefaultReadAhead, 6}, // straight, without a copy
		{16384 - 6, 0, 66},
	} {
		for _, ahead := range []bool{false, true} {
			payload := &counting{Reader: bytes.NewReader(data)}
			p := &prepared{item: &Item{Size: int64(len(data))}, payload: payload, buffer: make([]byte, test.buffer)}
			if ahead && test.buffer > 0 {
				if err := p.readAhead(); err != nil {
					t.Fatal(err)
				}
			}
			var got []byte
			for len(got) < len(data) {
				fragment := make([]byte, min(test.fragment, len(data)-len(got)))
				if _, err := io.ReadFull(p, fragment); err != nil {
					t.Fatal(err)
				}
				got = append(got, fragment...)
			}
			if payload.reads > test.most {
				t.Errorf("fragments of %d bytes, buffer of %d, read ahead %v: %d reads", test.fragment, test.buffer, ahead, payload.reads)
			}
			if !bytes.Equal(got, data) {
				t.Errorf("fragments of %d bytes, buffer of %d: other bytes came out", test.fragment, test.buffer)
			}
		}
	}
}
