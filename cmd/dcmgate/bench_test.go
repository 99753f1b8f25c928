package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/bench"
)

// benchmarked runs `dcmgate bench` with a gateway made of the test binary.
func benchmarked(t *testing.T, ctx context.Context, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	t.Setenv("DCMGATE_TEST_AS_PROGRAM", "1")
	var out, errors bytes.Buffer
	status = run(ctx, append([]string{"bench"}, args...), strings.NewReader(""), &out, &errors)
	return out.String(), errors.String(), status
}

func empty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
}

func TestBenchMeasuresAndLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	killed := filepath.Join(dir, ".dcmgate-bench-killed") // by a run before
	if err := os.MkdirAll(filepath.Join(killed, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	out, errors, status := benchmarked(t, t.Context(), "--dir", dir, "--sizes", "4000", "--associations", "2", "--duration", "100ms", "--json")
	if status != exitOK {
		t.Fatalf("status %d: %s", status, errors)
	}
	var r bench.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Cases) != 1 || r.Cases[0].Associations != 2 || r.Cases[0].SizeBytes != 4000 {
		t.Fatalf("cases %+v", r.Cases)
	}
	if m := r.Machine; m.Processors < 1 || m.MemoryBytes < 1<<20 || m.DigestMBPerSecond <= 0 || m.LoopbackMBPerSecond <= 0 || m.Dir != dir || m.FileSystem == "" {
		t.Errorf("machine %+v", m)
	}
	c := r.Cases[0]
	for name, m := range map[string]bench.Rate{"disk": c.Disk, "network": c.Network, "ingest": c.Ingest, "forward": c.Forward, "end to end": c.EndToEnd} {
		if m.Instances < 1 || m.Seconds <= 0 || m.InstancesPerSecond <= 0 || m.MBPerSecond <= 0 {
			t.Errorf("%s: %+v", name, m)
		}
		if sent := name == "network" || name == "ingest" || name == "end to end"; sent != (m.Answers != nil) || sent && (m.Answers.P50 <= 0 || m.Answers.P50 > m.Answers.P99 || m.Answers.P99 > m.Answers.Max) {
			t.Errorf("%s: answers %+v", name, m.Answers)
		}
		if ours := name == "ingest" || name == "forward" || name == "end to end"; ours != (m.Gateway != nil) || ours && m.Gateway.PeakMB < 1 {
			t.Errorf("%s: gateway %+v", name, m.Gateway)
		}
	}
	// What the warm-up stored is delivered, too, and the first instance starts the clock.
	if want := c.Ingest.Instances + 4*2 - 1; c.Forward.Instances != want {
		t.Errorf("forwarded %d, want %d", c.Forward.Instances, want)
	}
	empty(t, dir)
}

func TestBenchInterruptedLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // while a gateway is at work
		for ctx.Err() == nil {
			if found, _ := filepath.Glob(filepath.Join(dir, ".dcmgate-bench-*", "data", "control.sock")); len(found) > 0 {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	out, errors, status := benchmarked(t, ctx, "--dir", dir, "--sizes", "4000", "--associations", "1", "--duration", "100ms")
	if status != exitFailed || out != "" || !strings.Contains(errors, "interrupted") {
		t.Errorf("status %d, printed %q, said %q", status, out, errors)
	}
	empty(t, dir)
}

func TestBenchPrintsATable(t *testing.T) {
	usage := &bench.Usage{CPUSecondsPerGB: 2.25, PeakMB: 44}
	rate := func(n float64, answers *bench.Latency) bench.Rate {
		return bench.Rate{InstancesPerSecond: n, MBPerSecond: n / 2, Answers: answers, Gateway: usage}
	}
	took := &bench.Latency{P50: 3.5, P99: 12, Max: 40}
	var out bytes.Buffer
	err := printBench(&out, &bench.Report{
		Machine: bench.Machine{Platform: "linux/arm64", Processors: 2, MemoryBytes: 4e9, FileSystem: "tmpfs", InMemory: true, Dir: "/tmp", DigestMBPerSecond: 900, LoopbackMBPerSecond: 4000},
		Cases:   []bench.Case{{SizeBytes: 500_000, Associations: 4, Disk: rate(1000, nil), Network: rate(3000, took), Ingest: rate(900, took), Forward: rate(2000, nil), EndToEnd: rate(600, took)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 processors", "tmpfs is kept in memory", "500 kB", "1000/s", "900/s", "0.90", "3.50 ms", "12.0 ms", "2.2 s/GB", "2000/s", "600/s", "44.0 MB", "300 MB/s", "25.9 TB a day"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestBenchRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"--sizes", "1GB"}, exitUsage, "--sizes: 1GB is not between"},
		{[]string{"--sizes", "much"}, exitUsage, `--sizes: "much" is not a size`},
		{[]string{"--sizes", ""}, exitUsage, "at least one"},
		{[]string{"--associations", "0"}, exitUsage, "--associations: 0 is not between 1 and 64"},
		{[]string{"--sizes", "100MB", "--associations", "16"}, exitUsage, "memory"},
		{[]string{"--duration", "1h"}, exitUsage, "--duration"},
		{[]string{"--dir", ".", "--config", "x"}, exitUsage, "give one of them"},
		{[]string{"--dir", file + "/nowhere"}, exitFailed, "not a directory"},
		{[]string{"--dir", "/proc"}, exitFailed, "GB free"},
	} {
		if _, errors, status := benchmarked(t, t.Context(), c.args...); status != c.status || !strings.Contains(errors, c.says) {
			t.Errorf("%q: status %d, said %q; want %d and %q", c.args, status, errors, c.status, c.says)
		}
	}
}
