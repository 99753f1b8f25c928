package gateway

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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

// People are told of a caller whose certificate has expired, which one known by its fingerprint may have, or soon will.
func TestCallersCertificateExpires(t *testing.T) {
	cert, key, pool := peertest.Certificate(t)
	var pairs [2]tls.Certificate
	for i, end := range []time.Duration{-time.Hour, time.Hour} {
		c, k, _ := peertest.CertificateUntil(t, time.Now().Add(end))
		var err error
		if pairs[i], err = tls.LoadX509KeyPair(c, k); err != nil {
			t.Fatal(err)
		}
	}
	expired, soon := pairs[0], pairs[1]
	g := run(t, configure(t, fmt.Sprintf("dicom: {listen: 127.0.0.1:0, tls: {listen: 127.0.0.1:0, cert: %q, key: %q}}\n"+
		"peers: [{ae_title: CT1, certificate: [%q]}, {ae_title: CT2, certificate: [%q]}]\n", cert, key, fingerprintOf(expired.Leaf), fingerprintOf(soon.Leaf))))
	for title, row := range map[string]struct {
		certificate tls.Certificate
		words       string
	}{
		"CT1": {expired, "has expired on " + expired.Leaf.NotAfter.Format("2006-01-02 15:04 MST")},
		"CT2": {soon, "expires on " + soon.Leaf.NotAfter.Format("2006-01-02 15:04 MST")},
	} {
		d := dimse.Dialer{LocalAETitle: title, TLS: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{row.certificate}}}
		a, err := d.Dial(t.Context(), g.Listeners().DICOMTLS, dimse.Proposal{CalledAETitle: "B", Contexts: ctContexts})
		if err != nil {
			t.Fatalf("%s: %v", title, err)
		}
		a.Close()
		told := slices.ContainsFunc(g.Status().Incidents, func(i Incident) bool {
			return i.Kind == IncidentExpiry && strings.HasPrefix(i.Subject, title+" ") && strings.Contains(i.What, row.words)
		})
		if !told {
			t.Errorf("%s: not told: %+v", title, g.Status().Incidents)
		}
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
