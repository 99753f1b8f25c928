// Package peertest runs the programs that dcmgate is tested against: DCMTK's tools and Orthanc, as Debian ships them, on
// loopback. A program that is missing fails the test where CI is set in the environment and skips it elsewhere: a
// developer may lack a peer, the project may not.
package peertest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Require returns the path of a program, or ends the test: failed in CI, skipped elsewhere.
func Require(t testing.TB, program string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin") {
		if path := filepath.Join(dir, program); isExecutable(path) {
			return path
		}
	}
	Missing(t, program+" is not installed; `make test-deps` installs it")
	return ""
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// Missing ends a test that lacks something it needs: failed in CI, skipped elsewhere.
func Missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// PydicomFiles returns the DICOM files that Debian's python3-pydicom installs: small ones of nearly every transfer syntax
// and character set.
func PydicomFiles(t testing.TB) []string {
	t.Helper()
	var files []string
	for _, dir := range []string{"test_files", "charset_files"} {
		found, _ := filepath.Glob(filepath.Join("/usr/lib/python3/dist-packages/pydicom/data", dir, "*.dcm"))
		files = append(files, found...)
	}
	if len(files) == 0 {
		Missing(t, "python3-pydicom is not installed; `make test-deps` installs it")
	}
	return files
}

// Ports that Address chooses among: below those that the kernel gives to connections and to listeners at port 0, which would
// sometimes take one between its choice and its use.
const firstPort, ports = 20000, 12000

// Address returns a loopback address whose port is free, and is no other test's until this one ends.
func Address(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := firstPort + rand.IntN(ports)
		// The name says to the tests of all packages that the port is taken. The kernel forgets it with the process.
		mine, err := net.Listen("unix", fmt.Sprintf("@dcmgate-test-port-%d", port))
		if err != nil {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			mine.Close()
			continue
		}
		l.Close()
		t.Cleanup(func() { mine.Close() })
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// Process is a running program.
type Process struct {
	cmd    *exec.Cmd
	output output
	exited chan struct{}
	err    error
	name   string
}

// Start runs a program until the test ends. env is added to the environment. Its output is shown if the test fails.
func Start(t testing.TB, env []string, program string, args ...string) *Process {
	t.Helper()
	return start(t, env, nil, program, args...)
}

// StartWith is Start with open files, which the program has from descriptor 3 on.
func StartWith(t testing.TB, files []*os.File, program string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.ExtraFiles = files
	return startCommand(t, cmd, nil)
}

// start is Start under another account, if one is given.
func start(t testing.TB, env []string, account *syscall.Credential, program string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	return startCommand(t, cmd, account)
}

func startCommand(t testing.TB, cmd *exec.Cmd, account *syscall.Credential) *Process {
	t.Helper()
	p := &Process{cmd: cmd, exited: make(chan struct{}), name: filepath.Base(cmd.Path)}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Credential: account} // never outlive a test that was killed
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", p.name, p.Output())
		}
	})
	return p
}

// Kill ends the program at once (SIGKILL) and waits for it. It may be called again.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.exited
}

// Signal sends a signal.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Wait waits for the program to end, at most for d, and returns its exit status.
func (p *Process) Wait(d time.Duration) (int, error) {
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(d):
		return -1, fmt.Errorf("%s still runs after %v", p.name, d)
	}
}

// Exited is closed when the program has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// PID is the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns the end of what the program has printed so far.
func (p *Process) Output() string { return p.output.String() }

// output keeps the last bytes written.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const keptOutput = 64 << 10

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(b)
	if extra := o.buf.Len() - keptOutput; extra > 0 {
		o.buf.Next(extra)
	}
	return len(b), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// Run runs a program to its end, at most for patience minutes, and returns its output and exit status.
func Run(t testing.TB, env []string, program string, args ...string) (string, int) {
	t.Helper()
	p := Start(t, env, program, args...)
	status, err := p.Wait(patience * time.Minute)
	if err != nil {
		t.Fatalf("%v; output: %s", err, p.Output())
	}
	return p.Output(), status
}

// patience is how many times as long as on an idle machine something may take: continuous integration tests several
// packages at once on two cores, under the race detector.
const patience = 6

// Eventually waits until ok returns true. d is generous for that on an idle machine; the test fails after patience times d.
func Eventually(t testing.TB, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience * d); ; time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience*d, what)
		}
	}
}

// Listening waits until something accepts connections at address, or the process has ended.
func (p *Process) Listening(t testing.TB, address string) {
	t.Helper()
	Eventually(t, 20*time.Second, p.name+" listens at "+address, func() bool {
		select {
		case <-p.exited:
			t.Fatalf("%s ended: %v; output: %s", p.name, p.err, p.Output())
		default:
		}
		c, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// Peer is a DICOM application entity that runs for the test.
type Peer struct {
	*Process
	AETitle string
	Address string // host:port
	HTTP    string // host:port of Orthanc's REST interface, else empty
	Dir     string // where it stores
}

// Storescp starts DCMTK's storescp with a folder of its own. args are further options, such as "+B" or "--fork".
func Storescp(t testing.TB, env []string, args ...string) *Peer {
	t.Helper()
	program := Require(t, "storescp")
	peer := &Peer{AETitle: "STORESCP", Address: Address(t), Dir: t.TempDir()}
	_, port, _ := strings.Cut(peer.Address, ":")
	peer.Process = Start(t, env, program, append(append([]string{"-od", peer.Dir}, args...), port)...)
	peer.Listening(t, peer.Address)
	return peer
}

// StorescpTLS starts a storescp that speaks TLS, and takes nobody whose certificate cert does not vouch for.
func StorescpTLS(t testing.TB, cert, key string) *Peer {
	t.Helper()
	return Storescp(t, nil, "+tls", key, cert, "+cf", cert)
}

// Dcmqrscp starts DCMTK's dcmqrscp with an archive of its own. movable are AE titles and addresses that it may move to.
func Dcmqrscp(t testing.TB, movable map[string]string, env ...string) *Peer {
	t.Helper()
	program := Require(t, "dcmqrscp")
	peer := &Peer{AETitle: "DCMQRSCP", Address: Address(t), Dir: t.TempDir()}
	var hosts strings.Builder
	for title, address := range movable {
		host, port, _ := strings.Cut(address, ":")
		fmt.Fprintf(&hosts, "%s = (%s, %s, %s)\n", strings.ToLower(title), title, host, port)
	}
	config := filepath.Join(t.TempDir(), "dcmqrscp.cfg")
	_, port, _ := strings.Cut(peer.Address, ":")
	text := fmt.Sprintf("NetworkTCPPort = %s\nMaxPDUSize = 131072\nMaxAssociations = 16\nHostTable BEGIN\n%sHostTable END\nVendorTable BEGIN\nVendorTable END\n"+
		"AETable BEGIN\n%s %s RW (100000, 100000mb) ANY\nAETable END\n", port, hosts.String(), peer.AETitle, peer.Dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Process = Start(t, env, program, "-c", config)
	peer.Listening(t, peer.Address)
	return peer
}

// Files returns the paths of what a storescp has stored so far.
func (p *Peer) Files() []string {
	found, _ := filepath.Glob(filepath.Join(p.Dir, "*.*"))
	return found
}
