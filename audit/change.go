package audit

import (
	"fmt"
	"os"
	"time"
)

// place is the directory that a log is in. It is locked.
type place struct {
	lock  *os.File
	files appender
}

func openPlace(o *Options, now time.Time) (p place, err error) {
	p.files = appender{dir: o.Dir, size: o.FileSize, age: o.FileAge}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return p, fmt.Errorf("audit log: %w", err)
	}
	if p.lock, err = lockDir(o.Dir); err != nil {
		return p, err
	}
	if err := p.files.open(now); err != nil {
		p.lock.Close()
		return p, fmt.Errorf("audit log: %w", err)
	}
	return p, nil
}

func (p *place) close() error {
	err := p.files.close()
	p.lock.Close() // twice does nothing
	return err
}

// Change is a change of a running log's options that is prepared. Either Apply or Cancel is to be called.
type Change struct {
	log   *Log
	o     Options
	place *place // nil: it stays
	made  chan struct{}
}

// Change prepares for other options: a new directory is made and opened. Logger, Metrics and Now stay as they are. It is for
// one goroutine, and for a log that runs.
func (l *Log) Change(o Options) (*Change, error) {
	c := &Change{log: l, o: o, made: make(chan struct{})}
	if o.Dir != l.dir {
		p, err := openPlace(&o, l.tally.now())
		if err != nil {
			return nil, err
		}
		c.place = &p
	}
	return c, nil
}

// Cancel gives the change up.
func (c *Change) Cancel() {
	if c.place != nil {
		_ = c.place.close() // nothing was written
	}
}

// Apply has the log go on as the options say, and returns when it does. What was recorded before goes where it was to go,
// if that can be written; a log that changes its directory says so at the end of the one and at the beginning of the other.
func (c *Change) Apply() {
	select {
	case c.log.changes <- c:
		<-c.made
		c.log.dir = c.o.Dir
	case <-c.log.ended:
		c.Cancel()
	}
}

// change puts a change into force.
func (l *Log) change(c *Change) {
	from := l.o
	c.o.Logger, c.o.Metrics, c.o.Now = from.Logger, from.Metrics, from.Now
	if c.place != nil {
		l.flush(queueLength)
		l.take(Alert(RecordingStopped, Success, "file:"+from.Dir, "the audit trail goes on in "+c.o.Dir, from.Application))
		l.flush(queueLength)
		if err := l.close(); err != nil {
			l.failed("the audit log cannot be closed; free space on its disk or mend its directory", err)
		}
		l.place, l.failing = *c.place, false
	}
	l.use(c.o)
	if c.place != nil || !from.Syslog.same(c.o.Syslog) {
		l.resend(c.place != nil) // begins with what is written from here on
	}
	if c.place != nil {
		l.take(Alert(RecordingStarted, Success, "file:"+c.o.Dir, "the audit trail was in "+from.Dir+" before", c.o.Application))
		l.flush(queueLength)
	}
	close(c.made)
}

// use takes options that need no preparation.
func (l *Log) use(o Options) {
	l.o = o
	l.source = Source{Site: o.Site, ID: o.Application.AETitle, Types: []SourceType{{applicationServer}}}
	l.files.size, l.files.age = o.FileSize, o.FileAge
}

// resend has the sender of before end, and another begin if there is a server. The other goes on where that one ends,
// unless the log has moved.
func (l *Log) resend(moved bool) {
	var after <-chan struct{}
	if s := l.sender; s != nil {
		l.leaving.Go(func() {
			s.stop()
			if moved {
				s.tellUnsent()
			}
		})
		if !moved {
			after = s.ended
		}
	}
	l.sender = nil
	if l.o.Syslog != nil {
		l.sender = newSender(l, *l.o.Syslog)
		l.sender.start(after)
	}
}
