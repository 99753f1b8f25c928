package audit

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"dcmgate/internal/durable"
)

// Transport is how messages get to a syslog server.
type Transport string

// The transports.
const (
	TransportTLS Transport = "tls" // RFC 5425, PS3.15 A.6
	TransportTCP Transport = "tcp" // RFC 6587 3.4.1: framed as with TLS
	TransportUDP Transport = "udp" // RFC 5426, PS3.15 A.7: nobody tells what is lost
)

// Syslog is a server that messages are sent to.
type Syslog struct {
	Transport Transport
	Address   string      // HOST:PORT
	TLS       *tls.Config // of TransportTLS
}

const (
	dialTimeout  = 15 * time.Second
	sendTimeout  = 30 * time.Second // for the server to take a batch
	settleEvery  = 2 * time.Second
	farewell     = 3 * time.Second // for what is left when the log ends
	shortestWait = time.Second     // between two attempts to connect
	longestWait  = time.Minute
)

// cursorFile remembers how far the log was sent.
const cursorFile = "syslog.json"

// sender sends the log to a syslog server, from its files: what waits for the server takes no memory, and outlives the
// process. Syslog has no acknowledgements. What was written to a connection counts as sent once the connection has lived
// on for a while; after a break what does not is sent again, so that messages may come twice, but none is left out.
type sender struct {
	o         Syslog
	log       *Log
	lines     lines
	candidate Position // written some time ago
	settled   Position // written so long ago that it counts as sent
	saved     Position
	failing   bool
}

// newSender goes on where the last one has ended; the first one begins with what is recorded from now on.
func newSender(l *Log, o Syslog) *sender {
	s := &sender{o: o, log: l, lines: lines{dir: l.o.Dir}}
	data, err := os.ReadFile(filepath.Join(l.o.Dir, cursorFile))
	if err == nil && json.Unmarshal(data, &s.settled) == nil {
		s.saved = s.settled
		return s
	}
	if s.settled, err = end(l.o.Dir); err != nil {
		l.o.Logger.Warn("the audit log is sent from its beginning: its end cannot be found", "error", err)
	}
	s.save() // what is recorded until the first connection comes about is to be sent, too
	return s
}

// start sends in the background until stop is called, which gives what is left a moment to get through.
func (s *sender) start() (stop func()) {
	if s == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopping, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx, stopping)
	}()
	return func() {
		defer cancel()
		close(stopping)
		select {
		case <-done:
		case <-time.After(farewell):
			cancel()
			<-done
		}
	}
}

func (s *sender) run(ctx context.Context, stopping <-chan struct{}) {
	defer s.lines.close()
	wait := shortestWait
	for {
		begun := time.Now()
		err := s.session(ctx, stopping)
		s.save()
		s.log.metrics.connected.Set(0)
		if err == nil || ctx.Err() != nil {
			return
		}
		if !s.failing {
			s.failing = true
			s.log.o.Logger.Error("audit messages do not reach the syslog server; they are kept in the audit log and sent later",
				"address", s.o.Address, "transport", string(s.o.Transport), "error", err)
		}
		if time.Since(begun) > longestWait {
			wait = shortestWait
		}
		select {
		case <-time.After(wait/2 + rand.N(wait)):
		case <-stopping:
			return
		}
		wait = min(2*wait, longestWait)
	}
}

// session sends over one connection until it breaks, which is an error, or sending ends.
func (s *sender) session(ctx context.Context, stopping <-chan struct{}) error {
	conn, err := s.dial(ctx)
	if err != nil {
		return err
	}
	over := context.AfterFunc(ctx, func() { conn.Close() })
	defer over()
	broken := make(chan error, 1)
	go func() { // a server says nothing; what can be read is the end
		_, err := io.Copy(io.Discard, conn)
		broken <- errors.Join(errors.New("connection closed by the server"), err)
	}()
	defer func() {
		conn.Close()
		<-broken
	}()
	s.log.metrics.connected.Set(1)
	s.lines.close()
	s.lines.at, s.candidate = s.settled, s.settled
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		if err := s.push(conn); err != nil {
			return err
		}
		if s.failing {
			s.failing = false
			s.log.o.Logger.Info("audit messages reach the syslog server again", "address", s.o.Address)
		}
		select {
		case <-s.log.written:
		case <-tick.C:
			s.settled, s.candidate = s.candidate, s.lines.at
			s.save()
		case err := <-broken:
			broken <- err
			return err
		case <-stopping:
			err := s.push(conn)
			if err == nil {
				s.settled = s.lines.at
			}
			return nil
		}
	}
}

func (s *sender) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: settleEvery}
	if s.o.Transport != TransportTLS {
		return d.DialContext(ctx, string(s.o.Transport), s.o.Address)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return (&tls.Dialer{NetDialer: &d, Config: s.o.TLS}).DialContext(ctx, "tcp", s.o.Address)
}

// push sends all lines that there are.
func (s *sender) push(conn net.Conn) error {
	var batch bytes.Buffer
	n := 0
	for {
		line, err := s.lines.next()
		if err != nil && err != io.EOF {
			return err
		}
		if err == nil && whole(line) {
			if s.o.Transport != TransportUDP {
				fmt.Fprintf(&batch, "%d ", len(line))
			}
			batch.Write(line)
			n++
		}
		if batch.Len() > 0 && (err == io.EOF || batch.Len() >= maxBatch || s.o.Transport == TransportUDP) {
			if err := s.write(conn, batch.Bytes(), n); err != nil {
				return err
			}
			batch.Reset()
			n = 0
		}
		if err == io.EOF {
			s.noteSkipped()
			return nil
		}
	}
}

// whole tells whether a line is a message.
func whole(line []byte) bool {
	return bytes.HasPrefix(line, []byte("<")) && bytes.HasSuffix(line, []byte("</AuditMessage>")) && len(line) <= maxLine
}

func (s *sender) write(conn net.Conn, batch []byte, n int) error {
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(batch); err != nil {
		return err
	}
	s.log.metrics.sent.Add(float64(n))
	return nil
}

// noteSkipped tells of files that were removed before they were sent.
func (s *sender) noteSkipped() {
	if n := s.lines.skipped; n > 0 {
		s.lines.skipped = 0
		s.log.metrics.skipped.Add(float64(n))
		s.log.o.Logger.Warn("files of the audit log were removed before they were sent to the syslog server; raise audit.keep or audit.max_size", "files", n)
	}
}

// save writes down how far the log was sent. An error costs repetitions after the next start.
func (s *sender) save() {
	if s.settled == s.saved {
		return
	}
	data, err := json.Marshal(s.settled)
	if err == nil { // durable, because without it the next start would leave out what waits
		err = durable.WriteFile(filepath.Join(s.log.o.Dir, cursorFile), data, 0o600)
	}
	if err == nil {
		s.saved = s.settled
	}
}
