package forwarder

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/transfer"
)

// A worker drives one association and ends with it. It is the pump's source:
// Next, Ready and Done are called by its own goroutine.
type worker struct {
	*courier
	probe    bool                      // only sees whether the destination answers
	contexts []pdu.PresentationContext // proposed
	ready    chan struct{}             // capacity 1

	requested time.Time          // when the association was
	id        string             // the association's, once there is one
	cancel    context.CancelFunc // of the request; set before it can stall

	// Guarded by the courier's lock.
	carries  map[transfer.Pair]bool // proposed on this association
	pledged  bool                   // counted in courier.served
	waiting  bool                   // listed in courier.idle
	retired  bool                   // takes no more
	departed bool                   // counted in courier.workers no more
	awaited  bool                   // the request is answered or has failed
	broken   bool                   // its association's end has been accounted for
	taken    int
	answered int

	endsBefore struct{ request, stall int } // courier.ends at these moments
	beside     int                          // associations served while the request was stalled
}

// newWorker adds a worker to the crew; its run method must be called.
func (c *courier) newWorker(probe bool) *worker {
	w := &worker{courier: c, probe: probe, ready: make(chan struct{}, 1)}
	c.workers++
	c.running++
	if probe {
		w.contexts = verification
	} else {
		w.propose()
	}
	return w
}

// propose chooses what the association shall carry: what waits, first of all
// what no other worker carries, and what was sent lately.
func (w *worker) propose() {
	w.carries = make(map[transfer.Pair]bool)
	plan := w.plan()
	if len(plan.Proposals) == 0 {
		return
	}
	w.contexts = plan.Proposals[0]
	for _, pc := range w.contexts {
		pair := transfer.Pair{SOPClassUID: dicom.UID(pc.AbstractSyntax), TransferSyntaxUID: dicom.UID(pc.TransferSyntaxes[0])}
		w.carries[pair] = true
	}
	for _, pair := range plan.Served[0] {
		w.carries[pair] = true
	}
	w.pledge()
	for _, e := range w.feed.entries {
		if w.carries[e.Pair] {
			e.passed = 0 // help is on the way
		}
	}
}

// pledge lets others count on the worker for what it carries; withdraw ends
// that.
func (w *worker) pledge() {
	if w.pledged {
		return
	}
	w.pledged = true
	for pair := range w.carries {
		w.served[pair]++
	}
}

func (w *worker) withdraw() {
	if !w.pledged {
		return
	}
	w.pledged = false
	for pair := range w.carries {
		if w.served[pair]--; w.served[pair] == 0 {
			delete(w.served, pair)
		}
	}
}

func (w *worker) plan() transfer.Plan {
	return transfer.NewPlan(w.feed.pairs(w.feed.orphan(w.served)), w.planOptions())
}

// verification is what a probe proposes.
var verification = []pdu.PresentationContext{{
	ID: 1, AbstractSyntax: string(dicom.VerificationSOPClass),
	TransferSyntaxes: []string{string(dicom.ImplicitVRLittleEndian)},
}}

// run opens the association, serves until there is no more to do, and ends
// it.
func (w *worker) run(ctx context.Context) {
	defer w.leave()
	association, err := w.dial(ctx)
	if err != nil {
		w.dialFailed(ctx, err)
		return
	}
	w.established(association)
	defer w.closed(association)
	if w.probe {
		err = w.echo(ctx, association)
	} else {
		err = w.pump(ctx, association)
	}
	w.resign()
	if err != nil {
		w.ended(err)
		return
	}
	w.release(ctx, association)
}

func (w *worker) dial(ctx context.Context) (transfer.Association, error) {
	ctx, w.cancel = context.WithTimeout(ctx, w.DialTimeout)
	defer w.cancel()
	defer context.AfterFunc(w.tenure, w.cancel)()
	defer w.watch()()
	return w.dialer.Dial(ctx, w.Destination, w.contexts)
}

