package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"dcmgate/dimse"
)

// expirySoon is how long before its end a certificate is warned about.
const expirySoon = 30 * 24 * time.Hour

// secured makes a TLS handshake, as config says but for the verification of the certificate, which follows, so that everything
// that is wrong with it can be told. asked says whether the other side wants to see a certificate, too.
func (x *examiner) secured(ctx context.Context, e *Examined, address string, config *tls.Config) (sound, asked bool) {
	open := config.Clone()
	open.InsecureSkipVerify = true // verified below
	open.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		asked = true
		if len(config.Certificates) > 0 {
			return &config.Certificates[0], nil
		}
		return &tls.Certificate{}, nil
	}
	begun := time.Now()
	state, err := x.handshake(ctx, address, open)
	if err != nil {
		x.explainHandshake(ctx, e, address, err, asked, config)
		return false, asked
	}
	sound = judgeCertificate(e, state.PeerCertificates, config, x.o.Now())
	if asked && len(config.Certificates) == 0 {
		e.add("tls", Warning, "it asks for a certificate, and none is configured to show it", "if it then refuses associations: set tls.cert and tls.key")
	}
	if sound {
		e.ok("tls", "%s, %s in %s; certificate of %s until %s", tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite), millis(time.Since(begun)),
			nameOf(state.PeerCertificates[0]), state.PeerCertificates[0].NotAfter.Local().Format(time.DateOnly))
	}
	return sound, asked
}

func (x *examiner) handshake(ctx context.Context, address string, config *tls.Config) (tls.ConnectionState, error) {
	ctx, cancel := context.WithTimeout(ctx, x.o.Timeout)
	defer cancel()
	c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", address)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState(), nil
}

// explainHandshake says why none came about.
func (x *examiner) explainHandshake(ctx context.Context, e *Examined, address string, err error, asked bool, config *tls.Config) {
	other := ""
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok && string(record.RecordHeader[:4]) == "HTTP" {
		other = speaksHTTP
	} else if _, alert := errors.AsType[tls.AlertError](err); !alert && x.speaksDICOM(ctx, address) {
		other = speaksDICOM
	}
	switch {
	case other == speaksDICOM:
		e.problem("tls", "it speaks DICOM without TLS at this port", "take tls.enabled away, or have TLS switched on there, or take the port of its TLS listener (usually 2762)")
	case other != "":
		e.problem("tls", "it speaks "+other+" without TLS at this port", "check the port: this is a web server")
	case asked && len(config.Certificates) == 0:
		e.problem("tls", "it asks for a certificate and none is configured: "+plainly(err), "set tls.cert and tls.key to a certificate that it trusts")
	case asked:
		e.problem("tls", "it does not accept the certificate of tls.cert: "+plainly(err), "have the authority that issued it trusted there, and check that it has not expired")
	default:
		d := dimse.Diagnose(err, "the other side")
		e.problem("tls", "the TLS handshake failed: "+plainly(err), d.Advice)
	}
}

// judgeCertificate verifies what the other side has shown.
func judgeCertificate(e *Examined, chain []*x509.Certificate, config *tls.Config, now time.Time) bool {
	if len(chain) == 0 {
		e.problem("tls", "it shows no certificate", "have it given one")
		return false
	}
	leaf := chain[0]
	o := x509.VerifyOptions{Roots: config.RootCAs, DNSName: config.ServerName, Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, c := range chain[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(o)
	switch {
	case now.After(leaf.NotAfter):
		e.problem("tls", fmt.Sprintf("its certificate (%s) expired on %s; here it is %s", nameOf(leaf), leaf.NotAfter.Local().Format(time.DateTime), now.Local().Format(time.DateTime)),
			"have it renewed; if that date has not come yet, set the clock of this machine")
	case now.Before(leaf.NotBefore):
		e.problem("tls", fmt.Sprintf("its certificate (%s) is valid only from %s on; here it is %s", nameOf(leaf), leaf.NotBefore.Local().Format(time.DateTime), now.Local().Format(time.DateTime)),
			"one of the two clocks is wrong: set it")
	case err == nil && leaf.NotAfter.Sub(now) < expirySoon:
		e.add("tls", Warning, fmt.Sprintf("its certificate (%s) expires on %s", nameOf(leaf), leaf.NotAfter.Local().Format(time.DateTime)), "have it renewed before")
		return true
	case err == nil:
		return true
	default:
		problemOf(e, leaf, config, err)
	}
	return false
}

func problemOf(e *Examined, leaf *x509.Certificate, config *tls.Config, err error) {
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		names := append([]string{}, leaf.DNSNames...)
		for _, ip := range leaf.IPAddresses {
			names = append(names, ip.String())
		}
		e.problem("tls", fmt.Sprintf("its certificate is for %s, and not for %s", orNothing(names), config.ServerName),
			"write one of its names as address or as tls.server_name, or have it given a certificate for the name in use")
		return
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		trusted := "the authorities of this system, since tls.ca is not set"
		if config.RootCAs != nil {
			trusted = "those in tls.ca"
		}
		e.problem("tls", fmt.Sprintf("its certificate (%s) was issued by %s, who is not among %s", nameOf(leaf), pkixName(leaf.Issuer.CommonName, leaf.Issuer.String()), trusted),
			"put the certificate of that authority into the file of tls.ca, after comparing its fingerprint with the administrator there")
		return
	}
	e.problem("tls", fmt.Sprintf("its certificate (%s) is not acceptable: %v", nameOf(leaf), err), "have it given another one")
}

func nameOf(c *x509.Certificate) string { return pkixName(c.Subject.CommonName, c.Subject.String()) }

func pkixName(common, whole string) string {
	switch {
	case common != "":
		return common
	case whole != "":
		return whole
	}
	return "nobody"
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "no name at all"
	}
	return strings.Join(names, ", ")
}

// probeTimeout bounds guesses about what is spoken at a port.
const probeTimeout = 3 * time.Second

// speaks guesses what is spoken at a port where DICOM without TLS failed; "" if nothing is recognised.
func (x *examiner) speaks(ctx context.Context, address string) string {
	ctx, cancel := context.WithTimeout(ctx, min(probeTimeout, x.o.Timeout))
	defer cancel()
	d := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}} // nothing is sent over it
	c, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		c.Close()
		return speaksTLS
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return speaksTLS
	}
	if _, ok := errors.AsType[*net.OpError](err); ok && strings.Contains(err.Error(), "remote error: tls:") { // as crypto/tls words an alert that it has received
		return speaksTLS
	}
	plain, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return ""
	}
	defer plain.Close()
	deadline, _ := ctx.Deadline()
	_ = plain.SetDeadline(deadline)
	answer := make([]byte, 8)
	if _, err := plain.Write([]byte("HEAD / HTTP/1.0\r\n\r\n")); err != nil {
		return ""
	}
	if n, _ := plain.Read(answer); bytes.HasPrefix(answer[:n], []byte("HTTP")) {
		return speaksHTTP
	}
	return ""
}
