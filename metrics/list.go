package metrics

import (
	"fmt"
	"slices"
	"strings"
)

// Instrument describes one registered metric family.
type Instrument struct {
	Name   string
	Kind   string // counter, gauge, histogram, summary
	Help   string
	Labels []string // in alphabetical order
}

// List returns every instrument that has a sample, by name: the documentation
// page and the test that holds it to the code are made from it.
func (r *Registry) List() ([]Instrument, error) {
	families, err := r.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	list := make([]Instrument, 0, len(families))
	for _, f := range families {
		list = append(list, Instrument{
			Name:   f.GetName(),
			Kind:   strings.ToLower(f.GetType().String()),
			Help:   f.GetHelp(),
			Labels: labelNames(f.GetMetric()),
		})
	}
	return list, nil
}

// labelNames unites the label names of a family's samples.
func labelNames[M interface{ GetLabel() []L }, L interface{ GetName() string }](samples []M) []string {
	var names []string
	for _, m := range samples {
		for _, l := range m.GetLabel() {
			if !slices.Contains(names, l.GetName()) {
				names = append(names, l.GetName())
			}
		}
	}
	slices.Sort(names)
	return names
}
