package audit

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/internal/peertest"
)

// receiver is a syslog server over TLS (RFC 5425) that keeps what it gets.
type receiver struct {
	t *testing.T
	l net.Listener

	mu       sync.Mutex
	messages []string
	conns    []net.Conn
	bad      error
}

func newReceiver(t *testing.T, config *tls.Config, address string) *receiver {
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t, l: tls.NewListener(l, config)}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := r.l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns = append(r.conns, conn)
			r.mu.Unlock()
			all.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		r.stop()
		all.Wait()
		if r.bad != nil {
			t.Error(r.bad)
		}
	})
	return r
}

func (r *receiver) stop() {
	r.l.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
}

// serve takes frames: the length in decimal, a space, the message.
func (r *receiver) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		length, err := in.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(length, " "))
		if err != nil || n <= 0 || n > maxLine {
			r.mu.Lock()
			r.bad = fmt.Errorf("frame begins with %q", length)
			r.mu.Unlock()
			return
		}
		message := make([]byte, n)
		if _, err := io.ReadFull(in, message); err != nil {
			return
		}
		r.mu.Lock()
		r.messages = append(r.messages, string(message))
		r.mu.Unlock()
	}
}

// has tells which of the numbered messages have come, at least once.
func (r *receiver) has(from, to int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := strings.Join(r.messages, "\n")
	for i := from; i < to; i++ {
		if !strings.Contains(all, fmt.Sprintf("message %d<", i)) {
			return false
		}
	}
	return true
}

func serverTLS(t *testing.T) (config *tls.Config, pool *x509.CertPool, cert, key string) {
	cert, key, pool = peertest.Certificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, pool, cert, key
}

// TestSyslogLosesNothing: what a server does not take while it is away it gets afterwards, also after another start.
func TestSyslogLosesNothing(t *testing.T) {
	config, pool, _, _ := serverTLS(t)
	address := peertest.Address(t) // for two servers, one after the other
	first := newReceiver(t, config, address)
	o := options(t)
	if err := Append(o, numbered(-1)); err != nil { // from before there was a server: stays here
		t.Fatal(err)
	}
	o.FileSize = 30_000
	o.Syslog = &Syslog{Transport: TransportTLS, Address: address, TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}}
	l, stop := running(t, o)
	record := func(from, to int) {
		for i := from; i < to; i++ {
			l.Record(numbered(i))
		}
	}
	record(0, 100)
	peertest.Eventually(t, patience, "messages at the server", func() bool { return first.has(0, 100) })
	if testutil.ToFloat64(l.metrics.connected) != 1 {
		t.Error("not connected")
	}
	first.stop()
	record(100, 200)
	peertest.Eventually(t, patience, "connection found to be lost", func() bool { return testutil.ToFloat64(l.metrics.connected) == 0 })
	stop()

	second := newReceiver(t, config, address)
	l, stop = running(t, o)
	record(200, 250)
	peertest.Eventually(t, patience, "messages at the second server", func() bool { return second.has(100, 250) })
	stop()
	if second.has(-1, 0) {
		t.Error("what was recorded before there was a server has been sent")
	}

	// After an orderly end nothing is sent twice.
	third := newReceiver(t, config, "127.0.0.1:0")
	o.Syslog.Address = third.l.Addr().String()
	l, stop = running(t, o)
	record(250, 251)
	peertest.Eventually(t, patience, "message at the third server", func() bool { return third.has(250, 251) })
	stop()
	third.mu.Lock()
	defer third.mu.Unlock()
	if len(third.messages) != 1 {
		t.Errorf("%d messages at the third server", len(third.messages))
	}
}

// TestTroubles: what is not where it is to be is told of for as long.
func TestTroubles(t *testing.T) {
	config, pool, _, _ := serverTLS(t)
	address := peertest.Address(t) // where nobody listens yet
	o := options(t)
	o.Syslog = &Syslog{Transport: TransportTLS, Address: address, TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}}
	l, _ := running(t, o)
	peertest.Eventually(t, patience, "trouble with the server", func() bool {
		list := l.Troubles()
		return len(list) == 1 && strings.Contains(list[0].What, address) && !list[0].Since.IsZero()
	})
	newReceiver(t, config, address)
	peertest.Eventually(t, patience, "no trouble with the server", func() bool { return len(l.Troubles()) == 0 })

	full, err := Open(options(t))
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	full.failed("the audit log cannot be written", io.ErrShortWrite)
	if list := full.Troubles(); len(list) != 1 || !strings.Contains(list[0].What, "cannot be written (short write)") {
		t.Errorf("%+v", list)
	}
	if !full.write() || len(full.Troubles()) != 0 {
		t.Errorf("%+v", full.Troubles())
	}
}

