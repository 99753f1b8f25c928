package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"dcmgate/commitment"
	"dcmgate/dimse"
	"dcmgate/forwarder"
	"dcmgate/metrics"
	"dcmgate/qr"
	"dcmgate/restore"
	"dcmgate/spool"
	"dcmgate/systemd"
	"dcmgate/transfer"
	"dcmgate/views"
	"dcmgate/web"
)

// Options are what a gateway is given beside its configuration.
type Options struct {
	Version  string
	Logger   *slog.Logger      // nil discards
	Notifier *systemd.Notifier // nil tells nobody
	Sockets  *systemd.Sockets  // passed by systemd, for listeners that are set to [ListenPassed]; nil has none
	Logging  *Logging          // of Logger; nil leaves it as it is when the configuration changes
	Hangups  <-chan os.Signal  // each has the configuration taken again; nil: none come
}

// Gateway is a configured gateway. Make it with [New] and run it once.
type Gateway struct {
	current   atomic.Pointer[settings]
	version   string
	log       *slog.Logger
	notifier  *systemd.Notifier
	sockets   *systemd.Sockets
	registry  *metrics.Registry
	converter *transfer.Converter
	logging   *Logging
	hangups   <-chan os.Signal
	started   *settings // that Run began with

	reloading sync.Mutex // held by a reload
	reloads   *reloads

	ready   chan struct{} // closed once everything is up
	mu      sync.Mutex
	running *parts // nil before and after
	bound   Listeners
}

// New checks what can be checked without touching anything but files that the
// configuration names. It starts nothing.
func New(cfg Config, o Options) (*Gateway, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{
		version: o.Version, log: o.Logger, notifier: o.Notifier, sockets: o.Sockets, logging: o.Logging, hangups: o.Hangups,
		registry: metrics.NewRegistry(o.Version),
		ready:    make(chan struct{}),
	}
	g.reloads = newReloads(g.registry)
	g.converter = transfer.NewConverter(g.registry, g.log)
	g.reloads.reading(cfg.watchedFiles())
	s, err := loadSettings(cfg)
	if err != nil {
		return nil, err
	}
	g.current.Store(s)
	g.started = s
	g.registry.MustRegister(expiryCollector{g.settings})
	return g, nil
}

// settings are those in force. Whoever needs several of them that agree asks once.
func (g *Gateway) settings() *settings { return g.current.Load() }

// Ready is closed once the gateway receives and delivers.
func (g *Gateway) Ready() <-chan struct{} { return g.ready }

// Listeners returns the addresses that are listened on, with the ports that
// the system chose where the configuration says 0. They are known once Ready
// is closed.
func (g *Gateway) Listeners() Listeners {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bound
}

// Metrics returns the gateway's registry.
func (g *Gateway) Metrics() *metrics.Registry { return g.registry }

// parts are what runs, in the order of their start.
type parts struct {
	started   time.Time
	spool     *spool.Spool
	audit     *auditor
	images    *keptImages // that are not DICOM
	forward   *forwarder.Forwarder
	publish   *publishers
	published []*views.Publisher // that publish begins with
	upstreams *upstreams
	receive   *receiver
	callees   *callees
	history   history
	keeper    *commitment.Keeper
	dicom     *dimse.Server
	drop      *dropFolders
	restorer  atomic.Pointer[restore.Restorer] // nil if there is no cloud to restore from
	restored  *restore.Metrics
	fetch     *restore.Background // for clients of interface 203
	links     keptLinks           // of interface 203
	web       *web.Server         // of the standard's clients; nil as long as nothing was served to them
	people    *guard              // what http.listen serves
	servers   httpServers

	control   net.Listener
	listeners listeners

	group         *errgroup.Group
	stopForward   context.CancelFunc
	forwardEnded  chan struct{}
	backstage     context.Context
	stopBackstage context.CancelFunc // requests over HTTP, the watchdog, reports of commitment, metadata rows
	stopAudit     func()             // writes and sends what is left
}

// Run opens the spool and runs the gateway until ctx ends or a part of it
// fails, then stops it within the configured time. It returns nil after a
// stop that was asked for and complete. It is called once.
func (g *Gateway) Run(ctx context.Context) error {
	p, err := g.open()
	if err != nil {
		return err
	}
	failed := g.start(p)
	g.setRunning(p)
	g.announce(p)
	select {
	case <-ctx.Done():
		g.log.Info("stopping", "within", g.settings().ShutdownTimeout)
	case <-failed:
		g.log.Error("a part of the gateway failed; stopping")
	}
	// A reload that is under way changes what is going to be stopped. One that comes behind it does nothing; it must not wait
	// for the stop, which waits for whoever asks for it.
	g.reloading.Lock()
	g.setRunning(nil)
	g.reloading.Unlock()
	return g.stop(p)
}

