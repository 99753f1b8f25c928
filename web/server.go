package web

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/cloud"
	"dcmgate/dicom"
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

// Options are a server's settings. All must be given but those that say so.
type Options struct {
	Index Index
	Links *LinkState
	// Describe tells what is not in an instance itself: the institution's name, and the modality by code table 8.
	Describe func(*spool.Instance) (hospitalName, modality string)
	// HospitalCodes are the values of HospitalCode that are asked for rightly; without any, all are.
	HospitalCodes []string
	// Rule is how requests are signed, by Keys; by cloud.RuleNone anybody may ask.
	Rule cloud.Rule
	Keys []cloud.Key
	// ReplayWindow is how far timeStamp, if it is sent, may be from now. 0: it is not looked at.
	ReplayWindow time.Duration
	// TimeStampNeeded refuses requests without timeStamp.
	TimeStampNeeded bool
	// LinkLifetime is how long an address for download works.
	LinkLifetime time.Duration
	// Fetch, if it is not nil, is asked for a study that is not whole, and returns once it has brought what there is
	// elsewhere, or why not, within FetchWait. later says that it goes on or is put off: it is worth asking again.
	Fetch     func(ctx context.Context, study dicom.UID) (later bool, err error)
	FetchWait time.Duration
	// Views are the databases whose rows have links (LinkState.RowPath).
	Views []string
	// Images, if it is not nil, are served below ImagePath, and with Uploads taken there from clients, whose requests are
	// signed and have timeStamp.
	Images  Images
	Uploads bool
	// BaseURL is what addresses begin with, without a slash at the end; empty: what the request was sent to.
	BaseURL string
	// WriteTimeout is how long a client may take to accept a mebibyte.
	WriteTimeout time.Duration
	Limits       Limits
	Audit        func(Audited) // told of requests that are over; returns at once. nil tells nobody

	Logger     *slog.Logger          // nil discards
	Registerer prometheus.Registerer // nil registers nothing
	Now        func() time.Time      // nil: time.Now
}

// Server answers the standard's clients. Make it with New.
type Server struct {
	o        Options
	log      *slog.Logger
	clients  []*client
	readers  []*client // databases of metadata rows
	verified *verified
	rates    *rates
	metrics  *instruments
	refusals *refusals
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
	s := &Server{
		o: o, log: o.Logger, verified: newVerified(), rates: newRates(o.Limits, o.Now),
		metrics: newInstruments(o.Registerer), refusals: newRefusals(o.Now),
	}
	keys := o.Keys
	if o.Rule == cloud.RuleNone {
		keys = []cloud.Key{{}}
	}
	for _, key := range keys {
		c, err := newClient(o.Rule, key)
		if err != nil {
			return nil, err
		}
		if s.holder(c.id) != nil {
			return nil, errors.New("access key " + key.AccessKey + " cannot be told from another one")
		}
		s.clients = append(s.clients, c)
	}
	for _, view := range o.Views {
		c := newReader(view)
		if s.holder(c.id) != nil {
			return nil, errors.New("views " + view + " cannot be told from another one, or from an access key; give it another name")
		}
		s.readers = append(s.readers, c)
	}
	return s, nil
}

// Handler returns the handler for all paths that the package serves.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+cloud.RetrievePath, s.guard("retrieve", (*exchange).retrieve))
	mux.Handle("GET "+linkPath+"{name}", s.guard("download", (*exchange).download))
	mux.Handle(cloud.RetrievePath, s.guard("other", (*exchange).wrongMethod))
	mux.Handle(linkPath+"{name}", s.guard("other", (*exchange).wrongMethod))
	if s.o.Images != nil {
		mux.Handle("GET "+ImagePath+"{name}", s.guard("image", (*exchange).image))
		mux.Handle(ImagePath+"{name}", s.guard("other", (*exchange).wrongMethod))
		if s.o.Uploads && s.o.Rule != cloud.RuleNone {
			mux.Handle("POST "+ImagePath+"{$}", s.guard("upload", (*exchange).upload))
		}
	}
	mux.Handle("/", s.guard("other", (*exchange).nothing))
	return mux
}
