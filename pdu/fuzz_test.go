package pdu

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"testing"
)

// FuzzDecode: what is decoded can be encoded, and decodes to the same again.
func FuzzDecode(f *testing.F) {
	for _, g := range goldens {
		f.Add(g.wire[0], g.wire[headerLength:])
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		first, err := decode(Type(kind), body)
		if err != nil {
			checkFormatError(t, err, len(body))
			return
		}
		b, err := first.Append(nil)
		if err != nil {
			// What was left out may be added: 8 bytes of 51H to an item that is
			// already full.
			if len(body) > 60_000 {
				t.Skip()
			}
			t.Fatalf("%+v does not encode: %v", first, err)
		}
		second, err := decode(Type(kind), b[headerLength:])
		if err != nil {
			t.Fatalf("% X does not decode: %v", b, err)
		}
		if !reflect.DeepEqual(first, second) {
			t.Fatalf("decoded\n%+v, then\n%+v", first, second)
		}
	})
}

func checkFormatError(t *testing.T, err error, length int) {
	t.Helper()
	var fe *FormatError
	if !errors.As(err, &fe) {
		t.Fatalf("%v is no FormatError", err)
	}
	if fe.Field == "" || fe.Reason == "" || fe.Offset < 0 || fe.Offset > int64(length)+headerLength {
		t.Fatalf("%#v of %d bytes", fe, length)
	}
}

// FuzzReader: any stream, in pieces of any size, ends in an error without a
// panic, and costs memory in proportion to what was received.
func FuzzReader(f *testing.F) {
	var all []byte
	for _, g := range goldens {
		f.Add(g.wire, 3, 100)
		all = append(all, g.wire...)
	}
	all = append(all, pdata(pdv(1, 3, "ab"), pdv(1, 0), pdv(1, 2, "cd"))...)
	f.Add(all, 1000, 0)
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), 1, 1)
	f.Fuzz(func(t *testing.T, stream []byte, chunk, size int) {
		size = min(max(size, 0), 64<<10)
		limits := Limits{MaxAssociateLength: 64 << 10, MaxPDataLength: 1 << 20}
		r := NewReader(&chunks{r: bytes.NewReader(stream), sizes: []int{chunk, 1, 50}}, size, limits)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := readAll(r)
		runtime.ReadMemStats(&after)
		if err == nil || errors.Is(err, errMisuse) {
			t.Fatalf("ended with %v", err)
		}
		var fe *FormatError
		if !errors.As(err, &fe) && err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Fatalf("ended with %v", err)
		}
		r = NewReader(bytes.NewReader(stream), size, limits)
		for err = nil; err == nil; {
			err = readMessage(r)
		}
		var ie *InterruptedError
		if !errors.As(err, &fe) && !errors.As(err, &ie) && err != io.EOF && err != io.ErrUnexpectedEOF {
			t.Fatalf("messages ended with %v", err)
		}
		// The densest item is an empty transfer syntax: 4 bytes for a string
		// header in a slice that doubles, beside a decoder each.
		if spent := after.TotalAlloc - before.TotalAlloc; spent > uint64(defaultReaderSize+100*len(stream)+64<<10) {
			t.Fatalf("%d bytes allocated for %d received", spent, len(stream))
		}
	})
}

// readMessage reads a PDU that is decoded, or the command and data sets that
// begin in a P-DATA-TF, wherever they end.
func readMessage(r *Reader) error {
	h, err := r.Next()
	if err != nil {
		return err
	}
	if h.Type != TypePData {
		_, err := r.Decode()
		return err
	}
	for {
		f, err := r.Fragment()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := NewDataReader(r, f, r.Next).WriteTo(io.Discard); err != nil {
			return err
		}
	}
}

// FuzzFragmentation: however a data set is split, both ways of reading it give
// it back.
func FuzzFragmentation(f *testing.F) {
	f.Add([]byte("data set"), []byte{0x81, 0x00, 0x80, 0x02}, 3)
	f.Add([]byte{}, []byte{}, 1)
	f.Fuzz(func(t *testing.T, data, splits []byte, chunk int) {
		checkFragmentation(t, data, splits, min(max(chunk, 0), 64<<10))
	})
}

// FuzzWriter: whatever the peer's maximum and the buffer, what is written is a
// sequence of good PDUs that reads back.
func FuzzWriter(f *testing.F) {
	f.Add(uint32(16384), 0, uint16(1000), true)
	f.Add(uint32(7), 1, uint16(3), false)
	f.Fuzz(func(t *testing.T, maximum uint32, size int, length uint16, known bool) {
		if maximum > 0 && maximum <= pdvHeaderLength { // ErrMaximumLength: nothing fits
			t.Skip()
		}
		checkWriter(t, maximum, min(size, 1<<20), int(length), known)
	})
}
