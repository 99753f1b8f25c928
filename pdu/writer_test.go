package pdu

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// writes keeps each call of Write apart.
type writes struct{ calls [][]byte }

func (w *writes) Write(p []byte) (int, error) {
	w.calls = append(w.calls, bytes.Clone(p))
	return len(p), nil
}

func (w *writes) all() []byte { return bytes.Join(w.calls, nil) }

func TestWriterGolden(t *testing.T) {
	var out writes
	w := NewWriter(&out, 0)
	must(t, w.PDU(&ReleaseRQ{}))
	must(t, w.Command(3, []byte("command!"), 0))
	n, err := w.Data(3, strings.NewReader("data"), 4, 0)
	if n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if len(out.calls) != 0 || w.Written() != 0 {
		t.Error("written before Flush")
	}
	buffered := w.Buffered()
	must(t, w.Flush())
	must(t, w.Flush())
	want := wire(
		0x05, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00,
		// P-DATA-TF, PS3.8 table 9-22
		0x04, 0x00, 0x00, 0x00, 0x00, 0x0E, // 1 PDU-type, 2 reserved, 3-6 PDU-length
		0x00, 0x00, 0x00, 0x0A, // Presentation-data-value item, table 9-23: 1-4 Item-length
		0x03,       // 5 Presentation-context-ID
		0x03,       // Message Control Header, E.2: command, last
		"command!", // fragment
		0x04, 0x00, 0x00, 0x00, 0x00, 0x0A, 0x00, 0x00, 0x00, 0x06, 0x03, 0x02, "data",
	)
	if !bytes.Equal(out.all(), want) {
		t.Errorf("wrote\n% X\nwant\n% X", out.all(), want)
	}
	if len(out.calls) != 1 || w.Written() != int64(len(want)) || buffered != len(want) || w.Buffered() != 0 {
		t.Errorf("%d calls, %d written, %d were buffered, %d are", len(out.calls), w.Written(), buffered, w.Buffered())
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWriterFragments writes messages of many sizes with many limits and
// buffers, and reads them again.
func TestWriterFragments(t *testing.T) {
	for _, maximum := range []uint32{0, 7, 8, 9, 100, 1018, 4096, 16384, 131072, 1 << 20, 1<<32 - 1} {
		for _, size := range []int{1, 1 << 10, 5000, 0} {
			for _, length := range []int{0, 1, 2, 5, 999, 1000, 1001, 4084, 16378, 300_000} {
				if maximum < 100 && length > 2000 {
					continue
				}
				for _, known := range []bool{true, false} {
					t.Run(fmt.Sprintf("max %d, buffer %d, %d bytes, known %t", maximum, size, length, known), func(t *testing.T) {
						checkWriter(t, maximum, size, length, known)
					})
				}
			}
		}
	}
}

func checkWriter(t *testing.T, maximum uint32, size, length int, known bool) {
	data, set := pattern(length), pattern(120)
	var out writes
	w := NewWriter(&out, size)
	must(t, w.Command(1, set, maximum))
	declared := int64(-1)
	if known {
		declared = int64(length)
	}
	n, err := w.Data(1, iotest.HalfReader(bytes.NewReader(data)), declared, maximum)
	if err != nil || n != int64(length) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	must(t, w.Flush())
	if cap(w.buf) > w.size {
		t.Errorf("buffer has grown to %d, its bound is %d", cap(w.buf), w.size)
	}

	stream := out.all()
	checkFrames(t, stream, maximum)
	// All writes but the last fill at least half of the buffer.
	for _, c := range out.calls[:len(out.calls)-1] {
		if len(c) < w.size/2 {
			t.Errorf("a write of %d bytes with a buffer of %d", len(c), w.size)
		}
	}
	r := NewReader(bytes.NewReader(stream), 0, Limits{MaxPDataLength: maximum})
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	var gotSet, gotData bytes.Buffer
	f, err := message(t, r, &gotSet)
	if err != nil || !f.Command || !bytes.Equal(gotSet.Bytes(), set) {
		t.Fatalf("command: %v, %v", f, err)
	}
	f, err = message(t, r, &gotData)
	if err != nil || f.Command || !bytes.Equal(gotData.Bytes(), data) {
		t.Fatalf("data: %v, %v, %d bytes", f, err, gotData.Len())
	}
	if _, err := r.Next(); err != io.EOF {
		t.Fatalf("then %v", err)
	}
}

// checkFrames checks what each P-DATA-TF has to be: one fragment, of even length
// unless the last or there is room for one byte only, and not empty unless the
// message is.
func checkFrames(t *testing.T, stream []byte, maximum uint32) {
	t.Helper()
	r := NewReader(bytes.NewReader(stream), 0, Limits{MaxPDataLength: maximum})
	begun := false
	for {
		h, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := r.Fragment()
		if err != nil {
			t.Fatal(err)
		}
		if f.Length%2 != 0 && !f.Last && maximum != 7 {
			t.Fatalf("odd fragment of %d bytes", f.Length)
		}
		if f.Length == 0 && begun {
			t.Fatal("empty fragment at the end of a message")
		}
		if int64(h.Length) != f.Length+6 {
			t.Fatal("more than one fragment in a PDU")
		}
		begun = !f.Last
		must(t, r.Skip())
	}
}

// TestWriterBursts: PDUs of 128 KiB fill the buffer before it is written, and
// what fits is one write.
func TestWriterBursts(t *testing.T) {
	var out writes
	w := NewWriter(&out, 0)
	must(t, w.Command(1, pattern(120), 131072))
	if _, err := w.Data(1, bytes.NewReader(pattern(526_000)), 526_000, 131072); err != nil {
		t.Fatal(err)
	}
	must(t, w.Flush())
	var sizes []int
	for _, c := range out.calls {
		sizes = append(sizes, len(c))
	}
	// Command and two PDUs; two PDUs and, since it still fits, the rest.
	if len(sizes) != 2 || sizes[0] != 132+2*131078 {
		t.Errorf("writes of %d bytes", sizes)
	}

	out.calls = nil
	for range 4 {
		must(t, w.Command(1, pattern(120), 16384))
		if _, err := w.Data(1, bytes.NewReader(pattern(20_000)), 20_000, 16384); err != nil {
			t.Fatal(err)
		}
	}
	must(t, w.Flush())
	if len(out.calls) != 1 {
		t.Errorf("%d writes for four small messages", len(out.calls))
	}
}

// TestWriterMaximum: the limit counts what PDU-length counts (PS3.8 D.1), and
// has to leave room for a byte.
func TestWriterMaximum(t *testing.T) {
	for maximum := uint32(1); maximum < 7; maximum++ {
		w := NewWriter(io.Discard, 0)
		if err := w.Command(1, []byte("ab"), maximum); !errors.Is(err, ErrMaximumLength) {
			t.Errorf("command, maximum %d: %v", maximum, err)
		}
		if _, err := w.Data(1, nil, 0, maximum); !errors.Is(err, ErrMaximumLength) {
			t.Errorf("data, maximum %d: %v", maximum, err)
		}
		if w.Err() != nil || w.Buffered() != 0 {
			t.Error("the writer is no longer as it was")
		}
	}
	var out bytes.Buffer
	w := NewWriter(&out, 4<<20)
	if _, err := w.Data(1, bytes.NewReader(make([]byte, 3<<20)), 3<<20, 0); err != nil {
		t.Fatal(err)
	}
	must(t, w.Flush())
	if h, err := NewReader(&out, 0, Limits{}).Next(); err != nil || h.Length != maxPData {
		t.Errorf("no limit gives PDUs of %d bytes, %v", h.Length, err)
	}
}

func TestDataFails(t *testing.T) {
	broken := errors.New("broken")
	rows := []struct {
		name string
		r    io.Reader
		size int64
		want error
	}{
		{"shorter than declared", bytes.NewReader(pattern(1999)), 2000, io.ErrUnexpectedEOF},
		{"empty, not declared so", bytes.NewReader(nil), 2, io.ErrUnexpectedEOF},
		{"breaks", io.MultiReader(bytes.NewReader(pattern(1500)), iotest.ErrReader(broken)), 2000, broken},
		{"breaks at once", iotest.ErrReader(broken), 2000, broken},
		{"breaks, size unknown", io.MultiReader(bytes.NewReader(pattern(1500)), iotest.ErrReader(broken)), -1, broken},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			w := NewWriter(&out, 0)
			n, err := w.Data(1, row.r, row.size, 1006)
			if !errors.Is(err, row.want) || w.Err() != nil {
				t.Fatalf("got %v, lasting %v", err, w.Err())
			}
			if n%1000 != 0 {
				t.Errorf("%d bytes are no whole fragments", n)
			}
			must(t, w.PDU(&Abort{AbortSourceServiceUser, 0}))
			must(t, w.Flush())
			r := NewReader(&out, 0, Limits{})
			for h, err := r.Next(); h.Type != TypeAbort; h, err = r.Next() {
				if err != nil {
					t.Fatalf("no abort: %v", err)
				}
				must(t, r.Skip())
			}
		})
	}
}