// TestSyslogWantsTheRightServer: nothing goes to one whose certificate is not trusted.
func TestSyslogWantsTheRightServer(t *testing.T) {
	config, _, _, _ := serverTLS(t)
	r := newReceiver(t, config, "127.0.0.1:0")
	o := options(t)
	o.Syslog = &Syslog{Transport: TransportTLS, Address: r.l.Addr().String(), TLS: &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}}
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.sender.session(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("session: %v", err)
	}
}

func TestSyslogByUDP(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	o := options(t)
	o.Syslog = &Syslog{Transport: TransportUDP, Address: conn.LocalAddr().String()}
	l, _ := running(t, o)
	l.Record(numbered(1))
	l.Record(numbered(2))
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		packet := make([]byte, maxLine)
		n, _, err := conn.ReadFrom(packet)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := parse(packet[:n]); err != nil || e.Message.Description() != fmt.Sprint("message ", i+1) {
			t.Errorf("packet %q: %v", packet[:n], err)
		}
	}
}

// TestRsyslog has rsyslog, Debian's server, take messages over TLS and write down what it made of them.
func TestRsyslog(t *testing.T) {
	rsyslogd := peertest.Require(t, "rsyslogd")
	if found, _ := filepath.Glob("/usr/lib/*/rsyslog/lmnsd_ossl.so"); len(found) == 0 {
		peertest.Missing(t, "rsyslog-openssl is not installed")
	}
	_, pool, cert, key := serverTLS(t)
	dir := t.TempDir()
	address := peertest.Address(t)
	_, port, _ := net.SplitHostPort(address)
	out := filepath.Join(dir, "out")
	conf := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `
global(workDirectory="%[1]s" maxMessageSize="64k" defaultNetstreamDriver="ossl"
       defaultNetstreamDriverCAFile="%[2]s" defaultNetstreamDriverCertFile="%[2]s" defaultNetstreamDriverKeyFile="%[3]s")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imtcp" address="127.0.0.1" port="%[4]s")
template(name="all" type="string" string="%%syslogfacility%%|%%syslogseverity%%|%%protocol-version%%|%%timestamp:::date-rfc3339%%|%%hostname%%|%%app-name%%|%%procid%%|%%msgid%%|%%msg%%\n")
action(type="omfile" file="%[5]s" template="all")
`, dir, cert, key, port, out), 0o600); err != nil {
		t.Fatal(err)
	}
	p := peertest.Start(t, nil, rsyslogd, "-n", "-f", conf, "-i", filepath.Join(dir, "pid"))
	p.Listening(t, address)
	o := options(t)
	o.Syslog = &Syslog{Transport: TransportTLS, Address: address, TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}}
	l, _ := running(t, o)
	for _, k := range kinds {
		l.Record(k.message)
	}
	var lines []string
	peertest.Eventually(t, patience, "messages written by rsyslog", func() bool {
		data, _ := os.ReadFile(out)
		lines = nil
		for line := range strings.Lines(string(data)) {
			if strings.Contains(line, messageID) {
				lines = append(lines, strings.TrimSuffix(line, "\n"))
			}
		}
		return len(lines) == len(kinds)
	})
	for i, line := range lines {
		fields := strings.SplitN(line, "|", 9)
		m := kinds[i].message
		severity := "5"
		if m.Event.Outcome != Success {
			severity = "4"
		}
		at, err := time.Parse(time.RFC3339Nano, fields[3])
		if err != nil || !at.Equal(m.Event.Time) || fields[0] != "10" || fields[1] != severity || fields[2] != "1" || fields[5] != "dcmgate" ||
			!strings.HasSuffix(fields[8], "</AuditMessage>") || !strings.Contains(fields[8], m.Event.ID.Meaning) {
			t.Errorf("%s: rsyslog has %q", kinds[i].name, line)
		}
	}
}
