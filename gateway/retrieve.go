package gateway

import (
	"context"
	"slices"

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

// callees are the peers that have an address, by AE title.
func (g *Gateway) callees() map[string]callee {
	t := g.cfg.DICOM.Timeouts
	callees := make(map[string]callee)
	for _, p := range g.cfg.Peers {
		if p.Address == "" {
			continue
		}
		callees[p.AETitle] = callee{p, &dimse.Dialer{
			LocalAETitle:   g.cfg.AETitle,
			ConnectTimeout: t.Association,
			Timeouts:       dimse.Timeouts{ARTIM: t.Association, PDUTimeout: t.PDU, WriteTimeout: t.Write, DIMSETimeout: t.DIMSE},
			TLS:            g.security.peers[p.AETitle],
			Logger:         g.log,
			Registerer:     g.registry,
		}}
	}
	return callees
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

// moveDestinations finds the peers that instances can be moved to: those with
// an address.
func (g *Gateway) moveDestinations() func(aeTitle string) qr.Dial {
	callees := g.callees()
	return func(aeTitle string) qr.Dial {
		c, ok := callees[aeTitle]
		if !ok {
			return nil
		}
		return c.move
	}
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
