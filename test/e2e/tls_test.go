package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// secureGate is a gateway with a plain and a TLS listener, to which the entries of peers may come. It trusts the
// certificates of authorities.
func secureGate(t *testing.T, cert, key string, authorities []string, peers, more string) (g *gate, secure string) {
	t.Helper()
	var bundle []byte
	for _, file := range authorities {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bundle = append(bundle, pem...)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	g = newGate(t, peers+more)
	secure = peertest.Address(t)
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprintf("accept: known, tls: {listen: %q, cert: %q, key: %q, client_ca: %q}", secure, cert, key, ca)
	if err := os.WriteFile(g.config, []byte(strings.Replace(string(text), "accept: any", listen, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	return g, secure
}

// DCMTK's commands over TLS with certificates of clients, right and wrong, beside the plain listener, and its storescp as a
// destination that wants a certificate.
func TestDCMTKOverTLSWithCertificates(t *testing.T) {
	storescu, echoscu := peertest.Require(t, "storescu"), peertest.Require(t, "echoscu")
	own, ownKey, _ := peertest.Certificate(t)
	ct, ctKey, _ := peertest.Certificate(t)
	mr, mrKey, _ := peertest.Certificate(t) // trusted, and somebody else's
	stranger, strangerKey, _ := peertest.Certificate(t)
	scp := peertest.StorescpTLS(t, own, ownKey)

	out, _ := peertest.Run(t, nil, peertest.Require(t, "openssl"), "x509", "-noout", "-fingerprint", "-sha256", "-in", ct)
	_, print, ok := strings.Cut(strings.TrimSpace(out), "=")
	if !ok {
		t.Fatalf("openssl says %q", out)
	}
	to := func(name, tls string) string {
		return fmt.Sprintf("  - {name: %s, ae_title: STORESCP, address: %q, linger: 0s, retry: {initial: 200ms, max: 200ms}, tls: {enabled: true, ca: %q%s}}\n", name, scp.Address, own, tls)
	}
	g, secure := secureGate(t, own, ownKey, []string{ct, mr},
		fmt.Sprintf("peers:\n  - {ae_title: CT1, certificate: [\"sha256:%s\"]}\n  - {ae_title: PLAIN}\n", print),
		"destinations:\n"+to("good", fmt.Sprintf(", cert: %q, key: %q", own, ownKey))+to("bare", "")+to("wrong", fmt.Sprintf(", cert: %q, key: %q", stranger, strangerKey)))
	g.start(t)
	file := filepath.Join(t.TempDir(), "image.dcm")
	images[0].part10(t, file)

	for _, row := range []struct {
		name, title, address string
		tls                  []string
		ok                   bool
		audit                string // what the audit trail says of it
	}{
		{"its certificate", "CT1", secure, []string{"+tls", ctKey, ct, "+cf", own}, true, ", TLS 1."},
		{"extended profile", "CT1", secure, []string{"+tls", ctKey, ct, "+cf", own, "+pz"}, true, ""},
		{"a certificate of somebody else", "CT1", secure, []string{"+tls", mrKey, mr, "+cf", own}, false, "is to come with a certificate that is listed"},
		{"an untrusted certificate", "CT1", secure, []string{"+tls", strangerKey, stranger, "+cf", own}, false, "no TLS connection"},
		{"no certificate", "CT1", secure, []string{"+tla", "+cf", own}, false, "no TLS connection"},
		{"a gateway that it does not trust", "CT1", secure, []string{"+tls", ctKey, ct, "+cf", mr}, false, ""},
		{"the retired AES profile", "CT1", secure, []string{"+tls", ctKey, ct, "+cf", own, "+pa"}, false, ""},
		{"without TLS where a certificate is wanted", "CT1", g.address, nil, false, "it calls without TLS"},
		{"without TLS", "PLAIN", g.address, nil, true, "without TLS"},
		{"TLS to the plain port", "PLAIN", g.address, []string{"+tls", ctKey, ct, "+cf", own}, false, ""},
	} {
		host, port, _ := strings.Cut(row.address, ":")
		for program, files := range map[string][]string{echoscu: nil, storescu: {file}} {
			args := append(append(append([]string{"-to", "20", "-aet", row.title, "-aec", "DCMGATE"}, row.tls...), host, port), files...)
			if out, code := peertest.Run(t, nil, program, args...); (code == 0) != row.ok {
				t.Errorf("%s with %s: exit status %d: %s", filepath.Base(program), row.name, code, out)
			}
		}
		if row.audit != "" {
			trail := ""
			peertest.Eventually(t, 20*time.Second, row.name+" in the audit trail", func() bool {
				trail, _ = g.run(t, "audit")
				return strings.Contains(trail, row.audit)
			})
		}
	}
	g.delivered(t, "good", 1, 30*time.Second)
	if files := scp.Files(); len(files) != 1 {
		t.Errorf("storescp has %v", files)
	}
	for _, name := range []string{"bare", "wrong"} {
		status := ""
		peertest.Eventually(t, 30*time.Second, "failure of "+name, func() bool {
			status, _ = g.run(t, "status")
			return strings.Contains(status, name+":") || strings.Contains(status, name) && g.metric(t, "dcmgate_destination_breaker", fmt.Sprintf("destination=%q", name)) == 2
		})
		if n := g.metric(t, "dcmgate_instances_delivered_total", fmt.Sprintf("destination=%q", name)); n != 0 {
			t.Errorf("%v delivered to %s", n, name)
		}
	}
	if log := g.process.Output(); !strings.Contains(log, `tls="TLS 1.`) || !strings.Contains(log, "cipher=TLS_") {
		t.Errorf("no line of the log names version and cipher suite: %s", log)
	}
}
