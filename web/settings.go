package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"dcmgate/cloud"
	"dcmgate/dicom"
	"dcmgate/spool"
)

// Settings are what can be changed while a server runs. All must be given but those that say so; by none at all nobody is
// let in.
type Settings struct {
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
}

// set is the settings that are in force, with what is made of them. It is replaced as a whole: whoever has come while it was
// in force is served by it to the end.
type set struct {
	Settings
	clients []*client
	readers []*client // databases of metadata rows
	handler http.Handler
}

// newSet checks settings.
func (s *Server) newSet(o Settings) (*set, error) {
	n := &set{Settings: o}
	keys := o.Keys
	if o.Rule == cloud.RuleNone {
		keys = []cloud.Key{{}}
	}
	for _, key := range keys {
		c, err := newClient(o.Rule, key)
		if err != nil {
			return nil, err
		}
		if n.holder(c.id) != nil {
			return nil, errors.New("access key " + key.AccessKey + " cannot be told from another one")
		}
		n.clients = append(n.clients, c)
	}
	for _, view := range o.Views {
		c := newReader(view)
		if n.holder(c.id) != nil {
			return nil, errors.New("views " + view + " cannot be told from another one, or from an access key; give it another name")
		}
		n.readers = append(n.readers, c)
	}
	n.handler = s.routes(n)
	return n, nil
}

// Change checks other settings and returns what puts them into force, for requests that come from then on. Those under way
// end as they have begun. Whoever is a client before and after, or is known by an address, goes on with the rates that it
// has used; so do connections, of which none is closed because fewer may be there.
func (s *Server) Change(o Settings) (apply func(), err error) {
	n, err := s.newSet(o)
	if err != nil {
		return nil, err
	}
	return func() {
		s.current.Store(n)
		s.rates.set(o.Limits)
		s.places.set(o.Limits)
	}, nil
}
