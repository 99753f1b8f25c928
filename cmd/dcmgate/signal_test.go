package main

import (
	"bufio"
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
	"syscall"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/gateway"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// TestMain makes the test binary stand in for dcmgate when it is asked to, so
// that signals can be tried on a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("DCMGATE_TEST_AS_PROGRAM") != "" {
		main()
		return
	}
	peertest.Main(m)
}

// startServe runs `dcmgate serve` as a process and returns its DICOM address.
func startServe(t *testing.T, data string) (cmd *exec.Cmd, address string) {
	t.Helper()
	config := write(t, "dcmgate.yaml", fmt.Sprintf(
		"data_dir: %q\ndicom: {listen: 127.0.0.1:0, accept: any}\nhttp: {listen: off}\nlog: {format: json}\nshutdown_timeout: 1h\nspool: {min_free: 64MiB}\n", data))
	cmd = exec.Command(os.Args[0], "serve", "--config", config)
	cmd.Env = append(os.Environ(), "DCMGATE_TEST_AS_PROGRAM=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(stderr)
	for lines.Scan() {
		var line struct{ Msg, DICOM string }
		if err := json.Unmarshal(lines.Bytes(), &line); err == nil && line.Msg == "serving" {
			go io.Copy(io.Discard, stderr)
			return cmd, line.DICOM
		}
		t.Log(lines.Text())
	}
	t.Fatal("serve ended without serving")
	return nil, ""
}

func dial(t *testing.T, address string) *dimse.Association {
	t.Helper()
	var d dimse.Dialer
	a, err := d.Dial(t.Context(), address, dimse.Proposal{
		CalledAETitle: "DCMGATE", CallingAETitle: "CT1",
		Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(ctImageStorage), TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian)}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a
}

// TestSignals stores an instance, leaves a second one half sent so that a
// graceful stop has something to wait for, and sends SIGTERM twice.
func TestSignals(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	cmd, address := startServe(t, data)
	o := synth.NewTemplate(4000, 1).Object(1, 1, 1)
	request := dimse.StoreRequest{ContextID: 1, SOPClassUID: ctImageStorage, SOPInstanceUID: dicom.UID(o.SOPInstanceUID)}
	whole := request
	whole.Data, whole.Size = bytes.NewReader(o.Data), int64(len(o.Data))
	if rsp, err := dial(t, address).Store(t.Context(), whole); err != nil || rsp.Status != dimse.StatusSuccess {
		t.Fatalf("store: %v, %v", rsp.Status, err)
	}

	half, stall := io.Pipe()
	defer stall.Close()
	a := dial(t, address)
	request.SOPInstanceUID += ".1"
	request.Data, request.Size = half, 8<<20
	go a.Store(t.Context(), request)
	if _, err := stall.Write(make([]byte, 4<<20)); err != nil {
		t.Fatal(err)
	}

	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	signal := func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	signal()
	waitUntilRefused(t, address)
	select {
	case err := <-ended:
		t.Fatalf("the first signal did not wait for the instance: %v", err)
	default:
	}
	signal()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "terminated") {
		t.Errorf("after the second signal: %v", err)
	}

	out, stderr, status := execute(t, "status", "--json", "--data-dir", data)
	var s gateway.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || status != exitOK || s.Running || s.Spool.Instances != 1 {
		t.Errorf("%d %v %+v %s", status, err, s.Spool, stderr)
	}
}

func TestOneSignalEndsInOrder(t *testing.T) {
	cmd, address := startServe(t, filepath.Join(t.TempDir(), "data"))
	a := dial(t, address)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("exit: %v", err)
	}
	<-a.Done()
}

// waitUntilRefused returns once nothing listens at address any more.
func waitUntilRefused(t *testing.T, address string) {
	t.Helper()
	for limit := time.Now().Add(2 * time.Minute); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			c.Close()
		}
	}
	t.Fatal("still accepting")
}
