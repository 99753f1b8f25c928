package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
)

// command runs the binary with its outputs apart. Whatever it does, it ends in a minute and with words.
func command(t testing.TB, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	c := exec.Command(binary, args...)
	c.Dir, c.Stdout, c.Stderr = t.TempDir(), &out, &errs
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(time.Minute, func() { c.Process.Kill() })
	defer timer.Stop()
	if err := c.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	if s := errs.String(); strings.Contains(s, "panic:") || strings.Contains(s, "fatal error:") {
		t.Errorf("%v: %s", args, s)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// answerer accepts connections and answers each with the same bytes.
func answerer(t testing.TB, answer string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 1000))
			io.WriteString(c, answer)
			c.Close()
		}
	}()
	return l.Addr().String()
}

// writePart10 writes n instances into a folder of their own.
func writePart10(t testing.TB, n int) string {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		o := synth.NewTemplate(3000, 21).Object(1, 1, i)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%03d.dcm", i)), o.Part10(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestWrongUsage ends with exit status 2 and one line that says what is wrong, for every command.
func TestWrongUsage(t *testing.T) {
	for _, row := range []struct{ args, stderr string }{
		{"", "needs one of"}, {"serve --config", "needs an argument"}, {"serve extra", "unknown command"},
		{"demo extra", "unknown command"}, {"demo --nosuch", "unknown flag"}, {"send", "requires at least 2 arg"}, {"send nowhere x", "not HOST:PORT"},
		{"send --associations many 127.0.0.1:1 x", "invalid argument"}, {"send 127.0.0.1:1 /nonexistent", "no such file"},
		{"echo", "accepts 1 arg"}, {"echo :104", "not HOST:PORT"}, {"echo 10.0.0.5", "not HOST:PORT"}, {"echo localhost:99999", "1 to 65535"}, {"completion nosuch", "unknown command"}, {"help nosuch", "unknown command"}, {"echo --timeout -1s 127.0.0.1:1", "positive"},
		{"status extra", "unknown command"}, {"status --config /nonexistent", "config example"}, {"queue", "needs one of"}, {"queue list extra", "unknown command"},
		{"queue list --state nosuch", "pending, active"}, {"queue retry --nosuch", "unknown flag"}, {"queue drop extra", "unknown command"},
		{"verify extra", "unknown command"}, {"verify --rebuild=perhaps", "invalid argument"}, {"config", "needs one of"}, {"config check", "name the file to be checked"},
		{"config check /nonexistent", "config example"}, {"config example extra", "unknown command"}, {"version extra", "unknown command"},
	} {
		stdout, stderr, status := command(t, strings.Fields(row.args)...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, row.stderr) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit status %d\n%s%s", row.args, status, stdout, stderr)
		}
	}
	if _, stderr, status := command(t, "sevre"); status != 2 || !strings.Contains(stderr, "serve") {
		t.Errorf("a slip of the pen: exit status %d: %s", status, stderr)
	}
}

