package mrdata

import (
	"errors"
	"testing"
)

func TestWalkYieldsEveryInstance(t *testing.T) {
	names := map[string]bool{}
	err := Walk(func(f File) error {
		if len(f.Data) < 132 || string(f.Data[128:132]) != "DICM" {
			t.Errorf("%s is not a Part 10 file", f.Name)
		}
		names[f.Name] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != Count {
		t.Errorf("%d files, want %d", len(names), Count)
	}
}

func TestWalkEndsWithTheVisitorsError(t *testing.T) {
	stop, seen := errors.New("enough"), 0
	err := Walk(func(File) error { seen++; return stop })
	if !errors.Is(err, stop) || seen != 1 {
		t.Errorf("error %v after %d files, want %v after 1", err, seen, stop)
	}
}
