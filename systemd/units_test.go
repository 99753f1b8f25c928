package systemd_test

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/internal/peertest"
)

// installed copies the units into a folder as they would be installed, with a program that is there.
func installed(t *testing.T) (dir string, units []string) {
	t.Helper()
	dir = t.TempDir()
	for _, pattern := range []string{"*.service", "*.socket"} {
		found, _ := filepath.Glob(pattern)
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, name)
			if err := os.WriteFile(to, []byte(strings.ReplaceAll(string(text), "/usr/bin/dcmgate", "/bin/true")), 0o644); err != nil {
				t.Fatal(err)
			}
			units = append(units, to)
		}
	}
	if len(units) != 5 {
		t.Fatalf("units: %v", units)
	}
	return dir, units
}

// withDropIn puts an example into force for the service.
func withDropIn(t *testing.T, dir, example string) {
	t.Helper()
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "dcmgate.service.d")
	if err := os.MkdirAll(to, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(to, filepath.Base(example)), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func verify(t *testing.T, analyze string, units ...string) {
	t.Helper()
	out, status := peertest.Run(t, nil, analyze, append([]string{"verify", "--man=no"}, units...)...)
	if status != 0 || strings.Contains(out, "dcmgate") {
		t.Errorf("systemd-analyze verify: exit status %d\n%s", status, out)
	}
}

func TestUnitsAreValid(t *testing.T) {
	analyze := peertest.Require(t, "systemd-analyze")
	_, units := installed(t)
	verify(t, analyze, units...)
}

func TestUnitsAreValidWithEachExample(t *testing.T) {
	analyze := peertest.Require(t, "systemd-analyze")
	examples, _ := filepath.Glob("examples/*.conf")
	if len(examples) < 5 {
		t.Fatalf("examples: %v", examples)
	}
	for _, example := range examples {
		dir, _ := installed(t)
		withDropIn(t, dir, example)
		verify(t, analyze, filepath.Join(dir, "dcmgate.service"))
	}
}

// The exposure is what systemd makes of the sandbox, 0 to 10 (best to worst), times ten.
func TestServiceIsInASandbox(t *testing.T) {
	analyze := peertest.Require(t, "systemd-analyze")
	for example, threshold := range map[string]string{"": "15", "examples/port-104.conf": "20"} {
		dir, _ := installed(t)
		if example != "" {
			withDropIn(t, dir, example)
		}
		out, status := peertest.Run(t, nil, analyze, "security", "--offline=true", "--threshold="+threshold, filepath.Join(dir, "dcmgate.service"))
		if status != 0 || !strings.Contains(out, "Overall exposure level") {
			t.Errorf("%s: exit status %d\n%s", example, status, out)
		}
	}
}

// setting returns the last value of a key in a unit.
func setting(t *testing.T, unit, key string) (value string) {
	t.Helper()
	f, err := os.Open(unit)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), key+"="); ok {
			value = v
		}
	}
	return value
}

// What the gateway relies on and no tool can know.
func TestUnitsFitTheGateway(t *testing.T) {
	for key, want := range map[string]string{
		"Type": "notify", "User": "dcmgate", "StateDirectory": "dcmgate", "StateDirectoryMode": "0700",
		"ExecStart": "/usr/bin/dcmgate serve --config /etc/dcmgate/dcmgate.yaml",
		"Restart":   "on-failure", "TimeoutStopSec": "90s", "LimitCORE": "0",
	} {
		if got := setting(t, "dcmgate.service", key); got != want {
			t.Errorf("dcmgate.service: %s=%s, want %s", key, got, want)
		}
	}
	for unit, name := range map[string]string{
		"dcmgate.socket": "dicom", "dcmgate-tls.socket": "dicom-tls", "dcmgate-http.socket": "http", "dcmgate-public.socket": "public",
	} {
		if got := setting(t, unit, "FileDescriptorName"); got != name {
			t.Errorf("%s: FileDescriptorName=%s, want %s", unit, got, name)
		}
		if got := setting(t, unit, "Service"); got != "dcmgate.service" {
			t.Errorf("%s: Service=%s", unit, got)
		}
	}
}
