// Package peers is the performance report: dcmgate beside DCMTK and Orthanc, driven by the same load on the same machine in
// the same run. Figures are reported, never asserted. Run it with `make peers-bench`; docs/performance.md explains the cases.
package peers

import (
	"bufio"
	"fmt"
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
	"dcmgate/internal/machine"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
)

// noDelay makes DCMTK switch Nagle's algorithm off. Without it every comparison measures a wait of 40 ms.
var noDelay = []string{"TCP_NODELAY=1"}

var binary string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "dcmgate-peers-")
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

// dcmgate starts the gateway; destinations are lines of its configuration.
func dcmgate(b *testing.B, destinations string) *peertest.Peer {
	b.Helper()
	peer := &peertest.Peer{AETitle: "DCMGATE", Address: peertest.Address(b), HTTP: peertest.Address(b), Dir: b.TempDir()}
	config := filepath.Join(peer.Dir, "dcmgate.yaml")
	text := fmt.Sprintf("data_dir: %s/data\ndicom: {listen: %q, accept: any}\nhttp: {listen: %q}\n%s", peer.Dir, peer.Address, peer.HTTP, destinations)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	peer.Process = peertest.Start(b, nil, binary, "serve", "--config", config)
	peer.Listening(b, peer.Address)
	return peer
}

// receivers are the storage SCPs that are compared. None but dcmgate and Orthanc syncs what it answers success for.
var receivers = []struct {
	name  string
	start func(*testing.B) *peertest.Peer
	slow  bool // sent a fifth of the instances
}{
	{"dcmgate", func(b *testing.B) *peertest.Peer { return dcmgate(b, "") }, false},
	{"storescp", func(b *testing.B) *peertest.Peer {
		return peertest.Storescp(b, noDelay, "--fork", "+B", "-pdu", "131072")
	}, false},
	{"Orthanc", func(b *testing.B) *peertest.Peer {
		return peertest.Orthanc(b, noDelay, map[string]any{"MaximumPduLength": 131072, "DicomThreadsCount": 16}, nil)
	}, true},
}

// cpu returns the processor time that a process and its ended children have used.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	used, err := machine.ProcessorTime(pid)
	if err != nil {
		b.Fatal(err)
	}
	return used
}

