package dropfolder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// pass is the working off of what is due.
type pass struct {
	*Watcher
	folder *directory
	tally  tally

	mu             sync.Mutex
	rejected, done *target // nil until one is needed
}

func (p *pass) close() {
	for _, t := range []*target{p.rejected, p.done} {
		if t != nil {
			t.Close()
		}
	}
}

// outcome is what came of a candidate.
type outcome struct {
	candidate *candidate
	gone      bool          // it has left the folder, or somebody else has taken it away
	left      string        // the result it left with, "" if it was not by us
	changed   *stamp        // it is not what it was
	verdict   *Verdict      // that could not be carried out, or is to wait
	err       error         // it is put off
	pause     time.Duration // that it waits
	held      string        // everything is
	reason    string        // why it was moved aside
}

// work handles what is due.
func (p *pass) work(ctx context.Context) {
	due := p.due(p.now())
	if len(due) == 0 {
		return
	}
	feeding, stop := context.WithCancel(ctx)
	defer stop()
	todo, results := make(chan *candidate), make(chan outcome)
	var workers sync.WaitGroup
	for range min(p.o.Workers, len(due)) {
		workers.Go(func() {
			for c := range todo {
				results <- p.one(ctx, c)
			}
		})
	}
	go func() {
		defer close(results)
		defer workers.Wait()
		defer close(todo)
		for _, c := range due {
			select {
			case todo <- c:
			case <-feeding.Done():
				return
			}
		}
	}()
	handled, held := 0, ""
	for r := range results {
		handled++
		if r.held != "" && held == "" {
			held = r.held
			stop()
		}
		p.apply(r)
	}
	p.hold(held, handled)
}

// hold notes that nothing can be taken, or that something can.
func (p *pass) hold(reason string, handled int) {
	switch {
	case reason != "":
		p.held = held{reason, p.now().Add(backoff(p.held.tries, lastHold)), p.held.tries + 1}
		p.metrics.retries.Inc()
	case handled > 0:
		p.held = held{}
	}
}

// apply notes what came of a candidate.
func (p *pass) apply(r outcome) {
	c, now := r.candidate, p.now()
	switch {
	case r.gone:
		delete(p.candidates, c.path)
		p.tally.left(r, c.state.size)
	case r.changed != nil:
		c.saw(*r.changed, now)
		c.since = now
	case r.held != "":
	case r.err != nil:
		c.verdict, c.err = r.verdict, r.err
		c.notBefore = now.Add(backoff(c.tries, lastRetry))
		c.tries++
		p.metrics.retries.Inc()
	default: // it waits
		c.err, c.tries = nil, 0
		c.notBefore = now.Add(max(r.pause, p.o.Quiet))
	}
}

// one deals with one candidate. It is called by several goroutines.
func (p *pass) one(ctx context.Context, c *candidate) outcome {
	d, err := p.folder.descend(path.Dir(c.path), false)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			return outcome{candidate: c, gone: true}
		}
		return outcome{candidate: c, err: err}
	}
	defer d.Close()
	base := path.Base(c.path)
	state, err := d.stat(base)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return outcome{candidate: c, gone: true}
	case err != nil:
		return outcome{candidate: c, err: err}
	case state != c.state:
		return outcome{candidate: c, changed: &state}
	case c.verdict != nil:
		return p.carryOut(d, c, *c.verdict)
	}
	if err := d.writable(); err != nil {
		return outcome{candidate: c, err: fmt.Errorf("nothing may be removed from its folder: %w; %s", err, writeRemedy(err))}
	}
	v := p.judge(ctx, d, c)
	if errors.Is(v.err, ErrChanged) {
		if state, err = d.stat(base); err == nil {
			return outcome{candidate: c, changed: &state}
		}
		return outcome{candidate: c, err: err}
	}
	return p.carryOut(d, c, v)
}

// writeRemedy says how a folder comes to be one that may be written to. A read-only one is mostly so for the sandbox of a service alone.
func writeRemedy(err error) string {
	if errors.Is(err, unix.EROFS) {
		return "have ReadWritePaths= of the service name it, as systemd/examples/drop-folder.conf does, or mount it to be written to"
	}
	return "give the user of dcmgate the right to write there"
}

