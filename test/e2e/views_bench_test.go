package e2e

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// BenchmarkIngestWithViews receives over four associations while metadata rows go nowhere, to SQLite, to SQLite with a row
// and a file for each image, and to PostgreSQL and MariaDB. The turns are by rounds, so that the machine's mood falls on all alike.
func BenchmarkIngestWithViews(b *testing.B) {
	image := "rows: {files: {address: 'https://images.example/{instance}'}}\n"
	cases := []struct {
		name string
		more func() string
	}{
		{"none", func() string { return "views: []\n" }},
		{"sqlite", func() string { return "" }},
		{"sqlite-images", func() string { return image }},
		{"sqlite-export", func() string {
			return fmt.Sprintf("rows: {files: {export: %q}}\n", filepath.Join(b.TempDir(), "share"))
		}},
		{"postgres-images", func() string {
			return image + fmt.Sprintf("views: [{name: x, dsn: %q}]\n", peertest.Postgres(b).Admin)
		}},
		{"mariadb-images", func() string {
			return image + fmt.Sprintf("views: [{name: x, dsn: %q}]\n", peertest.MariaDB(b).Admin)
		}},
	}
	for round := range 3 {
		for _, c := range cases {
			b.Run(fmt.Sprintf("%s/%d", c.name, round), func(b *testing.B) {
				for range b.N {
					ingestWithViews(b, newGate(b, c.more()))
				}
			})
		}
	}
}

func ingestWithViews(b *testing.B, g *gate) {
	g.start(b)
	const total = 6000
	sender := newSender(g.address, 128<<10, total)
	sender.Digests = false
	began := time.Now()
	defer func() { b.ReportMetric(time.Since(began).Seconds(), "s-to-publish-all") }()
	if err := sender.Run(context.Background(), 4); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(total/time.Since(began).Seconds(), "instances/s")
	peertest.Eventually(b, time.Minute, "everything is published", func() bool { return g.metric(b, "dcmgate_views_behind") <= 0 })
	if p := lagQuantile(g.http, 0.99); p > 0 {
		b.ReportMetric(p, "lag-p99-s")
	}
	g.stop(b)
}

// lagQuantile is the bound of the bucket in which a quantile of the lag lies, in seconds.
func lagQuantile(address string, q float64) float64 {
	answer, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return -1
	}
	defer answer.Body.Close()
	type bucket struct{ bound, count float64 }
	var buckets []bucket
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "dcmgate_views_lag_seconds_bucket{")
		if !ok {
			continue
		}
		_, rest, _ = strings.Cut(rest, `le="`)
		bound, count, _ := strings.Cut(rest, `"} `)
		le, err := strconv.ParseFloat(bound, 64)
		if err != nil {
			le = math.Inf(1)
		}
		n, _ := strconv.ParseFloat(count, 64)
		buckets = append(buckets, bucket{le, n})
	}
	for _, x := range buckets {
		if x.count >= q*buckets[len(buckets)-1].count {
			return x.bound
		}
	}
	return -1
}
