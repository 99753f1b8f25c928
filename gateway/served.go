package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"dcmgate/dicom"
	"dcmgate/images"
	"dcmgate/restore"
	"dcmgate/spool"
	"dcmgate/web"
)

// access is what the standard's clients, and readers of rows, get at instances and images by.
type access struct {
	links  *web.LinkState // nil if nobody has any
	images *images.Store  // that are not DICOM; nil if there are none
}

// access opens what there has to be by some settings, unless it is open.
func (g *Gateway) access(s *settings, p *parts) (to access, err error) {
	if s.servesPublic() || s.Rows.Links {
		if to.links, err = p.links.of(&s.Config, g.log); err != nil {
			return to, &keyError{"retrieve", err}
		}
	}
	if to.images, err = p.images.of(&s.Images); err != nil {
		return to, &keyError{"images", err}
	}
	return to, nil
}

// newPublic builds what serves the standard's clients, and what restores studies for them and others.
func (g *Gateway) newPublic(s *settings, p *parts) error {
	p.restored = restore.NewMetrics(g.registry)
	cloud := g.newRestorer(s, p)
	p.restorer.Store(cloud)
	from := s.fetchFrom(p, cloud)
	p.fetch = restore.NewBackground(from.sources)
	if !s.servesPublic() {
		return nil
	}
	_, err := g.serveBy(s, p, from)
	return err
}

func (g *Gateway) newRestorer(s *settings, p *parts) *restore.Restorer {
	return newRestorer(&s.Config, s.cloud, p.spool, p.audit, g.log, p.restored)
}

// fetchFrom is who is asked for what is not whole here and a client of interface 203 wants.
type fetchFrom struct {
	sources restore.Sources
	wait    time.Duration // of the client
}

func (s *settings) fetchFrom(p *parts, cloud *restore.Restorer) fetchFrom {
	f := fetchFrom{sources: restore.Sources{Whole: p.spool.Whole}}
	if w := s.Retrieve.UpstreamWait; len(s.Upstreams) > 0 && w > 0 {
		f.sources.In, f.wait = append(f.sources.In, collector{p.receive.queries}), w
	}
	if w := s.Retrieve.Cloud.Wait; cloud != nil && w > 0 {
		f.sources.In, f.wait = append(f.sources.In, cloud), max(f.wait, w)
	}
	return f
}

// fetchLater is fetch as what serves clients wants it.
func (p *parts) fetchLater(ctx context.Context, study dicom.UID) (later bool, err error) {
	err = p.fetch.Fetch(ctx, study)
	return errors.Is(err, restore.ErrUnderWay) || errors.Is(err, restore.ErrBusy), err
}

// serveBy prepares to serve the standard's clients by some settings. The first time that begins what serves them.
func (g *Gateway) serveBy(s *settings, p *parts, from fetchFrom) (apply func(), err error) {
	to, err := g.access(s, p)
	if err != nil {
		return nil, err
	}
	o := s.served(to)
	if len(from.sources.In) > 0 {
		o.Fetch, o.FetchWait = p.fetchLater, from.wait
	}
	if p.web == nil {
		apply = func() {}
		p.web, err = web.New(web.Options{Index: p.spool, Settings: o, Audit: p.audit.served, Logger: g.log, Registerer: g.registry})
	} else {
		apply, err = p.web.Change(o)
	}
	if err != nil {
		return nil, &keyError{"retrieve", err}
	}
	return apply, nil
}

// served is what is served to whom, but for what has to be fetched.
func (s *settings) served(to access) web.Settings {
	r, rows := &s.Retrieve, s.rows // the same as for the views, which must agree
	o := web.Settings{
		Links:   to.links,
		Images:  servedImages(to.images),
		Uploads: s.Images.Upload,
		Describe: func(in *spool.Instance) (hospitalName, modality string) {
			return rows.InstitutionOf(in.CallingAETitle).Name, rows.ModalityOf([]string{in.Metadata.Text(dicom.TagModality)})
		},
		Rule:            r.Signature,
		Keys:            s.clients,
		ReplayWindow:    r.ReplayWindow,
		TimeStampNeeded: r.TimeStampNeeded,
		LinkLifetime:    r.LinkLifetime,
		BaseURL:         s.Public.URL,
		WriteTimeout:    s.Public.WriteTimeout,
		Limits:          s.Public.Limits,
	}
	for _, code := range []string{s.Institution.PlatformCode, s.Institution.Code} {
		if code != "" {
			o.HospitalCodes = append(o.HospitalCodes, code)
		}
	}
	for _, v := range s.Views {
		if s.Rows.Links {
			o.Views = append(o.Views, v.Name)
		}
	}
	return o
}

// served changes what is served to the standard's clients, and to whom. What is under way goes on as it has begun.
func (t *transition) served() error {
	p, cloud := t.parts, t.parts.restorer.Load()
	if t.taken.touch("retrieve.cloud", "institution", "ae_title") {
		cloud = t.newRestorer(t.new, p)
	}
	from := t.new.fetchFrom(p, cloud)
	if t.taken.touch("retrieve.cloud", "retrieve.upstream_wait", "institution", "ae_title", "upstreams") {
		t.then(func() {
			p.restorer.Store(cloud)
			p.fetch.Use(from.sources)
		})
	}
	if !t.new.servesPublic() {
		return nil
	}
	apply, err := t.serveBy(t.new, p, from)
	if err != nil {
		return err
	}
	t.then(apply)
	return nil
}

// images has the store of images take what may be taken from now on.
func (t *transition) images() error {
	to, err := t.access(t.new, t.parts)
	if to.images != nil {
		t.then(func() { to.images.SetMaxSize(t.new.Images.MaxSize) })
	}
	return err
}

// newPublicServer makes what serves the public listener, and the listener as it is used. Its answers bound their own time.
func (g *Gateway) newPublicServer(p *parts, l net.Listener) (*http.Server, net.Listener) {
	standard, people := p.web.Handler(), p.people.onShared()
	handler := func(w http.ResponseWriter, r *http.Request) {
		if g.settings().sharesListener() && !strings.HasPrefix(r.URL.Path, "/Viewer/") && !strings.HasPrefix(r.URL.Path, web.ImagePath) {
			people.ServeHTTP(w, r)
			return
		}
		standard.ServeHTTP(w, r)
	}
	server := newHTTPServer(p.backstage, http.HandlerFunc(handler), g.log)
	server.WriteTimeout, server.ErrorLog = 0, httpErrors{g.log, p.audit.noHandshake}.logger()
	server.Protocols = new(http.Protocols)
	server.Protocols.SetHTTP1(true) // a connection carries one request at a time, so that limits on connections limit
	return server, liveTLS{p.web.Limit(l), func() *tls.Config { return g.settings().public }}
}
