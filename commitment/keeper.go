package commitment

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/walltime"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// Bounds of what waits to be reported. Beyond, a request is answered 0213H.
const (
	maxWaiting        = 10_000
	maxWaitingPerPeer = 1000
	maxWaitingBytes   = 256 << 20 // of requests, as the spool keeps them
	maxSessions       = 8         // associations of a Keeper's own at once, one for a peer
)

// keptSyntax is what requests are kept in: their UIDs have most characters in common.
const keptSyntax = dicom.DeflatedExplicitVRLittleEndian

// Store is what a [Keeper] answers for, and where it keeps what it has to report: a spool.
type Store interface {
	LookupSOP(sop dicom.UID) ([]spool.Instance, error)
	Open(id spool.InstanceID) (*spool.Reader, error)
	DeliveredEverywhere(id spool.InstanceID) (bool, error)
	KeepEnquiry(e spool.Enquiry) error
	ForgetEnquiry(peer string, transaction dicom.UID) error
	Enquiry(peer string, transaction dicom.UID) (spool.Enquiry, error)
	Enquiries(ctx context.Context) iter.Seq2[spool.Enquiry, error]
}

// Dial requests an association with a peer; the address and the called AE title are known to it.
type Dial func(ctx context.Context, p dimse.Proposal) (*dimse.Association, error)

// KeeperOptions are what a [Keeper] is made of.
type KeeperOptions struct {
	Store   Store
	AETitle string // reported as Retrieve AE Title (0008,0054) where the spool has all that is committed
	// Dial returns how to reach a peer that is to be reported to; nil if it has no address. A nil function knows none.
	Dial func(aeTitle string) Dial
	// SameAssociation is how long a peer that has asked may take to release the association before the result is reported
	// over it. Many release it at once, and are reported to over another. Default 500 ms.
	SameAssociation time.Duration
	// RetryInitial is the wait after a report that a peer did not take, doubled up to RetryMax. Defaults 5 s and 10 min.
	RetryInitial, RetryMax time.Duration
	// MaxAge is how long after the request a result is given up. Default 7 days.
	MaxAge time.Duration
	// Reported is told of every result that was sent to a peer, and of the error if the peer has not taken it; it returns at
	// once. nil tells nobody.
	Reported func(peer string, a *dimse.Association, r *Result, err error)
	// Requested is told of every request, how many instances it named and how it was answered; it returns at once. nil tells
	// nobody.
	Requested func(peer string, a *dimse.Association, instances int, answered dimse.Status)

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
}

