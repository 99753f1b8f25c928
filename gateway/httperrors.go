package gateway

import (
	"log"
	"log/slog"
	"strings"
)

// httpErrors is the log of an HTTP server, which tells of failed TLS handshakes in no other way.
type httpErrors struct {
	log    *slog.Logger
	failed func(from, reason string) // of a handshake, with the client's address
}

func (e httpErrors) logger() *log.Logger { return log.New(e, "", 0) }

// handshakePrefix begins what net/http writes of a failed handshake: HOST:PORT: reason follows.
const handshakePrefix = "http: TLS handshake error from "

// Write implements io.Writer: it is called for a line at a time.
func (e httpErrors) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	e.log.Debug(text)
	rest, ok := strings.CutPrefix(text, handshakePrefix)
	if from, reason, _ := strings.Cut(rest, ": "); ok && !hungUp(reason) {
		e.failed(hostOf(from), reason)
	}
	return len(line), nil
}

// hungUp tells of somebody who asked for nothing: a check of a load balancer, a scanner of ports.
func hungUp(reason string) bool {
	return reason == "EOF" || strings.HasSuffix(reason, "connection reset by peer") || strings.HasSuffix(reason, "i/o timeout")
}
