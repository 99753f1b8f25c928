package transfer

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/transcode"
)

// A run that ends while an instance is being converted, or waits for that, ends the conversion: the instance is unsent rather
// than at fault, and the association intact.
func TestTheEndOfARunEndsAConversion(t *testing.T) {
	var log bytes.Buffer
	for _, whole := range []bool{false, true} {
		c := NewConverter(nil, slog.New(slog.NewTextHandler(&log, nil)))
		c.budget = transcode.NewBudget(1)
		payload, err := frames("1.1", true).Open()
		if err != nil {
			t.Fatal(err)
		}
		other, err := transcode.New(t.Context(), c.budget, rle, evr, payload)
		if err != nil {
			t.Fatal(err)
		}
		a := newFake(1)
		a.refuse[Pair{ct, rle}] = true
		waiting := frames("1.2", true)
		ctx, cancel := context.WithCancel(t.Context())
		opened := waiting.Open
		waiting.Open = func() (io.ReadCloser, error) { cancel(); return opened() }
		s := newSource(t, waiting)
		if err := (&Pump{Association: a, Source: s, Converter: c, Whole: whole}).Run(ctx); err != nil {
			t.Errorf("whole %v: %v", whole, err)
		}
		if got := s.kinds()["1.2"]; got != NotSent || len(a.received) != 0 {
			t.Errorf("whole %v: outcome %v, received %v", whole, got, a.received)
		}
		if n := testutil.CollectAndCount(c.conversions); n != 0 || log.Len() > 0 {
			t.Errorf("whole %v: %d series; logged %s", whole, n, &log)
		}
		other.Close()
	}
}
