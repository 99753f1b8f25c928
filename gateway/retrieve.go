package gateway

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/commitment"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
	"dcmgate/transfer"
)

// storeWindow is how many sub-operations may be outstanding on one association:
// proposed to move destinations, granted to requestors of C-GET.
const storeWindow = 8

// callee is a peer that can be called.
type callee struct {
	Peer
	dialer *dimse.Dialer
}

// callees are the peers that have an address, by AE title. They are replaced as
// a whole.
type callees struct {
	atomic.Pointer[map[string]callee]
}

func newCallees(s *settings, log *slog.Logger, registry prometheus.Registerer) *callees {
	c := new(callees)
	c.use(s, log, registry)
	return c
}

// use takes the peers of other settings for what is requested from now on.
func (c *callees) use(s *settings, log *slog.Logger, registry prometheus.Registerer) {
	t := s.DICOM.Timeouts
	byTitle := make(map[string]callee)
	for _, p := range s.Peers {
		if p.Address == "" {
			continue
		}
		byTitle[p.AETitle] = callee{p, &dimse.Dialer{
			LocalAETitle:   s.AETitle,
			ConnectTimeout: t.Association,
			Timeouts:       dimse.Timeouts{ARTIM: t.Association, PDUTimeout: t.PDU, WriteTimeout: t.Write, DIMSETimeout: t.DIMSE},
			TLS:            s.peers[p.AETitle],
			Logger:         log,
			Registerer:     registry,
		}}
	}
	c.Store(&byTitle)
}

// dial requests an association with the peer.
func (c callee) dial(ctx context.Context, proposal dimse.Proposal) (*dimse.Association, error) {
	proposal.CalledAETitle = c.AETitle
	return c.dialer.Dial(ctx, c.Address, proposal)
}

// move requests an association for instances that are moved to the peer.
func (c callee) move(ctx context.Context, contexts []pdu.PresentationContext) (transfer.Association, error) {
	a, err := c.dial(ctx, dimse.Proposal{Contexts: contexts, AsyncOperationsWindow: storeWindow})
	if err != nil {
		return nil, err
	}
	return transfer.Over(a), nil
}

// destination finds a peer that instances can be moved to: one with an address.
func (c *callees) destination(aeTitle string) qr.Dial {
	if called, ok := (*c.Load())[aeTitle]; ok {
		return called.move
	}
	return nil
}

// reportee finds a peer that can be reported to.
func (c *callees) reportee(aeTitle string) commitment.Dial {
	if called, ok := (*c.Load())[aeTitle]; ok {
		return called.dial
	}
	return nil
}

// moveTo checks that the move destinations of each peer can be called.
func (v *validator) moveTo(raws []rawPeer, peers []Peer) {
	for i := range raws {
		for j, title := range peers[i].MoveTo {
			if !slices.ContainsFunc(peers, func(p Peer) bool { return p.AETitle == title && p.Address != "" }) {
				v.fail(raws[i].MoveTo[j].at, "%s is not a peer with an address", title)
			}
		}
	}
}
