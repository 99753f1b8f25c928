package gateway

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// expiresSoon is how long before the end of a certificate people are reminded.
const expiresSoon = 30 * 24 * time.Hour

// aead are the cipher suites of TLS 1.2 that are used: with keys for the
// connection alone and authenticated encryption, as RFC 9325 4.2 (BCP 195) wants
// it and PS3.15 B.12 after it. Those of TLS 1.3 are all like that.
var aead = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// newTLS is what all connections over TLS have in common, whoever begins them.
func newTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: aead, VerifyConnection: func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 {
			return nil
		}
		return checkKey(s.PeerCertificates[0])
	}}
}

// The shortest keys of certificates in bits (RFC 9325 4.5).
const (
	leastRSA   = 2048
	leastCurve = 224
)

// checkKey refuses a certificate whose key is too short to be of use.
func checkKey(c *x509.Certificate) error {
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < leastRSA {
			return fmt.Errorf("the certificate's RSA key has %d bits; %d are needed (BCP 195)", bits, leastRSA)
		}
	case *ecdsa.PublicKey:
		if bits := key.Curve.Params().BitSize; bits < leastCurve {
			return fmt.Errorf("the certificate's key is on a curve of %d bits; %d are needed (BCP 195)", bits, leastCurve)
		}
	}
	return nil
}

// ownCertificate is one that the gateway presents, or the authority that it
// trusts others by.
type ownCertificate struct {
	use       string // what for, for metrics and people: dicom, public, destination cloud, dicom client_ca
	key       string // path of the setting that names its file
	leaf      *x509.Certificate
	authority bool
}

// certificates lists those that the gateway presents and trusts, in the order of
// the configuration.
func (s *settings) certificates() (list []ownCertificate) {
	add := func(use, stanza string, c *tls.Config, ca, caFile string) {
		if c != nil && len(c.Certificates) > 0 && c.Certificates[0].Leaf != nil {
			list = append(list, ownCertificate{use: use, key: stanza + ".cert", leaf: c.Certificates[0].Leaf})
		}
		if authority := s.authorities[caFile]; c != nil && authority != nil {
			list = append(list, ownCertificate{use + " " + ca, stanza + "." + ca, authority, true})
		}
	}
	add("dicom", "dicom.tls", s.server, "client_ca", s.DICOM.TLS.ClientCA)
	add("http", "http.tls", s.admin, "client_ca", s.HTTP.TLS.ClientCA)
	add("public", "public.tls", s.public, "client_ca", s.Public.TLS.ClientCA)
	for i, p := range s.Peers {
		add("peer "+p.AETitle, fmt.Sprintf("peers[%d].tls", i), s.peers[p.AETitle], "ca", p.TLS.CA)
	}
	for i, d := range s.Destinations {
		add("destination "+d.Name, fmt.Sprintf("destinations[%d].tls", i), s.destinations[d.Name], "ca", d.TLS.CA)
	}
	for i, u := range s.Upstreams {
		add("upstream "+u.Name, fmt.Sprintf("upstreams[%d].tls", i), s.upstreams[u.Name], "ca", u.TLS.CA)
	}
	add("syslog", "audit.syslog", s.syslog, "ca", s.Audit.Syslog.TLS.CA)
	return list
}

// remark says what is wrong, or soon will be, with the certificate's validity; ""
// if nothing is. usable is false if nobody will accept it now.
func (c *ownCertificate) remark(now time.Time) (remark string, usable bool) {
	const day = "2006-01-02 15:04 MST"
	end := c.leaf.NotAfter.Format(day)
	switch {
	case c.authority && now.After(c.leaf.NotAfter):
		return "the authority's certificate has expired on " + end + ", and whatever it has issued is refused; put its new one into the file", false
	case c.authority && now.Before(c.leaf.NotBefore):
		return "the authority's certificate is not valid before " + c.leaf.NotBefore.Format(day) + ", and whatever it has issued is refused until then; look at the clock", false
	case c.authority && c.leaf.NotAfter.Sub(now) < expiresSoon:
		return "the authority's certificate expires on " + end + "; put its new one into the file before, beside the old one", true
	case now.After(c.leaf.NotAfter):
		return "the certificate has expired on " + end + ", and peers refuse it; renew it", false
	case now.Before(c.leaf.NotBefore):
		return "the certificate is not valid before " + c.leaf.NotBefore.Format(day) + ", and peers refuse it until then; look at the clock, or have another made", false
	case c.leaf.NotAfter.Sub(now) < expiresSoon:
		return "the certificate expires on " + end + "; renew it before", true
	}
	return "", true
}

// checkValidity looks at the certificates: those that are of no use now are
// mistakes, those that soon will be, notes.
func (s *settings) checkValidity(now time.Time) (notes []string, errs []error) {
	for _, c := range s.certificates() {
		switch remark, usable := c.remark(now); {
		case !usable:
			errs = append(errs, s.located(&keyError{c.key, fmt.Errorf("%s", remark)}))
		case remark != "":
			notes = append(notes, c.key+": "+remark)
		}
	}
	return notes, errs
}

// warnOfCertificates logs what there is to say about their validity. A gateway
// starts with one that has expired: what does not need it goes on working.
func (s *settings) warnOfCertificates(log *slog.Logger) {
	for _, c := range s.certificates() {
		if remark, _ := c.remark(time.Now()); remark != "" {
			log.Warn("certificate", "use", c.use, "setting", c.key, "remark", remark)
		}
	}
}

// expiryCollector tells when the certificates in force expire.
type expiryCollector struct{ settings func() *settings }

var expiryDesc = prometheus.NewDesc("dcmgate_certificate_expiry_timestamp_seconds",
	"Unix time at which a certificate that the gateway presents, or an authority that it trusts, expires, by its use.", []string{"use"}, nil)

// Describe implements [prometheus.Collector].
func (expiryCollector) Describe(to chan<- *prometheus.Desc) { to <- expiryDesc }

// Collect implements [prometheus.Collector].
func (c expiryCollector) Collect(to chan<- prometheus.Metric) {
	seen := make(map[string]bool) // several peers may have one AE title
	for _, own := range c.settings().certificates() {
		if !seen[own.use] {
			seen[own.use] = true
			to <- prometheus.MustNewConstMetric(expiryDesc, prometheus.GaugeValue, float64(own.leaf.NotAfter.Unix()), own.use)
		}
	}
}
