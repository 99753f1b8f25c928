package audit

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/internal/peertest"
)

// descriptions are what the entries of a log say.
func descriptions(t *testing.T, dir string) (list []string) {
	t.Helper()
	all, damaged := entries(t, dir)
	if damaged > 0 {
		t.Errorf("%d lines are damaged", damaged)
	}
	for i := range all {
		list = append(list, all[i].Message.Description())
	}
	return list
}

func apply(t *testing.T, l *Log, o Options) {
	t.Helper()
	c, err := l.Change(o)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply()
}

// TestLogMoves: each message is in one of the directories, in order, and both say where the trail goes on.
func TestLogMoves(t *testing.T) {
	o := options(t)
	l, stop := running(t, o)
	dirs := []string{o.Dir, filepath.Join(t.TempDir(), "new"), filepath.Join(t.TempDir(), "newer"), o.Dir}
	for i, dir := range dirs {
		if i > 0 {
			o.Dir = dir
			apply(t, l, o)
		}
		for n := range 10 {
			l.Record(numbered(10*i + n))
		}
	}
	stop()
	var numbers []string
	for i, dir := range dirs[:3] {
		list := descriptions(t, dir)
		if i > 0 {
			if want := "the audit trail was in " + dirs[i-1] + " before"; list[0] != want {
				t.Errorf("%s begins with %q, want %q", dir, list[0], want)
			}
		}
		if want := "the audit trail goes on in " + dirs[i+1]; !slices.Contains(list, want) {
			t.Errorf("%s does not say %q", dir, want)
		}
		numbers = append(numbers, slices.DeleteFunc(list, func(d string) bool { return !strings.HasPrefix(d, "message") })...)
		o.Dir = dir
		if err := Append(o, numbered(-1)); err != nil {
			t.Errorf("not given up: %v", err)
		}
	}
	seen := make(map[string]bool)
	for _, n := range numbers {
		seen[n] = true
	}
	if len(numbers) != 40 || len(seen) != 40 || !slices.IsSorted(numbers[:10]) {
		t.Errorf("%d messages, %d of them different: %v", len(numbers), len(seen), numbers)
	}
}

// TestLogMovesOffABrokenDisk: what could not be written there is written to the new directory.
func TestLogMovesOffABrokenDisk(t *testing.T) {
	o := options(t)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	works := l.files.f
	defer works.Close()
	if l.files.f, err = os.Open(os.DevNull); err != nil { // not open for writing
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	for i := range 20 {
		l.Record(numbered(i))
	}
	peertest.Eventually(t, patience, "failure to write", func() bool { return testutil.ToFloat64(l.metrics.failures) > 0 })
	o.Dir = t.TempDir()
	apply(t, l, o)
	l.Record(numbered(20))
	peertest.Eventually(t, patience, "messages in the new directory", func() bool { return len(l.queue) == 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	list := slices.DeleteFunc(descriptions(t, o.Dir), func(d string) bool { return !strings.HasPrefix(d, "message") })
	if len(list) != 21 || list[0] != "message 0" || list[20] != "message 20" {
		t.Errorf("%d messages: %v", len(list), list)
	}
}

func TestChangeThatCannotBe(t *testing.T) {
	o := options(t)
	l, stop := running(t, o)
	other := options(t)
	writes, err := Open(other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Change(other); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("%v", err)
	}
	writes.Close()
	c, err := l.Change(other)
	if err != nil {
		t.Fatal(err)
	}
	c.Cancel()
	l.Record(numbered(1))
	stop()
	if list := descriptions(t, o.Dir); len(list) != 1 {
		t.Errorf("%q", list)
	}
	if err := Append(other, numbered(2)); err != nil {
		t.Errorf("not given up: %v", err)
	}
}

// TestLimitsChange begins files as the options say that are in force.
func TestLimitsChange(t *testing.T) {
	o := options(t)
	l, stop := running(t, o)
	count := func() int {
		names, err := files(o.Dir)
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	o.FileSize = 1
	apply(t, l, o)
	for i := range 3 {
		before := testutil.ToFloat64(l.metrics.bytes)
		l.Record(numbered(i))
		peertest.Eventually(t, patience, fmt.Sprint("message ", i), func() bool { return testutil.ToFloat64(l.metrics.bytes) > before })
		if n := count(); n != i+1 {
			t.Errorf("%d files after %d messages", n, i+1)
		}
	}
	stop()
}

// TestSyslogServerChanges: what one server has not had goes to the next, also when the log moves.
func TestSyslogServerChanges(t *testing.T) {
	config, pool, _, _ := serverTLS(t)
	server := func() (*receiver, *Syslog) {
		r := newReceiver(t, config, "127.0.0.1:0")
		return r, &Syslog{Transport: TransportTLS, Address: r.l.Addr().String(), TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}}
	}
	first, to := server()
	o := options(t)
	o.Syslog = to
	l, stop := running(t, o)
	record := func(from, to int) {
		for i := from; i < to; i++ {
			l.Record(numbered(i))
		}
	}
	var second *receiver
	arrived := func(from, to int) { // at either: the one before may have had the first of them
		t.Helper()
		for i := from; i < to; i++ {
			peertest.Eventually(t, patience, fmt.Sprint("message ", i), func() bool {
				return first.has(i, i+1) || second != nil && second.has(i, i+1)
			})
		}
	}
	record(0, 50)
	arrived(0, 50)
	second, to = server()
	o.Syslog = to
	apply(t, l, o)
	record(50, 100)
	arrived(50, 100)
	o.Dir = t.TempDir()
	apply(t, l, o)
	record(100, 150)
	arrived(100, 150)
	connections := func(n float64) func() bool {
		return func() bool { return testutil.ToFloat64(l.metrics.connected) == n }
	}
	peertest.Eventually(t, patience, "one connection", connections(1))
	record(150, 151)
	peertest.Eventually(t, patience, "a message at the second server", func() bool { return second.has(150, 151) })
	o.Syslog = nil
	apply(t, l, o)
	peertest.Eventually(t, patience, "the end of the connection", connections(0))
	record(151, 160)
	stop()
	if first.has(150, 151) || second.has(151, 152) {
		t.Error("sent to a server that is none any more")
	}
	if second.has(0, 1) {
		t.Error("the second server got what the first had")
	}
}

// TestChangeInAFlood: a change is made although there is always another message.
func TestChangeInAFlood(t *testing.T) {
	o := options(t)
	o.Sync = -1
	l, stop := running(t, o)
	var over atomic.Bool
	var flood sync.WaitGroup
	for range 4 {
		flood.Go(func() {
			for n := 0; !over.Load(); n++ {
				l.Record(numbered(n))
			}
		})
	}
	defer flood.Wait()
	defer over.Store(true)
	made := make(chan struct{})
	go func() {
		defer close(made)
		for range 3 {
			o.Keep++
			if c, err := l.Change(o); err != nil {
				t.Error(err)
			} else {
				c.Apply()
			}
		}
	}()
	select {
	case <-made:
	case <-time.After(patience):
		t.Fatal("no change is made")
	}
	over.Store(true)
	flood.Wait()
	stop()
}
