package gateway

import (
	"context"

	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

// dialer opens associations for the forwarder, with the timeouts and limits
// of each destination. It implements forwarder.Dialer.
type dialer map[string]*dimse.Dialer

// Dial implements forwarder.Dialer.
func (d dialer) Dial(ctx context.Context, to forwarder.Destination, contexts []pdu.PresentationContext) (transfer.Association, error) {
	a, err := d[to.Name].Dial(ctx, to.Address, dimse.Proposal{
		CalledAETitle:         to.CalledAETitle,
		CallingAETitle:        to.CallingAETitle,
		Contexts:              contexts,
		AsyncOperationsWindow: uint16(to.Window),
	})
	if err != nil {
		return nil, err
	}
	return transfer.Over(a), nil
}
