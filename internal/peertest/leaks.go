package peertest

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Main runs the tests of a package, as its TestMain does, and fails them if goroutines of this module are left: each has an
// owner that waits for its end.
func Main(m *testing.M) {
	status := m.Run()
	if status == 0 {
		if left := outlive(); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "%d goroutines outlive the tests:\n\n%s\n", len(left), strings.Join(left, "\n\n"))
			status = 1
		}
	}
	os.Exit(status)
}

// outlive returns the stacks of the goroutines that are left once they have had the time to end.
func outlive() []string {
	for end := time.Now().Add(patience * 5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if left := others(); len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// others returns the stacks of the goroutines that run code of this module, but for the caller's.
func others() (left []string) {
	for _, stack := range stacks()[1:] {
		if strings.Contains(stack, "\ndcmgate/") || strings.Contains(stack, "\ncreated by dcmgate/") {
			left = append(left, stack)
		}
	}
	return left
}

// stacks returns the stack of each goroutine, that of the caller first.
func stacks() []string {
	for buffer := make([]byte, 1<<20); ; buffer = make([]byte, 2*len(buffer)) {
		if n := runtime.Stack(buffer, true); n < len(buffer) {
			return strings.Split(strings.TrimSpace(string(buffer[:n])), "\n\n")
		}
	}
}