func (w *worker) pump(ctx context.Context, a transfer.Association) error {
	w.mu.Lock()
	grace := w.grace
	w.mu.Unlock()
	p := transfer.Pump{
		Association: a,
		Source:      w,
		Window:      w.Window,
		Limiter:     w.limiter,
		Linger:      w.Linger,
		Grace:       grace,
	}
	if w.Convert {
		p.Converter = w.converter
	}
	return p.Run(ctx)
}

// echo proves an association that carries nothing. A destination that does
// not accept the Verification SOP Class has shown enough by accepting the
// association.
func (w *worker) echo(ctx context.Context, a transfer.Association) error {
	verified := false
	if _, ok := a.Accepted(dicom.VerificationSOPClass, dicom.ImplicitVRLittleEndian); ok {
		ctx, cancel := context.WithTimeout(ctx, w.DialTimeout)
		defer cancel()
		status, err := a.Echo(ctx)
		if err != nil {
			return err
		}
		verified = status == dimse.StatusSuccess
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if verified {
		w.ledger.echoes++
	}
	w.works()
	return nil
}

// release ends the association in order, even while the gateway stops.
func (w *worker) release(ctx context.Context, a transfer.Association) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	_ = a.Release(ctx) // everything was answered; how it ends does not matter
}

// signal makes Ready receive.
func (w *worker) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// Ready implements transfer.Source.
func (w *worker) Ready() <-chan struct{} { return w.ready }

// Next implements transfer.Source.
func (w *worker) Next() (*transfer.Item, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.retired || w.enough() {
		w.retire()
		return nil, io.EOF
	}
	e := w.feed.take(w.carries)
	w.noteWaiting(time.Now())
	if w.more && w.room() > 0 {
		w.kick()
	}
	if e == nil {
		w.wait()
		return nil, nil
	}
	w.taken++
	w.recent.note(e.Pair)
	return w.item(e), nil
}

// enough reports whether the worker should take no more: because nobody may,
// because its association has had its share, because there are more workers
// than is good, or to make room for one that can carry what this one cannot.
func (w *worker) enough() bool {
	switch {
	case w.halted():
		return true
	case w.BatchPerAssociation > 0 && w.taken >= w.BatchPerAssociation:
		return true
	case w.taken > 0 && w.running > w.control.allowed(time.Now()):
		return true
	case w.echoDue && w.workers >= w.seats(time.Now()):
		return true // a C-ECHO needs an association of its own
	case w.asker != nil && w.asker.due && w.running == w.workers && w.crowded(time.Now()):
		return true // so does a request for commitment
	}
	return w.mustMakeRoom()
}

// mustMakeRoom reports whether another worker, with other contexts, would be
// of more use in this one's place: because jobs pile up and it can carry none
// of them, or because it has passed over the first one for too long. It holds
// only where there may or can be no more workers, and for one worker at a time.
func (w *worker) mustMakeRoom() bool {
	waiting, stalled := len(w.feed.entries), len(w.stalled) > 0
	switch {
	case w.running < w.workers:
		return false // another is doing so
	case stalled && !w.feed.any(w.carries):
		return true
	case waiting == 0 || w.running < w.control.allowed(time.Now()) && !stalled:
		return false
	}
	first := w.feed.entries[0]
	if w.carries[first.Pair] || !w.feed.isOrphan(first, w.served) && waiting < w.share() {
		return false
	}
	return first.passed >= maxPassed || !w.feed.any(w.carries)
}

func (w *worker) wait() {
	if !w.waiting {
		w.waiting = true
		w.idle = append(w.idle, w)
	}
}

// retire takes the worker off the lists.
func (w *worker) retire() {
	if w.retired {
		return
	}
	w.retired = true
	w.running--
	w.withdraw()
	w.unstall()
	for i, other := range w.idle {
		if other == w {
			w.idle = append(w.idle[:i], w.idle[i+1:]...)
			break
		}
	}
	w.waiting = false
}

