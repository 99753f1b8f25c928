package spool

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/internal/synth"
)

func benchOptions() Options { return Options{ReserveBytes: -1, MinFree: -1} }

// BenchmarkIngest stores distinct instances with digest, deduplication, index and a job each.
func BenchmarkIngest(b *testing.B) {
	for _, size := range []int{512 << 10, 20 << 10} {
		for _, writers := range []int{1, 4, 16} {
			b.Run(fmt.Sprintf("%dKB/writers=%d", size>>10, writers), func(b *testing.B) { benchIngest(b, size, writers) })
		}
	}
}

func benchIngest(b *testing.B, size, writers int) {
	s := openSpool(b, b.TempDir(), benchOptions())
	tpl := synth.NewTemplate(size, 1)
	var next atomic.Int64
	ingest := func(objects int64) {
		var wg sync.WaitGroup
		limit := next.Load() + objects
		for w := range writers {
			wg.Go(func() {
				o := tpl.Object(1, w, 0)
				for {
					n := next.Add(1)
					if n > limit {
						next.Add(-1)
						return
					}
					tpl.Fill(&o, int(n)/200, w, int(n))
					if _, err := benchSend(s, &o); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	ingest(int64(writers) * 4) // lanes and pools exist
	b.SetBytes(int64(tpl.Size()))
	b.ReportAllocs()
	b.ResetTimer()
	began := time.Now()
	ingest(int64(b.N))
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "instances/s")
}

// benchSend writes as an association does: in pieces of a PDU.
func benchSend(s *Spool, o *synth.Object) (Receipt, error) {
	w, err := s.Begin(incoming(*o))
	if err != nil {
		return Receipt{}, err
	}
	defer w.Abort()
	for data := o.Data; len(data) > 0; {
		n := min(len(data), 128<<10)
		if _, err := w.Write(data[:n]); err != nil {
			return Receipt{}, err
		}
		data = data[n:]
	}
	return w.Commit([]JobSpec{{Destination: "cloud"}})
}

// fillJobs stores n tiny instances with a job each.
func fillJobs(b *testing.B, s *Spool, n int) {
	tpl := synth.NewTemplate(1000, 1)
	var wg sync.WaitGroup
	for w := range 16 {
		wg.Go(func() {
			o := tpl.Object(1, w, 0)
			for i := w; i < n; i += 16 {
				tpl.Fill(&o, i/100, w, i)
				if _, err := benchSend(s, &o); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	flush(b, s)
}

// BenchmarkComplete claims and completes jobs in batches of 64.
func BenchmarkComplete(b *testing.B) {
	s := openSpool(b, b.TempDir(), benchOptions())
	fillJobs(b, s, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		jobs := mustClaim(b, s, "cloud", 64)
		if len(jobs) == 0 {
			b.Fatalf("%d of %d", done, b.N)
		}
		for i := range jobs {
			if err := s.Complete(Delivered(jobs[i].Key(), 0)); err != nil {
				b.Fatal(err)
			}
		}
		done += len(jobs)
	}
	flush(b, s)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
}

const backlog = 60_000

// BenchmarkClaim claims 10 jobs of a backlog of 200,000 at a time.
func BenchmarkClaim(b *testing.B) {
	if testing.Short() {
		b.Skip("builds a large spool")
	}
	s := openSpool(b, b.TempDir(), benchOptions())
	fillJobs(b, s, backlog)
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		began := time.Now()
		jobs := mustClaim(b, s, "cloud", 10)
		took = append(took, time.Since(began))
		for i := range jobs {
			if err := s.Complete(Delivered(jobs[i].Key(), 0)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(took[len(took)-1].Microseconds()), "worst-us")
}
