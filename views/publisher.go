package views

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// Spool is what a publisher reads; [spool.Spool] is one.
type Spool interface {
	LastSequence() uint64
	// Quiet is for how long nobody has been storing; 0 while somebody is.
	Quiet() time.Duration
	Flush(ctx context.Context) error
	Changes(behind uint64, limit int) ([]spool.Change, error)
	Instance(id spool.InstanceID) (spool.Instance, error)
	Lookup(study, series, sop dicom.UID) ([]spool.Instance, error)
	Studies(ctx context.Context, f spool.StudyFilter) iter.Seq2[spool.Study, error]
	Latest(ctx context.Context, study, series dicom.UID) iter.Seq2[spool.Instance, error]
	Known(ctx context.Context, study dicom.UID) (series, instances int, err error)
}

// Options are a publisher's settings.
type Options struct {
	Name     string // of the database in logs and metrics
	Source   *Source
	Spool    Spool
	Settings *Settings
	Files    Files  // nil: V_DocImage has no rows
	Others   Others // nil: V_DocImage_F has no rows, or keeps those that it has
	AsText   bool   // dates and times as text in the views

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
	Now        func() time.Time      // nil: time.Now
}

// Pace of a publisher. It looks for changes every pace, and rests after a batch for as long as that took, so that the
// instances that come in have the machine; unless nobody has been storing for a pace. A batch ends early when it has taken
// gatherTime to make its rows and files.
const (
	pace         = 100 * time.Millisecond
	batchChanges = 1000
	gatherTime   = time.Second
	firstPause   = time.Second // after a failure; doubled up to lastPause
	lastPause    = time.Minute
	surveyEvery  = time.Minute // of what rows lack, for the metrics
)

// Publisher keeps one database in step with the spool. Make it with [New] and run it once.
type Publisher struct {
	o       Options
	log     *slog.Logger
	metrics *instruments

	requests chan *rebuildRequest

	mu     sync.Mutex
	status Status
}

// New checks the options. It connects to nothing.
func New(o Options) (*Publisher, error) {
	if o.Name == "" || o.Source == nil || o.Spool == nil || o.Settings == nil {
		return nil, errors.New("views: name, source, spool and settings are needed")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Publisher{
		o: o, log: o.Logger.With("views", o.Name), metrics: newInstruments(o.Registerer, o.Name),
		requests: make(chan *rebuildRequest),
	}
	p.status = Status{Name: o.Name, Database: o.Source.String(), State: StateStarting}
	return p, nil
}

// Run publishes until ctx ends. A database that fails is tried again for ever; what it misses meanwhile it gets then.
func (p *Publisher) Run(ctx context.Context) error {
	pause := firstPause
	for {
		began := p.o.Now()
		err := p.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if p.o.Now().Sub(began) > lastPause {
			pause = firstPause
		}
		p.failed(err)
		if !p.rest(ctx, pause/2+rand.N(pause), err) {
			return nil
		}
		pause = min(2*pause, lastPause)
	}
}

// rest waits after a failure; whoever asks for a rebuild meanwhile is told of it. false: ctx has ended.
func (p *Publisher) rest(ctx context.Context, d time.Duration, cause error) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case r := <-p.requests:
			r.done <- fmt.Errorf("the database cannot be used: %w", cause)
		}
	}
}

// session is one connection's work: from the first look at a database to the error that ends it.
type session struct {
	*Publisher
	*database
	state state
	begun bool // whether a scan goes on where one was interrupted: changes behind the state's are followed when it is done
	fill  bool // whether what is published is not known before a scan has ended

	nextQuiet, nextSurvey time.Time
}

// serve publishes until something fails.
func (p *Publisher) serve(ctx context.Context) error {
	db, err := p.o.Source.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	d := p.o.Source.dialect
	s, err := p.begin(ctx, d, db)
	if err != nil {
		return err
	}
	if err := s.sweep(); err != nil {
		return err
	}
	watching, end := context.WithCancel(ctx)
	var watcher sync.WaitGroup
	if d != sqliteDialect { // which has no accounts
		watcher.Go(func() { s.watch(watching) })
	}
	defer watcher.Wait()
	defer end()
	s.note(StateRunning)
	p.log.Info("publishing", "database", d.name, "sequence", s.state.sequence, "anew", s.state.scan)
	for {
		if err := s.step(ctx); err != nil {
			return err
		}
	}
}

