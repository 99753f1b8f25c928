package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// fakeAssociation is a scripted association. Answers come when the test, or
// the script, gives them.
type fakeAssociation struct {
	window int
	refuse map[Pair]bool
	// script is called for each request once its data set was read; it
	// returns the status, or an error that ends the association.
	script func(n int, uid dicom.UID) (dimse.Status, error)
	// hold keeps answers back until it is closed or receives.
	hold chan struct{}

	mu         sync.Mutex
	received   []dicom.UID
	data       map[dicom.UID][]byte
	unanswered int
	most       int // requests unanswered at once
	err        error
	done       chan struct{}
	aborted    bool
}

func newFake(window int) *fakeAssociation {
	return &fakeAssociation{window: window, refuse: map[Pair]bool{}, data: map[dicom.UID][]byte{}, done: make(chan struct{})}
}

func (f *fakeAssociation) Accepted(abstract, ts dicom.UID) (byte, bool) {
	return 1, !f.refuse[Pair{abstract, ts}]
}
func (f *fakeAssociation) ID() string                                 { return "o1" }
func (f *fakeAssociation) Window() int                                { return f.window }
func (f *fakeAssociation) Echo(context.Context) (dimse.Status, error) { return 0, nil }
func (f *fakeAssociation) Done() <-chan struct{}                      { return f.done }
func (f *fakeAssociation) Release(context.Context) error              { return nil }
func (f *fakeAssociation) Close() error                               { return nil }
func (f *fakeAssociation) Err() error                                 { f.mu.Lock(); defer f.mu.Unlock(); return f.err }

func (f *fakeAssociation) Abort() error {
	f.mu.Lock()
	f.aborted = true
	f.mu.Unlock()
	f.end(errors.New("aborted here"))
	return nil
}

func (f *fakeAssociation) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		close(f.done)
	}
}

func (f *fakeAssociation) StartStore(ctx context.Context, rq dimse.StoreRequest) (Pending, error) {
	data, err := io.ReadAll(rq.Data)
	if err != nil {
		f.end(err)
		return nil, err
	}
	if f.Err() != nil {
		return nil, f.Err()
	}
	f.mu.Lock()
	n := len(f.received)
	f.received = append(f.received, rq.SOPInstanceUID)
	f.data[rq.SOPInstanceUID] = data
	f.unanswered++
	f.most = max(f.most, f.unanswered)
	f.mu.Unlock()
	return fakePending{f, n, rq.SOPInstanceUID}, nil
}

type fakePending struct {
	f   *fakeAssociation
	n   int
	uid dicom.UID
}

func (p fakePending) Wait(ctx context.Context) (r dimse.Response, err error) {
	if p.f.hold != nil {
		select {
		case <-p.f.hold:
		case <-p.f.done:
		case <-ctx.Done():
			return r, ctx.Err()
		}
	}
	if err := p.f.Err(); err != nil {
		return r, err
	}
	if p.f.script != nil {
		r.Status, err = p.f.script(p.n, p.uid)
	}
	if err != nil {
		p.f.end(err)
		return r, err
	}
	p.f.mu.Lock()
	p.f.unanswered--
	p.f.mu.Unlock()
	return r, nil
}

// listSource gives items from a list, then io.EOF, or waits for more.
type listSource struct {
	t     *testing.T
	ready chan struct{}

	mu       sync.Mutex
	items    []*Item
	open     bool // more may come
	outcomes map[dicom.UID]Outcome
	order    []dicom.UID
}

func newSource(t *testing.T, items ...*Item) *listSource {
	return &listSource{t: t, ready: make(chan struct{}, 1), items: items, outcomes: map[dicom.UID]Outcome{}}
}

func (s *listSource) Next() (*Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.items) == 0 {
		if s.open {
			return nil, nil
		}
		return nil, io.EOF
	}
	item := s.items[0]
	s.items = s.items[1:]
	return item, nil
}

func (s *listSource) Ready() <-chan struct{} { return s.ready }

func (s *listSource) add(items ...*Item) {
	s.mu.Lock()
	s.items = append(s.items, items...)
	s.mu.Unlock()
	s.signal()
}

func (s *listSource) close() {
	s.mu.Lock()
	s.open = false
	s.mu.Unlock()
	s.signal()
}

func (s *listSource) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *listSource) Done(item *Item, o Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.outcomes[item.SOPInstanceUID]; twice {
		s.t.Errorf("instance %s has two outcomes", item.SOPInstanceUID)
	}
	s.outcomes[item.SOPInstanceUID] = o
	s.order = append(s.order, item.SOPInstanceUID)
}

func (s *listSource) kinds() map[dicom.UID]Kind {
	s.mu.Lock()
	defer s.mu.Unlock()
	kinds := map[dicom.UID]Kind{}
	for uid, o := range s.outcomes {
		kinds[uid] = o.Kind
	}
	return kinds
}

// item is an instance of n bytes.
func item(uid dicom.UID, n int) *Item {
	return &Item{
		Pair: Pair{ct, evr}, SOPInstanceUID: uid, Size: int64(n),
		Open: func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(bytes.Repeat([]byte{'x'}, n))), nil
		},
	}
}

// broken is an instance that can be read only in part.
func broken(uid dicom.UID, n, size int, err error) *Item {
	it := item(uid, size)
	it.Open = func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, n)), failing{err})), nil
	}
	return it
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }
