package gateway

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dcmgate/dimse"
	"dcmgate/internal/peertest"
)

// authority signs certificates of clients.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	a := authority{key: mustECDSA(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

// file is the authority's certificate in PEM.
func (a authority) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "authority.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// client makes a certificate of a client, changed as wanted, with a key of its own.
func (a authority) client(t *testing.T, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := mustECDSA(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// Who calls as a peer that is known by the name of its certificate: the authority's word for this very name counts, and nothing
// that is near it.
func TestPeersByNameOfAnAuthority(t *testing.T) {
	cert, key, pool := peertest.Certificate(t)
	ca, foreign := newAuthority(t), newAuthority(t)
	g := run(t, configure(t, fmt.Sprintf("dicom: {listen: 127.0.0.1:0, tls: {listen: 127.0.0.1:0, cert: %q, key: %q, client_ca: %q}}\n"+
		"peers: [{ae_title: CT1, certificate: [ct1.example.org]}]\n", cert, key, ca.file(t))))
	names := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	for _, row := range []struct {
		what   string
		from   authority
		change func(*x509.Certificate)
		in     bool
	}{
		{"its name", ca, names("ct1.example.org"), true},
		{"a renewed certificate: another key, the same name", ca, names("ct1.example.org"), true},
		{"one of several names", ca, names("ct.example.org", "ct1.example.org", "10.0.0.5"), true},
		{"upper case", ca, names("CT1.Example.ORG"), true},
		{"as common name", ca, func(c *x509.Certificate) { c.Subject.CommonName = "ct1.example.org" }, true},
		{"another name", ca, names("ct2.example.org"), false},
		{"a wildcard", ca, names("*.example.org"), false},
		{"a longer name", ca, names("ct1.example.org.evil.example"), false},
		{"its name as organisation", ca, func(c *x509.Certificate) { c.Subject.Organization = []string{"ct1.example.org"} }, false},
		{"its name as e-mail address", ca, func(c *x509.Certificate) { c.EmailAddresses = []string{"ct1.example.org"} }, false},
		{"another authority", foreign, names("ct1.example.org"), false},
		{"expired", ca, func(c *x509.Certificate) {
			c.DNSNames, c.NotBefore, c.NotAfter = []string{"ct1.example.org"}, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
		}, false},
		{"not valid yet", ca, func(c *x509.Certificate) {
			c.DNSNames, c.NotBefore, c.NotAfter = []string{"ct1.example.org"}, time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
		}, false},
		{"a server's certificate", ca, func(c *x509.Certificate) {
			c.DNSNames, c.ExtKeyUsage = []string{"ct1.example.org"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}, false},
	} {
		d := dimse.Dialer{LocalAETitle: "CT1", TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{row.from.client(t, row.change)}}}
		a, err := d.Dial(t.Context(), g.Listeners().DICOMTLS, dimse.Proposal{CalledAETitle: "B", Contexts: ctContexts})
		if err == nil {
			a.Close()
		}
		if in := err == nil; in != row.in {
			t.Errorf("%s: admitted %v, want %v (%v)", row.what, in, row.in, err)
		}
	}
}

// A destination that is a peer known by its certificate has to show it to report on storage commitment, too.
func TestReportersShowTheirCertificate(t *testing.T) {
	ca := newAuthority(t)
	pair := ca.client(t, func(*x509.Certificate) {})
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	r := reporters{peers: []Peer{{AETitle: "CLOUD", Certificate: []string{fingerprintOf(leaf)}}, {AETitle: "CT1", Certificate: []string{"ct1"}}}}
	if r.mayBe("CLOUD", nil) || r.mayBe("CLOUD", &tls.ConnectionState{}) {
		t.Error("CLOUD reports without its certificate")
	}
	if !r.mayBe("CLOUD", &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}) {
		t.Error("CLOUD may not report with its certificate")
	}
	if !r.mayBe("PACS", nil) {
		t.Error("PACS may not report, though it is not known by a certificate")
	}
}
