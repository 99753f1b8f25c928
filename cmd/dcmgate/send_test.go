package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/gateway"
	"dcmgate/internal/synth"
)

const ctImageStorage dicom.UID = "1.2.840.10008.5.1.4.1.1.2"

// writeImages writes n Part 10 files and returns their folder.
func writeImages(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	template := synth.NewTemplate(4000, 1)
	for i := range n {
		o := template.Object(1, i%2, i)
		meta := dicom.FileMeta{
			SOPClassUID: ctImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID), TransferSyntaxUID: dicom.ExplicitVRLittleEndian,
		}
		sub := filepath.Join(dir, fmt.Sprint("series", i%2))
		if err := os.MkdirAll(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i, ".dcm")), append(meta.Append(nil), o.Data...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestSendFolders(t *testing.T) {
	cfg, l := serving(t, "")
	dir := writeImages(t, 30)
	if err := os.WriteFile(filepath.Join(dir, "README.txt"), []byte("no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, stderr, status := execute(t, "send", "--called", "DCMGATE", "--associations", "3", l.DICOM, dir)
	if status != exitOK || stderr != "" || !strings.HasPrefix(out, "30 instances sent") || !strings.HasSuffix(out, "0 warnings, 0 failed; 1 file skipped (not DICOM)\n") {
		t.Fatalf("%d\n%s\n%s", status, out, stderr)
	}
	out, _, _ = execute(t, "status", "--json", "--data-dir", cfg.DataDir)
	var s gateway.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || s.Spool.Instances != 30 {
		t.Errorf("%v %+v", err, s.Spool)
	}
	out, _, _ = execute(t, "queue", "list", "--data-dir", cfg.DataDir)
	if lines := strings.Count(out, "\n"); lines != 1 {
		t.Errorf("a queue without destinations: %s", out)
	}
}

func TestSendReportsWhatFailed(t *testing.T) {
	_, l := serving(t, "")
	dir := writeImages(t, 2)
	// A file in a transfer syntax that nobody knows: no context is accepted.
	meta := dicom.FileMeta{SOPClassUID: ctImageStorage, SOPInstanceUID: "1.2.3", TransferSyntaxUID: "1.2.3.4.5"}
	if err := os.WriteFile(filepath.Join(dir, "odd.dcm"), append(meta.Append(nil), 8, 0, 0x16, 0, 'U', 'I', 2, 0, '1', 0), 0o600); err != nil {
		t.Fatal(err)
	}
	out, stderr, status := execute(t, "send", "--json", l.DICOM, dir)
	var r sendReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || status != exitFailed || r.Sent != 2 || r.Failed != 1 || len(r.Reasons) != 1 {
		t.Errorf("%d %v %+v\n%s", status, err, r, stderr)
	}
	out, stderr, status = execute(t, "send", l.DICOM, dir)
	if status != exitFailed || !strings.Contains(stderr, "dcmgate: 1 x no accepted presentation context for CT Image Storage") || !strings.Contains(out, "1 failed") {
		t.Errorf("%d\n%s\n%s", status, out, stderr)
	}
}

func TestQueueCommands(t *testing.T) {
	cfg, l := serving(t, "destinations: [{name: cloud, ae_title: C, address: \"127.0.0.1:1\"}]\n")
	if _, stderr, status := execute(t, "send", l.DICOM, writeImages(t, 3)); status != exitOK {
		t.Fatal(stderr)
	}
	at := []string{"--data-dir", cfg.DataDir}
	out, _, status := execute(t, append([]string{"queue", "list", "-d", "cloud"}, at...)...)
	if status != exitOK || strings.Count(out, "cloud") != 3 {
		t.Errorf("%d\n%s", status, out)
	}
	out, stderr, _ := execute(t, append([]string{"queue", "list", "--json", "-n", "2"}, at...)...)
	if strings.Count(out, "\n") != 2 || !strings.Contains(stderr, "raise --limit") {
		t.Errorf("%s\n%s", out, stderr)
	}
	if _, stderr, status := execute(t, append([]string{"queue", "drop"}, at...)...); status != exitUsage || !strings.Contains(stderr, "--all") {
		t.Errorf("drop of nothing in particular: %d %s", status, stderr)
	}
	if out, stderr, status := execute(t, append([]string{"queue", "retry", "-d", "cloud"}, at...)...); status != exitOK || out != "0 jobs made pending\n" {
		t.Errorf("%d %s %s", status, out, stderr)
	}
	if out, stderr, status := execute(t, append([]string{"queue", "retry", "--json", "--all"}, at...)...); status != exitOK || out != "{\"count\":0}\n" {
		t.Errorf("%d %s %s", status, out, stderr)
	}
}
