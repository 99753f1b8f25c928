package qr

import (
	"context"
	"errors"
	"slices"
	"testing"

	"dcmgate/dicom"
)

func TestCollect(t *testing.T) {
	near := []object{instance("1.1", "1.1.1", "1.1.1.1"), instance("1.1", "1.1.1", "1.1.1.3"), instance("1.1", "1.1.9", "1.1.9.1")}
	for _, row := range []struct {
		name  string
		has   []object
		send  func(n int, o object) bool
		final error
		study dicom.UID
		want  Collected
	}{
		{"a study", far, nil, nil, "7.1", Collected{Listed: 3, Arrived: 3}},
		{"a part of a study", near, nil, nil, "1.1", Collected{Listed: 3, Present: 1, Arrived: 2}},
		{"what is here", near[:1], nil, nil, "1.1", Collected{Listed: 1, Present: 1}},
		{"nothing", far, nil, nil, "9", Collected{}},
		{"what does not come", far, func(n int, _ object) bool { return n != 1 }, &Unavailable{Reason: "moves fail"}, "7.1",
			Collected{Listed: 3, Arrived: 2, Missing: 1, Lost: []dicom.UID{"7.1.1.2"}, Reason: "pacs: moves fail", Shortfall: "pacs: moves fail"}},
	} {
		index := patients(t)
		a, scp := beyondArchive(t, index, &sink{}, row.has...)
		a.send, a.final = row.send, row.final
		if row.send != nil {
			a.moved = func(int) int { return 0 } // so that nothing is waited for
		}
		got, err := scp.Collect(t.Context(), row.study, func(c Collected) {
			if c.Arrived == 0 && c.Missing == 0 {
				t.Errorf("%s: progress %+v", row.name, c)
			}
		})
		if err != nil || (got.Bytes > 0) != (got.Arrived > 0) {
			t.Errorf("%s: %d bytes, %v", row.name, got.Bytes, err)
		}
		if !slices.Equal(got.Lost, row.want.Lost) {
			t.Errorf("%s: lost %v", row.name, got.Lost)
		}
		if got.Listed != row.want.Listed || got.Present != row.want.Present || got.Arrived != row.want.Arrived || got.Missing != row.want.Missing ||
			got.Reason != row.want.Reason || got.Shortfall != row.want.Shortfall {
			t.Errorf("%s: got %+v, want %+v", row.name, got, row.want)
		}
		if scp.gatherings.many.Load() != 0 || scp.retrievals.underWay() != 0 {
			t.Errorf("%s: still watching", row.name)
		}
	}
}

// What the first archive has sent is not counted again where the second has it, too, and what it has not sent the second may.
func TestCollectFromTwo(t *testing.T) {
	index := patients(t)
	a, scp := beyondArchive(t, index, &sink{}, far...)
	a.send = func(n int, _ object) bool { return n == 0 }
	a.moved = func(int) int { return 0 }
	b, _ := beyondArchive(t, index, &sink{}, far...)
	b.scp = scp
	scp.Use("", []Upstream{a, b}, nil)
	got, err := scp.Collect(t.Context(), "7.1", nil)
	if err != nil || got.Listed != 3 || got.Arrived != 3 || got.Present != 0 || got.Missing != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

// Nobody to ask, too many who ask, and one who does not wait.
func TestCollectNothing(t *testing.T) {
	index := patients(t)
	a, scp := beyondArchive(t, index, &sink{}, far...)
	ctx, cancel := context.WithCancel(t.Context())
	a.before = cancel
	if _, err := scp.Collect(ctx, "7.1", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	for range maxRetrievalsPerCaller {
		scp.retrievals.take("")
	}
	if _, err := scp.Collect(t.Context(), "7.1", nil); err == nil {
		t.Error("more than may be under way")
	}
	if got, err := newSCP(t, index).Collect(t.Context(), "7.1", nil); err != nil || got.Listed != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
