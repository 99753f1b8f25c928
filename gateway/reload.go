package gateway

import (
	"errors"
	"strings"
	"time"
)

// Reloaded says what taking the configuration again has done.
type Reloaded struct {
	File string    `json:"file"`
	At   time.Time `json:"at"`
	// Changed are the keys that are in force with what they say now.
	Changed []string `json:"changed"`
	// NeedsRestart are the keys whose change since the start waits for the next one.
	NeedsRestart []string `json:"needs_restart,omitempty"`
	Notes        []string `json:"notes,omitempty"`
}

// Why the configuration cannot be taken again.
var (
	errNoFile         = errors.New("the gateway runs without a configuration file; start it with --config to have one taken again")
	errNobodyToReload = errors.New("no gateway is running; the next one that starts takes the configuration as it is")
	errNotRunning     = errors.New("the gateway is starting or stopping; its configuration is not taken again now")
)

// Reload reads the configuration file and what it names again and puts what has
// changed into force: all of it, or, if there is a mistake in it or something
// cannot be had, nothing, and the error says why. Associations and deliveries go
// on. cause is for the log.
func (g *Gateway) Reload(cause string) (done Reloaded, err error) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	p := g.parts()
	if p == nil {
		return done, errNotRunning
	}
	g.notifier.Reloading()
	done, err = g.reload(p)
	g.reloads.note(&done, err)
	g.logReload(cause, done, err)
	p.audit.configured(cause, &done, err)
	g.notifier.Ready(g.oneLine(p))
	return done, err
}

// reload prepares everything that can fail before it changes anything.
func (g *Gateway) reload(p *parts) (Reloaded, error) {
	old := g.settings()
	done := Reloaded{File: old.Source, At: time.Now(), Changed: []string{}}
	if old.Source == "" {
		return done, errNoFile
	}
	g.reloads.reading(old.watchedFiles())
	cfg, err := Load(old.Source)
	if err != nil {
		return done, err
	}
	g.reloads.readingAlso(cfg.watchedFiles())
	new, err := loadSettings(cfg)
	if err != nil {
		return done, err
	}
	t := &transition{Gateway: g, parts: p, old: old, new: new}
	if err := t.prepare(); err != nil {
		return done, err
	}
	t.done()
	new.warnOfCertificates(g.log)
	done.Changed, done.NeedsRestart, done.Notes = t.taken.words(), append(difference(g.started, new).under(restartKeys()...).words(), t.kept...), new.Notes
	return done, nil
}

// transition is a reload under way, from the settings in force to others.
type transition struct {
	*Gateway
	parts    *parts
	old, new *settings
	taken    changes
	kept     []string // keys that wait for a restart although others of their kind do not

	apply []func() // put the new settings into force; cannot fail
	last  []func() // likewise, of what looks at the settings in force
	undo  []func() // give up what was prepared
}

// then has something done once everything is prepared.
func (t *transition) then(apply func()) { t.apply = append(t.apply, apply) }

// finally has something done once the new settings are those in force.
func (t *transition) finally(apply func()) { t.last = append(t.last, apply) }

// orElse gives up something that was prepared if another part cannot be.
func (t *transition) orElse(undo func()) { t.undo = append(t.undo, undo) }

// done puts the new settings into force.
func (t *transition) done() {
	for _, apply := range t.apply {
		apply()
	}
	t.current.Store(t.new)
	for _, apply := range t.last {
		apply()
	}
}

// prepare has every part that is made of what has changed prepare itself.
func (t *transition) prepare() error {
	found := difference(t.old, t.new)
	for _, f := range followers {
		if f.keep != nil {
			f.keep(&t.new.Config, &t.old.Config)
		}
	}
	t.keepPassed()
	for _, c := range found {
		if !isUnder(c.key, restartKeys()) && !isUnder(c.key, t.kept) {
			t.taken = append(t.taken, c)
		}
	}
	t.retain()
	for _, f := range followers {
		if f.prepare == nil || !t.taken.touch(f.keys...) {
			continue
		}
		if err := f.prepare(t); err != nil {
			for _, undo := range t.undo {
				undo()
			}
			return t.new.located(err)
		}
	}
	return nil
}

// retain keeps what secures connections where nothing of it has changed, so that
// it can be told by its pointer, and TLS sessions be resumed.
func (t *transition) retain() {
	if !t.taken.touch("dicom.tls", "peers") {
		t.new.server = t.old.server
	}
	if !t.taken.touch("public.tls") {
		t.new.public = t.old.public
	}
	if !t.taken.touch("retrieve.cloud", "institution") {
		t.new.cloud = t.old.cloud
	}
	if !t.taken.touch("http.tls") {
		t.new.admin = t.old.admin
	}
	if !t.taken.touch("audit.syslog") {
		t.new.syslog = t.old.syslog
	}
	for _, d := range t.new.Destinations {
		at := "destinations[" + d.Name + "]"
		if before, ok := t.old.destinations[d.Name]; ok && !t.taken.touchAt(at+".tls", at+".address") {
			t.new.destinations[d.Name] = before
		}
	}
}

func (g *Gateway) logReload(cause string, done Reloaded, err error) {
	switch {
	case err != nil:
		for line := range strings.Lines(err.Error()) {
			g.log.Error("configuration not taken; the one before stays in force", "cause", cause, "error", strings.TrimSpace(line))
		}
	case len(done.Changed) == 0:
		g.log.Info("configuration has not changed", "cause", cause)
	default:
		g.log.Info("configuration taken", "cause", cause, "changed", strings.Join(done.Changed, ", "))
	}
	if len(done.NeedsRestart) > 0 {
		g.log.Warn("a change of the configuration needs a restart", "keys", strings.Join(done.NeedsRestart, ", "))
	}
}
