package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
)

// load loads what the TLS listener needs; nil if there is none.
//
// Certificates of clients are verified by client_ca. Without one they are asked
// for if peers are known by fingerprints, which need nobody to vouch for them.
func (t ServerTLS) load(peers []Peer) (*tls.Config, error) {
	if t.Listen == "" {
		return nil, nil
	}
	c, err := serverTLS("dicom.tls", t.Cert, t.Key, t.ClientCA)
	if err == nil && t.ClientCA == "" && asksForCertificates(peers) {
		c.ClientAuth = tls.RequestClientCert
	}
	return c, err
}

// load returns the TLS configuration of a listener for HTTP, whose stanza the
// error names; nil for plain HTTP.
func (t PublicTLS) load(stanza string) (*tls.Config, error) {
	if t.Cert == "" {
		return nil, nil
	}
	return serverTLS(stanza, t.Cert, t.Key, t.ClientCA)
}

// serverTLS is the TLS configuration of a listener, whose stanza the error names.
// Clients must present a certificate if there is an authority for them.
func serverTLS(stanza, certFile string, key Secret, clientCA string) (*tls.Config, error) {
	cert, err := loadKeyPair(certFile, key)
	if err != nil {
		return nil, &keyError{stanza + ".cert", err}
	}
	c := newTLS()
	c.Certificates = []tls.Certificate{cert}
	if clientCA != "" {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		if c.ClientCAs, err = loadAuthorities(clientCA); err != nil {
			return nil, &keyError{stanza + ".client_ca", err}
		}
	}
	return c, nil
}

// liveTLS is a listener whose connections are secured as the settings say that
// are in force when they come; nil leaves them plain.
type liveTLS struct {
	net.Listener
	config func() *tls.Config
}

// Accept implements net.Listener. The handshake is the server's.
func (l liveTLS) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if config := l.config(); config != nil {
		return tls.Server(conn, config), nil
	}
	return conn, nil
}

// Load reads the files and returns the TLS configuration towards an address; nil
// for plain TCP.
func (t ClientTLS) Load(address string) (*tls.Config, error) { return t.load("tls", address) }

// load is Load for the stanza that the error is to name.
func (t ClientTLS) load(stanza, address string) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := newTLS()
	c.ServerName = t.ServerName
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(address) // checked when the configuration was
	}
	var err error
	if t.CA != "" {
		if c.RootCAs, err = loadAuthorities(t.CA); err != nil {
			return nil, &keyError{stanza + ".ca", err}
		}
	}
	if t.Cert != "" {
		cert, err := loadKeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, &keyError{stanza + ".cert", err}
		}
		c.Certificates = []tls.Certificate{cert}
	}
	return c, nil
}

func loadKeyPair(certFile string, key Secret) (tls.Certificate, error) {
	certPEM, err := os.ReadFile(certFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := key.Read()
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := tls.X509KeyPair(certPEM, []byte(keyPEM))
	if err != nil {
		return cert, fmt.Errorf("%s with the key %s: %w; give a certificate, leaf first, and the private key that belongs to it, both in PEM", certFile, key, err)
	}
	if err := checkKey(cert.Leaf); err != nil {
		return cert, fmt.Errorf("%s: %w; have a certificate made for a longer key", certFile, err)
	}
	return cert, nil
}

func loadAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, errors.New(file + " holds no PEM certificate")
	}
	return pool, nil
}

// authorities are, by file, the certificates that are good the longest of those
// that are trusted.
type authorities map[string]*x509.Certificate

// read looks into the files that a configuration names. What cannot be read is
// told where it is used.
func (a authorities) read(cfg *Config) {
	a.file(cfg.DICOM.TLS.ClientCA)
	a.file(cfg.HTTP.TLS.ClientCA)
	a.file(cfg.Public.TLS.ClientCA)
	for i := range cfg.Peers {
		a.file(cfg.Peers[i].TLS.CA)
	}
	for i := range cfg.Destinations {
		a.file(cfg.Destinations[i].TLS.CA)
	}
	for i := range cfg.Upstreams {
		a.file(cfg.Upstreams[i].TLS.CA)
	}
	a.file(cfg.Audit.Syslog.TLS.CA)
}

func (a authorities) file(name string) {
	if _, known := a[name]; known || name == "" {
		return
	}
	a[name] = nil
	text, _ := os.ReadFile(name)
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if block.Type == "CERTIFICATE" && err == nil && (a[name] == nil || c.NotAfter.After(a[name].NotAfter)) {
			a[name] = c
		}
	}
}
