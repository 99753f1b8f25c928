package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dcmgate/dimse"
	"dcmgate/pdu"
)

// peer is the application entity that a command talks to.
type peer struct {
	called  string
	calling string
	timeout time.Duration
	address string
}

func (p *peer) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.called, "called", "ANY-SCP", "called AE title")
	cmd.Flags().StringVar(&p.calling, "calling", "DCMGATE", "calling AE title")
	cmd.Flags().DurationVar(&p.timeout, "timeout", 30*time.Second, "how long to wait for the peer at each step")
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
	return nil
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
