package gateway

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"dcmgate/dicom"
	"dcmgate/forwarder"
	"dcmgate/qr"
	"dcmgate/spool"
	"dcmgate/transfer"
	"dcmgate/upstream"
)

// maxUpstreams bounds how many archives one query is put to.
const maxUpstreams = 16

func (v *validator) upstreams(raws []rawUpstream, cfg *Config) []Upstream {
	if len(raws) > maxUpstreams {
		v.fail(raws[maxUpstreams].at, "at most %d upstreams are allowed: every query goes to all of them", maxUpstreams)
	}
	var list []Upstream
	for i := range raws {
		u := v.upstream(&raws[i])
		for j, other := range list {
			switch {
			case u.Name != "" && u.Name == other.Name:
				v.fail(raws[i].Name.at, "name %s is already upstreams[%d]", u.Name, j)
			case u.AETitle != "" && u.AETitle == other.AETitle:
				v.fail(raws[i].AETitle.at, "AE title %s is already upstreams[%d]", u.AETitle, j)
			}
		}
		list = append(list, u)
	}
	if len(list) == 0 {
		return nil
	}
	switch {
	case cfg.DICOM.Accept == AcceptAny:
		v.note("upstreams: with dicom.accept: any, everybody can query them through the gateway")
	case !slices.ContainsFunc(cfg.Peers, func(p Peer) bool { return p.Allows(RightUpstream) }):
		v.note("upstreams: nobody can query them; add upstream to the allow of the peers that may")
	}
	return list
}

// upstreamModels are the words for the models that an upstream speaks.
var upstreamModels = map[string]dicom.UID{"study": qr.StudyRootFind, "patient": qr.PatientRootFind}

func (v *validator) upstream(raw *rawUpstream) Upstream {
	u := Upstream{
		Name:         parsed(v, raw.Name, parseName),
		AETitle:      parsed(v, raw.AETitle, parseAETitle),
		Address:      parsed(v, raw.Address, parseAddress),
		From:         parsedList(v, raw.From, parsePrefix),
		CharacterSet: v.characterSet(raw.CharacterSet),
		Associations: v.whole(raw.Associations, 1, 64),
		Calendar:     v.calendar(raw.Calendar, raw.Rate),
		Forward:      v.truth(raw.Forward),
		Timeouts: UpstreamTimeouts{
			Association: v.duration(raw.Timeouts.Association, time.Second, time.Hour),
			Query:       v.duration(raw.Timeouts.Query, time.Second, time.Hour),
			Move:        v.duration(raw.Timeouts.Move, time.Second, 24*time.Hour),
			Write:       v.duration(raw.Timeouts.Write, time.Second, time.Hour),
		},
		TLS: v.clientTLS(&raw.TLS),
	}
	for _, m := range raw.Models {
		u.Models = append(u.Models, upstreamModels[oneOf(v, m, "study", "patient")])
	}
	if raw.Models == nil {
		u.Models = []dicom.UID{qr.StudyRootFind}
	} else if len(raw.Models) == 0 {
		v.fail(raw.at, "models needs study, patient or both")
	}
	return u
}

// admitted are the peers, and the upstreams as peers that may store: what is asked of them comes that way.
func admitted(cfg *Config) []Peer {
	peers := slices.Clone(cfg.Peers)
	for _, u := range cfg.Upstreams {
		i := slices.IndexFunc(peers, func(p Peer) bool { return p.AETitle == u.AETitle })
		if i < 0 {
			peers = append(peers, Peer{AETitle: u.AETitle, From: u.From, Allow: []Right{RightStore}})
			continue
		}
		if !peers[i].Allows(RightStore) {
			peers[i].Allow = append(slices.Clone(peers[i].Allow), RightStore)
		}
		if len(peers[i].From) > 0 {
			peers[i].From = append(slices.Clone(peers[i].From), u.From...)
		}
	}
	return peers
}

// source is an upstream as far as receiving is concerned.
type source struct {
	Upstream
	pace *transfer.Limiter
}

func sourcesOf(list []Upstream) (sources []*source) {
	for _, u := range list {
		sources = append(sources, &source{u, transfer.NewLimiter(int64(forwarder.Unlimited))})
	}
	return sources
}

// requestedFrom is the upstream that an instance comes from because it was
// asked for, nil if it was not: its C-STORE-RQ says so, or, where the upstream
// does not tell whence it comes, a retrieval waits for it.
func (s *storage) requestedFrom(in *spool.Incoming) *source {
	p := s.policy.Load()
	i := slices.IndexFunc(p.sources, func(u *source) bool { return u.AETitle == in.CallingAETitle })
	if i < 0 || in.MoveOriginatorAETitle != p.admission.own &&
		(in.MoveOriginatorAETitle != "" || s.queries == nil || !s.queries.Expects(in.SOPInstanceUID)) {
		return nil
	}
	return p.sources[i]
}