// begin makes the tables, if they are not there, and finds out how far publishing has come.
func (p *Publisher) begin(ctx context.Context, d *dialect, db *sql.DB) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := migrate(ctx, d, db, p.o.AsText); err != nil {
		return nil, err
	}
	s := &session{Publisher: p, database: &database{d: d, db: db, location: p.o.Settings.location(), now: p.o.Now, kept: map[purpose]*statement{}}}
	var err error
	if s.state, err = readState(ctx, d, db, ""); err != nil {
		return nil, err
	}
	strange, err := s.strange()
	if err != nil {
		return nil, err
	}
	s.begun = !strange && (s.state.sequence > 0 || !s.state.scan)
	s.state.scan = s.state.scan || strange
	s.fill = s.state.scan
	return s, nil
}

// strange tells whether the database was filled from another spool, or from this one before its index was made anew: the
// change that the database stands at is not the one that it remembers.
func (s *session) strange() (bool, error) {
	at := s.state.sequence
	if at > s.o.Spool.LastSequence() {
		return true, nil
	}
	if at == 0 || s.state.last == "" {
		return false, nil
	}
	changes, err := s.o.Spool.Changes(at-1, 1)
	if errors.Is(err, spool.ErrChangesPruned) {
		return true, nil
	}
	return err == nil && (len(changes) == 0 || changes[0].ID.String() != s.state.last), err
}

// step does the next piece of work, or waits for it.
func (s *session) step(ctx context.Context) error {
	if s.state.scan {
		return s.scan(ctx, nil)
	}
	began := time.Now()
	changes, err := s.o.Spool.Changes(s.state.sequence, batchChanges)
	if errors.Is(err, spool.ErrChangesPruned) {
		s.begun, s.fill, s.state.scan = false, true, true
		return nil
	}
	if err != nil {
		return err
	}
	more := false
	if len(changes) > 0 {
		n, err := s.publish(ctx, changes)
		if err != nil {
			return err
		}
		more = n < len(changes) || len(changes) == batchChanges
	}
	moreOthers, err := s.publishOthers(ctx)
	if err != nil {
		return err
	}
	if more = more || moreOthers; len(changes) == 0 && !more {
		if err := s.idle(ctx); err != nil {
			return err
		}
	}
	wait := time.Since(began)
	switch {
	case !more:
		wait = max(pace, wait)
	case s.o.Spool.Quiet() > pace:
		wait = 0
	}
	return s.wait(ctx, wait)
}

// wait lets time pass, and takes requests.
func (s *session) wait(ctx context.Context, d time.Duration) error {
	for ; ; d = pace {
		timer := time.NewTimer(d)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case r := <-s.requests:
			timer.Stop()
			err := s.scan(ctx, r.progress)
			if err == nil {
				err = s.rebuildOthers(ctx)
			}
			r.done <- err
			return err
		case <-timer.C:
		}
		if behind, _ := s.othersBehind(); behind > 0 || s.o.Spool.LastSequence() > s.state.sequence || !s.o.Now().Before(s.nextQuiet) {
			return nil
		}
	}
}

// idle does what is left for quiet moments: calling studies complete, and counting what rows lack.
func (s *session) idle(ctx context.Context) error {
	now := s.o.Now()
	if now.Before(s.nextQuiet) {
		return nil
	}
	s.nextQuiet = now.Add(min(max(s.o.Settings.Quiet/8, pace), 5*time.Second))
	since := now.Add(-s.o.Settings.Quiet)
	if any, err := s.anyQuiet(ctx, since); err != nil {
		return err
	} else if any {
		return s.update(ctx, func(w *writer) error {
			n, err := w.completeQuiet(since)
			if n == quietBatch {
				s.nextQuiet = now
			}
			return err
		})
	}
	if now.Before(s.nextSurvey) {
		return nil
	}
	s.nextSurvey = now.Add(surveyEvery)
	return s.survey(ctx)
}

// update runs a transaction and remembers the state that it leaves. It fails if somebody else publishes into the database.
func (s *session) update(ctx context.Context, fn func(w *writer) error) error {
	state, w, err := s.database.update(ctx, func(w *writer) error {
		if w.state.sequence != s.state.sequence && !s.state.scan {
			return errors.New("another gateway publishes into the same database; give each its own")
		}
		return fn(w)
	})
	if err != nil {
		return err
	}
	scan := s.state.scan && state.scan
	s.state = state
	s.state.scan = scan
	s.metrics.rows(w)
	s.note("")
	return nil
}
