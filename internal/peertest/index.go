package peertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// Index makes a spool whose index is of n studies of synth.Study, without records but one, and returns its data folder. With
// DCMGATE_INDEXES naming a folder, indexes are kept there for the next run.
func Index(t testing.TB, n int) string {
	t.Helper()
	dir := os.Getenv("DCMGATE_INDEXES")
	if dir == "" {
		dir = t.TempDir()
	}
	data := filepath.Join(dir, strconv.Itoa(n))
	if _, err := os.Stat(data); err == nil {
		return data
	}
	generate := exec.Command("go", "test", "-count=1", "-run", "^TestGenerateIndex$", "-timeout", "1h", "dcmgate/spool")
	generate.Env = append(os.Environ(), "DCMGATE_GENERATE_DIR="+data, "DCMGATE_GENERATE_STUDIES="+strconv.Itoa(n))
	if out, err := generate.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return data
}

var anonymous = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)

// Anonymous is the anonymous memory of a process now, in MB: tables of an index are mapped, and no memory of its own.
func Anonymous(t testing.TB, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := anonymous.FindSubmatch(status)
	if m == nil {
		t.Fatal("no RssAnon")
	}
	kb, _ := strconv.ParseFloat(string(m[1]), 64)
	return kb / 1000
}
