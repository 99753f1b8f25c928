package dimse

import (
	"bytes"
	"context"
	"io"
	"testing"

	"dcmgate/internal/synth"
)

// discard counts and forgets, as the fastest possible spool would.
func discard(_ context.Context, rq *Request) (Status, string) {
	if _, err := rq.Data.(io.WriterTo).WriteTo(io.Discard); err != nil {
		return StatusProcessingFailure, ""
	}
	return StatusSuccess, ""
}

// BenchmarkStore sends CT images over loopback to a server in the same process; allocations are
// those of both sides.
func BenchmarkStore(b *testing.B) {
	for _, c := range []struct {
		name   string
		size   int
		window uint16
	}{
		{"CT/window=1", 526_000, 0}, {"CT/window=8", 526_000, 8}, {"20KB/window=1", 20_000, 0}, {"20KB/window=8", 20_000, 8},
	} {
		b.Run(c.name, func(b *testing.B) {
			_, address := serve(b, acceptAll(StoreFunc(discard)), ServerOptions{})
			a := dial(b, address, func(_ *Dialer, p *Proposal) { p.AsyncOperationsWindow = c.window })
			o := synth.Object{SOPInstanceUID: "2.25.1234567890", Data: make([]byte, c.size)}
			rq := storeRequest(ctContext(b, a), o)
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			storeAll(b, a, rq, o.Data)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "instances/s")
		})
	}
}

// storeAll keeps the window full.
func storeAll(b *testing.B, a *Association, rq StoreRequest, data []byte) {
	var r bytes.Reader
	pending := make([]*Pending, 0, a.Window())
	for range b.N {
		if len(pending) == cap(pending) {
			if _, err := pending[0].Wait(b.Context()); err != nil {
				b.Fatal(err)
			}
			pending = append(pending[:0], pending[1:]...)
		}
		r.Reset(data)
		rq.Data = &r
		p, err := a.StartStore(b.Context(), rq)
		if err != nil {
			b.Fatal(err)
		}
		pending = append(pending, p)
	}
	for _, p := range pending {
		if _, err := p.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCommandAppend(b *testing.B) {
	c := Command{CommandField: CStoreRQ, MessageID: 7, AffectedSOPClassUID: ctImage, AffectedSOPInstanceUID: "2.25.1234567890", HasDataSet: true}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = c.Append(buf[:0])
	}
}

func BenchmarkParseCommand(b *testing.B) {
	c := Command{CommandField: CStoreRQ, MessageID: 7, AffectedSOPClassUID: ctImage, AffectedSOPInstanceUID: "2.25.1234567890", HasDataSet: true}
	buf := c.Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseCommand(buf); err != nil {
			b.Fatal(err)
		}
	}
}
