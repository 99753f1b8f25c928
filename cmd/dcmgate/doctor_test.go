package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"dcmgate/internal/archive"
	"dcmgate/internal/doctor"
	"dcmgate/internal/peertest"
)

func TestDoctor(t *testing.T) {
	a, address, err := archive.Listen("127.0.0.1:0", archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	config := write(t, "dcmgate.yaml", fmt.Sprintf(
		"data_dir: %q\nviews: []\ndestinations:\n  - {name: cloud, ae_title: CLOUD, address: %q}\n  - {name: backup, ae_title: BACKUP, address: %q}\n",
		t.TempDir(), address, peertest.Address(t)))
	doctored := func(args ...string) (stdout, stderr string, status int) {
		var out, errors bytes.Buffer
		status = run(t.Context(), append([]string{"doctor", "--config", config}, args...), strings.NewReader(""), &out, &errors)
		return out.String(), errors.String(), status
	}
	if out, errors, status := doctored("cloud"); status != exitOK || !strings.Contains(out, "C-ECHO answered") || !strings.Contains(out, "0 problems, 0 warnings") || errors != "" {
		t.Errorf("status %d, said %q\n%s", status, errors, out)
	}
	out, errors, status := doctored("cloud", "backup")
	if status != exitFailed || !strings.Contains(out, "PROBLEM  connect     nothing listens") || !strings.Contains(out, "→ check address and port") || !strings.Contains(out, "1 problem, ") || errors != "" {
		t.Errorf("status %d, said %q\n%s", status, errors, out)
	}
	out, _, status = doctored("--json", "backup")
	var e doctor.Examined
	if err := json.Unmarshal([]byte(out), &e); err != nil || status != exitFailed || e.Kind != doctor.Destination || e.Name != "backup" || e.Worst() != doctor.Problem {
		t.Errorf("status %d, %v: %+v", status, err, e)
	}
	if _, errors, status := doctored("clown"); status != exitUsage || !strings.Contains(errors, `"clown" is the name of no`) {
		t.Errorf("status %d, said %q", status, errors)
	}
	if _, errors, status := doctored("--timeout", "0s"); status != exitUsage || !strings.Contains(errors, "must be positive") {
		t.Errorf("status %d, said %q", status, errors)
	}
	out, _, _ = doctored()
	for _, want := range []string{"machine\n", "is valid, and so are the files", "destination cloud ", "destination backup "} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	var completed bytes.Buffer
	if status := run(t.Context(), []string{"__complete", "doctor", "--config", config, "cloud", ""}, strings.NewReader(""), &completed, &completed); status != exitOK || !strings.HasPrefix(completed.String(), "backup\n") {
		t.Errorf("status %d, completed %q", status, completed.String())
	}
}
