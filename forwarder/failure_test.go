package forwarder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
	"dcmgate/transfer"
)

// TestStatusTable repeats PS3.7 Annex C and PS3.4 Table B.2-1 row by row.
func TestStatusTable(t *testing.T) {
	const (
		instance    = scopeInstance
		destination = scopeDestination
	)
	tests := []struct {
		status  uint16
		scope   scope
		action  action
		limited bool
		code    string
	}{
		{0x0000, instance, actDeliver, false, "success"},
		{0x0001, instance, actDeliver, false, "warning"},
		{0x0105, instance, actPark, false, "attribute"},
		{0x0106, instance, actPark, false, "attribute"},
		{0x0107, instance, actDeliver, false, "warning"},
		{0x0110, instance, actRetry, true, "processing-failure"},
		{0x0111, instance, actDeliver, false, "duplicate"},
		{0x0112, instance, actPark, false, "no-such-instance"},
		{0x0113, instance, actPark, false, "argument"},
		{0x0114, instance, actPark, false, "argument"},
		{0x0115, instance, actPark, false, "argument"},
		{0x0116, instance, actDeliver, false, "warning"},
		{0x0117, instance, actPark, false, "invalid-instance"},
		{0x0118, instance, actPark, false, "sop-class"},
		{0x0119, instance, actPark, false, "class-conflict"},
		{0x0120, instance, actPark, false, "attribute"},
		{0x0121, instance, actPark, false, "attribute"},
		{0x0122, instance, actPark, false, "sop-class"},
		{0x0123, instance, actPark, false, "argument"},
		{0x0124, destination, actTrip, true, "not-authorized"},
		{0x0210, instance, actRetry, true, "protocol"},
		{0x0211, destination, actTrip, true, "unrecognized-operation"},
		{0x0212, instance, actPark, false, "argument"},
		{0x0213, destination, actRetry, false, "out-of-resources"},
		{0xA700, destination, actRetry, false, "out-of-resources"},
		{0xA7FF, destination, actRetry, false, "out-of-resources"},
		{0xA801, instance, actRetry, true, "unknown-status"},
		{0xA900, instance, actPark, false, "data-set-mismatch"},
		{0xA9FF, instance, actPark, false, "data-set-mismatch"},
		{0xB000, instance, actDeliver, false, "warning"},
		{0xB006, instance, actDeliver, false, "warning"},
		{0xB007, instance, actDeliver, false, "warning"},
		{0xB123, instance, actDeliver, false, "warning"},
		{0xC000, instance, actPark, false, "cannot-understand"},
		{0xCFFF, instance, actPark, false, "cannot-understand"},
		{0xFE00, instance, actRetry, true, "cancelled"},
		{0xFF00, instance, actRetry, true, "protocol"},
		{0xFF01, instance, actRetry, true, "protocol"},
		{0x0002, instance, actRetry, true, "unknown-status"},
		{0xD000, instance, actRetry, true, "unknown-status"},
		{0xFFFF, instance, actRetry, true, "unknown-status"},
	}
	for _, want := range tests {
		got := classifyStatus(want.status)
		if got.Scope != want.scope || got.Action != want.action || got.Limited != want.limited || got.Code != want.code {
			t.Errorf("%04X is %v %v limited=%v %q, want %v %v limited=%v %q", want.status,
				got.Scope, got.Action, got.Limited, got.Code, want.scope, want.action, want.limited, want.code)
		}
		if !strings.Contains(got.Error(), fmt.Sprintf("%04X", want.status)) {
			t.Errorf("%04X is not named in %q", want.status, got.Error())
		}
	}
}

func TestEveryStatusHasAClass(t *testing.T) {
	for status := range 1 << 16 {
		if f := classifyStatus(uint16(status)); f.Words == "" || f.Code == "" || f.Detail == "" {
			t.Fatalf("%04X has no class", status)
		}
	}
}

// TestRejectionTable repeats PS3.8 Table 9-21.
func TestRejectionTable(t *testing.T) {
	tests := []struct {
		result, source, reason byte
		action                 action
		busy                   bool
		code                   string
	}{
		{1, 1, 1, actTrip, false, "rejected-no-reason"},
		{1, 1, 2, actTrip, false, "rejected-application-context"},
		{1, 1, 3, actTrip, false, "rejected-calling-ae"},
		{1, 1, 4, actTrip, false, "rejected-unknown"}, // reserved
		{1, 1, 7, actTrip, false, "rejected-called-ae"},
		{1, 1, 8, actTrip, false, "rejected-unknown"}, // reserved
		{1, 2, 1, actTrip, false, "rejected-no-reason-acse"},
		{1, 2, 2, actTrip, false, "rejected-protocol-version"},
		{1, 3, 0, actTrip, false, "rejected-unknown"}, // reserved
		{1, 3, 1, actTrip, false, "rejected-congestion-permanent"},
		{1, 3, 2, actTrip, false, "rejected-limit-permanent"},
		{2, 1, 1, actRetry, true, "busy-no-reason-transient"},
		{2, 1, 3, actTrip, false, "rejected-calling-ae"},
		{2, 1, 7, actTrip, false, "rejected-called-ae"},
		{2, 2, 1, actRetry, true, "busy-no-reason-acse-transient"},
		{2, 3, 1, actRetry, true, "busy-congestion"},
		{2, 3, 2, actRetry, true, "busy-limit"},
		{2, 3, 7, actRetry, true, "busy-unknown"}, // reserved
		{0, 0, 0, actTrip, false, "rejected-unknown"},
		{9, 9, 9, actTrip, false, "rejected-unknown"},
	}
	for _, want := range tests {
		err := fmt.Errorf("dial: %w", &dimse.RejectError{
			Result: pdu.RejectResult(want.result), Source: pdu.RejectSource(want.source), Reason: pdu.RejectReason(want.reason),
		})
		got := classifyDial(err)
		if got.Scope != scopeDestination || got.Limited {
			t.Errorf("%d/%d/%d would park instances", want.result, want.source, want.reason)
		}
		if got.Action != want.action || got.Busy != want.busy || got.Code != want.code || got.Words == "" || got.Advice == "" {
			t.Errorf("%d/%d/%d is %v busy=%v %q, want %v busy=%v %q", want.result, want.source, want.reason,
				got.Action, got.Busy, got.Code, want.action, want.busy, want.code)
		}
	}
}

