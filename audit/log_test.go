package audit

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
)

const patience = 30 * time.Second

// clock is a clock that only moves when it is told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func options(t testing.TB) Options {
	return Options{Dir: t.TempDir(), Application: gate, FileSize: 1 << 20, FileAge: 24 * time.Hour, Keep: 1000 * time.Hour, MaxSize: 1 << 30}
}

// running opens a log and runs it; stop ends it.
func running(t testing.TB, o Options) (l *Log, stop func()) {
	t.Helper()
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return l, stop
}

// entries reads a whole log.
func entries(t testing.TB, dir string) (list []Entry, damaged int) {
	t.Helper()
	r, err := NewReader(dir, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		e, err := r.Next()
		if err == io.EOF {
			return list, r.Damaged()
		}
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
}

func numbered(n int) *Message { return Network(true, ct, Success, fmt.Sprint("message ", n)) }

func TestLogKeepsOrderAcrossFiles(t *testing.T) {
	o := options(t)
	o.FileSize = 20_000
	l, stop := running(t, o)
	const many = 500
	for i := range many {
		l.Record(numbered(i))
		if i%50 == 49 { // so that they come in several writes
			peertest.Eventually(t, patience, "messages written", func() bool { return len(l.queue) == 0 })
		}
	}
	stop()
	names, err := files(o.Dir)
	if err != nil || len(names) < 3 {
		t.Errorf("files %v, %v", names, err)
	}
	list, damaged := entries(t, o.Dir)
	if len(list) != many || damaged != 0 {
		t.Fatalf("%d entries, %d damaged", len(list), damaged)
	}
	for i, e := range list {
		if want := fmt.Sprint("message ", i); e.Message.Description() != want {
			t.Fatalf("entry %d is %q", i, e.Message.Description())
		}
	}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(o.Dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestLogBeginsAnewByAge(t *testing.T) {
	c := &clock{now: day}
	a := appender{dir: t.TempDir(), size: 1 << 20, age: time.Hour}
	if err := a.open(c.now); err != nil {
		t.Fatal(err)
	}
	defer a.close()
	for range 3 {
		for range 2 {
			if err := a.turn(c.now); err != nil {
				t.Fatal(err)
			}
			if err := a.write([]byte("line\n"), c.now, false); err != nil {
				t.Fatal(err)
			}
		}
		c.advance(time.Hour)
	}
	if names, err := files(a.dir); err != nil || len(names) != 3 {
		t.Errorf("files %v, %v; want one for each hour", names, err)
	}
}

// A clock that jumps ahead has nothing removed by its age while that may be wrong, and files stay in their order when it is
// set back.
func TestClockJumps(t *testing.T) {
	now, passed := day, time.Duration(0)
	o := options(t)
	o.Now, o.passed = func() time.Time { return now }, func() time.Duration { return passed }
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.place.close()
	step := func(set, pass time.Duration, want int) {
		t.Helper()
		now, passed = now.Add(set+pass), passed+pass
		l.maintain()
		if err := l.files.begin(now); err != nil {
			t.Fatal(err)
		}
		if names, err := files(o.Dir); err != nil || len(names) != want || names[want-1] != fileName(l.files.begun) {
			t.Errorf("set by %v: files %v, %v; want %d, the last one %s", set, names, err, want, fileName(l.files.begun))
		}
	}
	const year = 365 * 24 * time.Hour
	step(0, 2*time.Minute, 2)
	step(73*year, 2*time.Minute, 3)
	step(0, 23*time.Hour, 4)
	step(-73*year, time.Hour, 5)
	step(0, 2*time.Minute, 6)
	step(year, 2*time.Minute, 7)
}

func TestPrune(t *testing.T) {
	dir := t.TempDir()
	for i := range 6 { // each of a day, 1000 bytes
		name := filepath.Join(dir, fileName(day.Add(time.Duration(i)*24*time.Hour)))
		if err := os.WriteFile(name, make([]byte, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := filepath.Join(dir, "audit-notes.log")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	now := day.Add(5*24*time.Hour + time.Hour)
	// The lines of the file of day 1 end with day 2: more than three days ago. That of day 2 has younger ones.
	for _, c := range []struct {
		keep time.Duration
		most int64
		gone int
	}{{1000 * time.Hour, 1 << 20, 0}, {3 * 24 * time.Hour, 1 << 20, 2}, {1000 * time.Hour, 2500, 2}, {0, 0, 1}, {0, 0, 0}} {
		if gone, err := prune(dir, c.keep, c.most, now); gone != c.gone || err != nil {
			t.Errorf("keep %v, at most %d: %d gone, %v; want %d", c.keep, c.most, gone, err, c.gone)
		}
	}
	if names, _ := files(dir); len(names) != 1 || names[0] != fileName(day.Add(5*24*time.Hour)) {
		t.Errorf("left %v", names)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("a file that is not the log's is gone")
	}
}

// TestTornLine: a crash leaves part of a line at most, which the reader skips and the next start ends.
func TestTornLine(t *testing.T) {
	o := options(t)
	l, stop := running(t, o)
	l.Record(numbered(0))
	l.Record(numbered(1))
	stop()
	names, _ := files(o.Dir)
	path := filepath.Join(o.Dir, names[0])
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data[:len(data)-40], 0o600); err != nil {
		t.Fatal(err)
	}
	if list, damaged := entries(t, o.Dir); len(list) != 1 || damaged != 0 {
		t.Errorf("%d entries, %d damaged while the line may yet be completed", len(list), damaged)
	}
	l, stop = running(t, o)
	l.Record(numbered(2))
	stop()
	list, damaged := entries(t, o.Dir)
	if len(list) != 2 || damaged != 1 || list[1].Message.Description() != "message 2" {
		t.Errorf("%d entries, %d damaged", len(list), damaged)
	}
}

func TestOneProcessWrites(t *testing.T) {
	o := options(t)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(o); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	l.Close()
	l.Close()
	if err := Append(o, numbered(1)); err != nil {
		t.Error(err)
	}
	if list, _ := entries(t, o.Dir); len(list) != 1 {
		t.Errorf("%d entries", len(list))
	}
}

// TestGapIsTold: what does not fit into the queue is counted, and the log says so where it is missing.
func TestGapIsTold(t *testing.T) {
	o := options(t)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range queueLength + 7 { // nobody writes yet
		l.Record(numbered(i))
	}
	if lost := testutil.ToFloat64(l.metrics.lost); lost != 7 {
		t.Errorf("%v lost, want 7", lost)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	list, _ := entries(t, o.Dir)
	if len(list) != queueLength+1 {
		t.Fatalf("%d entries", len(list))
	}
	last := &list[queueLength].Message
	if last.Event.Types[0] != RecordingStopped || last.Event.Outcome != MajorFailure || !strings.HasPrefix(last.Description(), "7 audit messages of ") {
		t.Errorf("last %+v: %s", last.Event, last.Description())
	}
}

// TestFullDiskHoldsNothingUp: while nothing can be written, recording goes on at once, and what fits into the queue is
// written afterwards, in order and none of it torn.
func TestFullDiskHoldsNothingUp(t *testing.T) {
	o := options(t)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	broken, err := os.Open(os.DevNull) // not open for writing
	if err != nil {
		t.Fatal(err)
	}
	works := l.files.f
	l.files.f = broken
	l.Record(numbered(0))
	l.flush(queueLength)
	if !l.failing || testutil.ToFloat64(l.metrics.failures) == 0 {
		t.Fatal("writing to a file that is open for reading works")
	}
	for i := range 100 {
		l.Record(numbered(i + 1))
	}
	if len(l.queue) != 100 {
		t.Errorf("%d wait in the queue", len(l.queue))
	}
	l.files.f = works
	broken.Close()
	l.flush(queueLength)
	if l.failing {
		t.Error("failing still")
	}
	l.flush(queueLength)
	l.Close()
	if list, damaged := entries(t, o.Dir); len(list) != 101 || damaged != 0 || list[100].Message.Description() != "message 100" {
		t.Errorf("%d entries, %d damaged", len(list), damaged)
	}
}

// TestFailedSyncHoldsNothingUp: a sync that failed while nothing was pending does not end the writing.
func TestFailedSyncHoldsNothingUp(t *testing.T) {
	o := options(t)
	o.Sync = time.Second
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	l.Record(numbered(0))
	l.flush(queueLength)
	works := l.files.f
	pipe, other, err := os.Pipe() // cannot be synced
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	l.files.f = pipe
	l.maintain()
	if !l.failing {
		t.Fatal("a pipe can be synced")
	}
	l.files.f = works
	pipe.Close()
	for i := range 3 {
		l.Record(numbered(i + 1))
	}
	l.flush(queueLength)
	if l.failing || len(l.queue) > 0 {
		t.Errorf("failing: %v, %d wait", l.failing, len(l.queue))
	}
	l.Close()
	if list, damaged := entries(t, o.Dir); len(list) != 4 || damaged != 0 || list[3].Message.Description() != "message 3" {
		t.Errorf("%d entries, %d damaged", len(list), damaged)
	}
}

func TestInstancesAreToldByStudy(t *testing.T) {
	o := options(t)
	l, stop := running(t, o)
	for i := range 100 {
		tr := study(Transferred, Create)
		tr.Session, tr.Study = "i1", dicom.UID(fmt.Sprint("1.2.", i%2))
		l.Count(tr, ctClass, 1)
	}
	failed := study(Transferred, Create)
	failed.Session, failed.Study, failed.Outcome = "i1", "1.2.0", SeriousFailure
	l.Count(failed, ctClass, 1)
	l.EndSession("i1")
	l.EndSession("i2")
	stop()
	list, _ := entries(t, o.Dir)
	got := map[string]int{}
	for i := range list {
		s := list[i].Summary()
		got[fmt.Sprint(s.Event, " ", s.Studies[0], " ", s.Outcome, " ", s.Instances)]++
	}
	for _, want := range []string{"begin 1.2.0 0 0", "begin 1.2.1 0 0", "transferred 1.2.0 0 50", "transferred 1.2.1 0 50", "transferred 1.2.0 8 1"} {
		if got[want] != 1 {
			t.Errorf("%q is there %d times", want, got[want])
		}
	}
	if len(list) != 5 {
		t.Errorf("%d entries: %v", len(list), got)
	}
}

func TestTallyIsBounded(t *testing.T) {
	c := &clock{now: day}
	var told []*Message
	ta := newTally(func(m *Message) { told = append(told, m) }, c.Now)
	tr := study(Exported, Read)
	for i := range maxCounts + 10 {
		c.advance(time.Millisecond)
		tr.Study = dicom.UID(fmt.Sprint("1.2.", i))
		ta.add(tr, ctClass, 1)
	}
	if len(ta.counts) != maxCounts || len(told) != 10 || told[0].Studies()[0] != "1.2.0" {
		t.Errorf("%d added up, %d told, the first %v", len(ta.counts), len(told), told[0].Studies())
	}
	for i := range 2 * maxClasses {
		ta.add(tr, dicom.UID(fmt.Sprint("1.9.", i)), 1)
	}
	if n := len(ta.counts[tr].classes); n > maxClasses {
		t.Errorf("%d classes", n)
	}
	if n := tr.finished(ta.counts[tr].classes).Instances(); n != 2*maxClasses+1 {
		t.Errorf("%d instances, want %d", n, 2*maxClasses+1)
	}
	c.advance(idleAfter)
	if ta.due(false); len(ta.counts) != 0 || len(ta.sessions) != 0 || len(told) != maxCounts+10 {
		t.Errorf("%d left, %d told", len(ta.counts), len(told))
	}
}

func TestNoLogRecordsNothing(t *testing.T) {
	var l *Log
	l.Record(numbered(1))
	l.Count(Transfer{}, "", 1)
	l.EndSession("x")
	l.Close()
	if err := l.Run(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestReaderFollowsAndBeginsSomewhere(t *testing.T) {
	o := options(t)
	o.FileSize = 2000
	l, stop := running(t, o)
	r, err := NewReader(o.Dir, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i := range 30 {
		l.Record(numbered(i))
		var e Entry
		peertest.Eventually(t, patience, "entry read", func() bool {
			e, err = r.Next()
			return err != io.EOF
		})
		if err != nil || e.Message.Description() != fmt.Sprint("message ", i) {
			t.Fatalf("entry %d: %q, %v", i, e.Message.Description(), err)
		}
	}
	stop()
	list, _ := entries(t, o.Dir)
	later, err := NewReader(o.Dir, list[20].Time)
	if err != nil {
		t.Fatal(err)
	}
	defer later.Close()
	if e, err := later.Next(); err != nil || e.Time.Before(list[20].Time) {
		t.Errorf("first since %v: %v, %v", list[20].Time, e.Time, err)
	}
}

func TestReaderSkipsWhatIsNoLine(t *testing.T) {
	dir := t.TempDir()
	good := append(lineOf(t, numbered(1)), '\n')
	data := bytes.Join([][]byte{good, []byte("junk\n\n"), bytes.Repeat([]byte{0}, 5*maxLine), []byte("\n"), good, []byte("<85>1 torn")}, nil)
	for i := range 2 {
		if err := os.WriteFile(filepath.Join(dir, fileName(day.Add(time.Duration(i)*time.Hour))), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, damaged := entries(t, dir)
	if len(list) != 4 || damaged < 5 {
		t.Errorf("%d entries, %d damaged", len(list), damaged)
	}
}
