package gateway

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// TestTLSIsThatOfBCP195 has OpenSSL, which is made to offer anything, connect to each listener: TLS 1.2 with authenticated
// encryption and keys for the connection alone, and TLS 1.3, are all there is (RFC 9325 3.1.1, 4.1, 4.2).
func TestTLSIsThatOfBCP195(t *testing.T) {
	openssl := peertest.Require(t, "openssl")
	ecCert, ecKey, _ := peertest.Certificate(t)
	rsaCert, rsaKey := selfSigned(t, mustRSA(t, 2048), time.Now().Add(time.Hour))
	for _, c := range []struct{ kind, cert, key string }{{"ECDSA", ecCert, ecKey}, {"RSA", rsaCert, rsaKey}} {
		g := run(t, configure(t, fmt.Sprintf(`
dicom: {listen: 127.0.0.1:0, accept: any, tls: {listen: 127.0.0.1:0, cert: %[1]q, key: %[2]q}}
http: {listen: 127.0.0.1:0, tls: {cert: %[1]q, key: %[2]q}}
public: {listen: 127.0.0.1:0, tls: {cert: %[1]q, key: %[2]q}}
retrieve: {signature: none}
`, c.cert, c.key)))
		for _, l := range []struct{ name, address string }{{"dicom", g.Listeners().DICOMTLS}, {"http", g.Listeners().HTTP}, {"public", g.Listeners().Public}} {
			for _, row := range []struct {
				offer string // options of s_client
				suite string // that is agreed on; "" for none
			}{
				{"-tls1 -cipher ALL:@SECLEVEL=0", ""},
				{"-tls1_1 -cipher ALL:@SECLEVEL=0", ""},
				{"-tls1_2 -cipher AES128-SHA:AES256-SHA256:AES128-GCM-SHA256:@SECLEVEL=0", ""},                         // keys by RSA: no forward secrecy
				{"-tls1_2 -cipher ECDHE-" + c.kind + "-AES128-SHA:ECDHE-" + c.kind + "-AES256-SHA384:@SECLEVEL=0", ""}, // CBC
				{"-tls1_2 -cipher aNULL:eNULL:@SECLEVEL=0", ""},
				{"-tls1_2 -cipher ECDHE-" + c.kind + "-AES128-GCM-SHA256", "ECDHE-" + c.kind + "-AES128-GCM-SHA256"},
				{"-tls1_2 -cipher ECDHE-" + c.kind + "-AES256-GCM-SHA384", "ECDHE-" + c.kind + "-AES256-GCM-SHA384"},
				{"-tls1_2 -cipher ECDHE-" + c.kind + "-CHACHA20-POLY1305", "ECDHE-" + c.kind + "-CHACHA20-POLY1305"},
				{"-tls1_3", "TLS_AES_128_GCM_SHA256"},
			} {
				args := append([]string{"s_client", "-brief", "-connect", l.address}, strings.Fields(row.offer)...)
				out, code := peertest.Run(t, nil, openssl, args...)
				switch {
				case row.suite == "" && (code == 0 || strings.Contains(out, "CONNECTION ESTABLISHED")):
					t.Errorf("%s, %s: %s was accepted: %s", c.kind, l.name, row.offer, out)
				case row.suite == "" && !strings.Contains(out, "alert"):
					t.Errorf("%s, %s: %s failed otherwise than by the gateway's refusal: %s", c.kind, l.name, row.offer, out)
				case row.suite != "" && !strings.Contains(out, "Ciphersuite: "+row.suite):
					t.Errorf("%s, %s: %s: %s", c.kind, l.name, row.offer, out)
				}
			}
		}
	}
}

func mustRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// selfSigned makes a certificate for a key that is valid until a moment, and returns its PEM files.
func selfSigned(t *testing.T, key any, until time.Time) (certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, NotBefore: until.Add(-400 * 24 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	var public any
	switch k := key.(type) {
	case *rsa.PrivateKey:
		public = k.Public()
	case *ecdsa.PrivateKey:
		public = k.Public()
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func mustECDSA(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestShortKeysAreRefused: RFC 9325 4.5 wants 2048 bits of RSA, in the gateway's own certificates and in those of others.
func TestShortKeysAreRefused(t *testing.T) {
	cert, key := selfSigned(t, mustRSA(t, 1024), time.Now().Add(time.Hour))
	cfg := configure(t, fmt.Sprintf("dicom: {listen: 127.0.0.1:0, tls: {listen: 127.0.0.1:0, cert: %q, key: %q}}\n", cert, key))
	if _, err := New(cfg, Options{}); err == nil || !strings.Contains(err.Error(), "1024 bits; 2048 are needed") {
		t.Errorf("own certificate: %v", err)
	}
	good, goodKey := selfSigned(t, mustECDSA(t), time.Now().Add(time.Hour))
	g := run(t, configure(t, fmt.Sprintf("dicom: {listen: 127.0.0.1:0, accept: any, tls: {listen: 127.0.0.1:0, cert: %q, key: %q, client_ca: %q}}\n", good, goodKey, cert)))
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", g.Listeners().DICOMTLS, &tls.Config{Certificates: []tls.Certificate{pair}, InsecureSkipVerify: true})
	if err == nil {
		defer conn.Close()
		_, err = conn.Read(make([]byte, 1)) // TLS 1.3 tells the client only now
	}
	if err == nil || !strings.Contains(err.Error(), "bad certificate") {
		t.Errorf("a client with a key of 1024 bits: %v", err)
	}
}

func TestCertificatesThatExpire(t *testing.T) {
	for _, c := range []struct {
		until time.Time
		err   string
		note  string
	}{
		{time.Now().Add(365 * 24 * time.Hour), "", ""},
		{time.Now().Add(20 * 24 * time.Hour), "", "dicom.tls.cert: the certificate expires on"},
		{time.Now().Add(-time.Hour), "dicom.tls.cert: the certificate has expired on ", ""},
	} {
		cert, key := selfSigned(t, mustECDSA(t), c.until)
		cfg := configure(t, "")
		cfg, err := Parse("c.yaml", fmt.Appendf(nil, "dicom: {listen: 127.0.0.1:0, tls: {listen: 127.0.0.1:0, cert: %q, key: %q}}\nhttp: {listen: 127.0.0.1:0}\ndata_dir: %q\n", cert, key, cfg.DataDir))
		if err != nil {
			t.Fatal(err)
		}
		notes, err := cfg.CheckFiles()
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("until %v: %v", c.until, err)
		}
		if got := strings.Join(notes, "\n"); !strings.HasPrefix(got, c.note) || c.note == "" && got != "" {
			t.Errorf("until %v: notes %q", c.until, got)
		}
		g := run(t, cfg) // serves nevertheless: the plain listener needs no certificate
		if want, body := fmt.Sprintf("dcmgate_certificate_expiry_timestamp_seconds{use=\"dicom\"} %v", float64(c.until.Unix())), get(t, g, "/metrics", http.StatusOK); !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

// TestAuthoritiesThatExpire trusts callers by an authority: of several in a file, the one that is good the longest counts.
func TestAuthoritiesThatExpire(t *testing.T) {
	const day = 24 * time.Hour
	cert, key := selfSigned(t, mustECDSA(t), time.Now().Add(365*day))
	for _, c := range []struct {
		ends      []time.Duration // from now
		err, note string
	}{
		{[]time.Duration{-day, 365 * day}, "", ""},
		{[]time.Duration{20 * day, -day}, "", "dicom.tls.client_ca: the authority's certificate expires on "},
		{[]time.Duration{-2 * day, -day}, "dicom.tls.client_ca: the authority's certificate has expired on ", ""},
		{[]time.Duration{500 * day}, "dicom.tls.client_ca: the authority's certificate is not valid before ", ""},
	} {
		var bundle []byte
		last := time.Time{}
		for _, end := range c.ends {
			until := time.Now().Add(end).Truncate(time.Second)
			file, _ := selfSigned(t, mustECDSA(t), until)
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			bundle = append(bundle, text...)
			if until.After(last) {
				last = until
			}
		}
		ca := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, bundle, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg := configure(t, fmt.Sprintf("dicom: {listen: 127.0.0.1:0, tls: {listen: 127.0.0.1:0, cert: %q, key: %q, client_ca: %q}}\n", cert, key, ca))
		notes, err := cfg.CheckFiles()
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("ends %v: %v", c.ends, err)
		}
		if got := strings.Join(notes, "\n"); !strings.HasPrefix(got, c.note) || c.note == "" && got != "" {
			t.Errorf("ends %v: notes %q", c.ends, got)
		}
		g := run(t, cfg)
		if want, body := fmt.Sprintf("dcmgate_certificate_expiry_timestamp_seconds{use=\"dicom client_ca\"} %v", float64(last.Unix())), get(t, g, "/metrics", http.StatusOK); !strings.Contains(body, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}
