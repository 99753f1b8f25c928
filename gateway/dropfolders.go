package gateway

import (
	"context"
	"path/filepath"
	"slices"
	"sync"

	"dcmgate/dicom"
	"dcmgate/dropfolder"
	"dcmgate/images"
	"dcmgate/spool"
)

// dropFolders are the drop folders that are watched. A reload ends those that are no longer as configured and begins others.
type dropFolders struct {
	build   func(cfg *Config, d watchedAs) (*dropfolder.Watcher, error)
	metrics *dropfolder.Metrics

	mu      sync.Mutex
	folders []*watchedFolder
	ending  []*watchedFolder // were told to stop, and have files under way
	started bool
	running sync.WaitGroup
}

// watchedAs is all that a watcher is made of.
type watchedAs struct {
	DropFolder
	called string // AE title
}

type watchedFolder struct {
	as      watchedAs
	watcher *dropfolder.Watcher
	stop    context.CancelFunc // nil before it has begun
	ended   chan struct{}
}

func (g *Gateway) newDropFolders(s *settings, p *parts) (*dropFolders, error) {
	f := &dropFolders{metrics: dropfolder.NewMetrics(g.registry)}
	f.build = func(cfg *Config, d watchedAs) (*dropfolder.Watcher, error) {
		take, codes, err := p.dropHandler(g, cfg, d)
		if err != nil {
			return nil, err
		}
		o := dropfolder.Options{
			Name: d.Name, Folder: d.Folder, Rejected: d.Rejected, Quiet: d.Quiet, Rescan: d.Rescan, Patience: d.Patience, MaxSize: d.MaxSize,
			Workers: dropWorkers, Codes: codes, Logger: g.log, Metrics: f.metrics,
			Aside: func(code string) { p.audit.notTaken(d.DropFolder, code) },
		}
		if d.Keep {
			if o.Done = d.Done; o.Done == "" {
				o.Done = filepath.Join(d.Folder, dropfolder.DoneFolder)
			}
		}
		return dropfolder.New(o, take)
	}
	var err error
	f.folders, err = f.prepare(&s.Config)
	return f, err
}

// dropHandler is what takes the files of a folder, with the codes of those that it does not take.
func (p *parts) dropHandler(g *Gateway, cfg *Config, d watchedAs) (dropfolder.Handler, []string, error) {
	if d.Images {
		store, err := p.images.configured(&cfg.Images)
		if err != nil {
			return nil, nil, err
		}
		return (&imageFolder{store, d.Patience, func(in *images.Image) { p.audit.dropped(d.DropFolder, in) }}).take, imageCodes, nil
	}
	instances := dropfolder.NewInstances(dropfolder.InstanceOptions{
		Store: p.spool, Folder: d.Name, CallingAETitle: d.CallingAETitle, CalledAETitle: d.called, Patience: d.Patience,
		Accepts: func(class, ts dicom.UID) bool { return p.receive.policy.Load().contexts.accepts(class, ts) },
		Jobs:    func() []spool.JobSpec { return p.receive.policy.Load().jobs(spool.PriorityMedium) },
		Stored: func(r spool.Receipt) {
			p.receive.committed(g.log, &r)
			p.receive.audit.imported(d.DropFolder, &r)
		},
	})
	return instances.Take, dropfolder.InstanceCodes, nil
}

// prepare makes the watchers for a configuration; those that stay as they are go on.
func (f *dropFolders) prepare(cfg *Config) (list []*watchedFolder, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range cfg.Drop {
		as := watchedAs{d, cfg.AETitle}
		if i := slices.IndexFunc(f.folders, func(w *watchedFolder) bool { return w.as == as }); i >= 0 {
			list = append(list, f.folders[i])
			continue
		}
		w, err := f.build(cfg, as)
		if err != nil {
			return nil, err
		}
		list = append(list, &watchedFolder{as: as, watcher: w, ended: make(chan struct{})})
	}
	return list, nil
}

// use has these watched in place of those before. It does not wait for files under way; new watchers do.
func (f *dropFolders) use(list []*watchedFolder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.folders {
		if !slices.Contains(list, w) && w.stop != nil {
			w.stop()
			f.ending = append(f.ending, w)
		}
	}
	f.folders = list
	f.begin()
}

// start begins to watch.
func (f *dropFolders) start() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.started = true
	f.begin()
}

// begin runs what does not run yet, once all have ended that are to: one of them may have the same folder, or the same name.
func (f *dropFolders) begin() {
	after := slices.Clone(f.ending)
	for _, w := range f.folders {
		if !f.started || w.stop != nil {
			continue
		}
		var ctx context.Context
		ctx, w.stop = context.WithCancel(context.Background())
		f.running.Go(func() {
			defer close(w.ended)
			for _, o := range after {
				<-o.ended
			}
			_ = w.watcher.Run(ctx) // which has no error
			f.hasEnded(w)
		})
	}
}

// hasEnded forgets a watcher, and its series unless the name is used on. Not before: it counts what it takes last.
func (f *dropFolders) hasEnded(w *watchedFolder) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ending = slices.DeleteFunc(f.ending, func(o *watchedFolder) bool { return o == w })
	if !slices.ContainsFunc(f.folders, func(o *watchedFolder) bool { return o.as.Name == w.as.Name }) {
		f.metrics.Forget(w.as.Name)
	}
}

// stop has all watchers end; wait waits until they have.
func (f *dropFolders) stop() { f.use(nil) }
func (f *dropFolders) wait() { f.running.Wait() }

func (f *dropFolders) status() (list []dropfolder.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.folders {
		list = append(list, w.watcher.Status())
	}
	return list
}

// accepts tells whether instances of a SOP class in a transfer syntax are taken at all.
func (c *contexts) accepts(class, transferSyntax dicom.UID) bool {
	return c.storage(class) && c.known[transferSyntax]
}
