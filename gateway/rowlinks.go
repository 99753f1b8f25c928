package gateway

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"

	"dcmgate/spool"
	"dcmgate/views"
	"dcmgate/web"
)

// linksFile is the name of the secret of download links in the data directory.
const linksFile = "links.json"

// openLinks opens what makes links valid; renewed tells that it could not be
// read, and that links made before are no longer.
func (c *Config) openLinks() (links *web.LinkState, renewed bool, err error) {
	links, renewed, err = web.OpenLinks(filepath.Join(c.DataDir, linksFile))
	if err == nil && c.Rows.Links {
		err = links.KeepRevocations()
	}
	return links, renewed, err
}

// keptLinks are what makes links valid, opened when somebody first needs it.
type keptLinks struct {
	mu    sync.Mutex
	state *web.LinkState // nil before
}

// of is the state; links in rows can be made if the configuration has them.
func (k *keptLinks) of(cfg *Config, log *slog.Logger) (*web.LinkState, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.state != nil && cfg.Rows.Links {
		return k.state, k.state.KeepRevocations()
	}
	if k.state != nil {
		return k.state, nil
	}
	links, renewed, err := cfg.openLinks()
	if err != nil {
		return nil, err
	}
	if renewed {
		log.Warn("download links revoked: their secret could not be read")
	}
	k.state = links
	return links, nil
}

// rowLinks names instances in the rows of a database by links of interface 203.
// It implements [views.Files].
type rowLinks struct {
	base  string // what addresses begin with
	view  string
	links *web.LinkState
}

// Ready implements [views.Files].
func (r rowLinks) Ready(_ context.Context, in *spool.Instance) (views.File, error) {
	return views.File{Path: r.base + r.links.RowPath(r.view, in), State: views.FileReady}, nil
}

// Sync implements [views.Files].
func (rowLinks) Sync() error { return nil }

// Remove implements [views.Files].
func (rowLinks) Remove(*spool.Instance) error { return nil }

// linkedRows checks that links in rows lead somewhere.
func (v *validator) linkedRows(cfg *Config, raw *rawFiles) {
	switch {
	case !cfg.Rows.Links:
	case cfg.Rows.Export != "" || cfg.Rows.FileAddress != "":
		v.fail(raw.Links.at, "links of the gateway's own leave no room for export or address; write one of the three")
	case !cfg.servesPublic():
		v.fail(raw.Links.at, "interface 203 has to be served: set public.listen and retrieve.clients")
	case cfg.Public.URL == "":
		v.fail(raw.Links.at, "public.url is needed, what addresses begin with as the cloud sees them")
	}
}
