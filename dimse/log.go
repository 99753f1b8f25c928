package dimse

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"dcmgate/pdu"
)

// describe is what identifies an association in a log line.
func (a *Association) describe() []any {
	attrs := []any{"association", a.id, "direction", directionNames[a.direction], "remote", a.remote.String()}
	if a.rq != nil {
		attrs = append(attrs, "calling", pdu.Printable(a.CallingAETitle()), "called", pdu.Printable(a.CalledAETitle()))
	}
	if a.tls != nil {
		attrs = append(attrs, "tls", tls.VersionName(a.tls.Version), "cipher", tls.CipherSuiteName(a.tls.CipherSuite))
	}
	return attrs
}

// logEnd writes the one line of an established association, when it is over.
func (a *Association) logEnd() {
	s := a.summary()
	attrs := append(a.describe(), "end", endingNames[endingOf(s.Err)], "seconds", s.Duration.Seconds(),
		"contexts", len(a.contexts), "performed", s.Performed, "invoked", s.Invoked,
		"received", s.BytesReceived, "sent", s.BytesSent)
	if n := a.strays.Load(); n > 0 {
		attrs = append(attrs, "stray", n)
	}
	if s.Err != nil && !errors.Is(s.Err, ErrReleased) {
		attrs = append(attrs, "error", s.Err)
	}
	a.log.Info("association ended", attrs...)
}

// outcomeOf sorts what became of a request for the metric.
func outcomeOf(established bool, err error) outcome {
	var rejected *RejectError
	var abort *AbortError
	var timeout *TimeoutError
	switch {
	case established:
		return outcomeAccepted
	case errors.Is(err, errDisplaced):
		return outcomeOverload
	case errors.As(err, &rejected) && rejected.Permanent():
		return outcomeRejectedPermanent
	case errors.As(err, &rejected):
		return outcomeRejectedTransient
	case errors.As(err, &timeout) || isTimeout(err):
		return outcomeTimeout
	case errors.As(err, &abort):
		return outcomeAborted
	}
	return outcomeLost
}

// settleRequest counts what became of an association request.
func (in *instruments) settleRequest(a *Association) {
	in.requests[a.direction][outcomeOf(a.ac != nil, a.Err())].Inc()
}

// report logs an inbound connection that led to no association.
func (s *Server) report(a *Association) {
	switch err := a.Err(); {
	case a.ac != nil:
	case errors.Is(err, errDisplaced):
		s.refused(a, "connection closed to make room", err)
	default:
		s.refused(a, "no association", err)
	}
}

// refused logs a refusal, with what a technician may do about it. The same from the same
// address is counted for a while and not logged again.
func (s *Server) refused(a *Association, what string, err error) {
	if err == nil {
		err = errors.New("connection closed")
	}
	repeats, log := s.refusals.admit(a.remote.Addr(), what+err.Error(), time.Now())
	if !log {
		return
	}
	attrs := append(a.describe(), "reason", err)
	if hint := hintFor(err); hint != "" {
		attrs = append(attrs, "hint", hint)
	}
	if repeats > 0 {
		attrs = append(attrs, slog.Int("repeated", repeats))
	}
	s.log.Warn(what, attrs...)
	if s.tellRefused != nil {
		r := Refusal{ID: a.id, Remote: a.remote, TLS: a.tls, Err: err, Repeated: repeats}
		if a.rq != nil {
			r.CallingAETitle, r.CalledAETitle = a.CallingAETitle(), a.CalledAETitle()
		}
		s.tellRefused(r)
	}
}

// Refusal is a connection that led to no association.
type Refusal struct {
	ID                            string // of the association that it did not become, for the log
	Remote                        netip.AddrPort
	CallingAETitle, CalledAETitle string               // "" if no request came
	TLS                           *tls.ConnectionState // nil without TLS, or without an end of its handshake
	Err                           error                // *RejectError, *HandshakeError, or what happened to the connection
	Repeated                      int                  // times that the same was not told
}

// hintFor says what to do about a connection that led to nothing. Rejections bring their own
// detail.
func hintFor(err error) string {
	var format *pdu.FormatError
	var timeout *TimeoutError
	switch {
	case errors.As(err, new(*RejectError)):
		return ""
	case errors.Is(err, errDisplaced):
		return "look for a port scanner or a peer that opens connections and leaves them"
	case errors.As(err, &format):
		return "the peer does not speak DICOM as configured here; compare TLS settings and port on both sides"
	case errors.As(err, &timeout):
		return "the peer connected and sent no association request; a load balancer's check or a port scanner does that"
	}
	return ""
}

// suppressor tells repeated log lines from new ones, by address and text, in bounded memory.
type suppressor struct {
	mu   sync.Mutex
	seen map[suppressKey]*suppressed
}

type suppressKey struct {
	address netip.Addr
	text    string
}

type suppressed struct {
	logged  time.Time
	repeats int
}

const (
	suppressFor = time.Minute
	suppressMax = 1024
)

func newSuppressor() *suppressor { return &suppressor{seen: make(map[suppressKey]*suppressed)} }

// admit tells whether to log, and how often the same has been suppressed since it last was.
func (s *suppressor) admit(address netip.Addr, text string, now time.Time) (repeats int, log bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := suppressKey{network(address), text}
	e := s.seen[key]
	if e == nil {
		s.makeRoom(now)
		s.seen[key] = &suppressed{logged: now}
		return 0, true
	}
	if now.Sub(e.logged) < suppressFor {
		e.repeats++
		return 0, false
	}
	repeats = e.repeats
	*e = suppressed{logged: now}
	return repeats, true
}

// makeRoom drops what is old, and if nothing is, everything: lines are then repeated, which is
// the lesser harm.
func (s *suppressor) makeRoom(now time.Time) {
	if len(s.seen) < suppressMax {
		return
	}
	for k, e := range s.seen {
		if now.Sub(e.logged) >= suppressFor {
			delete(s.seen, k)
		}
	}
	if len(s.seen) >= suppressMax {
		clear(s.seen)
	}
}
