package metrics

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestHandlerServesBuildInfoAndProcess(t *testing.T) {
	srv := httptest.NewServer(NewRegistry("1.2.3").Handler())
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`dcmgate_build_info{go="go`, `version="1.2.3"} 1`, "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("/metrics lacks %q", want)
		}
	}
}

func TestListNamesKindsAndLabels(t *testing.T) {
	r := NewRegistry("1")
	jobs := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "jobs", Help: "Jobs."}, []string{"state", "destination"})
	r.MustRegister(jobs)
	jobs.WithLabelValues("pending", "cloud").Set(2)
	list, err := r.List()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(i Instrument) bool { return i.Name == "jobs" })
	if i < 0 {
		t.Fatal("jobs is not listed")
	}
	got := list[i]
	if got.Kind != "gauge" || got.Help != "Jobs." || !slices.Equal(got.Labels, []string{"destination", "state"}) {
		t.Errorf("got %+v", got)
	}
	for _, i := range list {
		if i.Help == "" {
			t.Errorf("%s has no help sentence", i.Name)
		}
	}
}

func TestBucketsSpanWhatTheyPromise(t *testing.T) {
	l := LatencyBuckets()
	if l[0] != 100e-6 || l[len(l)-1] < 50 {
		t.Errorf("latency buckets reach from %g to %g s", l[0], l[len(l)-1])
	}
	s := SizeBuckets()
	if s[0] != 1024 || s[len(s)-1] != 4<<30 {
		t.Errorf("size buckets reach from %g to %g bytes", s[0], s[len(s)-1])
	}
}

func TestSnapshotSums(t *testing.T) {
	r := NewRegistry("1")
	jobs := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "jobs", Help: "Jobs."}, []string{"state", "destination"})
	r.MustRegister(jobs)
	jobs.WithLabelValues("pending", "cloud").Set(2)
	jobs.WithLabelValues("pending", "pacs").Set(3)
	jobs.WithLabelValues("parked", "cloud").Set(5)
	s, err := r.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{10, "jobs", nil}, {5, "jobs", []string{"state", "pending"}}, {2, "jobs", []string{"state", "pending", "destination", "cloud"}},
		{0, "jobs", []string{"state", "active"}}, {0, "jobs", []string{"stage", "pending"}}, {0, "none", nil}, {1, "dcmgate_build_info", nil},
	} {
		if got := s.Sum(row.name, row.labels...); got != row.want {
			t.Errorf("%s %v is %v, want %v", row.name, row.labels, got, row.want)
		}
	}
}
