package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/internal/load"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
)

func getscu(t testing.TB, g *gate, dir string, args ...string) (string, int) {
	t.Helper()
	host, port, _ := strings.Cut(g.address, ":")
	return peertest.Run(t, nil, peertest.Require(t, "getscu"), append(append([]string{"-v", "-aet", "WS", "-aec", "DCMGATE", "-od", dir}, args...), host, port)...)
}

// DCMTK's getscu in every model, at every level.
func TestGetscu(t *testing.T) {
	g := queried(t, "")
	for _, row := range retrievals {
		dir := t.TempDir()
		out, status := getscu(t, g, dir, row.args...)
		files, _ := filepath.Glob(filepath.Join(dir, "*.*"))
		if got := sopsOf(files); status != 0 || !slices.Equal(got, row.want) || !strings.Contains(out, "Success") {
			t.Errorf("%s: status %d, got %v, want %v\n%s", row.name, status, got, row.want, out)
		}
	}
	g.counts(t, float64(len(retrievals)), "dcmgate_gets_total", `status="0000"`)
	g.counts(t, selected(), "dcmgate_get_suboperations_total", `outcome="completed"`)
}

// filesIn are the names of the files in a folder, without .dcm, sorted.
func filesIn(t testing.TB, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".dcm"))
	}
	return names
}

func TestGetCommand(t *testing.T) {
	g := queried(t, "")
	dir := t.TempDir()
	study := []string{"-k", "StudyInstanceUID=1.2.3.1"}
	for _, row := range []struct {
		name   string
		args   []string
		status int
		out    string   // in it
		want   []string // in the folder
	}{
		{"study", study, 0, "3 files written", allOfStudy},
		{"again", study, 0, "0 files written", allOfStudy},
		{"again", append([]string{"--json"}, study...), 0, `"existing":3`, allOfStudy},
		{"image", []string{"--level", "image", "-k", "StudyInstanceUID=1.2.3.1", "-k", "SeriesInstanceUID=1.2.3.1.1", "-k", "SOPInstanceUID=1.2.3.1.1.2"}, 0, "1 file written", allOfStudy[1:2]},
		{"patient", []string{"--model", "patient", "--level", "patient", "-k", "PatientID=P2"}, 0, "1 file written", []string{"1.2.3.2.1.1"}},
		{"patient/study only", []string{"--model", "patient-study", "--level", "patient", "-k", "PatientID=P2"}, 0, "1 file written", []string{"1.2.3.2.1.1"}},
		{"of a modality", append([]string{"--modality", "CT"}, study...), 0, "3 files written", allOfStudy},
		{"of another modality", append([]string{"--modality", "US"}, study...), 1, "A702H", nil},
		{"in another transfer syntax", append([]string{"--sop-class", "1.2.840.10008.5.1.4.1.1.2", "--transfer-syntax", "1.2.840.10008.1.2.4.90", "--json"}, study...), 1, `"1.2.3.1.1.2"`, nil},
		{"nothing", []string{"-k", "StudyInstanceUID=9.9"}, 0, "0 files written", nil},
		{"no key", []string{"--level", "series", "-k", "StudyInstanceUID=1.2.3.1"}, 1, "SeriesInstanceUID is needed", nil},
		{"no modality", append([]string{"--modality", "ZZ"}, study...), 2, "not known here", nil},
		{"no UID", append([]string{"--sop-class", "CT"}, study...), 2, "is not a UID", nil},
	} {
		if row.name != "again" {
			dir = t.TempDir()
		}
		out, status := peertest.Run(t, nil, binary, append([]string{"get", g.address, "--out", dir}, row.args...)...)
		if got := filesIn(t, dir); status != row.status || !strings.Contains(out, row.out) || !slices.Equal(got, row.want) {
			t.Errorf("%s: status %d, files %v\n%s", row.name, status, got, out)
		}
	}
	// What is written can be sent, and is what was sent before.
	dir = t.TempDir()
	peertest.Run(t, nil, binary, append([]string{"get", g.address, "--out", dir}, study...)...)
	if out, status := peertest.Run(t, nil, binary, "send", g.address, dir); status != 0 {
		t.Errorf("sent back: %s", out)
	}
	if n := g.metric(t, "dcmgate_duplicates_total"); n != 3 {
		t.Errorf("%v duplicates of 3 that were sent back", n)
	}
}

