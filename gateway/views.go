package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"dcmgate/images"
	"dcmgate/metrics"
	"dcmgate/spool"
	"dcmgate/views"
)

// Source reads a database's data source name, which may be in a file, and
// understands it.
func (v View) Source(dataDir string) (*views.Source, error) {
	dsn, err := v.DSN.Read()
	if err != nil {
		return nil, fmt.Errorf("views %s: %w", v.Name, err)
	}
	source, err := views.ParseSource(dsn, dataDir)
	if err != nil {
		return nil, fmt.Errorf("views %s: %w", v.Name, err)
	}
	return source, nil
}

// settings reads the lookup files of the rules.
func (r *Rows) settings(in Institution) (*views.Settings, error) {
	s := &views.Settings{
		Institution: views.Institution{Code: in.Code, Name: in.Name},
		Campuses:    r.Campuses, Quiet: r.CompleteAfter, Hold: r.Hold, SwapCounts: r.SwapCounts,
		Location: r.TimeZone, Modalities: r.Modalities, UnknownModality: r.UnknownModality,
	}
	for i, rule := range r.Fill {
		if rule.LookupFile != "" {
			var err error
			if rule.Lookup, err = views.ReadLookup(rule.LookupFile); err != nil {
				return nil, &keyError{fmt.Sprintf("rows.fill[%d].lookup", i), err}
			}
		}
		s.Rules = append(s.Rules, rule.Rule)
	}
	return s, nil
}

// publishers publish metadata rows, one for each database. They are replaced one
// by one.
type publishers struct {
	mu      sync.Mutex
	running []*publishing
	offered offered
}

// offered is how the cloud gets at files.
type offered struct {
	files  views.Files  // nil if it gets at instances by C-MOVE
	others views.Others // images that are not DICOM; nil if there are none
}

// publishing is a publisher that runs until it is stopped.
type publishing struct {
	*views.Publisher
	stop  context.CancelFunc
	ended chan struct{} // closed at the end
}

// begin runs the publishers that the gateway starts with.
func (l *publishers) begin(group *errgroup.Group, ctx context.Context, list []*views.Publisher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = l.start(group, ctx, list, nil)
}

// start runs publishers once others, which may have the same database, have ended.
func (l *publishers) start(group *errgroup.Group, ctx context.Context, list []*views.Publisher, after []*publishing) (started []*publishing) {
	for _, p := range list {
		running, stop := context.WithCancel(ctx)
		s := &publishing{p, stop, make(chan struct{})}
		started = append(started, s)
		group.Go(func() error {
			defer close(s.ended)
			defer stop()
			for _, other := range after {
				<-other.ended
			}
			return s.Run(running)
		})
	}
	return started
}

func (l *publishers) list() []*views.Publisher {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]*views.Publisher, len(l.running))
	for i, p := range l.running {
		list[i] = p.Publisher
	}
	return list
}

// publishers replaces those that have changed: all of them if what rows are made
// of has.
func (t *transition) publishers() error {
	l := t.parts.publish
	anew := t.taken.touch("rows", "institution", "images.address", "images.export") || t.new.Rows.Links && t.taken.touch("public.url")
	to, err := t.access(t.new, t.parts)
	if err != nil {
		return err
	}
	files, err := t.offered(l.offered, to)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := func(name string) *publishing {
		i := slices.IndexFunc(l.running, func(p *publishing) bool { return p.Status().Name == name })
		if i < 0 || anew || t.taken.touchAt("views["+name+"]") {
			return nil
		}
		return l.running[i]
	}
	var stay []*publishing
	var fresh []*views.Publisher
	for i, v := range t.new.Views {
		if p := kept(v.Name); p != nil {
			stay = append(stay, p)
			continue
		}
		p, err := t.newPublisher(t.new, i, t.parts.spool, files, to)
		if err != nil {
			return err
		}
		fresh = append(fresh, p)
	}
	t.then(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		former := slices.DeleteFunc(l.running, func(p *publishing) bool { return slices.Contains(stay, p) })
		for _, p := range former {
			p.stop()
		}
		l.offered = files
		l.running = append(stay, l.start(t.parts.group, t.parts.backstage, fresh, former)...)
	})
	return nil
}

