package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/images"
	"dcmgate/spool"
)

var errMethod = errors.New("only GET and HEAD are served")

// Outcomes of requests, for metrics and the log.
const (
	outcomeOK           = "ok"
	outcomeBadRequest   = "bad_request"
	outcomeBadSignature = "bad_signature"
	outcomeBadLink      = "bad_link"
	outcomeNotFound     = "not_found"
	outcomeLimited      = "limited"
	outcomeDamaged      = "damaged"
	outcomeFailed       = "failed"
	outcomeAborted      = "aborted" // by the client, or because it took too long
)

// exchange is a request and what has become of it.
type exchange struct {
	*Server
	set     *set // in force when it came: a change does not concern it
	w       *writer
	r       *http.Request
	kind    string
	client  string // access key, "" as long as it is not known
	outcome string
	reason  string          // for the log, if it was refused
	count   int             // images listed or sent
	about   dicom.UID       // the study, once it is known
	of      *spool.Instance // one of the images
	file    *images.Image   // that is not DICOM
	begun   time.Time
}

// guard bounds requests of a kind, and accounts for them.
func (s *Server) guard(set *set, kind string, serve func(*exchange)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{Server: s, set: set, w: newWriter(r.Context(), w, set.WriteTimeout), r: r, kind: kind, outcome: outcomeOK, begun: s.o.Now()}
		defer x.account()
		h := w.Header()
		h.Set("Cache-Control", "private, no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		if !s.rates.admit(r.Context(), x.address()) {
			x.limited()
			return
		}
		serve(x)
		x.settle()
	})
}

// settle ends a response that could not be completed so that nobody takes it for complete.
func (x *exchange) settle() {
	if x.w.err == nil {
		return
	}
	if x.outcome, x.reason = outcomeAborted, x.w.err.Error(); errors.Is(x.w.err, spool.ErrDamaged) {
		x.outcome = outcomeDamaged
	}
	panic(http.ErrAbortHandler)
}

// nothing answers what is not served.
func (x *exchange) nothing() { x.refuse(http.StatusNotFound, outcomeNotFound, errNoLink) }

// wrongMethod answers what is served to GET and HEAD alone.
func (x *exchange) wrongMethod() {
	x.w.Header().Set("Allow", "GET, HEAD")
	x.refuse(http.StatusMethodNotAllowed, outcomeBadRequest, errMethod)
}

// address is the client's, without its port.
func (x *exchange) address() string {
	host, _, err := net.SplitHostPort(x.r.RemoteAddr)
	if err != nil {
		return x.r.RemoteAddr
	}
	return host
}

// limited answers a client that asks too often.
func (x *exchange) limited() {
	x.outcome, x.reason = outcomeLimited, "too many requests"
	x.w.Header().Set("Retry-After", "1")
	if x.kind == "retrieve" {
		x.answerStatus(http.StatusTooManyRequests, cloud.Refusal(cloud.CodeFailed, "too many requests; try again"))
		return
	}
	http.Error(x.w, "too many requests; try again", http.StatusTooManyRequests)
}

// refuse answers with an HTTP status and a line of text.
func (x *exchange) refuse(status int, outcome string, err error) {
	x.outcome, x.reason = outcome, err.Error()
	http.Error(x.w, err.Error(), status)
}

// decline answers 203 with a code.
func (x *exchange) decline(code cloud.Code, outcome, detail string) {
	x.outcome, x.reason = outcome, detail
	x.answerStatus(http.StatusOK, cloud.Refusal(code, detail))
}

// answerStatus writes an answer of 203. What it is about is in its code: clients of the standard look there.
func (x *exchange) answerStatus(status int, a cloud.Answer) {
	x.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	x.w.WriteHeader(status)
	_ = json.NewEncoder(x.w).Encode(a) // x.w remembers
}

// chunk is what a client must accept within the write timeout.
const chunk = 1 << 20

// writer is a response that moves the write deadline on as the client takes the bytes, and counts them. After an error
// nothing more is written.
type writer struct {
	http.ResponseWriter
	ctx     context.Context // of the request; ends with the gateway
	control *http.ResponseController
	timeout time.Duration
	fresh   time.Time // until then the deadline needs no moving
	bytes   int64
	err     error
}

func newWriter(ctx context.Context, w http.ResponseWriter, timeout time.Duration) *writer {
	return &writer{ResponseWriter: w, ctx: ctx, control: http.NewResponseController(w), timeout: timeout}
}

// extend moves the deadline; false if there is to be no more.
func (w *writer) extend() bool {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if now := time.Now(); now.After(w.fresh) {
		// An error means that the connection has no deadlines, as in tests.
		_ = w.control.SetWriteDeadline(now.Add(w.timeout))
		w.fresh = now.Add(w.timeout / 8)
	}
	return w.err == nil
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.extend() {
		m, err := w.ResponseWriter.Write(p[:min(len(p), chunk)])
		n, p, w.bytes, w.err = n+m, p[m:], w.bytes+int64(m), err
	}
	return n, w.err
}

// ReadFrom implements io.ReaderFrom, to which net/http hands what it copies.
func (w *writer) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if c, ok := l.R.(*content); ok {
			return c.sendTo(w, l.N)
		}
	}
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 64<<10))
}

// sendFile writes the next n bytes of a file, by sendfile where the connection allows it.
func (w *writer) sendFile(f *os.File, n int64) (sent int64, err error) {
	rf, ok := w.ResponseWriter.(io.ReaderFrom)
	if !ok {
		rf = copier{w.ResponseWriter}
	}
	for sent < n && w.extend() {
		part := min(n-sent, chunk)
		m, err := rf.ReadFrom(&io.LimitedReader{R: f, N: part})
		sent, w.bytes = sent+m, w.bytes+m
		if err == nil && m < part {
			err = io.ErrUnexpectedEOF
		}
		w.err = err
	}
	return sent, w.err
}

// copier makes a Writer a ReaderFrom.
type copier struct{ io.Writer }

func (c copier) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c.Writer}, r)
}
