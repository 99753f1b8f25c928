package metrics

import (
	"fmt"

	dto "github.com/prometheus/client_model/go"
)

// Snapshot is the state of a registry's instruments at one moment.
type Snapshot map[string]*dto.MetricFamily // by name

// Snapshot gathers what a scrape would. Collectors that fail are left out of it.
func (r *Registry) Snapshot() (Snapshot, error) {
	families, err := r.Gather()
	s := make(Snapshot, len(families))
	for _, f := range families {
		s[f.GetName()] = f
	}
	if err != nil {
		return s, fmt.Errorf("gather metrics: %w", err)
	}
	return s, nil
}

// Sum adds up the samples of a counter or gauge whose labels have these values, given as pairs of name and value. It is 0
// if there are none.
func (s Snapshot) Sum(name string, labels ...string) (sum float64) {
	for _, m := range s[name].GetMetric() {
		if hasLabels(m, labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

func hasLabels(m *dto.Metric, pairs []string) bool {
	for i := 0; i+1 < len(pairs); i += 2 {
		found := false
		for _, l := range m.GetLabel() {
			found = found || l.GetName() == pairs[i] && l.GetValue() == pairs[i+1]
		}
		if !found {
			return false
		}
	}
	return true
}
