package forwarder

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/spool"
)

// TestMetricsExistFromTheStart holds the list that the documentation gives.
func TestMetricsExistFromTheStart(t *testing.T) {
	registry := prometheus.NewRegistry()
	_, err := New(Options{
		Queue: newMemQueue(t), Dialer: &peer{}, Registerer: registry,
		Custody: new(spool.Spool), Commitments: new(DIMSE),
		Destinations: []Destination{
			{Name: "cloud", CalledAETitle: "CLOUD", Address: "cloud:104"},
			{Name: "pacs", CalledAETitle: "PACS", Address: "pacs:104", Commitment: Commitment{Enabled: true}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	series := map[string]int{}
	for _, f := range families {
		series[f.GetName()] = len(f.GetMetric())
		if !strings.HasSuffix(f.GetHelp(), ".") {
			t.Errorf("%s has no sentence of help", f.GetName())
		}
	}
	want := map[string]int{
		"dcmgate_instances_delivered_total":               2,
		"dcmgate_delivered_bytes_total":                   2,
		"dcmgate_delivery_seconds":                        2,
		"dcmgate_delivery_attempts_total":                 2 * len(outcomes),
		"dcmgate_destination_dials_total":                 4,
		"dcmgate_destination_breaker":                     2,
		"dcmgate_destination_associations":                2,
		"dcmgate_destination_associations_allowed":        2,
		"dcmgate_destination_window":                      2,
		"dcmgate_destination_rate_limit_bytes_per_second": 2,
		"dcmgate_destination_commitment_requests_total":   len(requestOutcomes),
		"dcmgate_destination_commitment_instances_total":  len(resultNames),
		"dcmgate_destination_commitment_reports_total":    len(reportOutcomes),
		"dcmgate_destination_commitment_seconds":          1,
		"dcmgate_destination_commitment_degraded":         1,
	}
	for name, n := range want {
		if series[name] != n {
			t.Errorf("%s has %d series, want %d", name, series[name], n)
		}
	}
	for name := range series {
		if _, known := want[name]; !known {
			t.Errorf("%s is not on the list", name)
		}
	}
}