// judge asks the handler, unless the file is none that may be opened.
func (p *pass) judge(ctx context.Context, d *directory, c *candidate) Verdict {
	switch s := &c.state; {
	case s.mode&unix.S_IFMT == unix.S_IFLNK:
		return Rejected(CodeLink, "it is a symbolic link, which is never followed; copy the file itself")
	case !s.regular():
		return Rejected(CodeSpecial, "it is a FIFO, device or socket, not a file")
	case s.nlink > 1:
		return Rejected(CodeLink, "it is a hard link, so that the file also is elsewhere; copy the file itself")
	case s.empty():
		return p.patiently(c, Rejected(CodeEmpty, "it is empty; copy it again"))
	case p.o.MaxSize > 0 && s.size > p.o.MaxSize:
		return Rejected(CodeTooLarge, fmt.Sprintf("it has %d bytes; the limit of the drop folder is %d (max_size)", s.size, p.o.MaxSize))
	}
	f, err := d.open(path.Base(c.path))
	switch {
	case errors.Is(err, fs.ErrPermission):
		return p.patiently(c, Rejected(CodeUnreadable, "it may not be read; give the user of dcmgate the right to"))
	case err != nil:
		return Retry(err)
	}
	defer f.Close()
	if f.state != c.state {
		return Retry(ErrChanged)
	}
	f.Path, f.Unchanged = c.path, p.now().Sub(c.since)
	return p.handle(ctx, f)
}

// patiently waits for what may still come right.
func (p *pass) patiently(c *candidate, v Verdict) Verdict {
	if p.now().Sub(c.since) < p.o.Patience {
		return Wait(p.now().Sub(c.since) / waitShare)
	}
	return v
}

// carryOut does what a verdict says.
func (p *pass) carryOut(d *directory, c *candidate, v Verdict) outcome {
	var err error
	switch v.kind {
	case taken, rejected:
		if err = p.leave(d, c.path, c.state, v); err == nil {
			for _, s := range v.with {
				err = errors.Join(err, p.leave(d, s.Path, s.state, v))
			}
			if err != nil { // they are candidates themselves
				p.o.Logger.Warn("file beside one that left the drop folder stays", "error", err)
			}
			if v.kind == rejected && p.o.Aside != nil {
				p.o.Aside(v.code)
			}
			return outcome{candidate: c, gone: true, left: v.code, reason: v.reason}
		}
		if errors.Is(err, ErrChanged) {
			if state, e := d.stat(path.Base(c.path)); e == nil {
				return outcome{candidate: c, changed: &state}
			}
			return outcome{candidate: c, gone: true}
		}
		return outcome{candidate: c, err: err, verdict: &v}
	case hold:
		return outcome{candidate: c, held: v.reason}
	case retry:
		return outcome{candidate: c, err: v.err}
	}
	return outcome{candidate: c, pause: v.pause}
}

// leave has a file leave the folder.
func (p *pass) leave(d *directory, name string, state stamp, v Verdict) error {
	if v.kind == taken && p.o.Done == "" {
		return d.remove(path.Base(name), state)
	}
	into, where := &p.rejected, p.o.Rejected
	if v.kind == taken {
		into, where = &p.done, p.o.Done
	}
	t, err := p.target(into, where)
	if err != nil {
		return err
	}
	place, err := t.take(d, path.Base(name), name, state)
	if err != nil || v.kind == taken {
		return err
	}
	if err := t.explain(place, p.o.Name, v, time.Now()); err != nil { // it has been moved aside all the same
		p.o.Logger.Warn("the reason could not be written beside a file that was moved aside", "code", v.code, "reason", v.reason, "error", err)
	}
	return nil
}

// target opens a folder that files are moved to, once in a pass.
func (p *pass) target(into **target, name string) (*target, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *into != nil {
		return *into, nil
	}
	t, err := openTarget(p.folder, p.o.Folder, name)
	if err != nil {
		return nil, fmt.Errorf("the folder %w; make it, or %s", err, writeRemedy(err))
	}
	*into = t
	return t, nil
}

// countEvery is how often what was moved aside is counted: people clear it up.
const countEvery = time.Minute

// countRejected counts what was moved aside, now and then.
func (p *pass) countRejected(ctx context.Context) {
	now := p.now()
	p.Watcher.mu.Lock()
	n := p.status.Rejected + p.tally.rejected
	p.Watcher.mu.Unlock()
	if p.counted.IsZero() || now.Sub(p.counted) >= countEvery {
		p.counted, n = now, 0
		if t, err := p.existing(); err == nil {
			n = t.count(ctx, maxRejected)
			t.Close()
		}
	}
	p.metrics.rejected.Set(float64(n))
	p.Watcher.mu.Lock()
	p.status.Rejected = n
	p.Watcher.mu.Unlock()
}

// existing opens the folder of what was moved aside without making it.
func (p *pass) existing() (*target, error) {
	var d *directory
	var err error
	if below, inside := belowOf(p.o.Folder, p.o.Rejected); inside {
		d, err = p.folder.descend(below, false)
	} else {
		d, err = openFolder(p.o.Rejected)
	}
	if err != nil {
		return nil, err
	}
	return &target{d}, nil
}