// open opens the spool and every listener, and builds the parts on them.
// What it opened it closes again if something fails.
func (g *Gateway) open() (_ *parts, err error) {
	p := &parts{started: time.Now(), forwardEnded: make(chan struct{})}
	evicted := newEvictions()
	defer func() {
		if err != nil {
			evicted.use(nil)
			p.listeners.close()
			if p.control != nil {
				p.control.Close()
			}
			p.audit.close()
			if p.spool != nil {
				err = errors.Join(err, p.images.close(), p.spool.Close())
			}
		}
	}()
	s := g.settings()
	if p.spool, err = g.openSpool(lockWait, evicted); err != nil {
		return nil, dataDirError(s.DataDir, err)
	}
	p.images = newKeptImages(s.DataDir, p.spool, g.log, g.registry)
	if p.audit, err = openAudit(s, g.log, g.registry); err != nil {
		return nil, s.located(err)
	}
	evicted.use(p.audit)
	if p.forward, err = g.newForwarder(s, p); err != nil {
		return nil, err
	}
	to, err := g.access(s, p)
	if err != nil {
		return nil, err
	}
	p.publish = &publishers{}
	if p.published, p.publish.offered, err = g.newPublishers(s, p.spool, to); err != nil {
		return nil, err
	}
	if p.upstreams, err = g.newUpstreams(s, p.audit.askedUpstream); err != nil {
		return nil, err
	}
	p.callees = newCallees(s, g.log, g.registry)
	p.receive = newReceiver(s.Config, spoolIntake{p.spool}, g.log, g.registry)
	p.receive.reports = p.forward.TakeReport
	p.receive.audit = p.audit
	p.receive.queries = qr.New(qr.Options{
		Index: p.spool, AETitle: g.settings().AETitle, Logger: g.log, Registerer: g.registry, Converter: g.converter,
		Destination: p.callees.destination, Upstreams: askable(p.upstreams.clients()),
		Audit: p.audit,
	})
	p.keeper = g.newKeeper(s, p)
	p.receive.keeper = p.keeper
	if p.dicom, err = g.newServer(s, p.receive); err != nil {
		return nil, err
	}
	if p.drop, err = g.newDropFolders(s, p); err != nil {
		return nil, err
	}
	if err = g.newPublic(s, p); err != nil {
		return nil, err
	}
	g.registerReady(p)
	p.people = g.guard(p, g.admin(p).handler())
	if p.control, err = listenControl(s.DataDir); err != nil {
		return nil, err
	}
	if p.listeners, err = g.listen(s, nil); err != nil {
		return nil, s.located(err)
	}
	return p, g.checkSockets()
}

// lockWait is how long a starting gateway waits for a spool that somebody else has open: `dcmgate status` or `queue` for
// an instant, or a gateway that is about to end.
const (
	lockWait = 5 * time.Second
	lockPoll = 50 * time.Millisecond
)

func (g *Gateway) openSpool(wait time.Duration, evicted *evictions) (*spool.Spool, error) {
	o := servingOptions(g.settings().Config, g.log, g.registry)
	o.Evicted = evicted.tell
	for ; ; wait -= lockPoll {
		s, err := spool.Open(g.settings().DataDir, o)
		if !errors.Is(err, spool.ErrLocked) || wait <= 0 {
			return s, err
		}
		time.Sleep(lockPoll)
	}
}

