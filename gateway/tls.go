package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// serverTLS loads what the TLS listener needs; nil if there is none. The
// defaults of crypto/tls for 1.2 and 1.3 are within the BCP 195 profile that
// PS3.15 B.9 asks for.
//
// Certificates of clients are verified by client_ca. Without one they are asked
// for if peers are known by fingerprints, which need nobody to vouch for them.
func (t ServerTLS) load(peers []Peer) (*tls.Config, error) {
	if t.Listen == "" {
		return nil, nil
	}
	cert, err := loadKeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("dicom.tls: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	if asksForCertificates(peers) {
		c.ClientAuth = tls.RequestClientCert
	}
	if t.ClientCA != "" {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		if c.ClientCAs, err = loadAuthorities(t.ClientCA); err != nil {
			return nil, fmt.Errorf("dicom.tls.client_ca: %w", err)
		}
	}
	return c, nil
}

// Load reads the files and returns the TLS configuration towards an address; nil
// for plain TCP.
func (t ClientTLS) Load(address string) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if c.ServerName == "" {
		c.ServerName, _, _ = net.SplitHostPort(address) // checked when the configuration was
	}
	var err error
	if t.CA != "" {
		if c.RootCAs, err = loadAuthorities(t.CA); err != nil {
			return nil, fmt.Errorf("tls.ca: %w", err)
		}
	}
	if t.Cert != "" {
		cert, err := loadKeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
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
	return tls.X509KeyPair(certPEM, []byte(keyPEM))
}

func loadAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New(file + " holds no PEM certificate")
	}
	return pool, nil
}
