package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"dcmgate/dimse"
)

// maxAddresses bounds the addresses of one name that are tried.
const maxAddresses = 4

// connected resolves a name and opens a TCP connection to each of its addresses, to see which answer. It reports whether the
// first one that the gateway would take, or another, does.
func (x *examiner) connected(ctx context.Context, e *Examined, address string) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		e.problem("resolve", fmt.Sprintf("%q is not HOST:PORT", address), "write the address as HOST:PORT")
		return false
	}
	ips := []string{host}
	if net.ParseIP(host) == nil {
		if ips = x.resolve(ctx, e, host); ips == nil {
			return false
		}
	}
	var answering, silent []string
	var failure error
	var took time.Duration
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		begun := time.Now()
		c, err := (&net.Dialer{Timeout: x.o.Timeout}).DialContext(ctx, "tcp", net.JoinHostPort(ip, port))
		if err != nil {
			silent, failure = append(silent, ip), err
			continue
		}
		c.Close()
		if answering = append(answering, ip); len(answering) == 1 {
			took = time.Since(begun)
		}
	}
	switch {
	case len(answering) == 0:
		d := dimse.Diagnose(failure, "the other side")
		e.problem("connect", fmt.Sprintf("%s (%s port %s)", d.Words, strings.Join(silent, ", "), port), connectAdvice(failure, d.Advice))
		return false
	case len(silent) > 0:
		e.add("connect", Warning, fmt.Sprintf("answers at %s, but not at %s, which its name stands for, too (%s)", strings.Join(answering, ", "), strings.Join(silent, ", "), plainly(failure)),
			"take the wrong address out of DNS, or write the right one in place of the name")
	default:
		e.ok("connect", "TCP connection to %s port %s in %s", answering[0], port, millis(took))
	}
	return true
}

// connectAdvice tells refusals from silence, which have different causes.
func connectAdvice(err error, otherwise string) string {
	if t, ok := errors.AsType[net.Error](err); ok && t.Timeout() {
		return "nothing came back, not even a refusal: the machine is off, the address is another one, or a firewall drops the packets"
	}
	return otherwise
}

func (x *examiner) resolve(ctx context.Context, e *Examined, host string) []string {
	ctx, cancel := context.WithTimeout(ctx, x.o.Timeout)
	defer cancel()
	begun := time.Now()
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	took := time.Since(begun)
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			e.problem("resolve", fmt.Sprintf("the name %s does not exist", host), "check its spelling, and that this machine asks the hospital's DNS server (/etc/resolv.conf)")
		case dns.IsTimeout:
			e.problem("resolve", fmt.Sprintf("the DNS server did not answer about %s within %v", host, x.o.Timeout), "check /etc/resolv.conf and the way to the DNS server; an IP address as address needs none")
		default:
			e.problem("resolve", fmt.Sprintf("the name %s cannot be resolved: %s", host, dns.Err), "check /etc/resolv.conf and the DNS server")
		}
		return nil
	}
	if err != nil || len(ips) == 0 {
		e.problem("resolve", fmt.Sprintf("the name %s cannot be resolved: %v", host, err), "check /etc/resolv.conf and the DNS server")
		return nil
	}
	if took > time.Second {
		e.add("resolve", Warning, fmt.Sprintf("%s is %s, but the DNS server took %s to say so", host, strings.Join(ips, ", "), millis(took)), "each association waits for that; see to the DNS server, or write the IP address")
	} else {
		e.ok("resolve", "%s is %s (%s)", host, strings.Join(ips, ", "), millis(took))
	}
	return ips
}

// plainly is the innermost text of a network error.
func plainly(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}

// Protocols that something speaks at a port that should speak another.
const (
	speaksTLS   = "TLS"
	speaksHTTP  = "HTTP"
	speaksDICOM = "DICOM without TLS"
)
