package dimse

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"

	"dcmgate/pdu"
)

// networkRow explains the errors that a predicate matches.
type networkRow struct {
	name      string
	matches   func(error) bool
	diagnosis Diagnosis
}

// networkTable holds what can happen to a connection or association other
// than an A-ASSOCIATE-RJ. The first row that matches counts.
var networkTable = []networkRow{
	{"refused", is(syscall.ECONNREFUSED), passing("refused", "nothing listens at {peer}'s address", "check address and port, and that its DICOM service runs")},
	{"unreachable", is(syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN), passing("unreachable", "the network cannot reach {peer}", "check cabling, routing and VPN")},
	{"dns", as[*net.DNSError], passing("dns", "{peer}'s host name cannot be resolved", "check the name and the DNS server")},
	{"certificate", certificate, lasting("certificate", "{peer}'s TLS certificate is not acceptable", "check its validity, name and issuer")},
	{"tls", anyOf(as[tls.RecordHeaderError], as[tls.AlertError], remoteAlert), lasting("tls", "the TLS handshake failed", "check that both sides use TLS on this port and trust each other's certificate")},
	{"peer aborted", remoteAbort(pdu.AbortSourceServiceUser), passing("abort-user", "{peer} aborted the association", "look into its log at that time")},
	{"peer's provider aborted", remoteAbort(pdu.AbortSourceServiceProvider), passing("abort-provider", "{peer}'s association service aborted the association", "look into its log at that time")},
	{"timeout", timeout, passing("timeout", "{peer} did not answer in time", "see to its load and to the network, firewalls included")},
	{"reset", is(syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed), passing("reset", "the connection to {peer} broke", "look into its log at that time, for a firewall in between, and whether only one side uses TLS")},
	{"peer broke the protocol", anyOf(as[*pdu.FormatError], as[*CommandError]), passing("protocol", "{peer} sent what DICOM does not allow", "check that the address is a DICOM service, and that both sides use TLS on this port or neither does")},
	{"anything else", func(error) bool { return true }, passing("network", "the association with {peer} failed", "look into its log at that time")},
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

// remoteAlert matches an alert that the peer has sent, such as one that wants a certificate or does not trust ours. With TLS
// 1.3 it comes when the handshake is complete on this side.
func remoteAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

func remoteAbort(source pdu.AbortSource) func(error) bool {
	return func(err error) bool {
		abort, ok := errors.AsType[*AbortError](err)
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