func TestNetworkTable(t *testing.T) {
	system := func(errno syscall.Errno) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
	}
	tests := []struct {
		name   string
		err    error
		action action
		code   string
	}{
		{"refused", system(syscall.ECONNREFUSED), actRetry, "refused"},
		{"no route", system(syscall.EHOSTUNREACH), actRetry, "unreachable"},
		{"no network", system(syscall.ENETUNREACH), actRetry, "unreachable"},
		{"no such host", &net.DNSError{IsNotFound: true}, actRetry, "dns"},
		{"name server silent", &net.DNSError{IsTimeout: true}, actRetry, "dns"},
		{"reset", system(syscall.ECONNRESET), actRetry, "reset"},
		{"broken pipe", system(syscall.EPIPE), actRetry, "reset"},
		{"closed between PDUs", io.EOF, actRetry, "reset"},
		{"closed within a PDU", io.ErrUnexpectedEOF, actRetry, "reset"},
		{"kernel gave up", system(syscall.ETIMEDOUT), actRetry, "timeout"},
		{"our deadline", os.ErrDeadlineExceeded, actRetry, "timeout"},
		{"dial timeout", context.DeadlineExceeded, actRetry, "timeout"},
		{"a timer of the association", &dimse.TimeoutError{Waiting: "a response"}, actRetry, "timeout"},
		{"we aborted after a timer", &dimse.AbortError{Err: &dimse.TimeoutError{}}, actRetry, "timeout"},
		{"peer aborts", &dimse.AbortError{Remote: true, Source: pdu.AbortSourceServiceUser}, actRetry, "abort-user"},
		{"peer's provider aborts", &dimse.AbortError{Remote: true, Source: pdu.AbortSourceServiceProvider}, actRetry, "abort-provider"},
		{"response lost to an abort", &dimse.LostError{Err: &dimse.AbortError{Remote: true}}, actRetry, "abort-user"},
		{"not DICOM", &dimse.AbortError{Err: &pdu.FormatError{}}, actRetry, "protocol"},
		{"bad command set", &dimse.CommandError{}, actRetry, "protocol"},
		{"unknown issuer", &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, actTrip, "certificate"},
		{"wrong name", x509.HostnameError{Certificate: &x509.Certificate{}}, actTrip, "certificate"},
		{"not TLS", tls.RecordHeaderError{}, actTrip, "tls"},
		{"TLS alert", tls.AlertError(40), actTrip, "tls"},
		{"TLS alert of the peer", &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, actTrip, "tls"},
		{"something else", errors.New("surprise"), actRetry, "network"},
	}
	for _, want := range tests {
		t.Run(want.name, func(t *testing.T) {
			err := fmt.Errorf("association with CLOUD: %w", want.err)
			dial, broke := classifyDial(err), classifyBreak(err)
			if dial.Scope != scopeDestination || dial.Action != want.action || dial.Code != want.code || dial.Limited {
				t.Errorf("dialling it is %v %v %q limited=%v", dial.Scope, dial.Action, dial.Code, dial.Limited)
			}
			if broke.Code != want.code || !broke.Limited {
				t.Errorf("breaking it is %q limited=%v", broke.Code, broke.Limited)
			}
			if dial.Words == "" || dial.Advice == "" {
				t.Error("has no words or no advice")
			}
		})
	}
}

func TestLocalFailures(t *testing.T) {
	for _, test := range []struct {
		err     error
		action  action
		limited bool
		code    string
	}{
		{spool.ErrDamaged, actPark, false, "damaged"},
		{io.ErrUnexpectedEOF, actPark, false, "damaged"},
		{spool.ErrEvicted, actPark, false, "local-read"},
		{spool.ErrNotFound, actPark, false, "local-read"},
		{&os.PathError{Op: "open", Err: syscall.ENOENT}, actPark, false, "local-read"},
		{&os.PathError{Op: "read", Err: syscall.EIO}, actRetry, true, "local-read"},
		{errors.New("surprise"), actRetry, true, "local-read"},
		{&os.PathError{Op: "open", Err: syscall.EMFILE}, actRetry, false, "local-shortage"},
		{spool.ErrClosed, actRetry, false, "local-shortage"},
		{&transfer.ConversionError{Err: io.ErrUnexpectedEOF}, actPark, false, "conversion"},
	} {
		f := classifyLocal(fmt.Errorf("read: %w", test.err))
		if f.Action != test.action || f.Limited != test.limited || f.Code != test.code || f.Scope != scopeInstance {
			t.Errorf("%v is %v limited=%v %q, want %v limited=%v %q", test.err, f.Action, f.Limited, f.Code, test.action, test.limited, test.code)
		}
		if f.Words == "" || f.Advice == "" {
			t.Errorf("%v has no words or no advice", test.err)
		}
	}
}

func TestFailureTextIsBounded(t *testing.T) {
	f := classifyDial(errors.New(strings.Repeat("\xffü", 10_000)))
	if len(f.Error()) > 600 {
		t.Errorf("the text has %d bytes", len(f.Error()))
	}
}