// start runs the parts: first what delivers, then what is watched, last what
// receives. The channel it returns is closed when one of them fails.
func (g *Gateway) start(p *parts) <-chan struct{} {
	group, failed := errgroup.WithContext(context.Background())
	p.group = group
	p.stopAudit = p.audit.run()

	forwarding, stopForward := context.WithCancel(context.Background())
	p.stopForward = stopForward
	group.Go(func() error {
		defer close(p.forwardEnded)
		return p.forward.Run(forwarding)
	})

	backstage, stopBackstage := context.WithCancel(context.Background())
	p.backstage, p.stopBackstage = backstage, stopBackstage
	control := newHTTPServer(backstage, g.control(p).handler(), g.log)
	control.ConnContext = withOperator
	control.WriteTimeout = 0 // a change of a million jobs takes its time, and only the owner can ask for it
	p.serveHTTP(&listening{Listener: p.control}, control, p.control)
	group.Go(func() error {
		g.abandonAwaiting(backstage, g.settings(), p.spool)
		return nil
	})
	group.Go(func() error {
		p.history.run(backstage, g.registry)
		return nil
	})
	group.Go(func() error {
		g.notifier.Watch(backstage, func() error { return g.alive(p) })
		return nil
	})
	group.Go(func() error {
		g.tellManager(backstage, p, tellEvery)
		return nil
	})
	group.Go(func() error { return g.follow(backstage) })
	p.publish.begin(group, backstage, p.published)
	group.Go(func() error { return p.keeper.Run(backstage) })

	p.drop.start()
	for key, l := range p.listeners {
		g.serve(p, key, l)
	}
	return failed.Done()
}

// announce says that the gateway is up, to everybody who may wait for it.
func (g *Gateway) announce(p *parts) {
	bound := p.listeners.bound(g.settings().sharesListener())
	g.setBound(bound)
	close(g.ready)

	r := p.spool.Recovery()
	g.log.Info("serving", "version", g.version, "ae_title", g.settings().AETitle, "dicom", bound.DICOM, "dicom_tls", bound.DICOMTLS,
		"http", bound.HTTP, "public", bound.Public, "accept", g.settings().DICOM.Accept, "destinations", len(g.settings().Destinations), "data_dir", g.settings().DataDir,
		"recovered", r.Replayed, "torn", r.Torn, "start", time.Since(p.started).Round(time.Millisecond))
	g.warnOfInterfaces(bound.DICOM, bound.DICOMTLS, bound.HTTP, bound.Public)
	g.settings().warnOfCertificates(g.log)
	for _, note := range slices.Concat(g.settings().Notes, g.settings().DataNotes()) {
		g.log.Warn("configuration", "note", note)
	}
	g.reloads.begin(time.Now())
	g.notifier.Ready(g.oneLine(p))
}

// stop ends the parts in the reverse order of their start: receiving, then
// delivering, then the sockets for people, last the spool, which by then holds
// everything that was acknowledged.
func (g *Gateway) stop(p *parts) error {
	g.notifier.Stopping()
	begun := time.Now()
	deadline, cancel := context.WithDeadline(context.Background(), begun.Add(g.settings().ShutdownTimeout))
	defer cancel()

	p.drop.stop() // files stay until the next start
	// Deliveries that are under way keep a share of the time for themselves.
	receiving, cancelReceiving := context.WithDeadline(deadline, begun.Add(g.settings().ShutdownTimeout-g.settings().grace()))
	defer cancelReceiving()
	if err := p.dicom.Shutdown(receiving); err != nil {
		g.log.Warn("associations were aborted to stop in time", "reason", err)
	}
	closeUpstreams(p.upstreams.clients())
	p.stopForward()
	select {
	case <-p.forwardEnded:
	case <-deadline.Done():
		g.log.Warn("deliveries are still ending; they will be repeated after the next start")
	}
	p.stopBackstage()
	p.servers.shutdown(deadline)
	p.fetch.Close()
	p.drop.wait()
	err := p.group.Wait()
	removeControl(g.settings().DataDir)
	// The spool is closed however long that takes: it is what must not end in
	// the middle, and a second signal ends even this without loss.
	err = errors.Join(err, p.images.close(), p.spool.Close())
	p.stopAudit()
	g.log.Info("stopped", "after", time.Since(begun).Round(time.Millisecond))
	return err
}

// grace is the part of the time to stop in that deliveries under way get.
func (c *Config) grace() time.Duration { return min(10*time.Second, c.ShutdownTimeout/3) }

// parts are those that run, nil before and after.
func (g *Gateway) parts() *parts {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running
}

func (g *Gateway) setRunning(p *parts) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = p
}

func (g *Gateway) setBound(l Listeners) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.bound = l
}

// warnOfInterfaces remarks on listeners that everybody reaches.
func (g *Gateway) warnOfInterfaces(addresses ...string) {
	for _, at := range addresses {
		if unspecified(at) {
			g.log.Warn("listening on every interface", "address", at)
		}
	}
}

func addressOf(l net.Listener) string {
	if l.Addr().Network() == "unix" {
		return unixPrefix + l.Addr().String()
	}
	return l.Addr().String()
}
