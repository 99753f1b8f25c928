package gateway

import (
	"crypto/tls"
	"fmt"

	"dcmgate/cloud"
	"dcmgate/views"
)

// settings are a configuration with everything read that it names. They are not
// changed once they are in use: a reload makes others.
type settings struct {
	Config
	contents contents
	security
	published
}

// security is what protects connections.
type security struct {
	server       *tls.Config            // nil without a TLS listener
	destinations map[string]*tls.Config // by name; nil entries for plain TCP
	upstreams    map[string]*tls.Config // likewise
	peers        map[string]*tls.Config // by AE title; likewise
	public       *tls.Config            // nil for plain HTTP
	admin        *tls.Config            // likewise, of http.listen
	token        adminToken             // zero without one
	clients      []cloud.Key            // of interface 203
	cloud        *cloud.Client          // nil if there is none
	syslog       *tls.Config            // nil without a server for the audit trail, or without TLS
	authorities  authorities
}

// published is what metadata rows are made of, and where they go.
type published struct {
	rows    *views.Settings
	sources []*views.Source // of the databases, in the order of the configuration
}

// loadSettings reads every file that the configuration names. Mistakes are
// *ConfigError values joined.
func loadSettings(cfg Config) (*settings, error) {
	digests, errs := cfg.readFiles()
	if len(errs) > 0 {
		return nil, joinByLine(errs)
	}
	s := &settings{Config: cfg, contents: digests}
	s.security, errs = loadSecurity(&cfg)
	var wrong []error
	s.published, wrong = loadPublished(&cfg)
	if errs = append(errs, wrong...); len(errs) > 0 {
		for i := range errs {
			errs[i] = cfg.located(errs[i])
		}
		return nil, joinByLine(errs)
	}
	return s, nil
}

func loadSecurity(cfg *Config) (s security, errs []error) {
	s = security{
		destinations: make(map[string]*tls.Config), upstreams: make(map[string]*tls.Config), peers: make(map[string]*tls.Config),
		authorities: make(authorities),
	}
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	var err error
	s.server, err = cfg.DICOM.TLS.load(cfg.Peers)
	note(err)
	s.public, err = cfg.Public.TLS.load("public.tls")
	note(err)
	s.admin, err = cfg.HTTP.TLS.load("http.tls")
	note(err)
	s.token, err = cfg.HTTP.loadToken()
	note(err)
	s.clients, err = cfg.Retrieve.load()
	note(err)
	s.cloud, err = cfg.Retrieve.Cloud.Client()
	note(err)
	s.syslog, err = cfg.Audit.Syslog.load()
	note(err)
	for i, d := range cfg.Destinations {
		s.destinations[d.Name], err = d.TLS.load(fmt.Sprintf("destinations[%d].tls", i), d.Address)
		note(err)
	}
	for i, u := range cfg.Upstreams {
		s.upstreams[u.Name], err = u.TLS.load(fmt.Sprintf("upstreams[%d].tls", i), u.Address)
		note(err)
	}
	for i, p := range cfg.Peers {
		s.peers[p.AETitle], err = p.TLS.load(fmt.Sprintf("peers[%d].tls", i), p.Address)
		note(err)
	}
	s.authorities.read(cfg)
	return s, errs
}

func loadPublished(cfg *Config) (p published, errs []error) {
	var err error
	if p.rows, err = cfg.Rows.settings(cfg.Institution); err != nil {
		errs = append(errs, err)
	}
	for i, v := range cfg.Views {
		source, err := v.Source(cfg.DataDir)
		if err != nil {
			errs = append(errs, &keyError{fmt.Sprintf("views[%d].dsn", i), err})
		}
		p.sources = append(p.sources, source)
	}
	return p, errs
}
