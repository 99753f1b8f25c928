package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/dimse"
	"dcmgate/gateway"
	"dcmgate/pdu"
)

// peer is the application entity that a command talks to.
type peer struct {
	called  string
	calling string
	timeout time.Duration
	address string
	tls     gateway.ClientTLS
	tlsKey  string
	secure  *tls.Config // nil for plain TCP
}

func (p *peer) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.called, "called", "ANY-SCP", "called AE title")
	cmd.Flags().StringVar(&p.calling, "calling", "DCMGATE", "calling AE title")
	cmd.Flags().DurationVar(&p.timeout, "timeout", 30*time.Second, "how long to wait for the peer at each step")
	cmd.Flags().BoolVar(&p.tls.Enabled, "tls", false, "DICOM over TLS")
	cmd.Flags().StringVar(&p.tls.CA, "tls-ca", "", "PEM `FILE` with the authorities to trust instead of the system's")
	cmd.Flags().StringVar(&p.tls.Cert, "tls-cert", "", "PEM `FILE` with a certificate to show the peer")
	cmd.Flags().StringVar(&p.tlsKey, "tls-key", "", "PEM `FILE` with the private key of --tls-cert")
	cmd.Flags().StringVar(&p.tls.ServerName, "tls-server-name", "", "name that the peer's certificate must carry instead of HOST")
}

func (p *peer) check(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" || port == "" {
		return fmt.Errorf("%q is not HOST:PORT", address)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return fmt.Errorf("%q is not HOST:PORT: a port is a number from 1 to 65535, or the name of a service", address)
	}
	for _, title := range []string{p.called, p.calling} {
		if t := strings.TrimSpace(title); t == "" || len(t) > 16 {
			return fmt.Errorf("AE title %q: 1 to 16 characters are allowed", title)
		}
	}
	if p.timeout <= 0 {
		return fmt.Errorf("--timeout %v: must be positive", p.timeout)
	}
	p.address = address
	return p.loadTLS()
}

// loadTLS reads the files that the flags name.
func (p *peer) loadTLS() (err error) {
	switch {
	case !p.tls.Enabled && (p.tls != gateway.ClientTLS{} || p.tlsKey != ""):
		return errors.New("--tls is needed beside the other flags for TLS")
	case (p.tls.Cert == "") != (p.tlsKey == ""):
		return errors.New("--tls-cert and --tls-key are needed together")
	case p.tlsKey != "":
		p.tls.Key = gateway.SecretReference("file:" + p.tlsKey)
	}
	p.secure, err = p.tls.Load(p.address)
	return err
}

// dial opens an association with these contexts.
func (p *peer) dial(ctx context.Context, contexts []pdu.PresentationContext, window int) (*dimse.Association, error) {
	return p.propose(ctx, dimse.Proposal{Contexts: contexts, AsyncOperationsWindow: uint16(window)})
}

// propose opens an association between the peer's AE titles.
func (p *peer) propose(ctx context.Context, proposal dimse.Proposal) (*dimse.Association, error) {
	d := dimse.Dialer{
		LocalAETitle:   p.calling,
		ConnectTimeout: p.timeout,
		TLS:            p.secure,
		Timeouts: dimse.Timeouts{
			ARTIM: p.timeout, PDUTimeout: p.timeout, WriteTimeout: p.timeout, DIMSETimeout: p.timeout,
		},
	}
	proposal.CalledAETitle, proposal.CallingAETitle = p.called, p.calling
	a, err := d.Dial(ctx, p.address, proposal)
	return a, explained(err)
}

// explained adds to the failure of an association what it means and what to
// do about it.
func explained(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	d := dimse.Diagnose(err, "the peer")
	return fmt.Errorf("%w: %s; %s", err, d.Words, d.Advice)
}
