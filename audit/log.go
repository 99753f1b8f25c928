package audit

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/walltime"
)

// Options are a log's settings. Dir, Application and the limits must be given.
type Options struct {
	Dir         string      // made if it is not there
	Site        string      // AuditEnterpriseSiteID; "" for none
	Application Participant // who tells it; its AE title is the AuditSourceID
	FileSize    int64       // bytes after which a new file is begun
	FileAge     time.Duration
	Keep        time.Duration // files whose lines all are older are removed
	MaxSize     int64         // bytes of all files; beyond, the oldest are removed
	// Sync is how long a line may be in the system's memory alone; 0 writes each batch through, negative leaves it to the
	// system.
	Sync   time.Duration
	Syslog *Syslog // where messages are sent, too; nil for nowhere

	Logger  *slog.Logger     // nil discards
	Metrics *Metrics         // nil: for nobody
	Now     func() time.Time // nil: time.Now

	passed func() time.Duration // see walltime.New; by Now if that is given
}

// queueLength is how many messages may wait for being written.
const queueLength = 8192

// atATime is how many are written before the log looks whether something else is due.
const atATime = 256

// lookEvery is how often the log looks for what is due.
const lookEvery = time.Second

// pruneEvery is how often it looks for files to remove.
const pruneEvery = time.Minute

// Log is an audit trail. All methods but Run may be called by many goroutines, and on nil, which records nothing.
type Log struct {
	header  header
	tally   *tally
	clock   *walltime.Watch // looked at by Run
	queue   chan *Message
	metrics *Metrics
	written chan struct{}
	changes chan *Change
	ended   chan struct{} // closed when Run ends
	dir     string        // that the changes made so far lead to; of who makes them

	unwritten, unsent atomic.Pointer[Trouble] // nil while there is none

	mu     sync.Mutex // guards closed, queued and gap
	closed bool
	queued uint64 // messages so far
	gap    gap

	// Of Run alone.
	place
	o        Options
	source   Source
	dequeued uint64
	sender   *sender        // nil without syslog
	leaving  sync.WaitGroup // senders of before
	pending  []byte         // lines that could not be written yet
	waiting  int            // how many they are
	pruned   time.Time
	synced   time.Time
	failing  bool
}

// gap is what could not be queued.
type gap struct {
	lost        int
	first, last time.Time
	after       uint64 // how many were queued before the first of them
}

// Open opens the log in a directory that no other process may write to. It starts nothing: Run writes.
func Open(o Options) (_ *Log, err error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now, o.passed = time.Now, walltime.SinceStart()
	}
	if o.passed == nil {
		start := o.Now()
		o.passed = func() time.Duration { return o.Now().Sub(start) }
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	l := &Log{
		header:  header{host, "dcmgate", strconv.Itoa(os.Getpid())},
		queue:   make(chan *Message, queueLength),
		metrics: o.Metrics,
		written: make(chan struct{}, 1),
		changes: make(chan *Change),
		ended:   make(chan struct{}),
		dir:     o.Dir,
	}
	l.tally = newTally(l.Record, o.Now)
	l.clock = walltime.New(o.Now, o.passed)
	if l.place, err = openPlace(&o, o.Now()); err != nil {
		return nil, err
	}
	l.use(o)
	l.metrics.queue.Store(&l.queue)
	if o.Syslog != nil {
		l.sender = newSender(l, *o.Syslog)
	}
	return l, nil
}

// Record writes a message. It does not wait; a message for which there is no room in the queue is counted, and the gap
// told of once there is.
func (l *Log) Record(m *Message) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		select {
		case l.queue <- m:
			l.queued++
			return
		default:
		}
	}
	if l.gap.lost == 0 {
		l.gap.first, l.gap.after = m.Event.Time, l.queued
	}
	l.gap.lost++
	l.gap.last = m.Event.Time
	l.metrics.lost.Inc()
}

// Count adds n instances of a SOP class to a transfer. What is added up is told of when its session ends, when there was
// nothing to add for a while, or when it has lasted long.
func (l *Log) Count(t Transfer, class dicom.UID, n int) {
	if l != nil {
		l.tally.add(t, class, n)
	}
}

// EndSession tells of all that was counted in a session.
func (l *Log) EndSession(session string) {
	if l != nil {
		l.tally.end(session)
	}
}

// EndSessions tells of all that was counted.
func (l *Log) EndSessions() {
	if l != nil {
		l.tally.due(true)
	}
}

// Run writes, and sends, until ctx ends, then what is queued, and closes the log. It returns nil: what cannot be written is
// tried again, and told by metrics, the gateway's log and the audit log itself. It is called once.
func (l *Log) Run(ctx context.Context) error {
	if l == nil {
		return nil
	}
	l.sender.start(nil)
	defer func() {
		l.sender.stop()
		l.leaving.Wait()
		l.Close()
		close(l.ended)
	}()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		queue := l.queue
		if l.failing {
			queue = nil // until what is pending has been written, so that memory is bounded
		}
		select { // first of all: somebody waits for it
		case c := <-l.changes:
			l.change(c)
		default:
		}
		select {
		case m := <-queue:
			l.dequeue(m)
			l.flush(atATime)
		case <-tick.C:
			l.tally.due(false)
			l.flush(atATime)
			l.maintain()
		case c := <-l.changes:
			l.change(c)
		case <-ctx.Done():
			l.finish()
			return nil
		}
	}
}

