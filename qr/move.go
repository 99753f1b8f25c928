package qr

import (
	"context"
	"slices"
	"sync"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

// Dial requests an association with a move destination.
type Dial func(ctx context.Context, contexts []pdu.PresentationContext) (transfer.Association, error)

const moveAssociations = 2 // at once, of a retrieval

// destination finds how to reach an application entity that the caller may move instances to.
func (m *retrieve) destination(aeTitle string) (Dial, error) {
	if len(m.caller.MoveTo) > 0 && !slices.Contains(m.caller.MoveTo, aeTitle) {
		return nil, &refusal{status: dimse.StatusMoveDestinationUnknown, comment: "not a destination for this caller"}
	}
	if m.o.Destination != nil {
		if dial := m.o.Destination(aeTitle); dial != nil {
			return dial, nil
		}
	}
	return nil, &refusal{status: dimse.StatusMoveDestinationUnknown, comment: "no peer of that AE title has an address here"}
}

// sendTo makes the sending of a C-MOVE. The presentation contexts of 128 pairs fit into an association; where there are
// more, what they serve is sent in as many passes over the index.
func (r *retrieval) sendTo(dial Dial) sending {
	r.open = r.openChecked
	return func(ctx context.Context, pairs []transfer.Pair) error {
		plan := transfer.NewPlan(pairs, transfer.PlanOptions{Convert: r.converter != nil})
		for i, contexts := range plan.Proposals {
			r.pass(ctx, dial, contexts, plan.Served[i])
		}
		return nil
	}
}

// pass sends what one proposal of presentation contexts serves.
func (r *retrieval) pass(ctx context.Context, dial Dial, contexts []pdu.PresentationContext, served []transfer.Pair) {
	carries := map[transfer.Pair]bool{}
	for _, p := range served {
		carries[p] = true
	}
	f := r.feed(ctx, carries)
	defer f.stop()
	dialing, enough := context.WithCancel(ctx)
	defer enough()
	f.enough = enough
	var movers sync.WaitGroup
	for range min(moveAssociations, r.tally.expected()) {
		movers.Go(func() { (&mover{feed: f, ctx: ctx, dial: dial, contexts: contexts}).run(dialing) })
	}
	movers.Wait()
	for item := f.take(); item != nil && ctx.Err() == nil; item = f.take() {
		r.fail(item, f.reason())
	}
}
