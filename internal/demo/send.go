package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/sync/errgroup"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/mrdata"
	"dcmgate/pdu"
)

// modalities is how many associations send at once, each as a modality of its own.
const modalities = 4

// callingAETitle of the sending modalities.
const callingAETitle = "MR1"

// instance is one image to send.
type instance struct {
	meta    dicom.FileMeta
	dataSet []byte
}

// ledger is what was sent: digests of what the gateway answered with success.
type ledger struct {
	mu       sync.Mutex
	acked    map[dicom.UID][sha256.Size]byte
	bytes    int64
	repeated int // sent once more on purpose
	refused  int
	took     time.Duration
}

func (l *ledger) enter(in instance) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[in.meta.SOPInstanceUID] = sha256.Sum256(in.dataSet)
	l.bytes += int64(len(in.dataSet))
}

// send sends the MR series over several associations and then one study again, while bars show what the gateway has
// acknowledged and what each destination has.
func (s *stage) send(ctx context.Context) (*ledger, error) {
	l := &ledger{acked: map[dicom.UID][sha256.Size]byte{}}
	progress := s.progress()
	defer progress.Wait()
	sent := progress.New(mrdata.Count, "sent and durable")
	arrived := make([]*mpb.Bar, len(s.archives))
	for i, a := range s.archives {
		arrived[i] = progress.New(mrdata.Count, "delivered to "+a.name)
	}
	watch, stopWatching := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { s.watch(watch, arrived) })
	defer func() {
		stopWatching()
		watching.Wait()
		progress.abort()
	}()

	began := time.Now()
	if err := s.sendAll(ctx, l, func(instance) { sent.Increment() }, func(string) bool { return true }); err != nil {
		return nil, err
	}
	l.took = time.Since(began)
	// The same study again, as a PACS does after a network failure.
	again := func(name string) bool { return strings.HasPrefix(name, "20180918Si/") }
	if err := s.sendAll(ctx, l, func(instance) { l.repeated++ }, again); err != nil {
		return nil, err
	}
	return l, s.awaitArrival(ctx, len(l.acked))
}

// sendAll sends the files that want accepts. done is called for every instance answered with success, one at a time.
func (s *stage) sendAll(ctx context.Context, l *ledger, done func(instance), want func(name string) bool) error {
	group, ctx := errgroup.WithContext(ctx)
	queue := make(chan instance)
	group.Go(func() error {
		defer close(queue)
		return mrdata.Walk(func(f mrdata.File) error {
			if !want(f.Name) {
				return nil
			}
			meta, at, err := dicom.ReadFileMeta(bytes.NewReader(f.Data))
			if err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			select {
			case queue <- instance{meta, f.Data[at:]}:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
	})
	var mu sync.Mutex
	for range modalities {
		group.Go(func() error {
			return s.modality(ctx, queue, func(in instance) {
				mu.Lock()
				defer mu.Unlock()
				l.enter(in)
				done(in)
			})
		})
	}
	return group.Wait()
}

// modality sends what queue yields over one association.
func (s *stage) modality(ctx context.Context, queue <-chan instance, done func(instance)) error {
	dialer := dimse.Dialer{}
	const mr = "1.2.840.10008.5.1.4.1.1.4"
	a, err := dialer.Dial(ctx, s.cfg.DICOM.Listen, dimse.Proposal{CalledAETitle: s.cfg.AETitle, CallingAETitle: callingAETitle,
		Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: mr, TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian)}}}})
	if err != nil {
		return err
	}
	defer a.Close()
	for in := range queue {
		response, err := a.Store(ctx, dimse.StoreRequest{ContextID: 1, SOPClassUID: in.meta.SOPClassUID,
			SOPInstanceUID: in.meta.SOPInstanceUID, Data: bytes.NewReader(in.dataSet), Size: int64(len(in.dataSet))})
		if err != nil {
			return err
		}
		if response.Status != dimse.StatusSuccess {
			return fmt.Errorf("the gateway answered %v", response.Status)
		}
		done(in)
	}
	return a.Release(ctx)
}

// awaitArrival waits until every archive holds n instances, or the limit has passed; what is missing then is for the account.
func (s *stage) awaitArrival(ctx context.Context, n int) error {
	limit := time.NewTimer(deliveryLimit)
	defer limit.Stop()
	for tick := time.Tick(20 * time.Millisecond); ; {
		waiting := false
		for _, a := range s.archives {
			waiting = waiting || a.archive.Counts().Instances < n
		}
		if !waiting {
			return nil
		}
		select {
		case <-tick:
		case <-limit.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// watch moves the destinations' bars.
func (s *stage) watch(ctx context.Context, bars []*mpb.Bar) {
	for tick := time.Tick(50 * time.Millisecond); ; {
		for i, a := range s.archives {
			bars[i].SetCurrent(int64(a.archive.Counts().Instances))
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// bars are the live bars; off a terminal they are written nowhere.
type bars struct {
	*mpb.Progress
	all []*mpb.Bar
}

func (s *stage) progress() *bars {
	out := s.o.Out
	if !s.o.Terminal {
		out = io.Discard
		fmt.Fprintf(s.o.Out, "sending %d MR instances over %d associations …\n", mrdata.Count, modalities)
	}
	return &bars{Progress: mpb.New(mpb.WithOutput(out), mpb.WithWidth(44), mpb.WithRefreshRate(80*time.Millisecond))}
}

// New adds a bar.
func (b *bars) New(total int64, title string) *mpb.Bar {
	bar := b.AddBar(total,
		mpb.PrependDecorators(decor.Name(fmt.Sprintf("  %-20s ", title))),
		mpb.AppendDecorators(decor.CountersNoUnit("%d / %d"), decor.Name("  "), decor.AverageSpeed(0, "%.0f/s")))
	b.all = append(b.all, bar)
	return bar
}

// abort leaves unfinished bars as they are.
func (b *bars) abort() {
	for _, bar := range b.all {
		if !bar.Completed() {
			bar.Abort(false)
		}
	}
}
