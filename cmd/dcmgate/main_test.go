package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/gateway"
)

// execute runs one command line in this process.
func execute(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	status = run(ctx, args, strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), status
}

// write puts a file into a directory of the test's own.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// serving runs a gateway in this process for the length of the test.
func serving(t *testing.T, more string) (gateway.Config, gateway.Listeners) {
	t.Helper()
	text := fmt.Sprintf("data_dir: %q\ndicom: {listen: 127.0.0.1:0, accept: any}\nhttp: {listen: off}\nspool: {min_free: 64MiB, segment_size: 16MiB}\n%s",
		filepath.Join(t.TempDir(), "data"), more)
	cfg, err := gateway.Parse("test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	g, err := gateway.New(cfg, gateway.Options{Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	select {
	case <-g.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return cfg, g.Listeners()
}

// TestExitStatus is the contract's: 0 all well, 1 the operation failed, 2
// wrong usage or configuration; errors one line each, saying what to do.
func TestExitStatus(t *testing.T) {
	good := write(t, "good.yaml", "dicom: {listen: 127.0.0.1:0}\n")
	bad := write(t, "bad.yaml", "dicom: {lisen: 127.0.0.1:0}\nae_title: TOOLONGFORANAETITLE\n")
	empty := t.TempDir()
	for _, row := range []struct {
		args   string
		status int
		stderr string // in it
	}{
		{"version", exitOK, ""},
		{"version --json", exitOK, ""},
		{"help", exitOK, ""},
		{"--help", exitOK, ""},
		{"serve --help", exitOK, ""},
		{"completion bash", exitOK, ""},
		{"config example", exitOK, ""},
		{"config check " + good, exitOK, ""},

		{"", exitUsage, "needs one of"},
		{"queue", exitUsage, "needs one of drop, list, retry"},
		{"config", exitUsage, "needs one of check, example"},
		{"sevre", exitUsage, "unknown command"},
		{"help nosuch", exitUsage, `unknown command "nosuch" for "dcmgate"`},
		{"help queue nosuch", exitUsage, `unknown command "nosuch" for "dcmgate queue"`},
		{"help queue list", exitOK, ""},
		{"queue nosuch", exitUsage, `unknown command "nosuch" for "dcmgate queue"`},
		{"completion", exitUsage, "needs one of bash"},
		{"completion nosuch", exitUsage, `unknown command "nosuch" for "dcmgate completion"`},
		{"echo localhost:99999", exitUsage, "1 to 65535"},
		{"echo localhost:0", exitUsage, "1 to 65535"},
		{"echo localhost:-1", exitUsage, "1 to 65535"},
		{"move localhost:104", exitUsage, "--dest"},
		{"move localhost:104 --dest WS --level visit", exitUsage, "patient, study, series or image"},
		{"move localhost:104 --dest WS -k NoSuchKeyword=1", exitUsage, "neither a keyword"},
		{"send localhost:nosuchservice /x", exitUsage, "1 to 65535"},
		{"version extra", exitUsage, "unknown command"},
		{"version --nosuch", exitUsage, "unknown flag: --nosuch"},
		{"config check", exitUsage, "name the file to be checked"},
		{"config check --config " + good, exitOK, ""},
		{"config check -c " + good + " " + good, exitUsage, "named twice"},
		{"config check " + good + " " + good, exitUsage, "accepts at most 1 arg"},
		{"config check /nonexistent.yaml", exitUsage, "config example"},
		{"config check " + bad, exitUsage, "bad.yaml:1:9: dicom.lisen: unknown key; did you mean listen?\n"},
		{"config check --json " + bad, exitUsage, ""},
		{"serve --config " + bad, exitUsage, "did you mean listen?"},
		{"serve --config /nonexistent.yaml", exitUsage, "config example"},
		{"status --config " + bad, exitUsage, "did you mean listen?"},
		{"send 127.0.0.1:104", exitUsage, "requires at least 2 arg"},
		{"send nowhere /x", exitUsage, `"nowhere" is not HOST:PORT`},
		{"send --window 65 127.0.0.1:104 /x", exitUsage, "1 to 64"},
		{"send --associations 0 127.0.0.1:104 /x", exitUsage, "1 to 64"},
		{"send --called THISISTOOLONGFORANAE 127.0.0.1:104 /x", exitUsage, "1 to 16 characters"},
		{"send 127.0.0.1:104 /nonexistent", exitUsage, "no such file"},
		{"echo --timeout 0s 127.0.0.1:104", exitUsage, "must be positive"},
		{"queue list --state lost", exitUsage, "pending, active, parked"},
		{"queue list -n -5", exitUsage, "--limit -5"},

		{"echo 127.0.0.1:1", exitFailed, "connection refused: nothing listens at the peer's address; check address and port"},
		{"send 127.0.0.1:1 " + empty, exitFailed, "no DICOM files found"},
		{"status --data-dir /nonexistent", exitFailed, "--data-dir"},
		{"verify --data-dir /nonexistent", exitFailed, "no gateway is running"},
	} {
		t.Run(row.args, func(t *testing.T) {
			_, stderr, status := execute(t, strings.Fields(row.args)...)
			if status != row.status {
				t.Errorf("exit status %d, want %d; stderr %s", status, row.status, stderr)
			}
			if !strings.Contains(stderr, row.stderr) || row.stderr == "" && stderr != "" {
				t.Errorf("stderr %q, want %q in it", stderr, row.stderr)
			}
			for line := range strings.Lines(stderr) {
				if !strings.HasPrefix(line, "dcmgate: ") {
					t.Errorf("stderr line %q does not name the program", line)
				}
			}
		})
	}
}

// TestHelp compares the help of every command with testdata/help; run with
// UPDATE_GOLDEN=1 after a change that is meant.
func TestHelp(t *testing.T) {
	started := false
	var walk func(c *cobra.Command, path []string)
	walk = func(c *cobra.Command, path []string) {
		if len(path) > 0 && (path[0] == "completion" || path[0] == "help" || path[0] == "demo") {
			return
		}
		name := strings.Join(append([]string{"dcmgate"}, path...), "-")
		t.Run(name, func(t *testing.T) {
			got, stderr, status := execute(t, append(path, "--help")...)
			if status != exitOK || stderr != "" {
				t.Errorf("exit status %d, stderr %s", status, stderr)
			}
			golden := filepath.Join("testdata", "help", name+".txt")
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
		for _, sub := range c.Commands() {
			walk(sub, append(path[:len(path):len(path)], sub.Name()))
		}
	}
	walk(newRoot(&started, io.Discard), nil)
}

func TestConfigExampleChecks(t *testing.T) {
	example, _, _ := execute(t, "config", "example")
	if example != gateway.Reference {
		t.Error("config example prints something else than the reference")
	}
	out, _, status := execute(t, "config", "check", write(t, "example.yaml", example))
	if status != exitOK || !strings.Contains(out, "valid; DCMGATE listens on 127.0.0.1:11112, accepts 0 peers, delivers to 0 destinations") ||
		!strings.Contains(out, "note: retrieve: there are no clients, so interface 203 is not served") {
		t.Errorf("%d %s", status, out)
	}
}

func TestConfigCheckJSON(t *testing.T) {
	out, _, _ := execute(t, "config", "check", "--json", write(t, "bad.yaml", "a: 1\nae_title: TOOLONGFORANAETITLE\n"))
	var r configReport
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if r.Valid || len(r.Errors) != 1 || r.Errors[0].Path != "a" || r.Errors[0].Line != 1 {
		t.Errorf("got %+v", r)
	}
}

func TestStatusOfRunningAndStoppedGateway(t *testing.T) {
	cfg, _ := serving(t, "destinations: [{name: cloud, ae_title: C, address: \"127.0.0.1:1\"}]\n")
	out, stderr, status := execute(t, "status", "--data-dir", cfg.DataDir)
	if status != exitOK || !strings.Contains(out, "DCMGATE test, running for ") || !strings.Contains(out, "cloud") {
		t.Errorf("%d %s %s", status, out, stderr)
	}
	out, _, status = execute(t, "status", "--json", "--data-dir", cfg.DataDir)
	var s gateway.Status
	if err := json.Unmarshal([]byte(out), &s); status != exitOK || err != nil || !s.Running || s.Destinations[0].Name != "cloud" {
		t.Errorf("%d %v %+v", status, err, s)
	}
	out, _, status = execute(t, "verify", "--json", "--data-dir", cfg.DataDir)
	if status != exitOK || !strings.Contains(out, `"problem_count":0`) {
		t.Errorf("%d %s", status, out)
	}
	if _, stderr, status = execute(t, "verify", "--rebuild", "--data-dir", cfg.DataDir); status != exitFailed || !strings.Contains(stderr, "stop it") {
		t.Errorf("%d %s", status, stderr)
	}
}

func TestEcho(t *testing.T) {
	_, l := serving(t, "")
	out, stderr, status := execute(t, "echo", "--called", "DCMGATE", l.DICOM)
	if status != exitOK || !strings.Contains(out, "success") || !strings.Contains(out, "implementation DCMGATE_") {
		t.Errorf("%d %s %s", status, out, stderr)
	}
	out, _, _ = execute(t, "echo", "--json", l.DICOM)
	var r echoReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Window != 8 || r.MaximumLength != 256<<10 || r.RoundTripMilliseconds <= 0 {
		t.Errorf("%v %+v", err, r)
	}
}
