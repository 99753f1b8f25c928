package forwarder

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

// A Destination says where instances go and how. The zero value of every
// field but Name, CalledAETitle and Address is a sensible default.
type Destination struct {
	Name           string // of the queue and in logs and metrics
	CalledAETitle  string
	CallingAETitle string      // ours; default that of the dialer
	Address        string      // host:port
	TLS            *tls.Config // nil: plain TCP

	// Associations is the upper bound of associations open at once; default
	// 4. How many are open is found by measurement.
	Associations int
	// Window is the number of operations invoked asynchronously that is
	// proposed; default 8. A destination that does not negotiate it gets 1.
	Window int
	// BatchPerAssociation ends an association after so many instances, for
	// destinations that treat an association as a unit; default 500,
	// negative unlimited.
	BatchPerAssociation int
	// Linger keeps an association open waiting for more; default 2 s,
	// negative none.
	Linger time.Duration
	// MaximumLength is the largest P-DATA-TF PDU in bytes: what we offer to
	// receive, and what is sent even if the destination takes larger ones. 0
	// leaves it to the dialer and the destination.
	MaximumLength uint32
	// Calendar bounds the bytes per second of all associations together.
	Calendar Calendar
	// TransferSyntaxes are the only ones to be proposed; empty means all.
	// Instances in others are parked.
	TransferSyntaxes []dicom.UID
	// Convert has instances converted to an uncompressed transfer syntax that
	// the destination does not take as they are stored.
	Convert bool
	// DialTimeout bounds connecting and negotiating; default 30 s.
	DialTimeout time.Duration
	// Timeouts bound what the destination may take on an association.
	Timeouts dimse.Timeouts
	// Policy bounds retries.
	Policy Policy
	// Commitment says whether and how it is asked for storage commitment.
	Commitment Commitment
}

// A Dialer opens associations.
type Dialer interface {
	// Dial connects to the destination and negotiates. Errors are those of
	// package dimse (RejectError, AbortError) or of the network, wrapped.
	Dial(ctx context.Context, d Destination, contexts []pdu.PresentationContext) (transfer.Association, error)
}

func (d Destination) withDefaults() (Destination, error) {
	if err := d.check(); err != nil {
		return d, fmt.Errorf("destination %q: %w", d.Name, err)
	}
	if d.Associations == 0 {
		d.Associations = 4
	}
	if d.Window == 0 {
		d.Window = 8
	}
	if d.BatchPerAssociation == 0 {
		d.BatchPerAssociation = 500
	}
	if d.Linger == 0 {
		d.Linger = 2 * time.Second
	}
	d.Linger = max(d.Linger, 0)
	if d.DialTimeout == 0 {
		d.DialTimeout = 30 * time.Second
	}
	var err error
	if d.Commitment, err = d.Commitment.withDefaults(); err != nil {
		return d, fmt.Errorf("destination %q: %w", d.Name, err)
	}
	if d.Policy, err = d.Policy.withDefaults(); err != nil {
		return d, fmt.Errorf("destination %q: %w", d.Name, err)
	}
	return d, nil
}

func (d Destination) check() error {
	switch {
	case d.Name == "":
		return errors.New("has no name")
	case strings.TrimSpace(d.CalledAETitle) == "":
		return errors.New("has no AE title; give the destination's under ae_title")
	case d.Address == "":
		return errors.New("has no address; give host:port")
	case d.Associations < 0 || d.Associations > 128:
		return fmt.Errorf("%d associations: from 1 to 128", d.Associations)
	case d.Window < 0 || d.Window > 1<<15:
		return fmt.Errorf("window of %d: from 1 to %d", d.Window, 1<<15)
	case d.DialTimeout < 0:
		return fmt.Errorf("dial timeout %v is negative", d.DialTimeout)
	}
	for _, ts := range d.TransferSyntaxes {
		if err := ts.Valid(); err != nil {
			return fmt.Errorf("transfer syntax %q: %w", ts, err)
		}
	}
	return nil
}