// TestBadConfigurations names file, line, column and key, and what to do, for each mistake.
func TestBadConfigurations(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"unknown key", "ae_title: A\ndicom:\n  listn: 1\n", ":3:3: dicom.listn: unknown key; did you mean listen?"},
		{"in a list", "destinations:\n  - {name: a, ae_title: A, address: \"h:1\"}\n  - {name: b, address: \"h:1\"}\n", ":3:"},
		{"duplicate", "destinations:\n  - {name: a, ae_title: A, address: \"h:1\"}\n  - {name: a, ae_title: B, address: \"h:1\"}\n", ":3:"},
		{"range", "dicom: {window: 65}\n", ":1:9: dicom.window:"},
		{"size", "spool: {quota: lots}\n", ":1:9: spool.quota:"},
		{"title", "ae_title: WAYTOOLONGFORANAETITLE\n", ":1:1: ae_title:"},
		{"syntax", "dicom: {listen: x\n", ":1:"},
		{"tab", "dicom:\n\tlisten: x\n", ":2:"},
		{"binary", "\x00\xff\xfe", ":1:"},
	} {
		path := filepath.Join(t.TempDir(), "bad.yaml")
		if err := os.WriteFile(path, []byte(row.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, status := command(t, "config", "check", path)
		if status != 2 || !strings.Contains(stderr, "bad.yaml"+row.want) {
			t.Errorf("%s: exit status %d: %s", row.name, status, stderr)
		}
		if _, again, status := command(t, "serve", "--config", path); status != 2 || again != stderr {
			t.Errorf("%s: serve: exit status %d: %s", row.name, status, again)
		}
		stdout, _, status := command(t, "config", "check", "--json", path)
		var report struct {
			Valid  bool
			Errors []struct{ Line int }
		}
		if err := json.Unmarshal([]byte(stdout), &report); err != nil || status != 2 || report.Valid || len(report.Errors) == 0 || report.Errors[0].Line == 0 {
			t.Errorf("%s: --json: exit status %d, %v: %s", row.name, status, err, stdout)
		}
	}
}

// TestPeersThatAreNone calls what is not there, does not speak DICOM or does not want to: exit status 1 and the reason.
func TestPeersThatAreNone(t *testing.T) {
	rejecting := newGate(t, "")
	rejecting.reconfigure(t, "accept: any}", "accept: known}")
	rejecting.start(t)
	files := writePart10(t, 3)
	for _, row := range []struct{ name, address, reason, advice string }{
		{"closed port", peertest.Address(t), "connection refused", "check address and port"},
		{"HTTP server", answerer(t, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), "HTTP", "check that the address is a DICOM service"},
		{"silent end", answerer(t, ""), "lost", "whether only one side uses TLS"},
		{"garbage", answerer(t, "\x02\x00\xff\xff\xff\xff garbage"), "malformed", "check that the address is a DICOM service"},
		{"rejecting peer", rejecting.address, "calling-AE-title-not-recognized", "where the peer is a dcmgate: add it, or the address it is called from, under peers"},
	} {
		_, stderr, status := command(t, "echo", "--timeout", "5s", row.address)
		if status != 1 || !strings.Contains(stderr, row.reason) || !strings.Contains(stderr, row.address) || !strings.Contains(stderr, row.advice) {
			t.Errorf("echo to %s: exit status %d: %s", row.name, status, stderr)
		}
		_, stderr, status = command(t, "send", "--timeout", "5s", row.address, files)
		if status != 1 || !strings.Contains(stderr, row.reason) || !strings.Contains(stderr, row.advice) {
			t.Errorf("send to %s: exit status %d: %s", row.name, status, stderr)
		}
		stdout, _, status := command(t, "send", "--json", "--timeout", "5s", row.address, files)
		var report struct{ Sent, Failed int }
		if err := json.Unmarshal([]byte(stdout), &report); err != nil || status != 1 || report.Sent != 0 || report.Failed != 3 {
			t.Errorf("send --json to %s: exit status %d, %v: %s", row.name, status, err, stdout)
		}
	}
}

// decodes fails the test unless every line is a JSON document.
func decodes(t testing.TB, what, text string) (documents int) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(text)); ; documents++ {
		var v map[string]any
		if err := d.Decode(&v); err == io.EOF {
			return documents
		} else if err != nil {
			t.Errorf("%s: %v: %s", what, err, text)
			return documents
		}
	}
}

// TestQueueCommands lists, drops and retries on a running and on a stopped gateway, with the same results.
func TestQueueCommands(t *testing.T) {
	address := peertest.Address(t)
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address, more: "rate: paused"},
		destination{name: "other", aeTitle: "OTHER", address: peertest.Address(t), more: "rate: paused"})
	g.start(t)
	if out, stderr, status := command(t, "send", g.address, writePart10(t, 5)); status != 0 {
		t.Fatalf("send: exit status %d\n%s%s", status, out, stderr)
	}
	for _, running := range []bool{true, false} {
		run := func(want string, args ...string) {
			t.Helper()
			stdout, stderr, status := command(t, append(args, "--config", g.config)...)
			if status != 0 || !strings.Contains(stdout, want) || stderr != "" {
				t.Errorf("running %v: %v: exit status %d\n%s%s", running, args, status, stdout, stderr)
			}
			if strings.Contains(strings.Join(args, " "), "--json") && decodes(t, args[0], stdout) == 0 {
				t.Errorf("running %v: %v printed no JSON", running, args)
			}
		}
		if !running {
			g.stop(t)
		}
		run("other", "queue", "list")
		run(`"destination":"cloud"`, "queue", "list", "--json", "-d", "cloud", "-n", "0")
		run("5 jobs dropped\n", "queue", "drop", "-d", "cloud")
		run("0 jobs dropped", "queue", "drop", "-d", "cloud")
		run("dropped", "queue", "list", "--state", "dropped")
		run(`{"count":5}`, "queue", "retry", "-d", "cloud", "--state", "dropped", "--json")
		run("pending", "queue", "list", "-d", "cloud")
		run("5 instances", "verify")
		run(`"problem_count":0`, "verify", "--json")
		run("cloud", "status")
		run(`"pending":5`, "status", "--json")
		if _, stderr, status := command(t, "queue", "drop", "--config", g.config); status != 2 || !strings.Contains(stderr, "--all") {
			t.Errorf("running %v: queue drop without a selection: exit status %d: %s", running, status, stderr)
		}
		for _, name := range []string{"list", "retry", "drop"} {
			_, stderr, status := command(t, "queue", name, "-d", "nosuch", "--config", g.config)
			if status != 2 || !strings.Contains(stderr, `"nosuch" is not configured`) || !strings.Contains(stderr, "cloud, other") {
				t.Errorf("running %v: queue %s of a destination that is not there: exit status %d: %s", running, name, status, stderr)
			}
		}
	}
	cloud, _, err := archive.Listen(address, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	g.reconfigure(t, "rate: paused", "rate: unlimited")
	g.start(t)
	g.delivered(t, "cloud", 5, 20*time.Second)
}

