package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// sender is a modality that keeps sending through whatever happens to the gateway, and remembers what was acknowledged.
type sender struct {
	address  string
	template *synth.Template
	total    int // instances, numbered from 0
	window   uint16

	mu    sync.Mutex
	acked map[dicom.UID][sha256.Size]byte // digests of what was answered with success
	tries int
}

func newSender(address string, size, total int) *sender {
	return &sender{address: address, template: synth.NewTemplate(size, uint64(total)), total: total, window: 1,
		acked: map[dicom.UID][sha256.Size]byte{}}
}

// run sends all instances over so many associations, each instance until it is acknowledged, and returns when all are or ctx
// ends.
func (s *sender) run(ctx context.Context, associations int) {
	var workers sync.WaitGroup
	for k := range associations {
		workers.Go(func() {
			for next := k * s.total / associations; next < (k+1)*s.total/associations && ctx.Err() == nil; {
				next = s.session(ctx, next, (k+1)*s.total/associations)
			}
		})
	}
	workers.Wait()
}

// session sends instances from next on over one association, one at a time, and returns the first not acknowledged.
func (s *sender) session(ctx context.Context, next, end int) int {
	s.mu.Lock()
	s.tries++
	s.mu.Unlock()
	dialer := dimse.Dialer{}
	a, err := dialer.Dial(ctx, s.address, dimse.Proposal{CalledAETitle: "DCMGATE", CallingAETitle: "CT1",
		Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: synth.CTImageStorage, TransferSyntaxes: []string{synth.ExplicitVRLittleEndian}}}})
	if err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
		return next
	}
	defer a.Close()
	for ; next < end && ctx.Err() == nil; next++ {
		o := s.template.Object(next/100, next%100/50, next)
		response, err := a.Store(ctx, dimse.StoreRequest{ContextID: 1, SOPClassUID: synth.CTImageStorage,
			SOPInstanceUID: dicom.UID(o.SOPInstanceUID), Data: bytes.NewReader(o.Data), Size: int64(len(o.Data))})
		if err != nil || response.Status != dimse.StatusSuccess {
			return next
		}
		s.mu.Lock()
		s.acked[dicom.UID(o.SOPInstanceUID)] = sha256.Sum256(o.Data)
		s.mu.Unlock()
	}
	a.Release(ctx)
	return next
}

func (s *sender) ackedCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// missing counts what was acknowledged and is not in the archive's ledger with the same bytes.
func (s *sender) missing(t testing.TB, a *archive.Archive) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for uid, digest := range s.acked {
		e, ok := a.Lookup(uid)
		switch {
		case !ok || e.Answered == 0:
			n++
		case e.Digest != digest || e.Conflicts > 0:
			t.Errorf("%s arrived with other bytes", uid)
		}
	}
	return n
}

// startArchive listens until the test ends.
func startArchive(t testing.TB, o archive.Options) (*archive.Archive, string) {
	t.Helper()
	a, address, err := archive.Listen("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	return a, address
}
