package qr

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
	"dcmgate/transfer"
)

// getGrace is how long a data set under way may take to its end, and its answer to come, when a C-GET is cancelled. What
// takes longer can only be ended by an A-ABORT: messages are not interleaved (PS3.8 annex E), and a data set that is cut
// short would pass for a whole one.
const getGrace = 50 * time.Millisecond

// sendBack makes the sending of a C-GET: C-STORE requests over the association that the request came over (PS3.4 C.4.3).
func (r *retrieval) sendBack(a *dimse.Association) sending {
	return func(ctx context.Context, _ []transfer.Pair) error {
		r.open = func(id spool.InstanceID, size int64) (io.ReadCloser, error) { return openWhole(ctx, r.index, id, size) }
		f := r.feed(ctx, nil)
		defer f.stop()
		p := transfer.Pump{Association: newBackChannel(a), Source: getSource{f}, Window: storeWindow, Grace: getGrace, Converter: r.converter, Whole: true}
		if err := p.Run(ctx); err != nil {
			return errors.Join(errUnanswered, err)
		}
		return nil
	}
}

// getSource is a feed as the pump's source.
type getSource struct{ *feed }

// Next implements transfer.Source. It waits for nothing but the index.
func (s getSource) Next() (*transfer.Item, error) {
	if item := s.take(); item != nil {
		return item, nil
	}
	return nil, io.EOF
}

// Ready implements transfer.Source. There is nothing to wait for: Next tells the end.
func (s getSource) Ready() <-chan struct{} { return nil }

// Done implements transfer.Source. What has no outcome of its own is left when the association or the retrieval ends.
func (s getSource) Done(item *transfer.Item, o transfer.Outcome) { s.settled(item, o) }

// backChannel is the association that a C-GET came over as the pump sees it. It is the caller's and outlives the pump:
// to abort it means to end a data set that is being written.
type backChannel struct {
	*dimse.Association
	contexts map[transfer.Pair]byte // in which this side may store

	mu      sync.Mutex
	writing bool
}

func newBackChannel(a *dimse.Association) *backChannel {
	b := &backChannel{Association: a, contexts: map[transfer.Pair]byte{}}
	for _, c := range a.Contexts() {
		pair := transfer.Pair{SOPClassUID: c.AbstractSyntax, TransferSyntaxUID: c.TransferSyntax}
		if _, again := b.contexts[pair]; c.SCU && !again {
			b.contexts[pair] = c.ID
		}
	}
	return b
}

// Accepted implements transfer.Association.
func (b *backChannel) Accepted(abstract, transferSyntax dicom.UID) (contextID byte, ok bool) {
	contextID, ok = b.contexts[transfer.Pair{SOPClassUID: abstract, TransferSyntaxUID: transferSyntax}]
	return contextID, ok
}

// StartStore implements transfer.Association.
func (b *backChannel) StartStore(ctx context.Context, rq dimse.StoreRequest) (transfer.Pending, error) {
	if !b.begin(ctx) {
		return nil, ctx.Err()
	}
	p, err := b.Association.StartStore(ctx, rq)
	b.mu.Lock()
	b.writing = false
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (b *backChannel) begin(ctx context.Context) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = ctx.Err() == nil
	return b.writing
}

// Abort implements transfer.Association.
func (b *backChannel) Abort() error {
	b.mu.Lock()
	writing := b.writing
	b.mu.Unlock()
	if !writing {
		return nil
	}
	return b.Association.Abort()
}

// Release implements transfer.Association; to release is the caller's.
func (b *backChannel) Release(context.Context) error { return nil }

// Close implements transfer.Association likewise.
func (b *backChannel) Close() error { return nil }

// bufferedWhole is the length in bytes up to which a data set is kept in memory between its examination and its sending.
const bufferedWhole = 1 << 20

// buffers are lent to data sets of up to bufferedWhole bytes.
var buffers = sync.Pool{New: func() any { return new([bufferedWhole]byte) }}

// openWhole opens an instance's data set once all of it is known to be what was committed. An association on which a data
// set turns out to be damaged at its end has to be aborted, which with a C-GET would take everything with it that was
// still to come. A longer one is read twice, the second time mostly from the page cache, and compared again.
func openWhole(ctx context.Context, index Index, id spool.InstanceID, size int64) (io.ReadCloser, error) {
	r, err := index.Open(id)
	if err != nil {
		return nil, err
	}
	l := &lentDataSet{buffer: buffers.Get().(*[bufferedWhole]byte)}
	if size > bufferedWhole {
		err = readThrough(ctx, r.Checked(), l.buffer[:])
		l.Close()
		if err != nil {
			r.Close()
			return nil, err
		}
		return checkedDataSet{r.Checked(), r}, nil
	}
	defer r.Close()
	if l.rest, err = readWhole(r.Checked(), l.buffer[:]); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// readThrough reads to the end, which is where a checked data set proves to be right, or until ctx ends.
func readThrough(ctx context.Context, r io.Reader, buffer []byte) error {
	for ctx.Err() == nil {
		if _, err := r.Read(buffer); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// readWhole reads to the end into a buffer.
func readWhole(r io.Reader, buffer []byte) ([]byte, error) {
	for n := 0; ; {
		got, err := r.Read(buffer[n:])
		n += got
		switch {
		case err == io.EOF:
			return buffer[:n], nil
		case err != nil:
			return nil, err
		case n == len(buffer) && got == 0:
			return nil, io.ErrShortBuffer
		}
	}
}

// lentDataSet reads a data set from a lent buffer. It is for one goroutine.
type lentDataSet struct {
	buffer *[bufferedWhole]byte
	rest   []byte
}

// Read implements io.Reader.
func (l *lentDataSet) Read(p []byte) (int, error) {
	if len(l.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// Close implements io.Closer: it gives the buffer back.
func (l *lentDataSet) Close() error {
	if l.buffer != nil {
		buffers.Put(l.buffer)
		l.buffer, l.rest = nil, nil
	}
	return nil
}