// Close gives up the log's directory. Run does so when it ends; it is for a log that never runs.
func (l *Log) Close() {
	if l == nil {
		return
	}
	if err := l.close(); err != nil {
		l.failed("the audit log cannot be closed; free space on its disk or mend its directory", err)
	}
}

// finish writes what there is, once.
func (l *Log) finish() {
	l.tally.due(true)
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.flush(queueLength)
	if l.waiting > 0 || len(l.queue) > 0 {
		l.o.Logger.Error("audit messages are lost: they could not be written before the end", "messages", l.waiting+len(l.queue))
	}
}

// maxBatch bounds the bytes of one write.
const maxBatch = 256 << 10

// flush writes what is pending and so many of the messages that are queued.
func (l *Log) flush(queued int) {
	queued = min(queued, len(l.queue))
	for {
		// A log that fails tries with what is pending; if that is nothing, a sync failed, and only a write tells whether
		// the disk works again.
		for len(l.pending) < maxBatch && queued > 0 && (!l.failing || l.waiting == 0) {
			l.dequeue(<-l.queue)
			queued--
		}
		if len(l.pending) < maxBatch {
			l.tellGap()
		}
		if len(l.pending) == 0 || !l.write() {
			return
		}
	}
}

// write writes what is pending; false if that failed.
func (l *Log) write() bool {
	now := l.o.Now()
	err := l.files.turn(now)
	if err == nil {
		err = l.files.write(l.pending, now, l.o.Sync == 0)
	}
	if err != nil {
		l.failed("the audit log cannot be written; free space on its disk or mend its directory", err)
		return false
	}
	if l.failing {
		l.failing = false
		l.unwritten.Store(nil)
		l.o.Logger.Info("the audit log is written again")
	}
	l.metrics.bytes.Add(float64(len(l.pending)))
	l.pending, l.waiting = l.pending[:0], 0
	select {
	case l.written <- struct{}{}:
	default:
	}
	return true
}

func (l *Log) failed(message string, err error) {
	l.metrics.failures.Inc()
	if !l.failing {
		l.o.Logger.Error(message, "directory", l.o.Dir, "error", err)
		l.unwritten.Store(&Trouble{What: fmt.Sprintf("%s (%v)", message, err), Since: l.o.Now()})
	}
	l.failing = true
}

// Trouble says why messages are not where they are to be, and what to do.
type Trouble struct {
	What  string
	Since time.Time
}

// Troubles returns what keeps messages from the log's files or from the syslog server at present.
func (l *Log) Troubles() []Trouble {
	var list []Trouble
	for _, t := range []*Trouble{l.unwritten.Load(), l.unsent.Load()} {
		if t != nil {
			list = append(list, *t)
		}
	}
	return list
}

// dequeue takes a message that was queued.
func (l *Log) dequeue(m *Message) {
	l.dequeued++
	l.take(m)
}

// take makes a line of a message.
func (l *Log) take(m *Message) {
	m.Source = l.source
	line, err := l.header.line(m)
	if err != nil {
		l.o.Logger.Error("an audit message cannot be written; please report this", "event", m.Word(), "error", err)
		l.metrics.lost.Inc()
		return
	}
	l.metrics.messages.WithLabelValues(m.Word()).Inc()
	l.pending = append(append(l.pending, line...), '\n')
	l.waiting++
}

// tellGap tells of what was lost, once nothing waits that came before.
func (l *Log) tellGap() {
	l.mu.Lock()
	g := l.gap
	if g.lost == 0 || l.dequeued < g.after {
		l.mu.Unlock()
		return
	}
	l.gap = gap{}
	l.mu.Unlock()
	l.take(Alert(RecordingStopped, MajorFailure, "file:"+l.o.Dir, fmt.Sprintf(
		"%d audit messages of %s to %s were not recorded: they came while the log could not be written fast enough",
		g.lost, g.first.Format(time.RFC3339), g.last.Format(time.RFC3339)), l.o.Application))
}

// maintain does what is due by the clock.
func (l *Log) maintain() {
	now := l.o.Now()
	l.clock.Look()
	if l.o.Sync > 0 && now.Sub(l.synced) >= l.o.Sync {
		l.synced = now
		if err := l.files.sync(); err != nil {
			l.failed("the audit log cannot be written through to disk; free space on its disk or mend its directory", err)
		}
	}
	if now.Sub(l.pruned) < pruneEvery {
		return
	}
	l.pruned = now
	keep := l.o.Keep
	if !l.clock.Believed() {
		keep = math.MaxInt64 // a clock that is set to 2099 would have all of the trail removed
	}
	gone, err := prune(l.o.Dir, keep, l.o.MaxSize, now)
	if gone > 0 {
		l.o.Logger.Info("old files of the audit log are removed", "files", gone)
	}
	if err != nil {
		l.o.Logger.Warn("old files of the audit log cannot be removed", "error", err)
	}
}

// Append writes messages at once, for a command that finds no gateway running: it opens the log, writes, and closes it.
func Append(o Options, messages ...*Message) error {
	o.Syslog = nil
	l, err := Open(o)
	if err != nil {
		return err
	}
	defer l.Close()
	for _, m := range messages {
		l.take(m)
	}
	now := l.o.Now()
	if err := l.files.turn(now); err != nil {
		return err
	}
	return l.files.write(l.pending, now, true)
}
