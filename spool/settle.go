package spool

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"dcmgate/internal/durable"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
)

// settleIndex makes durable what the process before has left of an index, before Badger reads it. That process may have been
// killed between a write and its sync: what is read from the page cache could be lost with the power after what follows from
// it, in another file, is durable. So the MANIFEST could name tables again that were removed, or a later transaction be
// there without an earlier one. Tables are left out, as the MANIFEST names them when they are synced; of the other files nothing
// has to be read, but Badger syncs them when it opens, and would not if it were told late.
func settleIndex(dir string, log *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		_, isTable := table.ParseFileID(e.Name())
		switch {
		case isTable || !e.Type().IsRegular():
		case strings.HasSuffix(e.Name(), durable.Beside): // of a process that died while it settled
			err = os.Remove(path)
		case e.Name() == badger.ManifestFilename || strings.HasSuffix(e.Name(), memTableSuffix):
			err = settleFile(path, log)
		default:
			err = settleName(path, log)
		}
		if err != nil {
			return fmt.Errorf("make durable what the process before has written: %w", err)
		}
	}
	return settleName(dir, log)
}

func settleFile(path string, log *slog.Logger) error {
	if st, err := os.Stat(path); err != nil || st.Size() == 0 { // a spare has nothing to lose
		return err
	}
	told, err := durable.Settle(path)
	if told != nil {
		tellLate(log, told)
	}
	return err
}

// settleName syncs a folder, so that the names of its files are durable, or a file of which nothing is read.
func settleName(path string, log *slog.Logger) error {
	told, err := durable.Settled(func() error { return durable.SyncDir(path) })
	if err == nil && told != nil {
		tellLate(log, told)
	}
	return err
}

// tellLate logs what the kernel told of a write of a process before, whose error nobody had got so far.
func tellLate(log *slog.Logger, err error) {
	log.Warn("the disk told late of a write that had failed", "error", err)
}
