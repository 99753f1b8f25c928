package forwarder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"

	"dcmgate/dimse"
	"dcmgate/pdu"
)

// errorRow classifies the errors that a predicate matches.
type errorRow struct {
	name    string
	matches func(error) bool
	class   class
}

// networkTable holds what can happen to a connection or association other
// than an A-ASSOCIATE-RJ. The first row that matches counts.
var networkTable = []errorRow{
	{"refused", is(syscall.ECONNREFUSED), lost("refused", "nothing listens at the destination's address", "check address and port, and that its DICOM service runs")},
	{"unreachable", is(syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN), lost("unreachable", "the network cannot reach the destination", "check cabling, routing and VPN")},
	{"dns", as[*net.DNSError], lost("dns", "the destination's host name cannot be resolved", "check the name and the DNS server")},
	{"certificate", certificate, insecure("certificate", "the destination's TLS certificate is not acceptable", "check its validity, name and issuer")},
	{"tls", anyOf(as[tls.RecordHeaderError], as[tls.AlertError]), insecure("tls", "the TLS handshake failed", "check that both sides use TLS on this port and trust each other's certificate")},
	{"peer aborted", remoteAbort(pdu.AbortSourceServiceUser), lost("abort-user", "the destination aborted the association", "look into its log at that time")},
	{"peer's provider aborted", remoteAbort(pdu.AbortSourceServiceProvider), lost("abort-provider", "the destination's association service aborted the association", "look into its log at that time")},
	{"timeout", timeout, lost("timeout", "the destination did not answer in time", "see to its load and to the network")},
	{"reset", is(syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed), lost("reset", "the connection to the destination broke", "look into its log at that time, and for a firewall in between")},
	{"peer broke the protocol", anyOf(as[*pdu.FormatError], as[*dimse.CommandError]), lost("protocol", "the destination sent what DICOM does not allow", "check that the address is a DICOM service")},
	{"anything else", func(error) bool { return true }, lost("network", "the association with the destination failed", "look into its log at that time")},
}

// lost is a row for a destination that cannot be reached or worked with.
func lost(code, words, advice string) class {
	return class{Scope: scopeDestination, Action: actRetry, Code: code, Words: words, Advice: advice}
}

// insecure is a row for a secure connection that needs a person.
func insecure(code, words, advice string) class {
	return class{Scope: scopeDestination, Action: actTrip, Code: code, Words: words, Advice: advice}
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func anyOf(matchers ...func(error) bool) func(error) bool {
	return func(err error) bool {
		for _, m := range matchers {
			if m(err) {
				return true
			}
		}
		return false
	}
}

func certificate(err error) bool {
	return as[*tls.CertificateVerificationError](err) || as[x509.UnknownAuthorityError](err) ||
		as[x509.HostnameError](err) || as[x509.CertificateInvalidError](err)
}

func remoteAbort(source pdu.AbortSource) func(error) bool {
	return func(err error) bool {
		abort, ok := errors.AsType[*dimse.AbortError](err)
		return ok && abort.Remote && abort.Source == source
	}
}

func timeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, syscall.ETIMEDOUT) {
		return true
	}
	t, ok := errors.AsType[net.Error](err)
	return ok && t.Timeout()
}

// classifyDial returns the meaning of a failed dial: a matter of the
// destination, whatever it is.
func classifyDial(err error) failure {
	if rj, ok := errors.AsType[*dimse.RejectError](err); ok {
		return classifyRejection(byte(rj.Result), byte(rj.Source), byte(rj.Reason))
	}
	return classifyNetwork(err)
}

// classifyBreak returns the meaning of the end of an established association.
// The instance being sent may be the cause, so attempts are limited.
func classifyBreak(err error) failure {
	f := classifyNetwork(err)
	f.Limited = true
	return f
}

func classifyNetwork(err error) failure { return classify(networkTable, err) }

// classify returns the meaning of an error by a table whose last row matches
// every one.
func classify(table []errorRow, err error) failure {
	for _, row := range table {
		if row.matches(err) {
			return failure{row.class, bounded(err.Error())}
		}
	}
	return failure{table[len(table)-1].class, ""} // not reached
}

// bounded keeps a peer's words from filling records and logs.
func bounded(s string) string {
	const limit = 300
	s = strings.ToValidUTF8(s, "?")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
