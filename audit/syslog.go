package audit

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
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

// same reports whether both are the same server, reached in the same way.
func (s *Syslog) same(other *Syslog) bool {
	return s == other || s != nil && other != nil && *s == *other
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
	logger    *slog.Logger
	metrics   *Metrics
	written   <-chan struct{} // says that there may be more
	stopping  chan struct{}   // closed to have it end
	cancel    context.CancelFunc
	ended     chan struct{} // closed at the end
	lines     lines
	candidate Position // written some time ago
	settled   Position // written so long ago that it counts as sent
	saved     Position
	failing   bool
	trouble   *atomic.Pointer[Trouble] // of the log: why nothing is sent
}

// newSender goes on where the last one has ended; the first one begins with what is recorded from now on.
func newSender(l *Log, o Syslog) *sender {
	s := &sender{o: o, logger: l.o.Logger, metrics: l.metrics, written: l.written,
		stopping: make(chan struct{}), ended: make(chan struct{}), lines: lines{dir: l.o.Dir}, trouble: &l.unsent}
	s.resume()
	return s
}

// resume finds where the last sender has ended.
func (s *sender) resume() {
	data, err := os.ReadFile(filepath.Join(s.lines.dir, cursorFile))
	if err == nil && json.Unmarshal(data, &s.settled) == nil {
		s.saved = s.settled
		return
	}
	if s.settled, err = end(s.lines.dir); err != nil {
		s.logger.Warn("the audit log is sent from its beginning: its end cannot be found", "error", err)
	}
	s.save() // what is recorded until the first connection comes about is to be sent, too
}

// start sends in the background until it is stopped, once another sender has ended if after is not nil.
func (s *sender) start(after <-chan struct{}) {
	if s == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() {
		defer close(s.ended)
		if after != nil {
			<-after
			s.resume()
		}
		s.run(ctx, s.stopping)
	}()
}

// stop gives what is left a moment to get through.
func (s *sender) stop() {
	if s == nil {
		return
	}
	defer s.cancel()
	close(s.stopping)
	select {
	case <-s.ended:
	case <-time.After(farewell):
		s.cancel()
		<-s.ended
	}
}

// tellUnsent says what a sender that has ended leaves in a directory that the log is no longer in.
func (s *sender) tellUnsent() {
	if last, err := end(s.lines.dir); err == nil && last != s.settled {
		s.logger.Warn("audit messages of the directory before have not all reached the syslog server; they stay in its files",
			"directory", s.lines.dir, "from", s.settled.File)
	}
}

func (s *sender) run(ctx context.Context, stopping <-chan struct{}) {
	defer s.lines.close()
	defer s.trouble.Store(nil)
	wait := shortestWait
	for {
		begun := time.Now()
		err := s.session(ctx, stopping)
		s.save()
		if err == nil || ctx.Err() != nil {
			return
		}
		if !s.failing {
			s.failing = true
			s.logger.Error("audit messages do not reach the syslog server; they are kept in the audit log and sent later",
				"address", s.o.Address, "transport", string(s.o.Transport), "error", err)
			s.trouble.Store(&Trouble{Since: time.Now(), What: fmt.Sprintf(
				"messages do not reach the syslog server %s (%v); they are kept in the audit log and sent later: see to the server, the way there and the certificates", s.o.Address, err)})
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
	s.metrics.connected.Inc()
	defer s.metrics.connected.Dec()
	s.lines.close()
	s.lines.at, s.candidate = s.settled, s.settled
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		if err := s.push(conn); err != nil {
			return err
		}
		select {
		case <-s.written:
		case <-tick.C:
			s.settled, s.candidate = s.candidate, s.lines.at
			s.save()
			if s.failing { // a server that does not like the certificate says so only after the handshake
				s.failing = false
				s.trouble.Store(nil)
				s.logger.Info("audit messages reach the syslog server again", "address", s.o.Address)
			}
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
	s.metrics.sent.Add(float64(n))
	return nil
}

// noteSkipped tells of files that were removed before they were sent.
func (s *sender) noteSkipped() {
	if n := s.lines.skipped; n > 0 {
		s.lines.skipped = 0
		s.metrics.skipped.Add(float64(n))
		s.logger.Warn("files of the audit log were removed before they were sent to the syslog server; raise audit.keep or audit.max_size", "files", n)
	}
}

// save writes down how far the log was sent. An error costs repetitions after the next start.
func (s *sender) save() {
	if s.settled == s.saved {
		return
	}
	data, err := json.Marshal(s.settled)
	if err == nil { // durable, because without it the next start would leave out what waits
		err = durable.WriteFile(filepath.Join(s.lines.dir, cursorFile), data, 0o600)
	}
	if err == nil {
		s.saved = s.settled
	}
}
