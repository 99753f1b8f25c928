package views

import (
	"context"
	"os"
	"testing"
	"time"

	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// BenchmarkRebuild publishes 100,000 stored studies of one image to an empty database of each kind: first V_StudyInfo alone,
// then V_DocImage as well, and each once more when nothing is to be changed.
func BenchmarkRebuild(b *testing.B) {
	const total = 100_000
	s, err := spool.Open(peertest.Index(b, total), spool.Options{ReserveBytes: -1, MinFree: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	for _, views := range []struct {
		name  string
		rows  int // of a study
		files Files
	}{{"V_StudyInfo", 1, nil}, {"both", 2, Address("/i/{id}")}} {
		for _, server := range servers {
			b.Run(views.name+"/"+server.name, func(b *testing.B) {
				var d *peertest.Database
				if server.start != nil {
					d = server.start(b)
				}
				source := sourceOf(b, d)
				for b.Loop() {
					began, memory := time.Now(), 0.0
					p, stop := runPublisher(b, Options{Source: source, Spool: s, Settings: settings(), Files: views.files})
					peertest.Eventually(b, 10*time.Minute, "everything is published", func() bool {
						memory = max(memory, peertest.Anonymous(b, os.Getpid()))
						return p.Status().State == StateRunning && p.Status().Sequence >= s.LastSequence()
					})
					b.ReportMetric(float64(total*views.rows)/time.Since(began).Seconds(), "rows/s")
					b.ReportMetric(time.Since(began).Seconds(), "s")
					b.ReportMetric(memory, "MB-anonymous")
					again := time.Now()
					if err := p.Rebuild(context.Background(), nil); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(time.Since(again).Seconds(), "s-unchanged")
					stop()
				}
			})
		}
	}
}
