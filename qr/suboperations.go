package qr

import (
	"context"
	"io"
	"iter"
	"sync"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
	"dcmgate/transfer"
)

// Dial requests an association with a move destination.
type Dial func(ctx context.Context, contexts []pdu.PresentationContext) (transfer.Association, error)

// Bounds of a retrieval.
const (
	moveAssociations = 2 // at once
	maxPairs         = 8 * transfer.MaxContexts
)

// retrieval is a C-MOVE that is performed.
type retrieval struct {
	query   *query
	index   Index
	dial    Dial
	request transfer.Item // what the items have in common
	tally   *tally
	closing sync.WaitGroup // associations that are given up and not closed yet

	mu  sync.Mutex
	err error // of the index, which ended it
}

// census counts what is to be sent and returns the pairs that it needs contexts for, in the order of their appearance.
func (r *retrieval) census(ctx context.Context) (pairs []transfer.Pair, err error) {
	known := map[transfer.Pair]bool{}
	for e, err := range r.query.matches(ctx, r.index, "") {
		if err != nil {
			return nil, err
		}
		r.tally.total++
		if p := pairOf(e.in); !known[p] && len(pairs) < maxPairs {
			known[p] = true
			pairs = append(pairs, p)
		}
	}
	return pairs, nil
}

func pairOf(in *spool.Instance) transfer.Pair {
	return transfer.Pair{SOPClassUID: in.SOPClassUID, TransferSyntaxUID: in.TransferSyntaxUID}
}

// run sends what was counted. The presentation contexts of 128 pairs fit into an association; where there are more, what
// they serve is sent in as many passes over the index.
func (r *retrieval) run(ctx context.Context, pairs []transfer.Pair) {
	for _, contexts := range transfer.NewPlan(pairs, transfer.PlanOptions{}).Proposals {
		r.pass(ctx, contexts)
	}
	if ctx.Err() == nil {
		r.tally.settle()
	}
}

// pass sends what one proposal of presentation contexts serves.
func (r *retrieval) pass(ctx context.Context, contexts []pdu.PresentationContext) {
	f := r.feed(ctx, contexts)
	defer f.stop()
	dialing, enough := context.WithCancel(ctx)
	defer enough()
	f.enough = enough
	var movers sync.WaitGroup
	for range min(moveAssociations, r.tally.total) {
		movers.Go(func() { (&mover{feed: f, ctx: ctx, contexts: contexts}).run(dialing) })
	}
	movers.Wait()
	for item := f.take(); item != nil && ctx.Err() == nil; item = f.take() {
		r.tally.fail(item.SOPInstanceUID, f.reason())
	}
}

// feed gives the movers of a pass their items, straight from the index.
type feed struct {
	*retrieval
	carries map[transfer.Pair]bool
	enough  context.CancelFunc // further associations are not needed: all items are taken

	mu     sync.Mutex
	next   func() (*entity, error, bool)
	stop   func()
	over   bool
	failed string // what became of an association
}

func (r *retrieval) feed(ctx context.Context, contexts []pdu.PresentationContext) *feed {
	f := &feed{retrieval: r, carries: map[transfer.Pair]bool{}}
	for _, p := range contexts {
		f.carries[proposed(p)] = true
	}
	f.next, f.stop = iter.Pull2(r.query.matches(ctx, r.index, ""))
	return f
}

// take returns the next item, nil if there is none left.
func (f *feed) take() *transfer.Item {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !f.over {
		e, err, ok := f.next()
		if err != nil {
			f.note(err)
		}
		if f.over = !ok || err != nil; f.over {
			f.enough()
			break
		}
		if f.carries[pairOf(e.in)] {
			return f.item(e.in)
		}
	}
	return nil
}

// note keeps the error of the index for the status.
func (r *retrieval) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *retrieval) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// reason says why what is left in the feed is not sent.
func (f *feed) reason() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed
}

func (f *feed) broke(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failed = brief(err)
}

// brief is an error in a few words, for a comment of 64 characters and for the log.
func brief(err error) string { return dimse.Diagnose(err, "the destination").Words }

// item makes the pump's item of an instance.
func (r *retrieval) item(in *spool.Instance) *transfer.Item {
	item := r.request
	item.Pair, item.SOPInstanceUID, item.Size = pairOf(in), in.SOPInstanceUID, in.Size
	id := in.ID
	item.Open = func() (io.ReadCloser, error) {
		reader, err := r.index.Open(id)
		if err != nil {
			return nil, err
		}
		return checkedDataSet{reader.Checked(), reader}, nil
	}
	item.Value = new(int) // how often the association has ended over it
	return &item
}

// checkedDataSet reads an instance's data set and closes the instance.
type checkedDataSet struct {
	io.Reader
	io.Closer
}