// An interrupt cancels; what has come is kept whole, and nothing else is left.
func TestInterruptedGet(t *testing.T) {
	g := newGate(t, "")
	g.start(t)
	s := &load.Sender{Address: g.address, CalledAETitle: "DCMGATE", Template: synth.NewTemplate(1<<20, 7), Total: 400, PerStudy: 400, Once: true}
	if err := s.Run(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	way := newGatedWay(t, g.address, 20<<20)
	p := peertest.Start(t, nil, binary, "get", way.address, "--out", dir, "-k", "StudyInstanceUID="+s.Template.Object(0, 1, 0).StudyInstanceUID)
	peertest.Eventually(t, 20*time.Second, "some have come", func() bool { return len(filesIn(t, dir)) > 15 })
	sent := way.sent.Load()
	if err := p.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	peertest.Eventually(t, 20*time.Second, "it cancels", func() bool { return way.sent.Load() > sent })
	way.open()
	status, err := p.Wait(2 * time.Minute)
	if err != nil || status != 1 || !strings.Contains(p.Output(), "FE00H cancelled") {
		t.Errorf("status %d, %v\n%s", status, err, p.Output())
	}
	files := filesIn(t, dir)
	t.Logf("%d files\n%s", len(files), p.Output())
	for _, name := range files {
		info, err := os.Stat(filepath.Join(dir, name+".dcm"))
		if err != nil || info.Size() < int64(s.Template.Size()) {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if len(files) == 400 {
		t.Error("was not interrupted")
	}
}

// gatedWay is a way to an application entity that lets only a part of what that sends over a connection pass until it is opened.
type gatedWay struct {
	address string
	sent    atomic.Int64 // bytes to the application entity
	open    func()
}

func newGatedWay(t *testing.T, to string, pass int64) *gatedWay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ctx, open := context.WithCancel(t.Context())
	w := &gatedWay{address: l.Addr().String(), open: open}
	carry := func(near net.Conn) {
		defer near.Close()
		far, err := net.Dial("tcp", to)
		if err != nil {
			return
		}
		go func() {
			defer far.Close()
			io.Copy(far, io.TeeReader(near, w))
		}()
		if _, err := io.CopyN(near, far, pass); err == nil {
			<-ctx.Done()
			io.Copy(near, far)
		}
	}
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			go carry(near)
		}
	}()
	return w
}

// Write counts what is sent.
func (w *gatedWay) Write(b []byte) (int, error) {
	w.sent.Add(int64(len(b)))
	return len(b), nil
}

// From DCMTK's dcmqrscp and from Orthanc, which store what was sent to them.
func TestGetFromOthers(t *testing.T) {
	dir := t.TempDir()
	for n, i := range images {
		i.part10(t, filepath.Join(dir, fmt.Sprint(n, ".dcm")))
	}
	for _, peer := range []*peertest.Peer{peertest.Dcmqrscp(t, nil), peertest.Orthanc(t, nil, map[string]any{"DicomAlwaysAllowGet": true}, nil)} {
		if out, status := peertest.Run(t, nil, binary, "send", "--called", peer.AETitle, peer.Address, dir); status != 0 {
			t.Fatal(out)
		}
		into := t.TempDir()
		out, status := peertest.Run(t, nil, binary, "get", "--called", peer.AETitle, peer.Address, "--out", into, "-k", "StudyInstanceUID=1.2.3.1")
		if got := filesIn(t, into); status != 0 || !slices.Equal(got, allOfStudy) {
			t.Errorf("%s: status %d, files %v\n%s", peer.AETitle, status, got, out)
		}
	}
}
