package peertest

import "testing"

func TestGoroutinesThatOutliveTheTests(t *testing.T) {
	end := make(chan struct{})
	go func() { <-end }()
	if n := len(others()); n != 1 {
		t.Errorf("%d goroutines are seen, want 1", n)
	}
	close(end)
	if left := outlive(); len(left) != 0 {
		t.Errorf("one that ends is not waited for: %q", left)
	}
}
