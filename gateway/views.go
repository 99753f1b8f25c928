package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"dcmgate/images"
	"dcmgate/metrics"
	"dcmgate/spool"
	"dcmgate/views"
	"dcmgate/web"
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

// newPublishers builds what publishes metadata rows, one for each database. links
// are those of interface 203, nil if it is not served; kept are images that are not
// DICOM, nil if there are none.
func (g *Gateway) newPublishers(s *settings, from *spool.Spool, links *web.LinkState, kept *images.Store) ([]*views.Publisher, error) {
	if len(s.Views) == 0 {
		return nil, nil
	}
	files, err := s.Rows.files(from)
	if err != nil {
		return nil, err
	}
	var list []*views.Publisher
	for i, v := range s.Views {
		if s.Rows.Links {
			files = rowLinks{s.Public.URL, v.Name, links}
		}
		p, err := views.New(views.Options{
			Name: v.Name, Source: s.sources[i], Spool: from, Settings: s.rows, Files: files, Others: s.Images.others(kept), AsText: v.AsText,
			Logger: g.log, Registerer: g.registry,
		})
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
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
	var links *web.LinkState
	if cfg.Rows.Links {
		var err error
		if links, _, err = cfg.openLinks(); err != nil {
			return err
		}
	}
	publishers, err := g.newPublishers(&settings{Config: cfg, published: rows}, s, links, kept)
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
