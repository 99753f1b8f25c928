package web

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/internal/walltime"
	"dcmgate/spool"
)

// Index is what serving needs of a spool.
type Index interface {
	// Latest yields the stored instances of a study, of several versions the last.
	Latest(ctx context.Context, study, series dicom.UID) iter.Seq2[spool.Instance, error]
	// Whole tells whether something of a study is stored, and nothing is lacking that once was.
	Whole(ctx context.Context, study dicom.UID) (bool, error)
	Instance(id spool.InstanceID) (spool.Instance, error)
	Open(id spool.InstanceID) (*spool.Reader, error)
}

// Options are what a server is made with. All must be given but those that say so.
type Options struct {
	Index Index
	Settings
	Audit func(Audited) // told of requests that are over; returns at once. nil tells nobody

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
	Now        func() time.Time      // nil: time.Now
}

// Server answers the standard's clients. Make it with New.
type Server struct {
	o        Options // but for its Settings, which are in current
	current  atomic.Pointer[set]
	log      *slog.Logger
	verified *verified
	rates    *rates
	places   *places
	metrics  *instruments
	refusals *refusals
	ages     *ages
}

// client is a caller with a key.
type client struct {
	id          clientID
	name        string // for the log: the access key
	fingerprint [32]byte
	signer      *cloud.Signer
}

// New checks the options and makes a Server.
func New(o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, log: o.Logger, verified: newVerified(), rates: newRates(o.Limits, o.Now), refusals: newRefusals(o.Now), ages: newAges(o.Now, walltime.SinceStart())}
	first, err := s.newSet(o.Settings)
	if err != nil {
		return nil, err
	}
	s.current.Store(first)
	s.o.Settings = Settings{}
	s.metrics = newInstruments(o.Registerer)
	s.places = newPlaces(o.Limits, s.metrics)
	return s, nil
}

// Handler returns the handler for all paths that the package serves.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.current.Load().handler.ServeHTTP(w, r) })
}

// routes leads requests to what serves them.
func (s *Server) routes(set *set) http.Handler {
	mux := http.NewServeMux()
	to := func(pattern, kind string, serve func(*exchange)) { mux.Handle(pattern, s.guard(set, kind, serve)) }
	to("GET "+cloud.RetrievePath, "retrieve", (*exchange).retrieve)
	to("GET "+linkPath+"{name}", "download", (*exchange).download)
	to(cloud.RetrievePath, "other", (*exchange).wrongMethod)
	to(linkPath+"{name}", "other", (*exchange).wrongMethod)
	if set.Images != nil {
		to("GET "+ImagePath+"{name}", "image", (*exchange).image)
		to(ImagePath+"{name}", "other", (*exchange).wrongMethod)
		if set.Uploads && set.Rule != cloud.RuleNone {
			to("POST "+ImagePath+"{$}", "upload", (*exchange).upload)
		}
	}
	to("/", "other", (*exchange).nothing)
	return mux
}