// offered is how the cloud gets at files from now on.
func (t *transition) offered(before offered, to access) (now offered, err error) {
	if now.files, err = t.files(before.files); err != nil {
		return now, &keyError{"rows.files", err}
	}
	if now.others, err = t.others(before.others, to.images); err != nil {
		return now, &keyError{"images.export", err}
	}
	return now, nil
}

// files is how the cloud gets at instances. The folder that is exported to is not
// made ready again while the publishers of before use it.
func (t *transition) files(before views.Files) (views.Files, error) {
	exporter, exports := before.(*views.Exporter)
	switch {
	case before != nil && !t.taken.touch("rows.files"):
		return before, nil
	case exports && !t.taken.touch("rows.files.export"):
		return exporter.Renamed(t.new.Rows.FileAddress), nil
	}
	return t.new.Rows.files(t.parts.spool)
}

// others is the same of images that are not DICOM.
func (t *transition) others(before views.Others, kept *images.Store) (views.Others, error) {
	exporter, exports := before.(*views.ImageExporter)
	switch {
	case before != nil && !t.taken.touch("images.address", "images.export"):
		return before, nil
	case exports && kept != nil && !t.taken.touch("images.export"):
		return exporter.Renamed(t.new.Images.Address), nil
	}
	return t.new.Images.others(kept, t.parts.spool)
}

// newPublishers builds what publishes metadata rows, one for each database, and
// how the cloud gets at files.
func (g *Gateway) newPublishers(s *settings, from *spool.Spool, to access) (list []*views.Publisher, files offered, err error) {
	if len(s.Views) == 0 {
		return nil, files, nil
	}
	if files.files, err = s.Rows.files(from); err != nil {
		return nil, files, err
	}
	if files.others, err = s.Images.others(to.images, from); err != nil {
		return nil, files, err
	}
	for i := range s.Views {
		p, err := g.newPublisher(s, i, from, files, to)
		if err != nil {
			return nil, files, err
		}
		list = append(list, p)
	}
	return list, files, nil
}

// newPublisher builds that of one database.
func (g *Gateway) newPublisher(s *settings, i int, from *spool.Spool, files offered, to access) (*views.Publisher, error) {
	v := s.Views[i]
	if s.Rows.Links {
		files.files = rowLinks{s.Public.URL, v.Name, to.links}
	}
	return views.New(views.Options{
		Name: v.Name, Source: s.sources[i], Spool: from, Settings: s.rows, Files: files.files, Others: files.others, AsText: v.AsText,
		Logger: g.log, Registerer: g.registry,
	})
}

// files is how the cloud gets at instances, nil if it does so by C-MOVE.
func (r *Rows) files(s *spool.Spool) (views.Files, error) {
	switch {
	case r.Export != "":
		return views.NewExporter(s, r.Export, r.FileAddress)
	case r.FileAddress != "":
		return views.Address(r.FileAddress), nil
	}
	return nil, nil
}

// rebuildOffline publishes with no gateway running.
func rebuildOffline(ctx context.Context, cfg Config, s *spool.Spool, kept *images.Store, name string, progress func(int64)) error {
	rows, errs := loadPublished(&cfg)
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	g := &Gateway{log: slog.New(slog.DiscardHandler), registry: metrics.NewRegistry("")}
	to := access{images: kept}
	if cfg.Rows.Links {
		var err error
		if to.links, _, err = cfg.openLinks(); err != nil {
			return err
		}
	}
	publishers, _, err := g.newPublishers(&settings{Config: cfg, published: rows}, s, to)
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	for _, p := range publishers {
		if p.Status().Name != name {
			continue
		}
		ended := make(chan error, 1)
		go func() { ended <- p.Run(running) }()
		err = p.Rebuild(ctx, progress)
		stop()
		return errors.Join(err, <-ended)
	}
	return rebuildViews(ctx, nil, name, progress)
}

// viewsStatus describes the databases.
func viewsStatus(publishers []*views.Publisher) []views.Status {
	list := []views.Status{}
	for _, p := range publishers {
		list = append(list, p.Status())
	}
	return list
}

// rebuildViews has everything that is stored published to a database again.
func rebuildViews(ctx context.Context, publishers []*views.Publisher, name string, progress func(studies int64)) error {
	for _, p := range publishers {
		if p.Status().Name == name {
			return p.Rebuild(ctx, progress)
		}
	}
	return fmt.Errorf("no database of the name %q is published to", name)
}
