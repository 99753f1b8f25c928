package transcode

import (
	"context"
	"errors"
	"io"
	"testing"

	"dcmgate/dicom"
)

// Conversions wait for what others hold of the budget, until that comes back or their context ends.
func TestBudget(t *testing.T) {
	const frame = 512 * 512 * 2
	budget := NewBudget(3 * frame / 2)
	begin := func(ctx context.Context) (*Reader, error) {
		return New(ctx, budget, dicom.RLELossless, explicit, multiframe(t, 2))
	}
	free := func(n int64) bool {
		ok := budget.left.TryAcquire(n)
		if ok {
			budget.left.Release(n)
		}
		return ok
	}
	first, err := begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if !free(frame/2) || free(frame/2+1) {
		t.Error("a conversion under way does not hold a frame")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := begin(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting ended with %v", err)
	}
	second := make(chan error)
	go func() {
		r, err := begin(t.Context())
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		second <- err
	}()
	first.Close()
	if err := <-second; err != nil {
		t.Error(err)
	}
	if !free(3 * frame / 2) {
		t.Error("something was not given back")
	}
}

// What is larger than the whole budget is converted alone.
func TestFrameLargerThanTheBudget(t *testing.T) {
	budget := NewBudget(1000)
	r, err := New(t.Context(), budget, dicom.RLELossless, explicit, multiframe(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil || !budget.left.TryAcquire(1000) {
		t.Errorf("%v, or something was not given back", err)
	}
}
