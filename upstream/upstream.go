package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/qr"
)

// Options describe an archive. The zero value of every field but Name, AETitle and Address is a sensible default.
type Options struct {
	Name           string // in comments, logs and metrics
	AETitle        string // called
	CallingAETitle string
	Address        string // host:port
	TLS            *tls.Config
	// Models are the SOP classes of C-FIND that it is asked in; default Study Root.
	Models []dicom.UID
	// CharacterSet is what questions are put in where it has their characters, and what answers that name none are read in;
	// "" is the set of who asks, and the default repertoire.
	CharacterSet string
	Associations int                // at once, default 2
	Calendar     forwarder.Calendar // when it is paused nothing is asked
	// AssociationTimeout bounds connecting, negotiating and releasing, default 10 s; QueryTimeout the wait for a place, for
	// the first answer and for each further one, default 15 s.
	AssociationTimeout, QueryTimeout time.Duration
	// MoveTimeout bounds how long a C-MOVE goes on without a response and without an instance, default 2 min.
	MoveTimeout  time.Duration
	WriteTimeout time.Duration // of one burst; default that of package dimse

	// Asked is told of queries and retrievals that were put to the archive, for an audit trail; it returns at once. nil tells
	// nobody.
	Asked func(Asked)

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // of the associations' metrics; nil registers nothing
	Metrics    *Metrics              // nil counts for nobody
}

func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Name == "" || strings.TrimSpace(o.AETitle) == "" || o.Address == "":
		return o, errors.New("upstream: a name, an AE title and an address are needed")
	case o.Associations < 0 || o.Associations > 64:
		return o, errors.New("upstream: from 1 to 64 associations")
	}
	if len(o.Models) == 0 {
		o.Models = []dicom.UID{qr.StudyRootFind}
	}
	if o.Associations == 0 {
		o.Associations = 2
	}
	if o.AssociationTimeout <= 0 {
		o.AssociationTimeout = 10 * time.Second
	}
	if o.QueryTimeout <= 0 {
		o.QueryTimeout = 15 * time.Second
	}
	if o.MoveTimeout <= 0 {
		o.MoveTimeout = 2 * time.Minute
	}
	if o.Asked == nil {
		o.Asked = func(Asked) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	return o, nil
}

// Asked is a C-FIND or C-MOVE to an archive that is over.
type Asked struct {
	Upstream   string // name
	Operation  dimse.CommandField
	SOPClass   dicom.UID
	Identifier []byte // as [qr.Audited] has it
	Count      int    // answers to a C-FIND; instances that the archive says it has sent, negative if it does not say
	Err        error  // why it was not answered, or not to its end
}

// How the circuit breaker goes about an archive that does not work: each attempt is a query or retrieval that somebody waits
// for.
const breakerThreshold = 2

var probes = forwarder.Backoff{Initial: 5 * time.Second, Max: 2 * time.Minute}

// Upstream is an archive. It implements qr.Upstream.
type Upstream struct {
	o       Options
	dialer  *dimse.Dialer
	breaker *forwarder.Breaker
	metrics instruments
	places  chan struct{} // taken by associations
	fetches fetches

	life    context.Context
	end     context.CancelFunc
	winding sync.WaitGroup // conversations, those included that nobody waits for any more

	mu      sync.Mutex
	trouble *Trouble
}

// New makes an archive's client. It dials when it is asked something; Close ends it.
func New(o Options) (*Upstream, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	u := &Upstream{
		o: o, breaker: forwarder.NewBreaker(breakerThreshold, probes),
		metrics: o.Metrics.of(o.Name), places: make(chan struct{}, o.Associations),
		dialer: &dimse.Dialer{
			LocalAETitle: o.CallingAETitle,
			Timeouts: dimse.Timeouts{
				ARTIM: o.AssociationTimeout, WriteTimeout: o.WriteTimeout,
				DIMSETimeout: -1, // a caller that takes its time holds the archive's answers up; the waits are bounded here
			},
			ConnectTimeout: o.AssociationTimeout, TLS: o.TLS, Logger: o.Logger, Registerer: o.Registerer,
		},
	}
	u.fetches.active = map[string]*fetch{}
	u.fetches.moving = make(chan struct{}, max(o.Associations-1, 1)) // so that queries have one
	u.life, u.end = context.WithCancel(context.Background())
	return u, nil
}

