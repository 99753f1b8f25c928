// Package load sends synthetic instances as modalities do: over several associations at once, each instance until it is
// acknowledged, through whatever happens to the receiver. The end-to-end tests and the benchmarks drive the gateway and its
// peers with it. It remembers what was acknowledged, so that a test can look for it afterwards.
package load

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// Sender is one load.
type Sender struct {
	Address       string // of the receiver, host:port
	CalledAETitle string
	Template      *synth.Template
	Total         int    // instances, numbered from 0
	PerStudy      int    // instances of one study; 0 is 100
	Window        uint16 // operations outstanding on an association; 0 and 1 send one at a time
	Digests       bool   // remember the digest of what was acknowledged
	Once          bool   // give up at the first failure instead of trying again
	FirstStudy    int    // number of the first study, where several senders share a template
	// More says whether another instance is to be begun, so that Total is what is sent at most. It is called by all
	// associations at once; nil says yes.
	More func() bool
	// Answered is told how long each C-STORE took from its request to success, by all associations at once. It may be nil.
	Answered func(time.Duration)

	mu       sync.Mutex
	acked    map[dicom.UID][sha256.Size]byte
	count    int
	attempts int
}

// retryPause is what a sender waits before it tries a receiver again that it could not reach.
const retryPause = 20 * time.Millisecond

// Run sends all instances over so many associations and returns when all are acknowledged or ctx ends. With Once it returns
// the first failure.
func (s *Sender) Run(ctx context.Context, associations int) error {
	s.mu.Lock()
	if s.acked == nil {
		s.acked = map[dicom.UID][sha256.Size]byte{}
	}
	s.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for k := range associations {
		workers.Go(func() {
			end := (k + 1) * s.Total / associations
			for next := k * s.Total / associations; next < end && ctx.Err() == nil; {
				var err error
				if next, err = s.session(ctx, next, end); err == nil {
					return
				} else if s.Once {
					cancel(err)
				} else {
					pause(ctx)
				}
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(retryPause):
	}
}

// session sends the instances [next, end) over one association and returns the first that was not acknowledged.
func (s *Sender) session(ctx context.Context, next, end int) (int, error) {
	s.mu.Lock()
	s.attempts++
	s.mu.Unlock()
	var dialer dimse.Dialer
	a, err := dialer.Dial(ctx, s.Address, dimse.Proposal{
		CalledAETitle: s.CalledAETitle, CallingAETitle: "CT1", AsyncOperationsWindow: s.Window,
		Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: synth.CTImageStorage, TransferSyntaxes: []string{synth.ExplicitVRLittleEndian}}},
	})
	if err != nil {
		return next, err
	}
	defer a.Close()
	slots := make([]slot, max(a.Window(), 1))
	for begun := next; ; begun++ {
		at := &slots[begun%len(slots)]
		if at.pending != nil { // its answer makes room
			if err := s.await(ctx, at); err != nil {
				return next, err
			}
			next++
		}
		if begun < end && s.More != nil && !s.More() {
			end = begun
		}
		if begun < end && ctx.Err() == nil {
			if err := s.begin(ctx, a, at, begun); err != nil {
				return next, err
			}
		} else if next == min(begun, end) || ctx.Err() != nil {
			return next, a.Release(ctx)
		}
	}
}

// slot is a place in the operations window. Its memory is used again.
type slot struct {
	object  synth.Object
	pending *dimse.Pending
	begun   time.Time
}

func (s *Sender) begin(ctx context.Context, a *dimse.Association, at *slot, number int) (err error) {
	perStudy := s.PerStudy
	if perStudy == 0 {
		perStudy = 100
	}
	if at.object.Data == nil {
		at.object = s.Template.Object(0, 0, 0)
	}
	s.Template.Fill(&at.object, s.FirstStudy+number/perStudy, 1, number)
	at.begun = time.Now()
	at.pending, err = a.StartStore(ctx, dimse.StoreRequest{ContextID: 1, SOPClassUID: synth.CTImageStorage,
		SOPInstanceUID: dicom.UID(at.object.SOPInstanceUID), Data: bytes.NewReader(at.object.Data), Size: int64(len(at.object.Data))})
	return err
}

// await takes the answer for what is in a slot.
func (s *Sender) await(ctx context.Context, at *slot) error {
	response, err := at.pending.Wait(ctx)
	at.pending = nil
	if err != nil {
		return err
	}
	if response.Status != dimse.StatusSuccess {
		return fmt.Errorf("answered %v", response.Status)
	}
	if s.Answered != nil {
		s.Answered(time.Since(at.begun))
	}
	var digest [sha256.Size]byte
	if s.Digests {
		digest = sha256.Sum256(at.object.Data)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	if s.Digests {
		s.acked[dicom.UID(at.object.SOPInstanceUID)] = digest
	}
	return nil
}

// Acked is how many instances were acknowledged with success.
func (s *Sender) Acked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count
}

// Associations is how many associations were tried.
func (s *Sender) Associations() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.attempts
}

// Receiver can be asked for what arrived.
type Receiver interface {
	// Digest returns the digest of the data set that arrived under a SOP Instance UID, and whether one did.
	Digest(sop dicom.UID) ([sha256.Size]byte, bool)
}

// ErrDamaged means that an acknowledged instance arrived with other bytes.
var ErrDamaged = errors.New("an acknowledged instance arrived with other bytes")

// Missing counts what was acknowledged and has not arrived. It needs Digests.
func (s *Sender) Missing(r Receiver) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	missing := 0
	for sop, want := range s.acked {
		got, ok := r.Digest(sop)
		if ok && got != want {
			return missing, fmt.Errorf("%w: %s", ErrDamaged, sop)
		}
		if !ok {
			missing++
		}
	}
	return missing, nil
}