func TestWriterErrorsLast(t *testing.T) {
	for name, sink := range map[string]io.Writer{"full": &limited{left: 1500}, "short": stuck{}, "liar": liar{}} {
		w := NewWriter(sink, 1024)
		_, err := w.Data(1, bytes.NewReader(pattern(10_000)), 10_000, 0)
		if err == nil || w.Err() != err {
			t.Fatalf("%s: %v, lasting %v", name, err, w.Err())
		}
		if name == "full" && w.Written() != 1500 {
			t.Errorf("%d bytes written, the writer took 1500", w.Written())
		}
		_, data := w.Data(1, bytes.NewReader(nil), 0, 0)
		_, stream := w.Data(1, bytes.NewReader(nil), -1, 0)
		for _, again := range []error{w.Flush(), w.PDU(&ReleaseRQ{}), w.Command(1, nil, 0), data, stream} {
			if again != err {
				t.Errorf("%s: then %v", name, again)
			}
		}
	}
}

// TestWriterLargePDU: a PDU beyond the buffer is written at once and its memory
// let go.
func TestWriterLargePDU(t *testing.T) {
	rq := &AssociateRQ{UserInformation: UserInformation{UserIdentity: &UserIdentity{Primary: pattern(20_000), Secondary: []byte{}}}}
	var out writes
	w := NewWriter(&out, 1024)
	must(t, w.PDU(&ReleaseRP{}))
	must(t, w.PDU(rq))
	if len(out.calls) != 1 || w.Buffered() != 0 || cap(w.buf) > w.size {
		t.Errorf("%d calls, %d buffered, capacity %d", len(out.calls), w.Buffered(), cap(w.buf))
	}
	r := NewReader(bytes.NewReader(out.all()), 0, Limits{})
	expectPDU(t, r, &ReleaseRP{})
	expectPDU(t, r, rq)

	if err := w.PDU(&AssociateRQ{CalledAETitle: "SEVENTEEN_LETTERS"}); err == nil {
		t.Error("encoded an AE title of 17 letters")
	}
	must(t, w.PDU(&ReleaseRQ{}))
	must(t, w.Flush())
	if got := out.calls[1]; len(got) != 10 {
		t.Errorf("% X after a PDU that could not be encoded", got)
	}
}

func TestWriterAllocates(t *testing.T) {
	data := pattern(526_000)
	src := bytes.NewReader(data)
	w := NewWriter(io.Discard, 0)
	set := pattern(120)
	if n := testing.AllocsPerRun(20, func() {
		for _, size := range []int64{int64(len(data)), -1} {
			src.Reset(data)
			if err := w.Command(1, set, 16384); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Data(1, src, size, 16384); err != nil {
				t.Fatal(err)
			}
			if err := w.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
