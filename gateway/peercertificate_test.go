package gateway

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"dcmgate/dimse"
	"dcmgate/internal/peertest"
)

// Over TLS a peer is known by its certificate: by name where an authority vouches for it, else by fingerprint.
func TestPeersByCertificate(t *testing.T) {
	cert, key, pool := peertest.Certificate(t)
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	other, otherKey, _ := peertest.Certificate(t)
	stranger, err := tls.LoadX509KeyPair(other, otherKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct{ name, authority, certificate string }{
		{"fingerprint", "", fingerprintOf(own.Leaf)},
		{"name", fmt.Sprintf(", client_ca: %q", cert), own.Leaf.Subject.CommonName},
	} {
		t.Run(row.name, func(t *testing.T) {
			g := run(t, configure(t, fmt.Sprintf("dicom: {listen: 127.0.0.1:0, tls: {listen: 127.0.0.1:0, cert: %q, key: %q%s}}\n"+
				"peers: [{ae_title: CT1, certificate: [%q]}]\n", cert, key, row.authority, row.certificate)))
			dial := func(address string, c *tls.Config) error {
				d := dimse.Dialer{LocalAETitle: "CT1", TLS: c}
				a, err := d.Dial(t.Context(), address, dimse.Proposal{CalledAETitle: "B", Contexts: ctContexts})
				if err == nil {
					a.Close()
				}
				return err
			}
			l := g.Listeners()
			if err := dial(l.DICOMTLS, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}}); err != nil {
				t.Errorf("with its certificate: %v", err)
			}
			if dial(l.DICOMTLS, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{stranger}}) == nil {
				t.Error("let in with another's certificate")
			}
			if dial(l.DICOMTLS, &tls.Config{RootCAs: pool}) == nil {
				t.Error("let in without a certificate")
			}
			if dial(l.DICOM, nil) == nil {
				t.Error("let in without TLS")
			}
			want := `dcmgate_callers_refused_total{reason="certificate"} 3`
			if row.authority != "" {
				want = `dcmgate_callers_refused_total{reason="certificate"} 1` // the others do not get past TLS
			}
			if text := get(t, g, "/metrics", http.StatusOK); !strings.Contains(text, want) {
				t.Errorf("no %s", want)
			}
		})
	}
}

// A right that a peer lacks is named in the log and counted.
func TestMissingRights(t *testing.T) {
	g := run(t, configure(t, "dicom: {listen: 127.0.0.1:0}\npeers: [{ae_title: CT1, allow: [query]}]\n"))
	d := dimse.Dialer{LocalAETitle: "CT1"}
	a, err := d.Dial(t.Context(), g.Listeners().DICOM, dimse.Proposal{CalledAETitle: "B", Contexts: ctContexts})
	if err == nil {
		a.Close()
	}
	text := get(t, g, "/metrics", http.StatusOK)
	for _, want := range []string{`dcmgate_rights_missing_total{right="store"} 1`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}
