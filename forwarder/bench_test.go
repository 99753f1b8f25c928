package forwarder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/dimse"
	"dcmgate/internal/synth"
	"dcmgate/transfer"
)

// endlessQueue hands out jobs of one instance in memory until it has given
// as many as were wanted.
type endlessQueue struct {
	data   []byte
	wanted int
	ready  chan struct{}
	done   chan struct{}

	mu        sync.Mutex
	given     int
	delivered int
}

func (q *endlessQueue) Claim(destination string, limit int) ([]Job, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	jobs := make([]Job, min(limit, q.wanted-q.given))
	for i := range jobs {
		q.given++
		jobs[i] = Job{
			ID: uint64(q.given), Destination: destination, SOPInstanceUID: uidOf(uint64(q.given)),
			Pair: transfer.Pair{SOPClassUID: synth.CTImageStorage, TransferSyntaxUID: synth.ExplicitVRLittleEndian},
			Size: int64(len(q.data)), Received: time.Now(),
		}
	}
	return jobs, nil
}

func (q *endlessQueue) Ready(string) <-chan struct{} { return q.ready }

func (q *endlessQueue) Complete(results ...Result) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, r := range results {
		switch r.Verdict {
		case Delivered:
			if q.delivered++; q.delivered == q.wanted {
				close(q.done)
			}
		case Released:
			q.given--
		}
	}
	return nil
}

func (q *endlessQueue) Open(Job) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(q.data)), nil
}

// BenchmarkForward sends from memory to a destination on loopback that only
// counts.
func BenchmarkForward(b *testing.B) {
	for _, size := range []int{512 << 10, 20 << 10} {
		for _, associations := range []int{1, 4} {
			for _, window := range []uint16{1, 8} {
				b.Run(fmt.Sprintf("size=%d/associations=%d/window=%d", size, associations, window), func(b *testing.B) {
					benchmarkForward(b, size, associations, window, 0)
				})
			}
		}
	}
	b.Run("delay=20ms/associations=32/window=1", func(b *testing.B) {
		benchmarkForward(b, 512<<10, 32, 1, 20*time.Millisecond)
	})
	b.Run("delay=20ms/associations=4/window=8", func(b *testing.B) {
		benchmarkForward(b, 512<<10, 4, 8, 20*time.Millisecond)
	})
}

func benchmarkForward(b *testing.B, size, associations int, window uint16, delay time.Duration) {
	var received atomic.Int64
	a := &archive{window: window, receive: func(_ int, rq *dimse.Request) dimse.Status {
		n, _ := io.Copy(io.Discard, rq.Data)
		received.Add(n)
		time.Sleep(delay)
		return dimse.StatusSuccess
	}}
	q := &endlessQueue{
		data: synth.NewTemplate(size, 1).Object(1, 1, 1).Data, wanted: b.N,
		ready: make(chan struct{}, 1), done: make(chan struct{}),
	}
	f, err := New(Options{
		Queue: q, Dialer: &DIMSE{CallingAETitle: "DCMGATE"},
		Destinations: []Destination{{
			Name: "cloud", CalledAETitle: "CLOUD", Address: a.serve(b),
			Associations: associations, BatchPerAssociation: -1,
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	b.SetBytes(int64(len(q.data)))
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- f.Run(ctx) }()
	<-q.done
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "instances/s")
	if want := int64(b.N) * int64(len(q.data)); received.Load() != want {
		b.Errorf("%d bytes arrived of %d", received.Load(), want)
	}
}

// BenchmarkForwardFromSpool empties a spool to a destination on loopback that
// only counts.
func BenchmarkForwardFromSpool(b *testing.B) {
	for _, associations := range []int{1, 4} {
		b.Run(fmt.Sprintf("associations=%d", associations), func(b *testing.B) {
			a := &archive{window: 8, receive: func(_ int, rq *dimse.Request) dimse.Status {
				_, _ = io.Copy(io.Discard, rq.Data)
				return dimse.StatusSuccess
			}}
			address := a.serve(b)
			s, _ := fill(b, b.N, 512<<10)
			b.SetBytes(512 << 10)
			b.ReportAllocs()
			b.ResetTimer()
			deliver(b, s, Destination{Address: address, Associations: associations, BatchPerAssociation: -1})
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "instances/s")
		})
	}
}

// BenchmarkLag commits instances to a spool, one after the other, and waits
// for each to be delivered: the time from the commit to the delivery is what
// the forwarder adds while the destination keeps up.
func BenchmarkLag(b *testing.B) {
	s, _ := fill(b, 0, 1000)
	arrived := make(chan struct{}, 1)
	a := &archive{window: 8, receive: func(_ int, rq *dimse.Request) dimse.Status {
		_, _ = io.Copy(io.Discard, rq.Data)
		arrived <- struct{}{}
		return dimse.StatusSuccess
	}}
	f, err := New(Options{
		Queue: FromSpool(s), Dialer: &DIMSE{CallingAETitle: "DCMGATE"},
		Destinations: []Destination{{Name: "cloud", CalledAETitle: "CLOUD", Address: a.serve(b)}},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	template := synth.NewTemplate(512<<10, 1)
	var lags []time.Duration
	for i := 0; b.Loop(); i++ {
		store(b, s, template.Object(1, 1, i))
		committed := time.Now()
		<-arrived
		lags = append(lags, time.Since(committed))
	}
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
	slices.Sort(lags)
	b.ReportMetric(float64(lags[len(lags)/2].Microseconds()), "median-lag-us")
	b.ReportMetric(float64(lags[len(lags)*99/100].Microseconds()), "p99-lag-us")
}
