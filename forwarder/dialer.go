package forwarder

import (
	"context"
	"crypto/tls"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/commitment"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

// DIMSE dials destinations over the network. Its fields must not be changed
// once it is in use.
type DIMSE struct {
	CallingAETitle string                // where the destination names none
	Logger         *slog.Logger          // nil discards
	Registerer     prometheus.Registerer // nil registers nothing

	mu      sync.Mutex
	dialers map[string]destinationDialer // by name of the destination
}

// destinationDialer is a dialer and what it was made of.
type destinationDialer struct {
	*dimse.Dialer
	timeouts dimse.Timeouts
	connect  time.Duration
	length   uint32
	secure   *tls.Config
}

// Dial implements Dialer.
func (n *DIMSE) Dial(ctx context.Context, d Destination, contexts []pdu.PresentationContext) (transfer.Association, error) {
	a, err := n.dialer(d).Dial(ctx, d.Address, dimse.Proposal{
		CalledAETitle:         d.CalledAETitle,
		CallingAETitle:        d.CallingAETitle,
		Contexts:              contexts,
		AsyncOperationsWindow: uint16(d.Window),
	})
	if err != nil {
		return nil, err
	}
	return transfer.Over(a), nil
}

// DialCommitment implements CommitmentDialer.
func (n *DIMSE) DialCommitment(ctx context.Context, d Destination, reports dimse.Service) (*dimse.Association, error) {
	return n.dialer(d).Dial(ctx, d.Address, dimse.Proposal{
		CalledAETitle:  d.CalledAETitle,
		CallingAETitle: d.CallingAETitle,
		Contexts:       []pdu.PresentationContext{commitment.Context(1)},
		Service:        dimse.Mux{dimse.NEventReportRQ: reports},
	})
}

// dialer returns the destination's dialer: TLS, timeouts and maximum length
// are settings of a dialer, not of a proposal.
func (n *DIMSE) dialer(d Destination) *dimse.Dialer {
	n.mu.Lock()
	defer n.mu.Unlock()
	made := destinationDialer{nil, d.Timeouts, d.DialTimeout, d.MaximumLength, d.TLS}
	if known, ok := n.dialers[d.Name]; ok {
		if made.Dialer = known.Dialer; made == known {
			return known.Dialer
		}
	}
	if n.dialers == nil {
		n.dialers = make(map[string]destinationDialer)
	}
	made.Dialer = &dimse.Dialer{
		LocalAETitle:      n.CallingAETitle,
		Timeouts:          d.Timeouts,
		ConnectTimeout:    d.DialTimeout,
		MaximumLength:     d.MaximumLength,
		MaximumSentLength: d.MaximumLength,
		TLS:               d.TLS,
		Logger:            n.Logger,
		Registerer:        n.Registerer,
	}
	n.dialers[d.Name] = made
	return made.Dialer
}
