package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// mover is a gateway that holds the images and knows these application entities by their addresses.
func mover(t testing.TB, peers map[string]string) *gate {
	t.Helper()
	more := "peers:\n"
	for title, address := range peers {
		more += fmt.Sprintf("  - {ae_title: %s, address: %q}\n", title, address)
	}
	return queried(t, more)
}

func movescu(t testing.TB, g *gate, destination string, args ...string) (string, int) {
	t.Helper()
	host, port, _ := strings.Cut(g.address, ":")
	return peertest.Run(t, nil, peertest.Require(t, "movescu"), append(append([]string{"-v", "-aet", "WS", "-aec", "DCMGATE", "-aem", destination}, args...), host, port)...)
}

// allOfStudy are the SOP Instance UIDs of the study 1.2.3.1 of the images.
var allOfStudy = []string{"1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.2.1"}

// retrievals are arguments of movescu and getscu in every model, at every level, and the SOP Instance UIDs they select.
var retrievals = []struct {
	name string
	args []string
	want []string
}{
	{"patient root, patient", []string{"-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P1"}, allOfStudy},
	{"patient root, study", []string{"-P", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P1", "-k", "StudyInstanceUID=1.2.3.1"}, allOfStudy},
	{"patient root, series", []string{"-P", "-k", "QueryRetrieveLevel=SERIES", "-k", "PatientID=P1", "-k", "StudyInstanceUID=1.2.3.1", "-k", "SeriesInstanceUID=1.2.3.1.1"}, allOfStudy[:2]},
	{"patient root, image", []string{"-P", "-k", "QueryRetrieveLevel=IMAGE", "-k", "PatientID=P1", "-k", "StudyInstanceUID=1.2.3.1", "-k", "SeriesInstanceUID=1.2.3.1.1", "-k", "SOPInstanceUID=1.2.3.1.1.2"}, allOfStudy[1:2]},
	{"study root, studies", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", `StudyInstanceUID=1.2.3.1\1.2.3.2`}, append(slices.Clone(allOfStudy), "1.2.3.2.1.1")},
	{"study root, list of series", []string{"-S", "-k", "QueryRetrieveLevel=SERIES", "-k", "StudyInstanceUID=1.2.3.1", "-k", `SeriesInstanceUID=1.2.3.1.1\1.2.3.1.2`}, allOfStudy},
	{"study root, list of images", []string{"-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", "StudyInstanceUID=1.2.3.1", "-k", "SeriesInstanceUID=1.2.3.1.1", "-k", `SOPInstanceUID=1.2.3.1.1.1\1.2.3.1.1.2`}, allOfStudy[:2]},
	{"patient/study only, patient", []string{"-O", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P2"}, []string{"1.2.3.2.1.1"}},
	{"patient/study only, study", []string{"-O", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P2", "-k", "StudyInstanceUID=1.2.3.2"}, []string{"1.2.3.2.1.1"}},
}

// DCMTK's movescu in every model, at every level, with its storescp as destination.
func TestMovescu(t *testing.T) {
	scp := peertest.Storescp(t, nil)
	g := mover(t, map[string]string{"ARCHIVE": scp.Address})
	for _, row := range retrievals {
		removeAll(t, scp.Files())
		out, status := movescu(t, g, "ARCHIVE", row.args...)
		if got := sopsOf(scp.Files()); status != 0 || !slices.Equal(got, row.want) {
			t.Errorf("%s: status %d, got %v, want %v\n%s", row.name, status, got, row.want, out)
		}
	}
	if out, status := movescu(t, g, "NOBODY", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.1"); status == 0 || !strings.Contains(out, "Move Destination Unknown") && !strings.Contains(out, "MoveDestinationUnknown") && !strings.Contains(out, "0xa801") {
		t.Errorf("unknown destination: status %d\n%s", status, out)
	}
	g.counts(t, float64(len(retrievals)), "dcmgate_moves_total", `status="0000"`)
	g.counts(t, selected(), "dcmgate_move_suboperations_total", `outcome="completed"`)
}

func TestMoveCommand(t *testing.T) {
	whole, address := startArchive(t, archive.Options{})
	_, full := startArchive(t, archive.Options{Faults: archive.Faults{StatusRate: 1, Status: 0xA700}})
	_, gone := startArchive(t, archive.Options{Faults: archive.Faults{AbortRate: 1}})
	g := mover(t, map[string]string{"WHOLE": address, "FULL": full, "GONE": gone, "CLOSED": peertest.Address(t)})
	study := []string{"-k", "StudyInstanceUID=1.2.3.1"}
	for _, row := range []struct {
		destination string
		args        []string
		status      int
		out         string // in it
	}{
		{"WHOLE", study, 0, "3 instances moved to WHOLE"},
		{"WHOLE", []string{"--model", "patient", "--level", "patient", "-k", "PatientID=P1", "--json"}, 0, `"status":"0000"`},
		{"FULL", study, 1, "A702H"},
		{"FULL", append([]string{"--json"}, study...), 1, `"1.2.3.1.1.2"`},
		{"GONE", study, 1, "A702H"},
		{"CLOSED", study, 1, "A702H"},
		{"NOBODY", study, 1, "A801H"},
		{"WHOLE", []string{"--level", "series", "-k", "StudyInstanceUID=1.2.3.1"}, 1, "SeriesInstanceUID is needed"},
		{"", study, 2, "AE title of 1 to 16"},
	} {
		out, status := peertest.Run(t, nil, binary, append([]string{"move", g.address, "--dest", row.destination}, row.args...)...)
		if status != row.status || !strings.Contains(out, row.out) {
			t.Errorf("%s %v: status %d\n%s", row.destination, row.args, status, out)
		}
	}
	if c := whole.Counts(); c.Instances != 3 || c.Conflicts != 0 {
		t.Errorf("received %+v", c)
	}
}

// Moves to DCMTK's storescp over TLS, and the commands over TLS to the gateway.
func TestRetrievalsOverTLS(t *testing.T) {
	cert, key, _ := peertest.Certificate(t)
	other, _, _ := peertest.Certificate(t)
	scp := peertest.StorescpTLS(t, cert, key)
	secure := peertest.Address(t)
	peers := "peers:\n"
	for title, tls := range map[string]string{
		"SECURE":   fmt.Sprintf("{enabled: true, ca: %q, cert: %q, key: %q}", cert, cert, key),
		"STRANGER": fmt.Sprintf("{enabled: true, ca: %q, cert: %q, key: %q}", other, cert, key),
		"PLAIN":    "{enabled: false}",
	} {
		peers += fmt.Sprintf("  - {ae_title: %s, address: %q, tls: %s}\n", title, scp.Address, tls)
	}
	g := newGate(t, peers)
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("accept: any, tls: {listen: %q, cert: %q, key: %q, client_ca: %q}", secure, cert, key, cert)
	if err := os.WriteFile(g.config, []byte(strings.Replace(string(text), "accept: any", listen, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start(t)
	dir, into := t.TempDir(), t.TempDir()
	for n, i := range images {
		i.part10(t, filepath.Join(dir, fmt.Sprint(n, ".dcm")))
	}
	all := []string{"--tls", "--tls-ca", cert, "--tls-cert", cert, "--tls-key", key}
	study := []string{"-k", "StudyInstanceUID=1.2.3.1"}
	for _, row := range []struct {
		command string
		flags   []string // for TLS
		args    []string
		status  int
		out     string
	}{
		{"echo", all, nil, 0, ""},
		{"send", all, []string{dir}, 0, "4 instances sent"},
		{"find", all, study, 0, "1 match"},
		{"get", all, append([]string{"--out", into}, study...), 0, "3 files written"},
		{"move", all, append([]string{"--dest", "SECURE"}, study...), 0, "3 instances moved"},
		{"move", all, append([]string{"--dest", "STRANGER"}, study...), 1, "A702H"},
		{"move", all, append([]string{"--dest", "PLAIN"}, study...), 1, "A702H"},
		{"echo", all[:3], nil, 1, "certificate"},
		{"echo", append([]string{"--tls-server-name", "elsewhere"}, all...), nil, 1, "elsewhere"},
		{"echo", all[1:], nil, 2, "--tls is needed"},
		{"echo", all[:5], nil, 2, "needed together"},
		{"echo", []string{"--tls", "--tls-ca", filepath.Join(dir, "none.pem")}, nil, 2, "none.pem"},
	} {
		out, status := peertest.Run(t, nil, binary, slices.Concat([]string{row.command}, row.flags, []string{secure}, row.args)...)
		if status != row.status || !strings.Contains(out, row.out) {
			t.Errorf("%s %v %v: status %d\n%s", row.command, row.flags, row.args, status, out)
		}
	}
	if got := sopsOf(scp.Files()); !slices.Equal(got, allOfStudy) {
		t.Errorf("moved %v", got)
	}
	if got := filesIn(t, into); !slices.Equal(got, allOfStudy) {
		t.Errorf("got %v", got)
	}
}

// A C-CANCEL ends the sub-operations, and the association serves the next request.
func TestCancelledMoveOnTheWire(t *testing.T) {
	stalling, slow := startArchive(t, archive.Options{Faults: archive.Faults{StallRate: 1}})
	g := mover(t, map[string]string{"SLOW": slow})
	a, err := (&dimse.Dialer{LocalAETitle: "WS"}).Dial(t.Context(), g.address, dimse.Proposal{CalledAETitle: "DCMGATE", CallingAETitle: "WS", Contexts: []pdu.PresentationContext{
		{ID: 1, AbstractSyntax: string(qr.StudyRootMove), TransferSyntaxes: []string{string(dicom.ImplicitVRLittleEndian)}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	id := qr.Identifier{Attributes: []qr.Attribute{{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{"STUDY"}}, {Tag: dicom.TagStudyInstanceUID, VR: "UI", Values: []string{"1.2.3.1"}}}}
	data, err := id.Encode(dicom.ImplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		before := stalling.Counts().Unsure
		p, err := a.Do(t.Context(), 1, dimse.Command{CommandField: dimse.CMoveRQ, AffectedSOPClassUID: qr.StudyRootMove, MoveDestination: "SLOW"}, strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		peertest.Eventually(t, 10*time.Second, "an instance is under way", func() bool { return stalling.Counts().Unsure > before })
		begun := time.Now()
		if err := p.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, err := p.Wait(t.Context())
		if err != nil || r.Status != dimse.StatusCancel || r.NumberOfRemainingSuboperations == nil || *r.NumberOfRemainingSuboperations != 3 {
			t.Fatalf("%+v, %v", r, err)
		}
		t.Logf("cancelled within %v", time.Since(begun))
	}
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// selected is how many instances the retrievals select in all.
func selected() (n float64) {
	for _, row := range retrievals {
		n += float64(len(row.want))
	}
	return n
}

// sopsOf are the SOP Instance UIDs of files as storescp names them, sorted.
func sopsOf(files []string) (uids []string) {
	for _, f := range files {
		_, uid, _ := strings.Cut(filepath.Base(f), ".")
		uids = append(uids, uid)
	}
	slices.Sort(uids)
	return uids
}

func removeAll(t testing.TB, files []string) {
	t.Helper()
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
}

// Orthanc has what it found moved to itself.
func TestOrthancRetrieves(t *testing.T) {
	orthanc := peertest.Orthanc(t, nil, nil, nil)
	g := mover(t, map[string]string{"ORTHANC": orthanc.Address})
	host, port, _ := strings.Cut(g.address, ":")
	orthanc.REST(t, "PUT", "/modalities/DCMGATE", fmt.Sprintf(`{"AET": "DCMGATE", "Host": %q, "Port": %s}`, host, port))
	var made struct{ Path string }
	query := `{"Level": "Study", "Query": {"StudyInstanceUID": "1.2.3.1"}}`
	if err := json.Unmarshal(orthanc.REST(t, "POST", "/modalities/DCMGATE/query", query), &made); err != nil {
		t.Fatal(err)
	}
	orthanc.REST(t, "POST", made.Path+"/retrieve", `{"TargetAet": "ORTHANC", "Synchronous": true}`)
	var want, got []string
	for _, i := range images {
		if i.study == "1.2.3.1" {
			want = append(want, i.sop)
		}
	}
	var stored []string
	if err := json.Unmarshal(orthanc.REST(t, "GET", "/instances", ""), &stored); err != nil {
		t.Fatal(err)
	}
	for _, id := range stored {
		got = append(got, strings.TrimRight(string(orthanc.REST(t, "GET", "/instances/"+id+"/content/0008-0018", "")), "\x00 "))
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) == 0 || !slices.Equal(got, want) {
		t.Errorf("Orthanc got %q, want %q", got, want)
	}
}
