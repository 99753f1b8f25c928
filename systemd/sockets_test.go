package systemd

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// passing runs a test of this binary again as the service manager would start
// a service: with files from descriptor 3 on, and the variables of
// sd_listen_fds(3).
func passing(t *testing.T, test, names string, files ...*os.File) string {
	t.Helper()
	// $LISTEN_PID has to be that of the process itself, which only its shell knows before it is there.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run "^$1\$" -test.v`, os.Args[0], test)
	cmd.ExtraFiles = files
	cmd.Env = append(os.Environ(), "DCMGATE_TEST_SERVICE=1", "LISTEN_FDS="+strconv.Itoa(len(files)), "LISTEN_FDNAMES="+names)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func listenerFile(t *testing.T) (*os.File, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, l.Addr().String()
}

// TestService is what runs in the process that the sockets are passed to.
func TestService(t *testing.T) {
	if os.Getenv("DCMGATE_TEST_SERVICE") == "" {
		t.Skip("runs as the service of other tests")
	}
	s, err := PassedSockets()
	if err != nil {
		fmt.Println("error:", err)
		return
	}
	fmt.Println("left:", s.Left(), "environment:", os.Getenv("LISTEN_FDS")+os.Getenv("LISTEN_PID")+os.Getenv("LISTEN_FDNAMES"))
	for _, name := range s.Left() {
		l := s.Take(name)
		fmt.Println("took:", name, l.Addr(), s.Take(name) == nil)
		l.Close()
	}
	again, err := PassedSockets()
	fmt.Println("again:", again.Left(), err)
}

func TestPassedSockets(t *testing.T) {
	dicom, dicomAddress := listenerFile(t)
	public, publicAddress := listenerFile(t)
	out := passing(t, "TestService", "dicom:public", dicom, public)
	for _, want := range []string{
		"left: [dicom public] environment: \n",
		"took: dicom " + dicomAddress + " true",
		"took: public " + publicAddress + " true",
		"again: [] <nil>",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	// What the service closed still listens for its next start.
	c, err := net.Dial("tcp", dicomAddress)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestPassedSocketsThatCannotBeUsed(t *testing.T) {
	a, _ := listenerFile(t)
	b, _ := listenerFile(t)
	if out := passing(t, "TestService", "dicom:dicom", a, b); !strings.Contains(out, `error: systemd passed two sockets named "dicom"`) {
		t.Error(out)
	}
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if out := passing(t, "TestService", "dicom", file); !strings.Contains(out, `error: socket "dicom" passed by systemd does not listen`) {
		t.Error(out)
	}
}

func TestNoSockets(t *testing.T) {
	t.Setenv("LISTEN_FDS", "1")
	t.Setenv("LISTEN_PID", "1") // meant for another process
	s, err := PassedSockets()
	if err != nil || len(s.Left()) != 0 || s.Take("dicom") != nil {
		t.Errorf("%v %v", s.Left(), err)
	}
	var none *Sockets
	if none.Take("dicom") != nil || !slices.Equal(none.Left(), nil) {
		t.Error("nil Sockets are not empty")
	}
	none.Close()
}