// Close ends what is under way and returns when nothing is left of it.
func (u *Upstream) Close() {
	u.end()
	u.winding.Wait()
}

// retireLook is how often is looked whether something is still under way at an archive that retires.
const retireLook = time.Second

// Retire is Close for an archive that nobody is told of any more: it waits until nothing has been under way for two looks in
// a row, or ctx ends.
func (u *Upstream) Retire(ctx context.Context) {
	defer u.Close()
	tick := time.NewTicker(retireLook)
	defer tick.Stop()
	for idle := 0; idle < 2; idle++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if len(u.places) > 0 || u.fetches.many.Load() > 0 {
			idle = -1
		}
	}
}

// Name implements qr.Upstream.
func (u *Upstream) Name() string { return u.o.Name }

// AETitle implements qr.Upstream.
func (u *Upstream) AETitle() string { return u.o.AETitle }

// Status is a snapshot of an archive.
type Status struct {
	Name, AETitle, Address string
	State                  string // one of the State constants
	Breaker                forwarder.BreakerState
	NextProbe              time.Time // when an open breaker lets an attempt through
	Associations, Bound    int       // in use, and at most
	Moves                  int       // retrievals from it, waiting or under way
	Trouble                *Trouble  // the last failure; nil if there was none since the last success
}

// The states of an archive, in words.
const (
	StateReady   = "ready"
	StateBusy    = "at work"
	StateClosed  = "paused by the calendar"
	StateFailing = "not working, asked again after the next probe"
)

// Trouble is the last failure of an archive.
type Trouble struct {
	At     time.Time
	Count  int    // in a row
	Code   string // short and stable
	Reason string
	Advice string
}

// Status takes the snapshot.
func (u *Upstream) Status() Status {
	s := Status{Name: u.o.Name, AETitle: u.o.AETitle, Address: u.o.Address, Associations: len(u.places), Bound: u.o.Associations, State: StateReady}
	s.Breaker, s.NextProbe = u.breaker.State()
	s.Moves = int(u.fetches.many.Load())
	switch {
	case s.Breaker != forwarder.BreakerClosed:
		s.State = StateFailing
	case !u.open(time.Now()):
		s.State = StateClosed
	case s.Associations > 0:
		s.State = StateBusy
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.trouble != nil {
		last := *u.trouble
		s.Trouble = &last
	}
	return s
}

// open tells whether it may be asked at an hour.
func (u *Upstream) open(at time.Time) bool {
	rate, _ := u.o.Calendar.At(at)
	return rate != forwarder.Paused
}

// failed notes a failure that speaks against the archive.
func (u *Upstream) failed(err error) {
	d := dimse.Diagnose(err, "the upstream")
	u.mu.Lock()
	count := 1
	if u.trouble != nil {
		count += u.trouble.Count
	}
	u.trouble = &Trouble{At: time.Now(), Count: count, Code: d.Code, Reason: d.Words, Advice: d.Advice}
	u.mu.Unlock()
	opened := u.breaker.Failed(d.Kind == dimse.DiagnosisLasting)
	state, next := u.breaker.State()
	u.metrics.breaker.Set(float64(state))
	if opened {
		u.o.Logger.Warn("upstream does not work", "upstream", u.o.Name, "code", d.Code, "reason", d.Words, "remedy", d.Advice, "next_probe", next, "error", err)
	}
}

// answered notes that the archive works.
func (u *Upstream) answered() {
	u.mu.Lock()
	u.trouble = nil
	u.mu.Unlock()
	closed := u.breaker.Answered()
	state, _ := u.breaker.State()
	u.metrics.breaker.Set(float64(state))
	if closed {
		u.o.Logger.Info("upstream works again", "upstream", u.o.Name)
	}
}

var _ qr.Upstream = (*Upstream)(nil)