func (o KeeperOptions) withDefaults() KeeperOptions {
	for _, d := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&o.SameAssociation, 500 * time.Millisecond}, {&o.RetryInitial, 5 * time.Second}, {&o.RetryMax, 10 * time.Minute},
		{&o.MaxAge, 7 * 24 * time.Hour},
	} {
		if *d.value <= 0 {
			*d.value = d.standard
		}
	}
	if o.Dial == nil {
		o.Dial = func(string) Dial { return nil }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// Keeper is the SCP of storage commitment for what a spool holds: it takes requests, looks the instances up and reports,
// over the association of the request or one of its own, until the peer has taken the result. What it has taken is in the
// spool before it is answered, so that a report outlives a restart; a peer may get one twice, never none.
type Keeper struct {
	o        KeeperOptions
	terms    atomic.Pointer[terms]
	metrics  *instruments
	sessions chan struct{} // tokens

	ctx    context.Context // of everything the keeper does by itself
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	waiting map[ticket]*transaction
	bytes   int
	lines   map[string]*line // by peer, of those that wait for an association of the keeper's own
	perPeer map[string]int   // waiting
	clock   *walltime.Watch  // by which requests of before the start have their age
}

// ticket names a transaction.
type ticket struct {
	peer string
	uid  dicom.UID
}

// transaction is a request that was taken and whose result has not been taken by the peer yet.
type transaction struct {
	ticket
	received time.Time
	size     int
	digest   [sha256.Size]byte // of the request as it is kept

	// Guarded by Keeper.mu.
	kept     bool      // in the spool
	due      time.Time // in a line: when to report next
	failures int       // to report
}

// NewKeeper makes a Keeper. It takes requests at once and reports while [Keeper.Run] runs.
func NewKeeper(o KeeperOptions) *Keeper {
	k := &Keeper{
		o:        o.withDefaults(),
		sessions: make(chan struct{}, maxSessions),
		waiting:  make(map[ticket]*transaction),
		lines:    make(map[string]*line),
		perPeer:  make(map[string]int),
		clock:    walltime.New(time.Now, walltime.SinceStart()),
	}
	k.Use(k.o.AETitle, k.o.MaxAge)
	k.ctx, k.cancel = context.WithCancel(context.Background())
	k.metrics = newInstruments(k.o.Registerer, k.countWaiting)
	return k
}

// terms are what can change of the options.
type terms struct {
	aeTitle string
	maxAge  time.Duration
}

// Use changes AETitle and MaxAge of the options for the reports that are made from now on.
func (k *Keeper) Use(aeTitle string, maxAge time.Duration) { k.terms.Store(&terms{aeTitle, maxAge}) }

// Run takes up what an earlier process has left and reports until ctx ends. It is called once. The error is that of a spool that cannot be read.
func (k *Keeper) Run(ctx context.Context) error {
	defer k.tasks.Wait()
	defer k.cancel()
	if err := k.load(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("storage commitment: %w", err)
	}
	<-ctx.Done()
	return nil
}

// load puts what the spool has kept into the lines.
func (k *Keeper) load(ctx context.Context) error {
	var unreachable []*transaction
	n := 0
	for e, err := range k.o.Store.Enquiries(ctx) {
		if err != nil {
			return err
		}
		t := newTransaction(e)
		t.kept = true
		if k.o.Dial(t.peer) == nil { // struck out when the index is not being read any more
			unreachable = append(unreachable, t)
			continue
		}
		n++
		k.mu.Lock()
		if k.waiting[t.ticket] == nil {
			k.enter(t)
			k.stand(t)
		}
		k.mu.Unlock()
	}
	for _, t := range unreachable {
		k.giveUp(t, lostNoAddress)
	}
	if n > 0 {
		k.o.Logger.Info("commitment reports are due from before the start", "transactions", n)
	}
	return nil
}

func newTransaction(e spool.Enquiry) *transaction {
	return &transaction{ticket: ticket{e.Peer, e.TransactionUID}, received: e.Received, size: len(e.Request), digest: sha256.Sum256(e.Request)}
}

// Service is the service for N-ACTION to the peer of one association.
func (k *Keeper) Service(peer string) dimse.Service {
	turn := make(chan struct{}, 1) // results of an association are made one at a time, to bound the memory they take
	return dimse.ServiceFunc(func(ctx context.Context, w dimse.ResponseWriter, rq *dimse.Request) {
		var taken *transaction
		instances := 0
		answered := &answer{ResponseWriter: w, status: noAnswer}
		Requests(func(_ context.Context, _ *dimse.Request, r *Request) (err error) {
			instances = len(r.References)
			taken, err = k.take(peer, rq.Association.ID(), r)
			return err
		}).ServeDIMSE(ctx, answered, rq)
		k.account(peer, rq, answered, instances)
		if taken != nil { // the report must not come before the answer
			k.tasks.Go(func() { k.reportHere(taken, rq.Association, turn) })
		}
	})
}

// answer remembers what was answered.
type answer struct {
	dimse.ResponseWriter
	status  dimse.Status
	comment string
}

// noAnswer stands for an association that ended before the answer. No service uses it.
const noAnswer = dimse.Status(0xFFFF)

// Respond implements dimse.ResponseWriter.
func (a *answer) Respond(c dimse.Command, data io.Reader) error {
	err := a.ResponseWriter.Respond(c, data)
	if err == nil {
		a.status, a.comment = c.Status, c.ErrorComment
	}
	return err
}

// account writes the one line of a request and counts it.
func (k *Keeper) account(peer string, rq *dimse.Request, a *answer, instances int) {
	args := []any{"association", rq.Association.ID(), "peer", pdu.Printable(peer), "instances", instances}
	if k.o.Requested != nil {
		k.o.Requested(peer, rq.Association, instances, a.status)
	}
	switch {
	case a.status == noAnswer:
		k.metrics.requests.WithLabelValues(unanswered).Inc()
		k.o.Logger.Warn("commitment request not answered", args...)
		return
	case a.status.Ok():
		k.o.Logger.Info("commitment requested", args...)
	default:
		k.o.Logger.Warn("commitment request refused", append(args, "status", a.status.String(), "reason", a.comment)...)
	}
	k.metrics.requests.WithLabelValues(statusLabel(a.status)).Inc()
}

// take makes a request durable. The transaction is nil if it is known already, and stands in its line or is about to be
// reported: a peer that repeats itself gets one report.
func (k *Keeper) take(peer, association string, r *Request) (*transaction, error) {
	data, err := r.Encode(keptSyntax)
	if err != nil {
		return nil, err
	}
	e := spool.Enquiry{Peer: peer, TransactionUID: r.TransactionUID, Received: time.Now(), Request: data}
	t := newTransaction(e)
	k.mu.Lock()
	known := k.waiting[t.ticket]
	switch {
	case known != nil && known.digest != t.digest:
		err = &dimse.StatusError{Status: ReasonDuplicateTransactionUID, Comment: "the transaction UID is in use for another request"}
	case known != nil && !known.kept:
		err = &dimse.StatusError{Status: dimse.StatusResourceLimitation, Comment: "the request is being taken over another association"}
	case known != nil:
		k.hurry(known)
	case len(data) > spool.MaxEnquiry:
		err = &dimse.StatusError{Status: dimse.StatusResourceLimitation, Comment: "request is too long to be kept"}
	case len(k.waiting) >= maxWaiting || k.perPeer[peer] >= maxWaitingPerPeer || k.bytes+t.size > maxWaitingBytes:
		err = &dimse.StatusError{Status: dimse.StatusResourceLimitation, Comment: "too many results wait to be reported"}
	default:
		k.enter(t)
	}
	k.mu.Unlock()
	if known != nil || err != nil {
		return nil, err
	}
	if err := k.o.Store.KeepEnquiry(e); err != nil {
		k.leave(t)
		k.o.Logger.Error("commitment request cannot be kept", "association", association, "peer", pdu.Printable(peer), "error", err)
		return nil, &dimse.StatusError{Status: dimse.StatusResourceLimitation, Comment: "the spool cannot be written; try again later"}
	}
	k.mu.Lock()
	t.kept = true
	k.mu.Unlock()
	return t, nil
}

// enter adds a transaction to the books. k.mu is held.
func (k *Keeper) enter(t *transaction) {
	k.waiting[t.ticket] = t
	k.perPeer[t.peer]++
	k.bytes += t.size
}

// leave strikes a transaction off the books.
func (k *Keeper) leave(t *transaction) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waiting[t.ticket] != t {
		return
	}
	delete(k.waiting, t.ticket)
	k.bytes -= t.size
	if k.perPeer[t.peer]--; k.perPeer[t.peer] == 0 {
		delete(k.perPeer, t.peer)
	}
}

func (k *Keeper) countWaiting() float64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return float64(len(k.waiting))
}

// forget ends a transaction. If the spool cannot be written the peer may be reported to again after a restart.
func (k *Keeper) forget(t *transaction) {
	if err := k.o.Store.ForgetEnquiry(t.peer, t.uid); err != nil && !errors.Is(err, spool.ErrClosed) {
		k.o.Logger.Warn("commitment result cannot be struck out; it may be reported again after a restart", "error", err)
	}
	k.leave(t)
}
