package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// base64Text finds what may be base64.
var base64Text = regexp.MustCompile(`"([A-Za-z0-9+/]{8,}={0,2})"|>([A-Za-z0-9+/]{8,}={0,2})<`)

// unveiled is a text with what is base64 in it decoded behind it.
func unveiled(text string) string {
	var b strings.Builder
	b.WriteString(text)
	for _, m := range base64Text.FindAllStringSubmatch(text, -1) {
		if data, err := base64.StdEncoding.DecodeString(m[1] + m[2]); err == nil {
			b.Write(data)
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// body gets a page and returns its text.
func body(t testing.TB, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// What goes through the gateway in every way it knows leaves nothing of the patient in the log (at its most talkative), the
// metrics, the page and the audit trail; and the audit trail tells of all of it, also of what came before a kill -9.
func TestNothingOfThePatientIsTold(t *testing.T) {
	marked := image{"QXPATIENT77", "QXFAMILY^QXGIVEN=王秘密^病人", "1.2.3.77", "20240101", "QXACC88", "1.2.3.77.1", "CT", "1.2.3.77.1.1", "1"}
	secrets := []string{"QXPATIENT77", "QXFAMILY", "QXGIVEN", "王秘密", "QXACC88"}
	cloud, cloudAddress := startArchive(t, archive.Options{})
	public := peertest.Address(t)
	g := newGate(t, fmt.Sprintf("peers:\n  - {ae_title: WS, address: %q}\npublic: {listen: %q}\nretrieve: {signature: none}\nlog: {level: debug}\naudit: {patient_id: hash, sync: 0}\n", cloudAddress, public),
		destination{"cloud", "CLOUD", cloudAddress, "linger: 0s"}, destination{"gone", "GONE", peertest.Address(t), "linger: 0s, retry: {initial: 100ms, max: 100ms, attempts: 1}"})
	g.start(t)
	file := filepath.Join(t.TempDir(), "image.dcm")
	marked.part10(t, file)
	command := func(args ...string) {
		t.Helper()
		if out, code := peertest.Run(t, nil, binary, args...); code != 0 {
			t.Errorf("%v: exit status %d: %s", args[:1], code, out)
		}
	}
	command("send", "--calling", "CT1", "--called", "DCMGATE", g.address, file)
	command("send", "--calling", "CT1", "--called", "DCMGATE", g.address, file)
	for _, key := range []string{"PatientName=QXFAM*", "PatientID=QXPATIENT77", "AccessionNumber=QXACC88", "PatientName=王秘密*"} {
		command("find", "--calling", "WS", g.address, "-k", key)
	}
	command("find", "--calling", "WS", g.address, "--level", "patient", "--model", "patient", "-k", "PatientID=QXPATIENT77")
	peertest.Run(t, nil, binary, "find", "--calling", "WS", g.address, "--level", "image", "-k", "StudyInstanceUID=QXFAMILY") // refused, or nothing
	command("get", "--calling", "WS", "--out", t.TempDir(), "-k", "StudyInstanceUID=1.2.3.77", g.address)
	command("move", "--calling", "WS", "--dest", "WS", "-k", "StudyInstanceUID=1.2.3.77", g.address)
	command("move", "--calling", "WS", "--dest", "WS", "--level", "patient", "--model", "patient", "-k", "PatientID=QXPATIENT77", g.address)
	peertest.Run(t, nil, binary, "commit", "--calling", "CT1", "--wait", "5s", g.address, file)
	list := body(t, "http://"+public+"/Viewer/DICOMStudyRetrieve?HospitalCode=1&StudyInstanceUID=1.2.3.77")
	link := regexp.MustCompile(`http://[^"]*\.dcm`).FindString(list)
	if link == "" {
		t.Fatalf("203 lists %s", list)
	}
	body(t, link)
	body(t, link+"x")
	g.delivered(t, "cloud", 1, 30*time.Second)
	g.run(t, "queue", "retry", "--all", "--reason", "test")
	g.run(t, "queue", "drop", "--destination", "gone")
	command("links", "revoke", "--all", "--config", g.config)
	if n := cloud.Counts().Instances; n == 0 {
		t.Error("nothing arrived in the cloud")
	}
	page := body(t, "http://"+g.http+"/") + body(t, "http://"+g.http+"/metrics")

	// What has ended is on disk before the process is killed; what is being added up is not, and has been told as begun.
	trail := ""
	peertest.Eventually(t, 30*time.Second, "entries of the audit trail", func() bool {
		trail, _ = g.run(t, "audit")
		return strings.Contains(trail, "links revoked") && strings.Contains(trail, "queue drop")
	})
	if err := g.process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-g.process.Exited()
	log := g.process.Output()
	g.start(t)
	code := 0
	peertest.Eventually(t, 30*time.Second, "both starts in the audit trail", func() bool {
		trail, code = g.run(t, "audit", "--since", "all")
		return code == 0 && strings.Count(trail, "application start") == 2
	})
	for _, want := range []string{
		"application start", "CT1 -> DCMGATE", "DCMGATE -> CLOUD", "DCMGATE -> WS", "C-FIND: 1 matches", "C-GET: 1 instances, 0 failed", "C-MOVE to WS: 1 instances, 0 failed",
		"storage commitment of 1 instances", "1 instances listed", "HTTP client refused", "queue drop", "links revoked: all", "log_used",
	} {
		if !strings.Contains(trail, want) {
			t.Errorf("the audit trail lacks %q:\n%s", want, trail)
		}
	}
	files, err := filepath.Glob(filepath.Join(g.data, "audit", "audit-*.log"))
	if err != nil || len(files) == 0 {
		t.Fatalf("audit files %v, %v", files, err)
	}
	raw := ""
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		raw += string(data)
	}
	if !strings.Contains(unveiled(raw), "1.2.3.77") {
		t.Error("the study is not in the audit trail")
	}
	for name, text := range map[string]string{"the log": log, "the page or metrics": page, "the audit trail": unveiled(raw), "dcmgate audit": trail} {
		for _, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				t.Errorf("%s: %s is in it: ...%q...", name, secret, text[max(0, i-200):min(len(text), i+100)])
			}
		}
	}
}
