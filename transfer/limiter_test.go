package transfer

import (
	"context"
	"errors"
	"io"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterBoundsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1_000_000)
		s := newSource(t)
		for i := range 10 {
			s.items = append(s.items, item(uidOf(i), 500_000))
		}
		begun := time.Now()
		if err := (&Pump{Association: newFake(1), Source: s, Limiter: l}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 4900*time.Millisecond || took > 5*time.Second {
			t.Errorf("5 MB at 1 MB/s took %v", took)
		}
	})
}

func TestLimiterIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1_000_000)
		begun, results := time.Now(), make(chan error)
		for range 2 {
			go func() {
				s := newSource(t, item("1.1", 1_000_000))
				results <- (&Pump{Association: newFake(1), Source: s, Limiter: l}).Run(t.Context())
			}()
		}
		for range 2 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took < 1900*time.Millisecond || took > 2*time.Second {
			t.Errorf("2 MB at 1 MB/s took %v", took)
		}
	})
}

func TestLimiterChangesItsRateWithinAnInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(100_000)
		time.AfterFunc(2*time.Second, func() { l.SetRate(math.MaxInt64) })
		s := newSource(t, item("1.1", 10_000_000))
		begun := time.Now()
		if err := (&Pump{Association: newFake(1), Source: s, Limiter: l}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 2500*time.Millisecond {
			t.Errorf("took %v although the limit was lifted after 2 s", took)
		}
	})
}

func TestLimiterDoesNotOutliveGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s := newSource(t, item("1.1", 10_000_000))
		a := newFake(1)
		begun := time.Now()
		err := (&Pump{Association: a, Source: s, Limiter: NewLimiter(1), Grace: time.Second}).Run(ctx)
		if !errors.Is(err, context.Canceled) || time.Since(begun) != 2*time.Second || s.kinds()["1.1"] != Interrupted {
			t.Errorf("after %v: %v, %v", time.Since(begun), err, s.kinds())
		}
	})
}

func TestReaderKeepsThePace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1_000_000)
		begun := time.Now()
		n, err := io.Copy(io.Discard, l.Reader(t.Context(), io.LimitReader(zeros{}, 5_000_000)))
		if took := time.Since(begun); n != 5_000_000 || err != nil || took < 4900*time.Millisecond || took > 5*time.Second {
			t.Errorf("%d bytes at 1 MB/s took %v, %v", n, took, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := io.Copy(io.Discard, l.Reader(ctx, io.LimitReader(zeros{}, 5_000_000))); err != context.Canceled {
			t.Error(err)
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
