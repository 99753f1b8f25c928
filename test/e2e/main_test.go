// Package e2e runs the built dcmgate as its users do: the real binary, a configuration file, real peers on loopback.
package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/load"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
)

// binary is the dcmgate under test, built without the race detector: these tests look at speed of recovery, memory and
// signals, and the detector would change all three.
var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "dcmgate-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		binary = filepath.Join(dir, "dcmgate")
		build := exec.Command("go", "build", "-o", binary, "dcmgate/cmd/dcmgate")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build dcmgate: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// gate is a configured dcmgate; start runs it, as often as a test likes.
type gate struct {
	address, http string // host:port
	config, data  string // paths
	process       *peertest.Process
}

// destination is an entry under destinations: of the configuration.
type destination struct {
	name, aeTitle, address string
	more                   string // further keys, "key: value" separated by commas
}

// newGate writes a configuration that accepts anybody and forwards to destinations. more is appended to the file.
func newGate(t testing.TB, more string, destinations ...destination) *gate {
	t.Helper()
	g := &gate{address: peertest.Address(t), http: peertest.Address(t), data: filepath.Join(t.TempDir(), "data")}
	var b strings.Builder
	fmt.Fprintf(&b, "ae_title: DCMGATE\ndata_dir: %s\ndicom: {listen: %q, accept: any}\nhttp: {listen: %q}\n", g.data, g.address, g.http)
	if len(destinations) > 0 {
		b.WriteString("destinations:\n")
	}
	for _, d := range destinations {
		fmt.Fprintf(&b, "  - {name: %s, ae_title: %s, address: %q", d.name, d.aeTitle, d.address)
		if d.more != "" {
			b.WriteString(", " + d.more)
		}
		b.WriteString("}\n")
	}
	b.WriteString(more)
	g.config = filepath.Join(t.TempDir(), "dcmgate.yaml")
	if err := os.WriteFile(g.config, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// append adds to the configuration.
func (g *gate) append(t testing.TB, more string) {
	t.Helper()
	f, err := os.OpenFile(g.config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(more)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// start runs `dcmgate serve` and waits until it accepts associations and answers over HTTP, by when it listens wherever it is to.
func (g *gate) start(t testing.TB) *peertest.Process {
	t.Helper()
	g.process = peertest.Start(t, nil, binary, "serve", "--config", g.config)
	g.process.Listening(t, g.address)
	peertest.Eventually(t, 20*time.Second, "answers over HTTP", func() bool { return g.answer(t, "/healthz") != 0 })
	return g.process
}

// says waits until the gateway has said something: what it prints takes a moment to get here.
func (g *gate) says(t testing.TB, what string) {
	t.Helper()
	peertest.Eventually(t, 10*time.Second, "the gateway says "+what, func() bool { return strings.Contains(g.process.Output(), what) })
}

// run runs another command of the binary with --config and returns its output and exit status.
func (g *gate) run(t testing.TB, args ...string) (string, int) {
	t.Helper()
	return peertest.Run(t, nil, binary, append(args, "--config", g.config)...)
}

// metric returns the sum of the samples of a metric whose labels contain all of labels (as printed, `destination="cloud"`).
func (g *gate) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	text, ok := g.scrape()
	if !ok {
		return -1 // not up yet
	}
	return sample(t, text, name, labels...)
}

// scrape returns all metrics as they are at one moment.
func (g *gate) scrape() (text string, ok bool) {
	answer, err := http.Get("http://" + g.http + "/metrics")
	if err != nil {
		return "", false
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	return string(data), err == nil
}

// sample is gate.metric of what was scraped.
func sample(t testing.TB, text, name string, labels ...string) (sum float64) {
	t.Helper()
next:
	for line := range strings.Lines(text) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(series, "{"); !ok || base != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue next
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("metric %s: %v", line, err)
		}
		sum += v
	}
	return sum
}

// counts waits until a metric has a value. What is answered is counted a moment later.
func (g *gate) counts(t testing.TB, want float64, name string, labels ...string) {
	t.Helper()
	got := 0.0
	defer func() {
		if t.Failed() {
			t.Logf("%s %v: %v", name, labels, got)
		}
	}()
	peertest.Eventually(t, 10*time.Second, fmt.Sprintf("%s %v is %v", name, labels, want), func() bool {
		got = g.metric(t, name, labels...)
		return got == want
	})
}

// delivered waits until a destination has n deliveries.
func (g *gate) delivered(t testing.TB, destination string, n int, within time.Duration) {
	t.Helper()
	label := fmt.Sprintf("destination=%q", destination)
	peertest.Eventually(t, within, fmt.Sprintf("%d deliveries to %s", n, destination), func() bool {
		return int(g.metric(t, "dcmgate_instances_delivered_total", label)) >= n
	})
}

// newSender returns a load of total instances of about size bytes that keeps trying.
func newSender(address string, size, total int) *load.Sender {
	return &load.Sender{Address: address, CalledAETitle: "DCMGATE", Template: synth.NewTemplate(size, uint64(total)), Total: total, Digests: true}
}

// missing counts what a sender had acknowledged and the archive does not hold; other bytes fail the test.
func missing(t testing.TB, s *load.Sender, a *archive.Archive) int {
	t.Helper()
	n, err := s.Missing(a)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// startArchive listens until the test ends, at an address that nobody else takes while the archive is away.
func startArchive(t testing.TB, o archive.Options) (*archive.Archive, string) {
	t.Helper()
	a, address, err := archive.Listen(peertest.Address(t), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a, address
}

// residentPeak returns the peak resident memory of a process in bytes (VmHWM) and its peak of anonymous memory as sampled now.
func residentPeak(t testing.TB, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kb << 10
		}
	}
	t.Fatal("no VmHWM in /proc/PID/status")
	return 0
}