// send sends n instances and reports the rate and the receiver's processor time.
func send(b *testing.B, peer *peertest.Peer, size, n, associations int, window uint16) {
	b.Helper()
	warm := &load.Sender{Address: peer.Address, CalledAETitle: peer.AETitle, Template: synth.NewTemplate(size, 1), Total: 4 * associations, Window: window, Once: true}
	if err := warm.Run(b.Context(), associations); err != nil {
		b.Fatal(err)
	}
	s := &load.Sender{Address: peer.Address, CalledAETitle: peer.AETitle, Template: synth.NewTemplate(size, 2), Total: n, Window: window, Once: true}
	before := cpu(b, peer.PID())
	began := time.Now()
	if err := s.Run(b.Context(), associations); err != nil {
		b.Fatal(err)
	}
	seconds := time.Since(began).Seconds()
	bytes := float64(n) * float64(s.Template.Size())
	b.ReportMetric(float64(n)/seconds, "instances/s")
	b.ReportMetric(bytes/1e6/seconds, "MB/s")
	b.ReportMetric((cpu(b, peer.PID())-before).Seconds()/(bytes/1e9), "CPU-s/GB")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkIngest stores instances of several sizes over several associations.
func BenchmarkIngest(b *testing.B) {
	for _, c := range []struct {
		name    string
		size, n int
	}{{"20KB", 20 << 10, 8000}, {"CT", 526000, 3000}, {"16MB", 16 << 20, 80}, {"100MB", 100 << 20, 12}} {
		for _, associations := range []int{1, 4, 16} {
			if c.n < 4*associations {
				continue
			}
			for _, r := range receivers {
				b.Run(fmt.Sprintf("%s/%d/%s", c.name, associations, r.name), func(b *testing.B) {
					n := c.n
					if r.slow {
						n /= 5
					}
					send(b, r.start(b), c.size, max(n, associations), associations, 1)
				})
			}
		}
	}
}

// BenchmarkWindow compares asynchronous operations on one association with several associations.
func BenchmarkWindow(b *testing.B) {
	b.Run("window=8", func(b *testing.B) { send(b, dcmgate(b, ""), 526000, 3000, 1, 8) })
	b.Run("associations=4", func(b *testing.B) { send(b, dcmgate(b, ""), 526000, 3000, 4, 1) })
}

// files writes n instances as Part 10 files for the peers' own senders.
func files(b *testing.B, size, n int) string {
	b.Helper()
	dir := b.TempDir()
	t := synth.NewTemplate(size, 3)
	for i := range n {
		o := t.Object(i/100, 1, i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.dcm", i)), o.Part10(), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// sink starts a counting archive and returns a function that waits for n instances.
func sink(b *testing.B, o archive.Options) (*archive.Archive, string) {
	b.Helper()
	a, address, err := archive.Listen("127.0.0.1:0", o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { a.Close() })
	return a, address
}

// await waits until an archive holds n instances and reports the rate since the first of them.
func await(b *testing.B, a *archive.Archive, n int) {
	b.Helper()
	peertest.Eventually(b, 5*time.Minute, "all instances at the sink", func() bool { return a.Counts().Instances >= n })
	first, last := a.Span()
	b.ReportMetric(float64(n-1)/last.Sub(first).Seconds(), "instances/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkForward compares the forwarder emptying a spool with DCMTK's senders sending files, to a counting sink.
func BenchmarkForward(b *testing.B) {
	const n = 2000
	for _, delay := range []time.Duration{0, 20 * time.Millisecond} {
		for _, associations := range []int{1, 4, 32} {
			if (associations == 32) != (delay > 0) {
				continue
			}
			b.Run(fmt.Sprintf("delay=%v/dcmgate/%d", delay, associations), func(b *testing.B) {
				a, address := sink(b, archive.Options{Faults: archive.Faults{Delay: delay}, NoDigest: true})
				spooled(b, address, associations, n)
				await(b, a, n)
			})
		}
		for _, program := range []string{"dcmsend", "storescu"} {
			b.Run(fmt.Sprintf("delay=%v/%s", delay, program), func(b *testing.B) {
				a, address := sink(b, archive.Options{Faults: archive.Faults{Delay: delay}, NoDigest: true})
				count := n
				if delay > 0 {
					count = n / 10
				}
				_, port, _ := strings.Cut(address, ":")
				out, status := peertest.Run(b, noDelay, peertest.Require(b, program), "-pdu", "131072", "--max-send-pdu", "131072",
					"+sd", "127.0.0.1", port, files(b, 526000, count))
				if status != 0 {
					b.Fatalf("%s: exit status %d: %s", program, status, out)
				}
				await(b, a, count)
			})
		}
	}
}

// spooled fills a gateway whose destination does not listen, then starts it anew with one that does.
func spooled(b *testing.B, address string, associations, n int) {
	b.Helper()
	const line = "destinations: [{name: cloud, ae_title: CLOUD, address: %q, associations: %d}]\n"
	peer := dcmgate(b, fmt.Sprintf(line, "127.0.0.1:1", associations))
	s := &load.Sender{Address: peer.Address, CalledAETitle: peer.AETitle, Template: synth.NewTemplate(526000, 4), Total: n, Once: true}
	if err := s.Run(b.Context(), 4); err != nil {
		b.Fatal(err)
	}
	peer.Signal(os.Interrupt)
	if _, err := peer.Wait(2 * time.Minute); err != nil {
		b.Fatal(err)
	}
	config := filepath.Join(peer.Dir, "dcmgate.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(strings.Replace(string(text), "127.0.0.1:1\"", address+"\"", 1)), 0o600); err != nil {
		b.Fatal(err)
	}
	peertest.Start(b, nil, binary, "serve", "--config", config)
}

// BenchmarkEndToEnd stores on one side and counts on the other while the first goes on.
func BenchmarkEndToEnd(b *testing.B) {
	b.Run("dcmgate", func(b *testing.B) {
		a, address := sink(b, archive.Options{Window: 8, NoDigest: true})
		peer := dcmgate(b, fmt.Sprintf("destinations: [{name: cloud, ae_title: CLOUD, address: %q}]\n", address))
		s := &load.Sender{Address: peer.Address, CalledAETitle: peer.AETitle, Template: synth.NewTemplate(526000, 5), Total: 4000, Once: true}
		if err := s.Run(b.Context(), 4); err != nil {
			b.Fatal(err)
		}
		await(b, a, s.Total)
	})
	b.Run("Orthanc", func(b *testing.B) {
		a, address := sink(b, archive.Options{NoDigest: true})
		script := filepath.Join(b.TempDir(), "route.lua")
		if err := os.WriteFile(script, []byte("function OnStoredInstance(id, tags, metadata, origin)\n  Delete(SendToModality(id, 'sink'))\nend\n"), 0o600); err != nil {
			b.Fatal(err)
		}
		peer := peertest.Orthanc(b, noDelay, map[string]any{"LuaScripts": []string{script}, "MaximumPduLength": 131072}, map[string]string{"sink": address})
		s := &load.Sender{Address: peer.Address, CalledAETitle: peer.AETitle, Template: synth.NewTemplate(526000, 5), Total: 200, Once: true}
		if err := s.Run(b.Context(), 4); err != nil {
			b.Fatal(err)
		}
		await(b, a, s.Total)
	})
}

// BenchmarkNagle pairs peers that leave Nagle's algorithm on, as Debian ships them, with each other and with dcmgate.
func BenchmarkNagle(b *testing.B) {
	const n = 200
	dir := files(b, 200<<10, n)
	run := func(b *testing.B, program string, peer *peertest.Peer) {
		_, port, _ := strings.Cut(peer.Address, ":")
		began := time.Now()
		out, status := peertest.Run(b, nil, peertest.Require(b, program), "-aec", peer.AETitle, "+sd", "127.0.0.1", port, dir)
		if status != 0 {
			b.Fatalf("%s: exit status %d: %s", program, status, out)
		}
		b.ReportMetric(n/time.Since(began).Seconds(), "instances/s")
		b.ReportMetric(0, "ns/op")
	}
	for _, program := range []string{"storescu", "dcmsend"} {
		b.Run(program+" to storescp", func(b *testing.B) { run(b, program, peertest.Storescp(b, nil)) })
		b.Run(program+" to dcmgate", func(b *testing.B) { run(b, program, dcmgate(b, "")) })
	}
	forward := func(b *testing.B, target *peertest.Peer) {
		peer := dcmgate(b, fmt.Sprintf("destinations: [{name: peer, ae_title: %s, address: %q, associations: 1}]\n", target.AETitle, target.Address))
		began := time.Now()
		out, status := peertest.Run(b, nil, binary, "send", "--called", peer.AETitle, peer.Address, dir)
		if status != 0 {
			b.Fatalf("send: exit status %d: %s", status, out)
		}
		peertest.Eventually(b, time.Minute, "all delivered", func() bool { return delivered(b, peer) >= n })
		b.ReportMetric(n/time.Since(began).Seconds(), "instances/s")
		b.ReportMetric(0, "ns/op")
	}
	b.Run("dcmgate to storescp", func(b *testing.B) { forward(b, peertest.Storescp(b, nil)) })
	b.Run("dcmgate to Orthanc", func(b *testing.B) { forward(b, peertest.Orthanc(b, nil, nil, nil)) })
	b.Run("storescu to Orthanc", func(b *testing.B) { run(b, "storescu", peertest.Orthanc(b, nil, nil, nil)) })
}

// delivered reads how many instances a gateway has delivered.
func delivered(b *testing.B, peer *peertest.Peer) int {
	b.Helper()
	answer, err := http.Get("http://" + peer.HTTP + "/metrics")
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "dcmgate_instances_delivered_total{"); ok {
			_, value, _ := strings.Cut(rest, "} ")
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				b.Fatal(err)
			}
			return int(n)
		}
	}
	return 0
}
