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

// peerDialer requests associations with peers.
func (g *Gateway) peerDialer() *dimse.Dialer {
	t := g.cfg.DICOM.Timeouts
	return &dimse.Dialer{
		LocalAETitle:   g.cfg.AETitle,
		ConnectTimeout: t.Association,
		Timeouts:       dimse.Timeouts{ARTIM: t.Association, PDUTimeout: t.PDU, WriteTimeout: t.Write, DIMSETimeout: t.DIMSE},
		Logger:         g.log,
		Registerer:     g.registry,
	}
}

// callable finds a peer that has an address.
func (g *Gateway) callable(aeTitle string) (Peer, bool) {
	i := slices.IndexFunc(g.cfg.Peers, func(p Peer) bool { return p.AETitle == aeTitle && p.Address != "" })
	if i < 0 {
		return Peer{}, false
	}
	return g.cfg.Peers[i], true
}

// moveDestinations finds the peers that instances can be moved to: those with
// an address.
func (g *Gateway) moveDestinations() func(aeTitle string) qr.Dial {
	dialer := g.peerDialer()
	return func(aeTitle string) qr.Dial {
		p, ok := g.callable(aeTitle)
		if !ok {
			return nil
		}
		return dialPeer(dialer, p)
	}
}

func dialPeer(d *dimse.Dialer, p Peer) qr.Dial {
	return func(ctx context.Context, contexts []pdu.PresentationContext) (transfer.Association, error) {
		a, err := d.Dial(ctx, p.Address, dimse.Proposal{CalledAETitle: p.AETitle, Contexts: contexts, AsyncOperationsWindow: storeWindow})
		if err != nil {
			return nil, err
		}
		return transfer.Over(a), nil
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
