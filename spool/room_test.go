package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"dcmgate/internal/synth"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// TestMemTablesHaveBlocks fills several memtables: the log that is written has its blocks from the start, and Badger says
// when a compaction is about to write a table.
func TestMemTablesHaveBlocks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	room := newIndexRoom(dir, newReserve("", 0))
	if err := room.forOpen(); err != nil {
		t.Fatal(err)
	}
	var tables atomic.Int32
	db, err := badger.Open(indexOptions(dir, indexLog{slog.New(slog.DiscardHandler), func() { tables.Add(1) }}))
	if err != nil {
		t.Fatal(err)
	}
	if err := room.opened(); err != nil {
		t.Fatal(err)
	}
	numbers := map[uint64]bool{}
	now := activeMemTable(t, room).number
	commit := func(writes []write) {
		before, used := now, room.used
		if room.spare != "" && exists(room.spare) {
			if st, err := os.Stat(room.spare); err == nil && st.Size() > 0 {
				used = room.last
			}
		}
		if err := room.forWrite(memTableBytes(writes), false); err != nil {
			t.Fatal(err)
		}
		if err := writeAll(db, writes); err != nil {
			t.Fatal(err)
		}
		active := activeMemTable(t, room)
		now = active.number
		if numbers[now] = true; now != before && used < memTableSize {
			t.Fatalf("the next memtable was begun when one had %d bytes at most", used)
		}
		if now != before && used > memTableSize*3/2 {
			t.Fatalf("one was begun when that before had %d bytes at most, so many are counted in vain", used)
		}
		var st unix.Stat_t
		if err := unix.Stat(active.path, &st); err != nil {
			t.Fatal(err)
		}
		if st.Blocks*512 < memTableRoom {
			t.Fatalf("%s has %d bytes of blocks", active.path, st.Blocks*512)
		}
	}
	for i := range 150 {
		commit([]write{{fmt.Appendf(nil, "%03d", i), make([]byte, 500_000)}})
	}
	for i := range 100 { // many small ones
		var list []write
		for k := range maxTxEntries {
			list = append(list, write{fmt.Appendf(nil, "%03d%06d", i, k), nil})
		}
		commit(list)
	}
	if len(numbers) < 6 {
		t.Errorf("%d memtables were used", len(numbers))
	}
	waitFor(t, func() bool { return tables.Load() > 0 })
	if err := closeIndex(db, room, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if left, err := room.memTables(); err != nil || len(left) != 0 {
		t.Errorf("%v left, %v", left, err)
	}
}

// activeMemTable is the one that Badger writes.
func activeMemTable(t *testing.T, r *indexRoom) memTable {
	t.Helper()
	logs, err := r.memTables()
	if err != nil {
		t.Fatal(err)
	}
	for i := len(logs) - 1; i >= 0; i-- {
		if logs[i].size > 0 {
			return logs[i]
		}
	}
	t.Fatal("no memtable")
	return memTable{}
}

// TestOpenAfterACrashWithASpare opens an index with which a spare was left.
func TestOpenAfterACrashWithASpare(t *testing.T) {
	dir := t.TempDir()
	s := openSpool(t, dir, small())
	o := synth.NewTemplate(3000, 1).Object(1, 1, 1)
	mustSend(t, s, o)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"00001.mem", "00007.mem"} {
		if err := os.WriteFile(filepath.Join(dir, indexDir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if r := mustSend(t, openSpool(t, dir, small()), o); r.Outcome != Duplicate {
		t.Errorf("%v", r.Outcome)
	}
}

func TestOpenWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	held := filepath.Join(dir, reserveName)
	if err := os.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	room := newIndexRoom(filepath.Join(dir, indexDir), newReserve(held, 64<<20))
	for _, row := range []struct {
		name        string
		with, after int64 // free with the reserve held and when it is given
		gives, ok   bool
	}{
		{"room", 1 << 30, 1 << 30, false, true},
		{"the reserve does", 1 << 20, 64 << 20, true, true},
		{"no room", 1 << 20, 3 << 20, true, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := os.WriteFile(held, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			room.reserve.held = true
			room.free = func() (int64, error) {
				if exists(held) {
					return row.with, nil
				}
				return row.after, nil
			}
			db, err := openIndex(room, slog.New(slog.DiscardHandler))
			if err == nil {
				db.Close()
			}
			if row.ok != (err == nil) || row.gives == exists(held) {
				t.Errorf("error %v, reserve held: %v", err, exists(held))
			}
			if err != nil && (!errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "3 MiB are free")) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// TestIndexWithoutRoom takes the room, or the right to write, away under a spool at work: it is red, stores what is in
// reception and no more, and goes on by itself.
func TestIndexWithoutRoom(t *testing.T) {
	for _, row := range []struct {
		name   string
		cause  error
		breaks func(*indexRoom, *atomic.Bool)
	}{
		{"full", syscall.ENOSPC, func(r *indexRoom, broken *atomic.Bool) {
			r.used = memTableSize
			r.free = func() (int64, error) {
				if broken.Load() {
					return 0, nil
				}
				return 1 << 30, nil
			}
		}},
		{"read-only", syscall.EROFS, func(r *indexRoom, broken *atomic.Bool) { r.writes = failing(broken, syscall.EROFS) }},
		{"shut down", syscall.EIO, func(r *indexRoom, broken *atomic.Bool) { r.writes = failing(broken, syscall.EIO) }},
	} {
		t.Run(row.name, func(t *testing.T) { testIndexWithoutRoom(t, row.cause, row.breaks) })
	}
}

func failing(broken *atomic.Bool, err error) func() error {
	return func() error {
		if broken.Load() {
			return err
		}
		return nil
	}
}

func testIndexWithoutRoom(t *testing.T, cause error, breakIt func(*indexRoom, *atomic.Bool)) {
	t.Helper()
	s := openSpool(t, t.TempDir(), small())
	tpl := synth.NewTemplate(3000, 1)
	mustSend(t, s, tpl.Object(1, 1, 0))
	flush(t, s)
	var broken atomic.Bool
	broken.Store(true)
	err := s.adjust(func(x *tx) error {
		x.onDurable(func() { breakIt(s.room, &broken) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	mustSend(t, s, tpl.Object(1, 1, 1))
	waitFor(t, func() bool { return errors.Is(s.Health(), cause) })
	if _, err := s.Begin(incoming(tpl.Object(1, 1, 2))); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("begin: %v", err)
	}
	if _, err := s.Drop(t.Context(), JobFilter{}, "nobody waits for ever"); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("drop: %v", err)
	}
	broken.Store(false)
	waitFor(t, func() bool { return s.Health() == nil })
	s.pressure.refuse.Store(0)
	s.pressure.next.Store(0)
	mustSend(t, s, tpl.Object(1, 1, 2))
	verifyClean(t, s)
}
