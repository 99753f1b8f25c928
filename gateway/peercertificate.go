package gateway

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dcmgate/pdu"
)

// fingerprintPrefix begins what names a certificate by its SHA-256 fingerprint.
const fingerprintPrefix = "sha256:"

// parseCertificate reads what a peer's certificate may be known by: the
// fingerprint sha256:HEX, with or without colons, or a common name or DNS name.
func parseCertificate(s string) (string, error) {
	name := strings.ToLower(strings.TrimSpace(s))
	hexadecimal, fingerprint := strings.CutPrefix(name, fingerprintPrefix)
	switch {
	case fingerprint:
		hexadecimal = strings.ReplaceAll(hexadecimal, ":", "")
		if b, err := hex.DecodeString(hexadecimal); err != nil || len(b) != sha256.Size {
			return "", fmt.Errorf("%q is not sha256: and 64 hexadecimal digits, as `openssl x509 -noout -fingerprint -sha256` shows them", s)
		}
		return fingerprintPrefix + hexadecimal, nil
	case name == "":
		return "", errors.New("a name or a fingerprint is needed: the subject's common name, a DNS name of its alternative names, or sha256:HEX")
	case len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return "", errors.New("must be one line of at most 255 bytes")
	}
	return name, nil
}

func isFingerprint(name string) bool { return strings.HasPrefix(name, fingerprintPrefix) }

// presentedNames lists what the certificate of a connection is known by. Names
// count only if an authority vouches for them.
func presentedNames(state *tls.ConnectionState) []string {
	if state == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf := state.PeerCertificates[0]
	names := []string{fingerprintOf(leaf)}
	if len(state.VerifiedChains) == 0 {
		return names
	}
	for _, n := range append([]string{leaf.Subject.CommonName}, leaf.DNSNames...) {
		if n = strings.ToLower(strings.TrimSpace(n)); n != "" && !isFingerprint(n) {
			names = append(names, n)
		}
	}
	return names
}

func fingerprintOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return fingerprintPrefix + hex.EncodeToString(sum[:])
}

// AdmitsCertificate reports whether the peer may call over a connection; state
// is nil of one without TLS.
func (p Peer) AdmitsCertificate(state *tls.ConnectionState) bool {
	return len(p.Certificate) == 0 || slices.ContainsFunc(presentedNames(state), func(n string) bool { return slices.Contains(p.Certificate, n) })
}

// presentedValidity says what is wrong, or soon will be, with the validity of the
// certificate of a connection; "" if nothing is, or there is none.
func presentedValidity(state *tls.ConnectionState, now time.Time) string {
	if state == nil || len(state.PeerCertificates) == 0 {
		return ""
	}
	const day = "2006-01-02 15:04 MST"
	switch c := state.PeerCertificates[0]; {
	case now.After(c.NotAfter):
		return "has expired on " + c.NotAfter.Format(day) + "; have it renewed there"
	case now.Before(c.NotBefore):
		return "is not valid before " + c.NotBefore.Format(day) + "; look at the clocks of both machines, or have another made there"
	case c.NotAfter.Sub(now) < expiresSoon:
		return "expires on " + c.NotAfter.Format(day) + "; have it renewed there before"
	}
	return ""
}

// lackOf says what is wrong with a connection where a certificate is expected.
func lackOf(state *tls.ConnectionState) string {
	names := presentedNames(state)
	switch {
	case state == nil:
		return "it calls without TLS"
	case len(names) == 0:
		return "it presents none"
	case len(names) == 1:
		return "it presents " + names[0]
	}
	shown := pdu.Printable(strings.Join(names[1:min(len(names), 5)], ", "))
	return fmt.Sprintf("it presents that of %s (%s)", shown[:min(len(shown), 256)], names[0])
}

// certificates checks that certificates which peers are known by will be asked
// for, and that somebody vouches for the names among them.
func (v *validator) certificates(raws []rawPeer, peers []Peer, t ServerTLS) {
	for i := range peers {
		for j, name := range peers[i].Certificate {
			at := raws[i].Certificate[j].at
			switch {
			case name == "": // said
			case t.Listen == "":
				v.fail(at, "certificates are presented over TLS alone; set dicom.tls.listen")
			case !isFingerprint(name) && t.ClientCA == "":
				v.fail(at, "a name needs dicom.tls.client_ca, so that an authority vouches for it; without, give the sha256: fingerprint")
			}
		}
	}
}

// asksForCertificates tells whether a peer is known by its certificate.
func asksForCertificates(peers []Peer) bool {
	return slices.ContainsFunc(peers, func(p Peer) bool { return len(p.Certificate) > 0 })
}
