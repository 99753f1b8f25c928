package spool

import (
	"slices"
	"testing"

	"dcmgate/internal/synth"

	"github.com/prometheus/client_golang/prometheus"
)

func TestMetrics(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	o := small()
	o.Registerer = reg
	dir := t.TempDir()
	s := openSpool(t, dir, o)
	obj := synth.NewTemplate(5000, 1).Object(1, 1, 1)
	mustSend(t, s, obj, to("cloud")...)
	mustSend(t, s, obj, to("cloud")...)
	deliverAll(t, s, "cloud")
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	values := map[string]float64{}
	for _, f := range families {
		names = append(names, f.GetName())
		if f.GetHelp() == "" {
			t.Errorf("%s has no help", f.GetName())
		}
		m := f.GetMetric()[0]
		values[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	for name, want := range map[string]float64{
		"dcmgate_instances_received_total": 1, "dcmgate_duplicates_total": 1, "dcmgate_commit_seconds": 2, "dcmgate_spool_instances": 1,
		"dcmgate_job_outcomes_total": 1, "dcmgate_spool_healthy": 1,
	} {
		if values[name] != want {
			t.Errorf("%s is %v, want %v", name, values[name], want)
		}
	}
	for _, name := range []string{"dcmgate_spool_bytes", "dcmgate_jobs"} {
		if !slices.Contains(names, name) {
			t.Errorf("no %s among %v", name, names)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	openSpool(t, dir, o) // can register again
}
