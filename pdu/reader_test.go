package pdu

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

// pattern is n bytes that repeat at no small power of two, so that shifted or
// swapped pieces show.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// chunks reads at most the next of sizes, over and over, per call.
type chunks struct {
	r     io.Reader
	sizes []int
	i     int
}

func (c *chunks) Read(p []byte) (int, error) {
	n := min(len(p), max(1, c.sizes[c.i%len(c.sizes)]))
	c.i++
	return c.r.Read(p[:n])
}

// message reads one command or data set that begins with the next fragment of
// the current or following PDU.
func message(t testing.TB, r *Reader, to io.Writer) (Fragment, error) {
	t.Helper()
	f, err := r.Fragment()
	for err == io.EOF {
		if _, err := r.Next(); err != nil {
			return f, err
		}
		f, err = r.Fragment()
	}
	if err != nil {
		return f, err
	}
	d := NewDataReader(r, f, r.Next)
	_, err = d.WriteTo(to)
	if err == nil && !d.Done() {
		t.Error("WriteTo returned without an error before the end")
	}
	return f, err
}

func TestReaderSequence(t *testing.T) {
	data := pattern(100_000)
	var stream []byte
	for _, g := range goldens {
		stream = append(stream, g.wire...)
	}
	stream = append(stream, pdata(pdv(5, 3, "command"), pdv(5, 0, data[:50_001]), pdv(5, 0), pdv(5, 0x02|0xF0, data[50_001:]))...)
	stream = append(stream, goldens[0].wire...)

	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"whole":       func(r io.Reader) io.Reader { return r },
		"bytes":       iotest.OneByteReader,
		"halves":      iotest.HalfReader,
		"with errors": iotest.DataErrReader,
		"primes":      func(r io.Reader) io.Reader { return &chunks{r: r, sizes: []int{7, 1, 4099, 13}} },
	} {
		for _, size := range []int{1, 100, 4096, 0} {
			r := NewReader(wrap(bytes.NewReader(stream)), size, Limits{})
			for _, g := range goldens {
				expectPDU(t, r, g.value)
			}
			if h, err := r.Next(); err != nil || h.Type != TypePData {
				t.Fatalf("%s, %d: %v, %v", name, size, h, err)
			}
			var command, set bytes.Buffer
			if f, err := message(t, r, &command); err != nil || !f.Command || f.ContextID != 5 || command.String() != "command" {
				t.Fatalf("%s, %d: command %v, %v, %q", name, size, f, err, &command)
			}
			if f, err := message(t, r, &set); err != nil || f.Command || !bytes.Equal(set.Bytes(), data) {
				t.Fatalf("%s, %d: data %v, %v, %d bytes", name, size, f, err, set.Len())
			}
			if _, err := r.Fragment(); err != io.EOF {
				t.Fatalf("%s, %d: %v behind the last fragment", name, size, err)
			}
			expectPDU(t, r, goldens[0].value)
			if _, err := r.Next(); err != io.EOF {
				t.Fatalf("%s, %d: %v at the end", name, size, err)
			}
		}
	}
}

func expectPDU(t *testing.T, r *Reader, want PDU) {
	t.Helper()
	h, err := r.Next()
	if err != nil || h.Type != want.Type() {
		t.Fatalf("got %v, %v, want %v", h, err, want.Type())
	}
	p, err := r.Decode()
	if err != nil {
		t.Fatal(err)
	}
	got, _ := p.Append(nil)
	b, _ := want.Append(nil)
	if !bytes.Equal(got, b) {
		t.Fatalf("got %+v, want %+v", p, want)
	}
}