// TestRetryOfAnOlderVersion retries a job whose instance has been delivered in a later version since: the destination keeps
// that one, unless the older is asked for.
func TestRetryOfAnOlderVersion(t *testing.T) {
	address := peertest.Address(t)
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address, more: "rate: paused"})
	g.start(t)
	older := synth.NewTemplate(3000, 21).Object(1, 1, 0)
	newer := older
	newer.Data = bytes.Clone(older.Data)
	newer.Data[len(newer.Data)-1] ^= 1
	run := func(want string, args ...string) {
		t.Helper()
		if stdout, stderr, status := command(t, append(args, "--config", g.config)...); status != 0 || !strings.Contains(stdout, want) {
			t.Errorf("%v: exit status %d\n%s%s", args, status, stdout, stderr)
		}
	}
	send := func(o synth.Object) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "a.dcm")
		if err := os.WriteFile(file, o.Part10(), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, stderr, status := command(t, "send", g.address, file); status != 0 {
			t.Fatalf("send: exit status %d\n%s%s", status, out, stderr)
		}
	}
	send(older)
	run("1 job dropped", "queue", "drop", "-d", "cloud")
	send(newer)
	cloud, _, err := archive.Listen(address, archive.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	g.reconfigure(t, "rate: paused", "rate: unlimited")
	g.delivered(t, "cloud", 1, 20*time.Second)
	run("0 jobs made pending; 1 job left alone, since the destination has a later version", "queue", "retry", "-d", "cloud", "--state", "dropped")
	run(`{"count":0,"superseded":1}`, "queue", "retry", "-d", "cloud", "--state", "dropped", "--json")
	run("1 job made pending\n", "queue", "retry", "-d", "cloud", "--state", "dropped", "--superseded")
	g.delivered(t, "cloud", 2, 20*time.Second)
}

