package pdu

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// endless repeats a stream, up to 64 KiB at a time as a socket would give it.
type endless struct {
	stream []byte
	at     int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.at == len(e.stream) {
		e.at = 0
	}
	n := copy(p[:min(len(p), 64<<10)], e.stream[e.at:])
	e.at += n
	return n, nil
}

// BenchmarkReader reports the cost of one P-DATA-TF; the kernel's copy is
// imitated by endless.
func BenchmarkReader(b *testing.B) {
	for _, length := range []int{16 << 10, 128 << 10, 1 << 20} {
		stream := pdata(pdv(1, 0, pattern(length-pdvHeaderLength)))
		b.Run(fmt.Sprintf("WriteTo/%dKiB", length>>10), func(b *testing.B) {
			benchmarkReader(b, stream, func(d *DataReader, r *Reader) error { _, err := r.WriteTo(io.Discard); return err })
		})
		p := make([]byte, 256<<10)
		b.Run(fmt.Sprintf("Read/%dKiB", length>>10), func(b *testing.B) {
			benchmarkReader(b, stream, func(d *DataReader, r *Reader) error {
				for r.fragLeft > 0 {
					if _, err := d.Read(p); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
}

func benchmarkReader(b *testing.B, stream []byte, consume func(*DataReader, *Reader) error) {
	r := NewReader(&endless{stream: stream}, 0, Limits{})
	d := NewDataReader(r, Fragment{}, r.Next)
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
		f, err := r.Fragment()
		if err != nil {
			b.Fatal(err)
		}
		d.Reset(f)
		if err := consume(d, r); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWriter reports the cost of a C-STORE request with a CT image of
// 0.5 MB, for the limits common peers offer.
func BenchmarkWriter(b *testing.B) {
	set, data := pattern(120), pattern(526_000)
	src := bytes.NewReader(nil)
	for _, maximum := range []uint32{16384, 131072, 0} {
		b.Run(fmt.Sprintf("max=%d", maximum), func(b *testing.B) {
			w := NewWriter(io.Discard, 0)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(data)
				if err := w.Command(1, set, maximum); err != nil {
					b.Fatal(err)
				}
				if _, err := w.Data(1, src, int64(len(data)), maximum); err != nil {
					b.Fatal(err)
				}
				if err := w.Flush(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecode reports the cost of an association request as large as they
// come: 128 contexts with three transfer syntaxes each.
func BenchmarkDecode(b *testing.B) {
	rq := &AssociateRQ{}
	for id := 1; id < 256; id += 2 {
		rq.PresentationContexts = append(rq.PresentationContexts, PresentationContext{
			ID: byte(id), AbstractSyntax: "1.2.840.10008.5.1.4.1.1.2",
			TransferSyntaxes: []string{"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"}})
	}
	stream, err := rq.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := decode(TypeAssociateRQ, stream[headerLength:]); err != nil {
			b.Fatal(err)
		}
	}
}