// read is the data set of an instance at the pace that the calendar allows the
// upstream at present. One that has begun to send when its hours are over
// keeps its pace.
func (u *source) read(ctx context.Context, data io.Reader, now time.Time) io.Reader {
	rate, _ := u.Calendar.At(now)
	if rate != forwarder.Paused {
		u.pace.SetRate(int64(rate))
	}
	if rate == forwarder.Unlimited {
		return data
	}
	return u.pace.Reader(ctx, data)
}

// upstreams are the clients of the archives behind the gateway. The list is
// replaced as a whole.
type upstreams struct {
	metrics *upstream.Metrics
	asked   func(upstream.Asked)
	list    atomic.Pointer[[]*upstream.Upstream]
}

func (u *upstreams) clients() []*upstream.Upstream { return *u.list.Load() }

func (g *Gateway) newUpstreams(s *settings, asked func(upstream.Asked)) (*upstreams, error) {
	u := &upstreams{metrics: upstream.NewMetrics(g.registry), asked: asked}
	list, err := g.upstreamClients(s, u, func(string) *upstream.Upstream { return nil })
	u.list.Store(&list)
	return u, err
}

// upstreamClients makes the clients, but for those that kept returns: these go on
// as they are.
func (g *Gateway) upstreamClients(s *settings, of *upstreams, kept func(name string) *upstream.Upstream) ([]*upstream.Upstream, error) {
	var list []*upstream.Upstream
	for _, u := range s.Upstreams {
		if client := kept(u.Name); client != nil {
			list = append(list, client)
			continue
		}
		client, err := upstream.New(upstream.Options{
			Name: u.Name, AETitle: u.AETitle, CallingAETitle: s.AETitle, Address: u.Address, TLS: s.upstreams[u.Name],
			Models: u.Models, CharacterSet: u.CharacterSet, Associations: u.Associations, Calendar: u.Calendar,
			AssociationTimeout: u.Timeouts.Association, QueryTimeout: u.Timeouts.Query, MoveTimeout: u.Timeouts.Move, WriteTimeout: u.Timeouts.Write,
			Asked: of.asked, Logger: g.log, Registerer: g.registry, Metrics: of.metrics,
		})
		if err != nil {
			return nil, err
		}
		list = append(list, client)
	}
	return list, nil
}

// upstreams replaces those that have changed. What is under way at one of these
// is awaited.
func (t *transition) upstreams() error {
	u := t.parts.upstreams
	before := u.clients()
	list, err := t.upstreamClients(t.new, u, func(name string) *upstream.Upstream {
		i := slices.IndexFunc(before, func(c *upstream.Upstream) bool { return c.Name() == name })
		if i < 0 || t.taken.touch("ae_title") || t.taken.touchAt("upstreams["+name+"]") {
			return nil
		}
		return before[i]
	})
	if err != nil {
		return err
	}
	former := slices.DeleteFunc(slices.Clone(before), func(c *upstream.Upstream) bool { return slices.Contains(list, c) })
	t.then(func() {
		u.list.Store(&list)
		t.parts.receive.queries.Use(t.new.AETitle, askable(list), askable(former))
		for _, c := range former {
			t.parts.group.Go(func() error {
				c.Retire(t.parts.backstage)
				if !slices.ContainsFunc(u.clients(), func(other *upstream.Upstream) bool { return other.Name() == c.Name() }) {
					u.metrics.Forget(c.Name())
				}
				return nil
			})
		}
	})
	return nil
}

func askable(list []*upstream.Upstream) (out []qr.Upstream) {
	for _, u := range list {
		out = append(out, u)
	}
	return out
}

func closeUpstreams(list []*upstream.Upstream) {
	for _, u := range list {
		u.Close()
	}
}

// UpstreamStatus says how it stands with an archive behind the gateway.
type UpstreamStatus struct {
	Name           string    `json:"name"`
	AETitle        string    `json:"ae_title"`
	Address        string    `json:"address"`
	State          string    `json:"state"`
	Breaker        string    `json:"breaker"`
	NextProbe      time.Time `json:"next_probe,omitzero"` // of an open breaker
	Associations   int       `json:"associations"`
	Bound          int       `json:"associations_allowed"`
	Moves          int       `json:"moves"`                // C-MOVEs, waiting or under way
	LastError      string    `json:"last_error,omitempty"` // and what to do; none after a success
	LastErrorCode  string    `json:"last_error_code,omitempty"`
	LastErrorAt    time.Time `json:"last_error_at,omitzero"`
	LastErrorCount int       `json:"last_error_count,omitempty"` // in a row
}

func upstreamStatus(list []*upstream.Upstream) (out []UpstreamStatus) {
	for _, u := range list {
		s := u.Status()
		row := UpstreamStatus{
			Name: s.Name, AETitle: s.AETitle, Address: s.Address, State: s.State, Breaker: s.Breaker.String(), NextProbe: s.NextProbe,
			Associations: s.Associations, Bound: s.Bound, Moves: s.Moves,
		}
		if t := s.Trouble; t != nil {
			row.LastError, row.LastErrorCode, row.LastErrorAt, row.LastErrorCount = strings.TrimSuffix(t.Reason+"; "+t.Advice, "; "), t.Code, t.At, t.Count
		}
		out = append(out, row)
	}
	return out
}
