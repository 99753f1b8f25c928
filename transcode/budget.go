package transcode

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// A Budget bounds the memory that conversions take for decoded frames, all of them together. One that finds too little left
// waits for its turn; it never waits while it holds a part. A nil *Budget bounds nothing.
type Budget struct {
	size int64
	left *semaphore.Weighted
}

// NewBudget makes a budget of so many bytes.
func NewBudget(size int64) *Budget { return &Budget{size, semaphore.NewWeighted(size)} }

// take waits for n bytes and returns how many are to be given back: what wants more than there is gets all of it.
func (b *Budget) take(ctx context.Context, n int64) (held int64, err error) {
	if b == nil {
		return 0, nil
	}
	held = min(n, b.size)
	return held, b.left.Acquire(ctx, held)
}

func (b *Budget) give(held int64) {
	if b != nil {
		b.left.Release(held)
	}
}
