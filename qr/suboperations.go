package qr

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"

	"dcmgate/dimse"
	"dcmgate/spool"
	"dcmgate/transfer"
)

const maxPairs = 8 * transfer.MaxContexts // of a retrieval

// sending performs the sub-operations for what was counted. Its error is why the retrieval cannot be answered; what
// becomes of an instance is told to the tally.
type sending func(ctx context.Context, pairs []transfer.Pair) error

// opening opens the data set of an instance of so many bytes.
type opening func(id spool.InstanceID, size int64) (io.ReadCloser, error)

// retrieval is a C-MOVE or C-GET that is performed.
type retrieval struct {
	query   *query
	index   Index
	send    sending
	open    opening
	request transfer.Item // what the items have in common
	// converter makes of an instance what is accepted in place of its own transfer syntax; nil if nothing is converted.
	converter *transfer.Converter
	tally     *tally
	told      func(in *spool.Instance, ok bool) // what became of an instance, for the audit trail
	closing   sync.WaitGroup                    // what goes on after a cancelled retrieval was answered

	scp       *SCP
	level     Level      // of the identifier
	through   []Upstream // that it goes on to
	gathering *gathering // of what only they have; nil without

	mu  sync.Mutex
	err error // of the index, which ended it
}

// countError says that what is to be sent could not be counted.
type countError struct{ err error }

func (e *countError) Error() string { return "counting: " + e.err.Error() }

func (e *countError) Unwrap() error { return e.err }

// run counts and sends, first what is here, then what upstreams have.
func (r *retrieval) run(ctx context.Context) error {
	pairs, err := r.census(ctx)
	if err != nil && ctx.Err() == nil {
		return &countError{err}
	}
	if err == nil {
		r.gathering = r.gather(ctx)
		defer r.gathering.stop()
		err = r.send(ctx, pairs)
	}
	if err == nil {
		err = r.rounds(ctx)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return err
	}
	r.tally.settle()
	return r.failure()
}

// census counts what is to be sent, and has not been yet, and returns the pairs that it needs contexts for, in the order of
// their appearance.
func (r *retrieval) census(ctx context.Context) (pairs []transfer.Pair, err error) {
	known := map[transfer.Pair]bool{}
	for e, err := range r.query.matches(ctx, r.index, "") {
		if err != nil {
			return nil, err
		}
		send, count := r.gathering.counts(e.in)
		if !send {
			continue
		}
		if count {
			r.tally.expect()
		}
		if p := pairOf(e.in); !known[p] && len(pairs) < maxPairs {
			known[p] = true
			pairs = append(pairs, p)
		}
	}
	return pairs, nil
}

// pairOf is the pair that an instance is sent in: that in which it is stored.
func pairOf(in *spool.Instance) transfer.Pair {
	return transfer.Pair{SOPClassUID: in.SOPClassUID, TransferSyntaxUID: in.TransferSyntaxUID}
}

// feed gives its items, straight from the index, to the movers of a pass or to a C-GET's association.
type feed struct {
	*retrieval
	carries map[transfer.Pair]bool // nil: all
	enough  context.CancelFunc     // further associations are not needed: all items are taken

	mu     sync.Mutex
	next   func() (*entity, error, bool)
	stop   func()
	over   bool
	failed string // what became of an association
}

func (r *retrieval) feed(ctx context.Context, carries map[transfer.Pair]bool) *feed {
	f := &feed{retrieval: r, carries: carries, enough: func() {}}
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
		if (f.carries == nil || f.carries[pairOf(e.in)]) && f.gathering.claim(e.in.SOPInstanceUID) {
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
	item.Open = func() (io.ReadCloser, error) { return r.open(id, item.Size) }
	item.Value = &parcel{in: in}
	return &item
}

// parcel is what is known of an item.
type parcel struct {
	in    *spool.Instance
	tries int // how often the association has ended over it
}

// fail counts an item that could not be sent.
func (r *retrieval) fail(item *transfer.Item, reason string) {
	r.tally.fail(item.SOPInstanceUID, reason)
	r.told(item.Value.(*parcel).in, false)
}

// settled counts what became of an item, unless the association ended over it.
func (r *retrieval) settled(item *transfer.Item, o transfer.Outcome) bool {
	switch o.Kind {
	case transfer.Answered:
		r.tally.answered(item.SOPInstanceUID, o.Status)
		r.told(item.Value.(*parcel).in, o.Status.Ok())
	case transfer.NoContext:
		r.fail(item, "not accepted: "+item.Pair.String())
	case transfer.LocalError:
		reason := "an instance cannot be read"
		if errors.As(o.Err, new(*transfer.ConversionError)) {
			reason = "an instance cannot be converted"
		}
		r.fail(item, reason)
	default:
		return false
	}
	return true
}

// openChecked opens a data set that is compared with what was committed while it is read: one that is damaged fails at its
// end, and with it the association that it is sent over.
func (r *retrieval) openChecked(id spool.InstanceID, _ int64) (io.ReadCloser, error) {
	reader, err := r.index.Open(id)
	if err != nil {
		return nil, err
	}
	return checkedDataSet{reader.Checked(), reader}, nil
}

// checkedDataSet reads an instance's data set and closes the instance.
type checkedDataSet struct {
	io.Reader
	io.Closer
}
