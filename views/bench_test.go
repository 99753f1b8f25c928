package views

import (
	"context"
	"sync"
	"testing"
	"time"

	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// BenchmarkRebuild publishes 100,000 stored studies of one image to an empty database of each kind.
func BenchmarkRebuild(b *testing.B) {
	const total = 100_000
	s := openSpool(b, spool.Options{})
	var storing sync.WaitGroup
	for part := range 16 {
		storing.Go(func() {
			for i := part; i < total; i += 16 {
				store(b, s, image(i, 1, 1))
			}
		})
	}
	storing.Wait()
	if err := s.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
	for _, files := range []struct {
		name  string
		files Files
	}{{"studies", nil}, {"images", Address("/i/{id}")}} {
		for _, server := range servers {
			b.Run(files.name+"/"+server.name, func(b *testing.B) {
				for range b.N {
					b.StopTimer()
					var d *peertest.Database
					if server.start != nil {
						d = server.start(b)
					}
					source := sourceOf(b, d)
					b.StartTimer()
					began := time.Now()
					p, stop := runPublisher(b, Options{Source: source, Spool: s, Settings: settings(), Files: files.files})
					peertest.Eventually(b, 10*time.Minute, "everything is published", func() bool {
						return p.Status().State == StateRunning && p.Status().Sequence >= s.LastSequence()
					})
					b.ReportMetric(total/time.Since(began).Seconds(), "studies/s")
					again := time.Now()
					if err := p.Rebuild(context.Background(), nil); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(total/time.Since(again).Seconds(), "unchanged/s")
					stop()
				}
			})
		}
	}
}