// resign tells the courier, before the association is released, that others
// have to carry what comes now.
func (w *worker) resign() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retire()
	w.serving--
	w.ends++
	w.kick()
}

// leave ends the worker. One that is idle may now have to make room, which it
// did not as long as this one was about to.
func (w *worker) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.retire()
	w.depart()
	if len(w.idle) > 0 && len(w.feed.entries) > 0 {
		w.wakeIdle(len(w.idle) - 1)
	}
	w.kick()
}

// depart takes the worker out of the crew.
func (w *worker) depart() {
	if !w.departed {
		w.departed = true
		w.workers--
	}
}

// item makes the pump's item of a job.
func (w *worker) item(e *entry) *transfer.Item {
	return &transfer.Item{
		Pair:           e.Pair,
		SOPInstanceUID: e.SOPInstanceUID,
		Size:           e.Size,
		Alone:          e.alone,
		Priority:       wirePriority(e.Urgency),
		Open:           func() (io.ReadCloser, error) { return w.openPayload(e.Job) },
		Value:          e,
	}
}

// wirePriority returns Priority (0000,0700) of PS3.7 E.1.
func wirePriority(urgency int) dimse.Priority {
	switch {
	case urgency > 0:
		return dimse.PriorityHigh
	case urgency < 0:
		return dimse.PriorityLow
	}
	return dimse.PriorityMedium
}

func (w *worker) openPayload(j Job) (io.ReadCloser, error) {
	payload, err := w.queue.Open(j)
	if err != nil {
		return nil, err
	}
	return metered{payload, &w.sent}, nil
}

// metered counts what is read.
type metered struct {
	io.ReadCloser
	count *atomic.Int64
}

func (m metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.count.Add(int64(n))
	return n, err
}

// Done implements transfer.Source.
func (w *worker) Done(item *transfer.Item, o transfer.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settle(item.Value.(*entry), o)
}

// established notes that the destination accepted the association.
func (w *worker) established(a transfer.Association) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.id = a.ID()
	w.open++
	w.accepted(time.Now())
	w.metrics.dialed.Inc()
	w.metrics.associations.Set(float64(w.open))
	if !w.probe {
		w.window = min(max(a.Window(), 1), w.Window)
		w.metrics.window.Set(float64(w.window))
	}
	w.kick() // others may follow
}

func (w *worker) closed(a transfer.Association) {
	_ = a.Close() // an error would only repeat how it ended
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open--
	w.metrics.associations.Set(float64(w.open))
}

// dialFailed judges a failed dial. A destination that turns away one
// association too many while it serves others is not in trouble.
func (w *worker) dialFailed(ctx context.Context, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.retired || w.tenure.Err() != nil { // given up
		return
	}
	w.metrics.dialFailed.Inc()
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	failure := classifyDial(err)
	if slices.Contains(w.stalled, w) && w.serving > 0 && failure.Code == "timeout" {
		w.limited(now, max(w.serving, w.beside))
		w.breaker.postpone(now)
		return
	}
	if failure.Busy && w.open > 0 {
		w.control.refused(now, w.open)
		w.breaker.postpone(now)
		return
	}
	w.fails(now, failure)
}

// ended accounts for an association that ended otherwise than by release.
func (w *worker) ended(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var local *transfer.LocalAbortError
	if errors.As(err, &local) || w.stopping || w.answered > 0 && !w.probe {
		return // no fault, or nothing was lost, or settled already
	}
	w.breaks(err)
}

// met names the association that a failure was met on.
func (w *worker) met(f failure) failure {
	f.Association = w.id
	return f
}

// breaks records, once per association, that it broke.
func (w *worker) breaks(err error) {
	if !w.broken {
		w.broken = true
		w.fails(time.Now(), w.met(classifyBreak(err)))
	}
}
