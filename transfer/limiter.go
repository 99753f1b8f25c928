package transfer

import (
	"context"
	"io"
	"math"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// A Limiter bounds the bytes per second of everything that shares it, for
// example all associations to one destination. A nil *Limiter does not limit.
type Limiter struct {
	bytes   *rate.Limiter
	limited atomic.Bool
	chunk   atomic.Int64 // bytes taken at a time
}

// unlimited is the rate from which on limiting would only cost time.
const unlimited = math.MaxInt64

// maxChunk bounds the bytes taken at a time, so that the flow stays even.
const maxChunk = 64 << 10

// NewLimiter returns a limiter for the given bytes per second.
func NewLimiter(bytesPerSecond int64) *Limiter {
	l := &Limiter{bytes: rate.NewLimiter(rate.Inf, maxChunk)}
	l.SetRate(bytesPerSecond)
	return l
}

// SetRate changes the rate, from now on and for all who share the limiter.
// math.MaxInt64 lifts the limit. A rate of zero or less is taken as one byte
// per second; whoever wants to pause stops pumping instead, because a pause
// within an instance ends in the peer's timeout.
func (l *Limiter) SetRate(bytesPerSecond int64) {
	if bytesPerSecond == unlimited {
		l.limited.Store(false)
		l.bytes.SetLimit(rate.Inf)
		return
	}
	bytesPerSecond = max(bytesPerSecond, 1)
	// A quarter of a second's worth at most: a change of rate is felt soon.
	l.chunk.Store(min(max(bytesPerSecond/4, 1), maxChunk))
	l.bytes.SetLimit(rate.Limit(bytesPerSecond))
	l.limited.Store(true)
}

// clip shortens p to what is taken from the budget at a time.
func (l *Limiter) clip(p []byte) []byte {
	if l == nil || !l.limited.Load() {
		return p
	}
	return p[:min(int64(len(p)), l.chunk.Load())]
}

// Reader reads from r at the limiter's pace, until ctx ends.
func (l *Limiter) Reader(ctx context.Context, r io.Reader) io.Reader { return &pacedReader{ctx, l, r} }

type pacedReader struct {
	ctx     context.Context
	limiter *Limiter
	r       io.Reader
}

// Read implements io.Reader.
func (p *pacedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(p.limiter.clip(b))
	if waited := p.limiter.wait(p.ctx, n); waited != nil {
		return n, waited
	}
	return n, err
}

// wait takes n bytes, at most maxChunk, from the budget.
func (l *Limiter) wait(ctx context.Context, n int) error {
	if l == nil || !l.limited.Load() || n <= 0 {
		return nil
	}
	return l.bytes.WaitN(ctx, n)
}