// TestReaderTruncated cuts a stream at every byte: io.EOF between PDUs,
// io.ErrUnexpectedEOF anywhere else.
func TestReaderTruncated(t *testing.T) {
	stream := append(bytes.Clone(goldens[1].wire), pdata(pdv(1, 3, "abcd"), pdv(1, 2, "ef"))...)
	between := map[int]bool{0: true, len(goldens[1].wire): true, len(stream): true}
	for n := range len(stream) + 1 {
		err := readAll(NewReader(bytes.NewReader(stream[:n]), 0, Limits{}))
		want := io.ErrUnexpectedEOF
		if between[n] {
			want = io.EOF
		}
		if err != want {
			t.Fatalf("cut at %d: %v, want %v", n, err, want)
		}
	}
}

func TestReaderErrorsPass(t *testing.T) {
	broken := errors.New("broken")
	src := func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), iotest.ErrReader(broken)) }
	stream := pdata(pdv(1, 2, pattern(100)))
	for n := range len(stream) {
		if err := readAll(NewReader(src(stream[:n]), 0, Limits{})); err != broken {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
	if _, err := NewReader(stuck{}, 0, Limits{}).Next(); err != io.ErrNoProgress {
		t.Errorf("reader without progress: %v", err)
	}
	if _, err := NewReader(liar{}, 0, Limits{}).Next(); err != errInvalidCount {
		t.Errorf("reader of impossible counts: %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error)  { return 0, nil }
func (stuck) Write([]byte) (int, error) { return 0, nil }

type liar struct{}

func (liar) Read(p []byte) (int, error)  { return len(p) + 1, nil }
func (liar) Write(p []byte) (int, error) { return len(p) + 1, nil }

// timeouts fails every other read.
type timeouts struct {
	r    io.Reader
	fail bool
}

var errTimeout = errors.New("timeout")

func (s *timeouts) Read(p []byte) (int, error) {
	if s.fail = !s.fail; s.fail {
		return 0, errTimeout
	}
	return s.r.Read(p[:1])
}

func TestNextMayBeRepeated(t *testing.T) {
	r := NewReader(&timeouts{r: bytes.NewReader(goldens[5].wire)}, 0, Limits{})
	tries := 0
	for {
		h, err := r.Next()
		if err == nil {
			if h.Type != TypeReleaseRQ {
				t.Errorf("got %v", h)
			}
			break
		}
		if err != errTimeout || r.Buffered() != tries {
			t.Fatalf("%v with %d bytes buffered after %d tries", err, r.Buffered(), tries)
		}
		tries++
	}
	if tries != headerLength {
		t.Errorf("%d tries for a header", tries)
	}
}

// TestHeaderJudgedEarly: the first byte suffices to refuse what is not DICOM,
// even if no more comes.
func TestHeaderJudgedEarly(t *testing.T) {
	r := NewReader(io.MultiReader(strings.NewReader("G"), stuck{}), 0, Limits{})
	var fe *FormatError
	if _, err := r.Next(); !errors.As(err, &fe) {
		t.Errorf("got %v", err)
	}
}

func TestReaderMisuse(t *testing.T) {
	rows := []struct {
		name string
		call func(*Reader) error
	}{
		{"Next before the P-DATA is consumed", func(r *Reader) error { _, err := r.Next(); return err }},
		{"Decode of P-DATA", func(r *Reader) error { _, err := r.Decode(); return err }},
		{"Fragment before the fragment is consumed", func(r *Reader) error {
			if _, err := r.Fragment(); err != nil {
				return err
			}
			_, err := r.Fragment()
			return err
		}},
	}
	for _, row := range rows {
		r := NewReader(bytes.NewReader(pdata(pdv(1, 2, "ab"))), 0, Limits{})
		if _, err := r.Decode(); !errors.Is(err, errMisuse) {
			t.Errorf("Decode before Next: %v", err)
		}
		if _, err := r.Fragment(); !errors.Is(err, errMisuse) {
			t.Errorf("Fragment before Next: %v", err)
		}
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		if err := row.call(r); !errors.Is(err, errMisuse) {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestSkip(t *testing.T) {
	stream := wire(pdata(pdv(1, 0, pattern(10_000)), pdv(1, 2, "x")), goldens[0].wire, goldens[6].wire)
	r := NewReader(bytes.NewReader(stream), 512, Limits{})
	for _, want := range []Type{TypePData, TypeAssociateRQ} {
		h, err := r.Next()
		if err != nil || h.Type != want {
			t.Fatalf("got %v, %v, want %v", h, err, want)
		}
		if h.Type == TypePData {
			if _, err := r.Fragment(); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Read(make([]byte, 3)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Skip(); err != nil {
			t.Fatal(err)
		}
	}
	expectPDU(t, r, &ReleaseRP{})
	if err := r.Skip(); err != nil {
		t.Errorf("Skip of nothing: %v", err)
	}
}

// TestLargeAssociate decodes a request larger than the buffer, and spends no
// memory on bytes that are only announced.
func TestLargeAssociate(t *testing.T) {
	rq := &AssociateRQ{}
	for id := 1; id < 256; id += 2 {
		rq.PresentationContexts = append(rq.PresentationContexts, PresentationContext{
			ID: byte(id), AbstractSyntax: strings.Repeat("1", 60), TransferSyntaxes: make([]string, 200)})
	}
	b, err := rq.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{64, 0} {
		r := NewReader(iotest.HalfReader(bytes.NewReader(b)), size, Limits{})
		expectPDU(t, r, rq)
	}

	r := NewReader(bytes.NewReader(b[:5000]), 64, Limits{MaxAssociateLength: 1 << 30})
	copy(b[2:], []byte{0x3F, 0xFF, 0xFF, 0xFF})
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := r.Decode(); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; spent > 64<<10 {
		t.Errorf("%d bytes allocated for 5000 received", spent)
	}
}

// TestReaderGrows: the buffer has its full size only for data sets that need it.
func TestReaderGrows(t *testing.T) {
	for name, row := range map[string]struct {
		pdv   []byte
		grows bool
	}{
		"command":              {pdv(1, 1, pattern(100)), false},
		"small query":          {pdv(1, 2, pattern(100)), false},
		"first of many":        {pdv(1, 0, pattern(100)), true},
		"large whole data set": {pdv(1, 2, pattern(5000)), true},
	} {
		r := NewReader(bytes.NewReader(pdata(row.pdv)), 0, Limits{})
		if err := readAll(r); err != io.EOF {
			t.Fatal(err)
		}
		if (len(r.buf) > firstSize) != row.grows {
			t.Errorf("%s: buffer of %d bytes", name, len(r.buf))
		}
	}
}

// TestPayloadNotMoved checks what the hot path promises: large reads go
// straight into the caller's memory.
func TestPayloadNotMoved(t *testing.T) {
	data := pattern(200_000)
	stream := pdata(pdv(1, 2, data))
	src := &destinations{r: bytes.NewReader(stream)}
	r := NewReader(src, 100, Limits{})
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	f, err := r.Fragment()
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, len(data))
	if _, err := io.ReadFull(NewDataReader(r, f, r.Next), p); err != nil || !bytes.Equal(p, data) {
		t.Fatalf("wrong data, %v", err)
	}
	if last := src.last; last != &p[len(data)-src.n] {
		t.Error("the last read did not go into the caller's memory")
	}
}

// destinations remembers where the last read that yielded bytes went.
type destinations struct {
	r    io.Reader
	last *byte
	n    int
}

func (d *destinations) Read(p []byte) (int, error) {
	n, err := d.r.Read(p)
	if n > 0 {
		d.last, d.n = &p[0], n
	}
	return n, err
}

func TestReaderAllocates(t *testing.T) {
	stream := bytes.Repeat(pdata(pdv(1, 3, pattern(90)), pdv(1, 0, pattern(60_000)), pdv(1, 2, pattern(3))), 4)
	src := bytes.NewReader(stream)
	r := NewReader(src, 0, Limits{})
	d := NewDataReader(r, Fragment{Last: true}, r.Next)
	run := func() {
		src.Reset(stream)
		for {
			if _, err := r.Next(); err != nil {
				return
			}
			for {
				f, err := r.Fragment()
				if err != nil {
					break
				}
				d.Reset(f)
				if _, err := d.WriteTo(io.Discard); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n := testing.AllocsPerRun(20, run); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDataReaderEnds(t *testing.T) {
	begin := func() []byte { return pdata(pdv(3, 0, "begin")) }
	rows := []struct {
		name  string
		then  []byte
		check func(error) bool
	}{
		{"stream ends", nil, func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{"stream ends in a header", begin()[:3], func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{"stream ends in a fragment", begin()[:14], func(err error) bool { return err == io.ErrUnexpectedEOF }},
		{"abort", goldens[7].wire, func(err error) bool {
			var ie *InterruptedError
			return errors.As(err, &ie) && ie.Header.Type == TypeAbort && ie.Error() == "A-ABORT inside a message"
		}},
		{"another context", pdata(pdv(5, 2, "x")), func(err error) bool { return isFormat(err, fieldContextID, 10) }},
		{"a command", pdata(pdv(3, 0), pdv(3, 3, "x")), func(err error) bool { return isFormat(err, fieldControlHeader, 17) }},
		{"garbage", wire("garbage"), func(err error) bool { return isFormat(err, fieldType, 0) }},
		{"bad fragment", pdata(0, 0, 0, 1, 0, 0), func(err error) bool { return isFormat(err, fieldPDVLength, 6) }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for _, read := range []func(*DataReader) error{
				func(d *DataReader) error { _, err := io.ReadAll(readerOnly{d}); return err },
				func(d *DataReader) error { _, err := d.WriteTo(io.Discard); return err },
			} {
				r := NewReader(bytes.NewReader(wire(begin(), row.then)), 0, Limits{})
				if _, err := r.Next(); err != nil {
					t.Fatal(err)
				}
				f, err := r.Fragment()
				if err != nil {
					t.Fatal(err)
				}
				d := NewDataReader(r, f, r.Next)
				err = read(d)
				if !row.check(err) {
					t.Errorf("got %v", err)
				}
				if again := read(d); again != err || d.Err() != err || d.Done() {
					t.Errorf("does not last: %v, %v, done %v", again, d.Err(), d.Done())
				}
				if row.name == "abort" {
					if p, err := r.Decode(); err != nil || *p.(*Abort) != (Abort{2, 6}) {
						t.Errorf("the abort is lost: %v, %v", p, err)
					}
				}
			}
		})
	}
}

// readerOnly hides WriteTo.
type readerOnly struct{ io.Reader }

func isFormat(err error, field string, offset int64) bool {
	var fe *FormatError
	return errors.As(err, &fe) && fe.Field == field && fe.Offset == offset
}

// TestDataReaderSinkFails: the writer's failure is told from the stream's, and
// the rest of the message can be drained.
func TestDataReaderSinkFails(t *testing.T) {
	stream := wire(pdata(pdv(1, 0, pattern(1000))), pdata(pdv(1, 2, pattern(1000)), pdv(1, 3, "next")))
	for name, sink := range map[string]io.Writer{
		"full": &limited{left: 700}, "short": stuck{}, "liar": liar{},
	} {
		r := NewReader(bytes.NewReader(stream), 0, Limits{})
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		f, _ := r.Fragment()
		d := NewDataReader(r, f, r.Next)
		n, err := d.WriteTo(sink)
		if err == nil || d.Err() != nil {
			t.Fatalf("%s: %v, lasting %v", name, err, d.Err())
		}
		m, err := d.WriteTo(io.Discard)
		if err != nil || n+m != 2000 || !d.Done() {
			t.Errorf("%s: %d and %d bytes, %v", name, n, m, err)
		}
		var next bytes.Buffer
		if _, err := message(t, r, &next); err != nil || next.String() != "next" {
			t.Errorf("%s: then %q, %v", name, &next, err)
		}
	}
}

// limited takes so many bytes, then fails.
type limited struct{ left int }

var errFull = errors.New("full")

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestDataReaderDone(t *testing.T) {
	r := NewReader(bytes.NewReader(pdata(pdv(1, 2, "abcd"), pdv(1, 2), pdv(1, 0), pdv(1, 2))), 0, Limits{})
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	f, _ := r.Fragment()
	d := NewDataReader(r, f, r.Next)
	if n, err := d.Read(nil); n != 0 || err != nil {
		t.Errorf("empty read: %d, %v", n, err)
	}
	p := make([]byte, 4)
	if n, err := d.Read(p); n != 4 || err != nil || !d.Done() {
		t.Errorf("%d, %v, done %v", n, err, d.Done())
	}
	if n, err := d.Read(p); n != 0 || err != io.EOF {
		t.Errorf("then %d, %v", n, err)
	}
	f, _ = r.Fragment()
	if d.Reset(f); !d.Done() {
		t.Error("an empty last fragment is all of a part")
	}
	f, _ = r.Fragment()
	if d.Reset(f); d.Done() {
		t.Error("an empty fragment that is not the last is not the end")
	}
	if n, err := d.Read(p); n != 0 || err != io.EOF || !d.Done() {
		t.Errorf("two empty fragments: %d, %v, done %v", n, err, d.Done())
	}
}

// TestFragmentationRandom is FuzzFragmentation on a fixed set of seeds.
func TestFragmentationRandom(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		splits := make([]byte, rnd.IntN(40))
		for i := range splits {
			splits[i] = byte(rnd.Uint32())
		}
		checkFragmentation(t, pattern(rnd.IntN(5000)), splits, rnd.IntN(300))
	}
}

// fragmented splits a data set into values and PDUs as splits says: its low
// bits are the length of a fragment, its high bit ends the PDU.
func fragmented(data, splits []byte) []byte {
	var stream, values []byte
	for _, s := range splits {
		n := min(int(s&0x7F)*3, len(data))
		values = append(values, pdv(9, 0, data[:n])...)
		data = data[n:]
		if s&0x80 != 0 {
			stream = append(stream, pdata(values)...)
			values = nil
		}
	}
	return append(stream, pdata(values, pdv(9, 2, data))...)
}

func checkFragmentation(t *testing.T, data, splits []byte, chunk int) {
	t.Helper()
	stream := fragmented(data, splits)
	first := func() *DataReader {
		src := &chunks{r: bytes.NewReader(stream), sizes: []int{chunk, 2 * chunk, 1}}
		r := NewReader(src, 64+chunk, Limits{})
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		f, err := r.Fragment()
		if err != nil {
			t.Fatal(err)
		}
		return NewDataReader(r, f, r.Next)
	}
	check := func(how string, got []byte, err error, d *DataReader) {
		t.Helper()
		if err != nil || !bytes.Equal(got, data) || !d.Done() {
			t.Fatalf("%s: %v, %d bytes of %d, done %v", how, err, len(got), len(data), d.Done())
		}
		if _, err := d.r.Fragment(); err != io.EOF {
			t.Fatalf("%s: then %v", how, err)
		}
	}
	d := first()
	got, err := io.ReadAll(readerOnly{d})
	check("Read", got, err, d)

	d = first()
	var w bytes.Buffer
	_, err = d.WriteTo(&w)
	check("WriteTo", w.Bytes(), err, d)

	d = first()
	head := make([]byte, min(len(data), chunk))
	n, _ := io.ReadFull(d, head)
	w.Reset()
	w.Write(head[:n])
	_, err = d.WriteTo(&w)
	check("Read, then WriteTo", w.Bytes(), err, d)
}
