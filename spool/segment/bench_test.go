package segment

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkCommit stores records from several writers at once, each written in the pieces a network delivers, into new
// segments and into recycled ones. The digest is not computed.
func BenchmarkCommit(b *testing.B) {
	for _, recycled := range []bool{false, true} {
		for _, size := range []int{20 << 10, 512 << 10, 16 << 20} {
			for _, writers := range []int{1, 4, 16} {
				kind := "new"
				if recycled {
					kind = "recycled"
				}
				b.Run(fmt.Sprintf("%s/%dK/%d", kind, size>>10, writers), func(b *testing.B) {
					benchmarkCommit(b, recycled, size, writers)
				})
			}
		}
	}
}

func benchmarkCommit(b *testing.B, recycled bool, size, writers int) {
	o := Options{}
	if recycled {
		o = Options{SegmentSize: 64 << 20, PoolBytes: 4 << 30}
	}
	s := ready(b, diskDir(b.TempDir()), o)
	payload, digest := content(1, size), sha256.Sum256(nil)
	meta := content(2, 400)
	var left atomic.Int64
	one := func() error {
		w, err := s.Begin()
		if err != nil {
			return err
		}
		defer w.Abort()
		for p := payload; len(p) > 0; p = p[min(len(p), 128<<10):] {
			if _, err := w.Write(p[:min(len(p), 128<<10)]); err != nil {
				return err
			}
		}
		_, err = w.Commit(meta, digest, 300, nil)
		return err
	}
	run := func(n int) {
		left.Store(int64(n))
		var wg sync.WaitGroup
		for range writers {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if err := one(); err != nil {
						b.Error(err)
						return
					}
					if recycled {
						recycleDead(s)
					}
				}
			})
		}
		wg.Wait()
	}
	if recycled {
		run(max(writers, (writers+2)*(64<<20)/size))
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// recycleDead gives up every segment that takes no more records, as if all of them had been delivered and evicted.
func recycleDead(s *Store) {
	for _, id := range s.segmentsSealed() {
		s.Recycle(id) // another goroutine may have
	}
}

func (s *Store) segmentsSealed() (ids []ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, g := range s.segments {
		if !g.open {
			ids = append(ids, id)
		}
	}
	return ids
}

// BenchmarkOpenPayload opens and closes a record, as every delivery does.
func BenchmarkOpenPayload(b *testing.B) {
	s := ready(b, diskDir(b.TempDir()), small())
	o := newObject(1, 20_000)
	store(b, s, o)
	b.ReportAllocs()
	for b.Loop() {
		p, err := s.OpenPayload(o.at)
		if err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}