// TestTwoGatewaysOnOneFolder tells the second who has it, and the first does not notice.
func TestTwoGatewaysOnOneFolder(t *testing.T) {
	g := newGate(t, "")
	g.start(t)
	second := newGate(t, "")
	second.reconfigure(t, second.data, g.data)
	_, stderr, status := command(t, "serve", "--config", second.config)
	if status != 1 || !strings.Contains(stderr, "in use by another dcmgate") || !strings.Contains(stderr, g.data) {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	_, stderr, status = command(t, "verify", "--rebuild", "--config", g.config)
	if status != 1 || !strings.Contains(stderr, "stop it") {
		t.Errorf("rebuild beside a running gateway: exit status %d: %s", status, stderr)
	}
	if _, stderr, status := command(t, "status", "--config", g.config); status != 0 {
		t.Errorf("the first gateway no longer answers: exit status %d: %s", status, stderr)
	}
	g.lives(t)
}

// TestRebuild deletes the index and makes it anew: every instance is found, and the jobs that were open are open again.
func TestRebuild(t *testing.T) {
	address := peertest.Address(t)
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.start(t)
	m := newModality(g.address, 3000, 31)
	roomAgain(t, m, 40)
	g.stop(t)
	if err := os.RemoveAll(filepath.Join(g.data, "index")); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status := command(t, "verify", "--rebuild", "--config", g.config)
	if status != 0 || !strings.Contains(stdout, "40 instances, 40 jobs") {
		t.Errorf("rebuild: exit status %d\n%s%s", status, stdout, stderr)
	}
	stdout, _, status = command(t, "verify", "--rebuild", "--json", "--config", g.config)
	if decodes(t, "rebuild", stdout) != 1 || status != 0 || !strings.Contains(stdout, `"instances":40,"jobs":40`) {
		t.Errorf("a second rebuild: exit status %d\n%s", status, stdout)
	}
	cloud, _, err := archive.Listen(address, archive.Options{Window: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	g.start(t)
	expect(t, cloud, m.acked)
	if out, status := g.verifyOffline(t); status != 0 || !strings.Contains(out, "40 instances") {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
	// Without an index and without a rebuild, too, nothing may be lost: the segments are the truth.
	if err := os.RemoveAll(filepath.Join(g.data, "index")); err != nil {
		t.Fatal(err)
	}
	stdout, stderr, status = command(t, "verify", "--config", g.config)
	if status == 0 && !strings.Contains(stdout, "40 instances") {
		t.Errorf("verify without an index is content with less: %s%s", stdout, stderr)
	}
}

// damaged returns a stopped gateway with ten instances for a destination at address, and the one of them that was changed
// by one bit since.
func damaged(t *testing.T, address string) (*gate, *modality, dicom.UID) {
	t.Helper()
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	g.start(t)
	m := newModality(g.address, 20_000, 41)
	roomAgain(t, m, 10)
	g.stop(t)
	victim := m.template.Object(m.study, 1, 4)
	flip(t, filepath.Join(g.data, "segments"), []byte(victim.SOPInstanceUID), victim.Data[len(victim.Data)-9000:len(victim.Data)-1000])
	return g, m, dicom.UID(victim.SOPInstanceUID)
}

// TestDamageIsFound flips one bit of one stored instance: verify names exactly that one and fails, on a stopped and on a
// running gateway.
func TestDamageIsFound(t *testing.T) {
	g, _, victim := damaged(t, peertest.Address(t))
	for _, running := range []bool{false, true} {
		if running {
			g.start(t)
		}
		stdout, stderr, status := command(t, "verify", "--json", "--config", g.config)
		var report struct {
			Instances int
			Problems  []struct{ Instance dicom.UID }
		}
		if err := json.Unmarshal([]byte(stdout), &report); err != nil {
			t.Fatal(err)
		}
		if status != 1 || report.Instances != 10 || len(report.Problems) != 1 || report.Problems[0].Instance != victim {
			t.Errorf("running %v: exit status %d\n%s%s", running, status, stdout, stderr)
		}
	}
	g.lives(t)
}

// TestDamageIsNotDelivered wants nothing delivered, and certainly not called delivered, that is not what was acknowledged;
// sent again, it is.
func TestDamageIsNotDelivered(t *testing.T) {
	address := peertest.Address(t)
	g, m, victim := damaged(t, address)
	cloud, _, err := archive.Listen(address, archive.Options{Window: 8})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close()
	g.start(t)
	peertest.Eventually(t, 20*time.Second, "each delivered or parked", func() bool {
		return g.metric(t, "dcmgate_instances_delivered_total")+g.metric(t, "dcmgate_jobs", `state="parked"`) == 10
	})
	for uid, sum := range m.acked {
		if e, ok := cloud.Lookup(uid); ok && (e.Digest != sum || uid == victim) {
			t.Errorf("%s was delivered with other bytes than were acknowledged", uid)
		} else if !ok && uid != victim {
			t.Errorf("%s was not delivered", uid)
		}
	}
	out, status := g.run(t, "queue", "list", "-d", "cloud", "--code", "damaged")
	if status != 0 || !strings.Contains(out, string(victim)) || strings.Count(out, "cloud ") != 1 || !strings.Contains(out, "send it again from the modality") {
		t.Errorf("queue list: exit status %d\n%s", status, out)
	}
	if n := g.metric(t, "dcmgate_instances_damaged_total"); n != 1 {
		t.Errorf("%v damaged instances are counted", n)
	}
	again := newModality(g.address, 20_000, 41)
	roomAgain(t, again, 10)
	g.delivered(t, "cloud", 10, 20*time.Second)
	if n := again.missing(t, cloud); n != 0 {
		t.Errorf("%d are missing after they were sent again", n)
	}
	if restored, twice := g.metric(t, "dcmgate_restored_total"), g.metric(t, "dcmgate_duplicates_total"); restored != 1 || twice != 9 {
		t.Errorf("%v restored, %v duplicates", restored, twice)
	}
	if out, status := g.verifyOffline(t); status != 0 {
		t.Errorf("verify: exit status %d\n%s", status, out)
	}
}

// flip changes one byte of the pixel data of the instance whose SOP Instance UID comes before it in a segment.
func flip(t testing.TB, dir string, sop, pixels []byte) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := bytes.Index(data, sop)
		if at < 0 {
			continue
		}
		at += bytes.Index(data[at:], pixels)
		data[at+100] ^= 0x40
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("the instance is in no segment")
}
