package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// knowing writes into a gateway's configuration that it knows a peer by its address.
func (g *gate) knowing(t testing.TB, title, address string) {
	t.Helper()
	f, err := os.OpenFile(g.config, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(f, "peers:\n  - {ae_title: %s, address: %q}\n", title, address)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// fill stores n instances at an address, as files and over the network, and returns how they are referred to.
func fill(t testing.TB, address, called string, n int) (refs []commitment.Reference, files []string) {
	t.Helper()
	template, dir := synth.NewTemplate(4000, 7), t.TempDir()
	for i := range n {
		o := template.Object(1, 1, i)
		refs = append(refs, commitment.Reference{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID)})
		files = append(files, filepath.Join(dir, fmt.Sprintf("%d.dcm", i)))
		if err := os.WriteFile(files[i], o.Part10(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, status := peertest.Run(t, nil, binary, "send", "--called", called, address, dir); status != 0 {
		t.Fatalf("send: status %d\n%s", status, out)
	}
	return refs, files
}

// askOnce asks as AE title CT1 and releases the association at once.
func askOnce(t testing.TB, g *gate, r *commitment.Request) error {
	t.Helper()
	a, err := (&dimse.Dialer{LocalAETitle: "CT1"}).Dial(t.Context(), g.address, dimse.Proposal{CalledAETitle: "DCMGATE", Contexts: []pdu.PresentationContext{commitment.Context(1)}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if err := commitment.Ask(t.Context(), a, r); err != nil {
		return err
	}
	return a.Release(t.Context())
}

// listenForReports takes reports at an address until the test ends; each is answered by take.
func listenForReports(t testing.TB, address string, take commitment.Taker[commitment.Result]) {
	t.Helper()
	s, err := dimse.NewServer(dimse.HandlerFunc(func(_ context.Context, rq *dimse.AssociationRequest) (*dimse.Acceptance, error) {
		return &dimse.Acceptance{
			Results: dimse.Negotiate(rq.RQ, func(_ dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
				return offered[0], pdu.ContextAccepted
			}),
			Service:        dimse.Mux{dimse.NEventReportRQ: commitment.Reports(take)},
			RoleSelections: commitment.GrantRoles(rq.RQ.RoleSelections, false, true),
		}, nil
	}), dimse.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
}

// A gateway that is killed after it has taken a request, or while a report waits, reports after the next start.
func TestKillBeforeTheReport(t *testing.T) {
	address := peertest.Address(t) // where nobody listens yet
	g := newGate(t, "")
	g.knowing(t, "CT1", address)
	g.start(t)
	refs, _ := fill(t, g.address, "DCMGATE", 20)
	requests := map[dicom.UID]*commitment.Request{}
	for i := range 3 {
		r := &commitment.Request{TransactionUID: dicom.UID(fmt.Sprintf("2.25.%d", i+1)), References: append(refs[:len(refs):len(refs)], commitment.Reference{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: "1.2.3"})}
		requests[r.TransactionUID] = r
		if err := askOnce(t, g, r); err != nil {
			t.Fatal(err)
		}
		g.process.Kill() // at once the first time, and after reports have failed the others
		g.start(t)
		peertest.Eventually(t, 20*time.Second, "a report has failed", func() bool {
			return g.metric(t, "dcmgate_commitment_reports_total", `association="own"`, `outcome="failed"`) > 0
		})
		if n := g.metric(t, "dcmgate_commitment_waiting"); n != float64(i+1) {
			t.Errorf("%v requests wait, want %d", n, i+1)
		}
	}
	if out, status := g.run(t, "status"); status != 0 || !strings.Contains(out, "CT1: 3 reports of storage commitment waiting") {
		t.Errorf("status: %d\n%s", status, out)
	}
	results := make(chan *commitment.Result, 10)
	listenForReports(t, address, func(_ context.Context, _ *dimse.Request, r *commitment.Result) error {
		results <- r
		return nil
	})
	for range requests {
		select {
		case r := <-results:
			want := &commitment.Result{TransactionUID: r.TransactionUID, RetrieveAETitle: "DCMGATE", Committed: refs,
				Failed: []commitment.Failure{{Reference: commitment.Reference{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: "1.2.3"}, Reason: 0x0112}}}
			if requests[r.TransactionUID] == nil || !reflect.DeepEqual(r, want) {
				t.Errorf("reported %+v", r)
			}
			delete(requests, r.TransactionUID)
		case <-time.After(3 * time.Minute):
			t.Fatalf("%d reports did not come", len(requests))
		}
	}
	peertest.Eventually(t, 20*time.Second, "nothing waits", func() bool { return g.metric(t, "dcmgate_commitment_waiting") == 0 })
	if n := g.metric(t, "dcmgate_commitment_instances_total", `outcome="committed"`); n != 60 {
		t.Errorf("%v instances counted as committed, want 60", n)
	}
}

// Orthanc asks, and takes the report over the gateway's association.
func TestOrthancAsksForCommitment(t *testing.T) {
	g := newGate(t, "")
	orthanc := peertest.Orthanc(t, nil, nil, map[string]string{"DCMGATE": g.address})
	g.knowing(t, "ORTHANC", orthanc.Address)
	g.start(t)
	refs, _ := fill(t, g.address, "DCMGATE", 5)
	ask := func(refs ...commitment.Reference) (status string, failures string) {
		t.Helper()
		var instances []map[string]string
		for _, r := range refs {
			instances = append(instances, map[string]string{"SOPClassUID": string(r.SOPClassUID), "SOPInstanceUID": string(r.SOPInstanceUID)})
		}
		body, err := json.Marshal(map[string]any{"DicomInstances": instances})
		if err != nil {
			t.Fatal(err)
		}
		var asked struct{ Path string }
		if err := json.Unmarshal(orthanc.REST(t, "POST", "/modalities/DCMGATE/storage-commitment", string(body)), &asked); err != nil {
			t.Fatal(err)
		}
		var report struct {
			Status   string
			Failures []map[string]any
		}
		peertest.Eventually(t, 20*time.Second, "Orthanc has the report", func() bool {
			if err := json.Unmarshal(orthanc.REST(t, "GET", asked.Path, ""), &report); err != nil {
				t.Fatal(err)
			}
			return report.Status != "Pending"
		})
		return report.Status, fmt.Sprint(report.Failures)
	}
	if status, failures := ask(refs...); status != "Success" {
		t.Errorf("all are kept: %s %s", status, failures)
	}
	wrong := refs[1]
	wrong.SOPClassUID = dicom.MRImageStorage
	unknown := refs[2]
	unknown.SOPInstanceUID = "1.2.3"
	status, failures := ask(refs[0], wrong, unknown)
	if status != "Failure" || !strings.Contains(failures, "1.2.3") || !strings.Contains(failures, string(wrong.SOPInstanceUID)) || strings.Contains(failures, string(refs[0].SOPInstanceUID)) {
		t.Errorf("some are not kept: %s %s", status, failures)
	}
	peertest.Eventually(t, 10*time.Second, "two reports are counted", func() bool {
		return g.metric(t, "dcmgate_commitment_reports_total", `outcome="taken"`) == 2
	})
}

func commit(t testing.TB, args ...string) (string, int) {
	t.Helper()
	return peertest.Run(t, nil, binary, append([]string{"commit"}, args...)...)
}

// commitOutput is what commit --json prints, as far as the tests look at it.
type commitOutput struct {
	Committed, Failed, Unanswered int
	Transactions                  []string
	RetrieveAE                    string `json:"retrieve_ae_title"`
	Instances                     []struct {
		UID, State, Reason, Path string
		SOPInstanceUID           string `json:"sop_instance_uid"`
	}
}

func TestCommitCommand(t *testing.T) {
	listener := peertest.Address(t)
	g := newGate(t, "")
	g.knowing(t, "CALLED", listener)
	g.start(t)
	refs, files := fill(t, g.address, "DCMGATE", 5)
	folder := filepath.Dir(files[0])
	stray := filepath.Join(t.TempDir(), "stray.dcm")
	o := synth.NewTemplate(4000, 8).Object(9, 9, 9)
	if err := os.WriteFile(stray, o.Part10(), 0o600); err != nil {
		t.Fatal(err)
	}
	study := synth.NewTemplate(4000, 7).Object(1, 1, 0).StudyInstanceUID
	for _, row := range []struct {
		name   string
		args   []string
		status int
		out    string // in it
	}{
		{"a folder", []string{g.address, folder}, 0, "5 instances committed in"},
		{"a folder and files of it", append([]string{g.address, folder}, files...), 0, "5 instances committed in"},
		{"in several requests", []string{g.address, "--batch", "2", folder}, 0, "5 instances committed in"},
		{"one that is not there", []string{g.address, folder, stray}, 1, "no such SOP instance"},
		{"a study", []string{g.address, "--study", study}, 0, "5 instances committed in"},
		{"a study that is not there", []string{g.address, "--study", "1.2.3"}, 1, "no instances found"},
		{"with a listener", []string{g.address, "--calling", "CALLED", "--listen", listener, folder}, 0, "5 instances committed in"},
		{"no DICOM", []string{g.address, g.config}, 1, "no instances found"},
		{"nothing", []string{g.address}, 2, "which instances"},
		{"a path that is not there", []string{g.address, filepath.Join(folder, "none")}, 2, "no such file"},
		{"a wrong batch", []string{g.address, "--batch", "0", folder}, 2, "--batch 0"},
		{"a wrong listener", []string{g.address, "--listen", "here", folder}, 2, "not HOST:PORT"},
	} {
		if out, status := commit(t, row.args...); status != row.status || !strings.Contains(out, row.out) {
			t.Errorf("%s: status %d\n%s", row.name, status, out)
		}
	}
	out, status := commit(t, "--json", "--batch", "3", g.address, folder, stray)
	line, _, _ := strings.Cut(out, "\n")
	var got commitOutput
	if err := json.Unmarshal([]byte(line), &got); err != nil || status != 1 {
		t.Fatalf("status %d, %v\n%s", status, err, out)
	}
	if got.Committed != 5 || got.Failed != 1 || got.Unanswered != 0 || len(got.Transactions) != 2 || got.RetrieveAE != "DCMGATE" || len(got.Instances) != 6 {
		t.Errorf("%+v", got)
	}
	for _, in := range got.Instances {
		if failed := in.Path == stray; failed != (in.State == "failed") || failed != (in.Reason == "0112") {
			t.Errorf("%+v", in)
		}
	}
	if got.Instances[0].SOPInstanceUID != string(refs[0].SOPInstanceUID) {
		t.Errorf("%+v, want %s", got.Instances[0], refs[0].SOPInstanceUID)
	}
}

// Orthanc keeps instances, and reports over an association of its own.
func TestCommitCommandWithOrthanc(t *testing.T) {
	listener := peertest.Address(t)
	orthanc := peertest.Orthanc(t, nil, nil, map[string]string{"ASKER": listener})
	_, files := fill(t, orthanc.Address, "ORTHANC", 3)
	args := []string{"--called", "ORTHANC", "--calling", "ASKER", "--listen", listener, orthanc.Address}
	if out, status := commit(t, append(args, filepath.Dir(files[0]))...); status != 0 || !strings.Contains(out, "3 instances committed") {
		t.Errorf("status %d\n%s", status, out)
	}
	orthanc.REST(t, "DELETE", "/instances/"+orthanc.Instances(t)[0], "")
	if out, status := commit(t, append(args, files...)...); status != 1 || !strings.Contains(out, "2 instances committed") || !strings.Contains(out, "1 not") {
		t.Errorf("after a deletion: status %d\n%s", status, out)
	}
	out, status := commit(t, append([]string{"--called", "ORTHANC", "--calling", "ASKER", "--wait", "1s", orthanc.Address}, files...)...)
	if status != 1 || !strings.Contains(out, "use --listen") {
		t.Errorf("without a listener: status %d\n%s", status, out)
	}
}

// Peers that do not take the request, or do not report.
func TestCommitCommandWithPeersThatFail(t *testing.T) {
	_, address := startArchive(t, archive.Options{})
	_, files := fill(t, address, "ARCHIVE", 1)
	if out, status := commit(t, address, files[0]); status != 1 || !strings.Contains(out, "0211H") && !strings.Contains(out, "no accepted presentation context") {
		t.Errorf("one that does not know the service: status %d\n%s", status, out)
	}
	if out, status := commit(t, peertest.Address(t), files[0]); status != 1 || !strings.Contains(out, "connection refused") {
		t.Errorf("nobody: status %d\n%s", status, out)
	}
	g := newGate(t, "")
	g.start(t)
	out, status := commit(t, "--wait", "1ms", g.address, files[0]) // it waits before it reports
	if status != 1 || !strings.Contains(out, "did not report within 1ms") || !strings.Contains(out, "1 without an answer") {
		t.Errorf("one that is slow: status %d\n%s", status, out)
	}
}
