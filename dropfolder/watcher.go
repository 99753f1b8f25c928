package dropfolder

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Pauses between two looks at the folder.
const (
	leastPause = 20 * time.Millisecond
	lookShare  = 4 // a look takes at most one part in five of the time
)

// Pauses before something that failed is tried again, doubled each time.
const (
	firstRetry = time.Second
	lastRetry  = 5 * time.Minute // of one file
	lastHold   = time.Minute     // of the folder
)

// Watcher watches one folder. Make it with [New] and run it once.
type Watcher struct {
	o      Options
	handle Handler
	now    func() time.Time
	hints  *hints
	most   int // candidates

	// Run's own.
	metrics    *folderMetrics
	candidates map[string]*candidate // by path
	identity   [2]uint64             // device and inode of the folder at the last look, 0 if there was none
	left       omitted               // of the last look
	held       held
	counted    time.Time // when the files moved aside were
	burst      burst

	mu     sync.Mutex
	status Status
}

// candidate is a file that is waited for.
type candidate struct {
	path      string
	state     stamp
	first     time.Time // seen
	since     time.Time // it has been in this state, as far as was seen
	notBefore time.Time // it is tried again
	tries     int       // that failed, in this state
	err       error     // of the last of them
	verdict   *Verdict  // of this state, which could not be carried out
}

// held says why nothing is taken at present.
type held struct {
	reason string // "": it is
	until  time.Time
	tries  int
}

// burst counts since the folder was empty last.
type burst struct {
	begun           time.Time
	taken, rejected int
	bytes           int64
}

// New makes a Watcher. It touches nothing, metrics neither: a folder that is not there is waited for.
func New(o Options, h Handler) (*Watcher, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	return &Watcher{
		o: o, handle: h, now: time.Now, hints: newHints(),
		candidates: map[string]*candidate{}, most: maxCandidates,
		status: Status{Name: o.Name, Folder: o.Folder},
	}, nil
}

// Run watches until ctx ends. Files under way are finished or left where they are. It returns nil.
func (w *Watcher) Run(ctx context.Context) error {
	defer w.hints.reset()
	w.begin()
	for ctx.Err() == nil {
		pause, least := w.pass(ctx)
		w.sleep(ctx, pause, least)
	}
	return nil
}

// begin makes the series of the folder.
func (w *Watcher) begin() { w.metrics = w.o.Metrics.of(w.o.Name, w.o.Codes) }

// sleep waits for a hint, but for least, and no longer than pause.
func (w *Watcher) sleep(ctx context.Context, pause, least time.Duration) {
	t := time.NewTimer(max(pause, least))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-w.hints.wake:
		t.Reset(least)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
}

// pass looks at the folder and works off what is due. It returns when the next pass is due, and how long it is to be put off at
// least.
func (w *Watcher) pass(ctx context.Context) (pause, least time.Duration) {
	folder, err := openFolder(w.o.Folder)
	if err != nil {
		w.lost(err)
		return w.o.Rescan, leastPause
	}
	defer folder.Close()
	begun := time.Now()
	w.look(ctx, folder)
	took := time.Since(begun)
	p := &pass{Watcher: w, folder: folder}
	defer p.close()
	p.work(ctx)
	w.report(p.tally)
	if ctx.Err() != nil { // what a stop has broken off is no trouble
		return 0, 0
	}
	p.countRejected(ctx)
	w.publish(nil)
	return w.pause(), max(leastPause, lookShare*took)
}

// lost deals with a folder that cannot be opened.
func (w *Watcher) lost(err error) {
	w.identity = [2]uint64{}
	w.forget()
	w.publish(fmt.Errorf("the folder cannot be opened: %w; make it, mount it or give the user of dcmgate the right to read, write and enter it", err))
}

// forget begins from scratch: the folder is another one, or none.
func (w *Watcher) forget() {
	clear(w.candidates)
	w.hints.reset()
}

// look finds new files, until there are as many candidates as may be.
func (w *Watcher) look(ctx context.Context, folder *directory) {
	if state, err := folder.stat("."); err == nil && w.identity != [2]uint64{state.dev, state.ino} {
		w.forget()
		w.identity = [2]uint64{state.dev, state.ino}
	}
	w.hints.err = nil
	w.hints.add(w.o.Folder)
	now, targets := w.now(), w.targets()
	w.left = walk(ctx, folder, func(d *directory, name, base string) step {
		switch {
		case strings.HasPrefix(base, ".") && !strings.HasPrefix(base, ownPrefix):
			return next
		case temporary(base) || slices.Contains(targets, name):
			return next
		}
		known := w.candidates[name]
		state, err := d.stat(base)
		switch {
		case err != nil: // it has gone
		case state.folder():
			w.hints.add(filepath.Join(w.o.Folder, name))
			return enter
		case known != nil:
			known.saw(state, now)
		case len(w.candidates) >= w.most:
			return stop
		case (d.locked || state.empty()) && len(w.candidates) >= w.most/2: // such would keep others waiting
		default:
			w.candidates[name] = &candidate{path: name, state: state, first: now, since: now}
		}
		return next
	})
}

// saw notes what a candidate is now.
func (c *candidate) saw(state stamp, now time.Time) {
	if state != c.state {
		*c = candidate{path: c.path, state: state, first: c.first, since: now}
	}
}

// targets are the folders below this one that files are moved to.
func (w *Watcher) targets() (list []string) {
	for _, name := range []string{w.o.Rejected, w.o.Done} {
		if below, inside := belowOf(w.o.Folder, name); inside {
			list = append(list, below)
		}
	}
	return list
}

// temporaries end the names that copying programs give a file until it is complete. Names that begin with a dot are such, too.
var temporaries = []string{".part", ".filepart", ".partial", ".tmp", ".crdownload"}

func temporary(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(temporaries, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

// due lists what is to be handled now, what was seen first at the begin.
func (w *Watcher) due(now time.Time) []*candidate {
	if now.Before(w.held.until) {
		return nil
	}
	var list []*candidate
	for _, c := range w.candidates {
		if !now.Before(w.dueAt(c)) {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b *candidate) int {
		if n := a.first.Compare(b.first); n != 0 {
			return n
		}
		return strings.Compare(a.path, b.path)
	})
	return list[:min(len(list), batch)]
}

func (w *Watcher) dueAt(c *candidate) time.Time {
	at := c.since.Add(w.o.Quiet)
	if c.notBefore.After(at) {
		return c.notBefore
	}
	return at
}

// pause is how long nothing is due.
func (w *Watcher) pause() time.Duration {
	now := w.now()
	next := now.Add(w.o.Rescan)
	for _, c := range w.candidates {
		at := w.dueAt(c)
		if at.Before(w.held.until) {
			at = w.held.until
		}
		if at.Before(next) {
			next = at
		}
	}
	return next.Sub(now)
}

// backoff is the pause after a number of failures.
func backoff(tries int, most time.Duration) time.Duration {
	return min(firstRetry<<min(tries, 20), most)
}
