package spool

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

const memTableSize = 16 << 20

// indexOptions are the settings of the index. They were chosen by measurement for a small machine: one million
// instances take 15 MB of anonymous memory. SyncWrites is not negotiable: without it a power cut loses what the
// checkpoints say is there.
func indexOptions(dir string, log badger.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.SyncWrites = true
	o.DetectConflicts = false // one writer
	o.MemTableSize = memTableSize
	o.NumMemtables = 2
	o.NumLevelZeroTables = 2
	o.NumLevelZeroTablesStall = 8
	o.NumCompactors = 2
	o.NumGoroutines = 2
	o.BlockCacheSize = 0
	o.IndexCacheSize = 16 << 20
	o.Compression = options.None
	o.ValueThreshold = 1 << 20 // everything stays in the tree
	o.ValueLogFileSize = 64 << 20
	o.NumVersionsToKeep = 1
	o.MetricsEnabled = false
	o.Logger = log
	return o
}

// openIndex opens an index, if all of it can be read and there is room for what opening writes. Badger would not tell.
func openIndex(room *indexRoom, log *slog.Logger) (*badger.DB, error) {
	if err := checkIndex(room.dir); err != nil {
		return nil, err
	}
	if err := room.forOpen(); err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	if err := settleIndex(room.dir, log); err != nil {
		return nil, fmt.Errorf("open the index: %w", err)
	}
	db, err := badger.Open(indexOptions(room.dir, indexLog{log, room.forTable}))
	if err != nil {
		return nil, fmt.Errorf("open the index: %w", notOpened(room.dir, err))
	}
	if err := room.opened(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the index: %w", err), closeIndex(db, room, log))
	}
	return db, nil
}

// closeWait is how long closing the index may take: two memtables of memTableSize are written at most.
const closeWait = 20 * time.Second

// closeIndex closes an index. Closing writes a table; without room for it the index is left as a crash would leave it:
// everything is in the logs of the memtables, and the process is about to end. So it is if the disk begins to fail
// meanwhile: Badger tries the table for ever, and the goroutine that waits for it is left to the end of the process.
func closeIndex(db *badger.DB, room *indexRoom, log *slog.Logger) error {
	if err := room.forClose(); err != nil {
		log.Warn("the index is not closed; the next start reads its logs", "error", err)
		return nil
	}
	room.closing()
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	timer := time.NewTimer(closeWait)
	defer timer.Stop()
	select {
	case err := <-closed:
		if err != nil {
			return fmt.Errorf("close the index: %w", err)
		}
		return room.closed()
	case <-timer.C:
		return errors.Join(fmt.Errorf("close the index: its last table could not be written within %v; see to the disk, everything is in the logs of the index", closeWait),
			room.ask(indexRoomLeast)) // why, if the disk still fails
	}
}

// indexLog passes on what an operator can act upon.
type indexLog struct {
	log      *slog.Logger
	forTable func()
}

// beforeTable begins the message that Badger's compaction gives in the goroutine that writes a table next. There is no
// other place to hold it up.
const beforeTable = "[%d] LOG Compact. Added"

func (l indexLog) Errorf(f string, a ...any) { l.log.Error("index", "detail", fmt.Sprintf(f, a...)) }

func (l indexLog) Warningf(f string, a ...any) { l.log.Warn("index", "detail", fmt.Sprintf(f, a...)) }

func (indexLog) Infof(string, ...any) {}

func (l indexLog) Debugf(f string, _ ...any) {
	if strings.HasPrefix(f, beforeTable) {
		l.forTable()
	}
}

// get copies a value; ok is false if the key is not there.
func get(txn *badger.Txn, key []byte) (value []byte, ok bool, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the index: %w", err)
	}
	value, err = item.ValueCopy(nil)
	if err != nil {
		return nil, false, fmt.Errorf("read the index: %w", err)
	}
	return value, true, nil
}

// scan calls fn for the keys under prefix from start on (nil: from the first), until fn says no more. Key and value are
// good during the call; value is nil unless wanted. Badger allows one scan at a time in a transaction that writes.
func scan(txn *badger.Txn, prefix, start []byte, values bool, fn func(key, value []byte) (bool, error)) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix})
	defer it.Close()
	if bytes.Compare(start, prefix) < 0 {
		start = prefix
	}
	for it.Seek(start); it.ValidForPrefix(prefix); it.Next() {
		more, err := scanItem(it.Item(), values, fn)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

func scanItem(item *badger.Item, values bool, fn func(key, value []byte) (bool, error)) (more bool, err error) {
	if !values {
		return fn(item.Key(), nil)
	}
	verr := item.Value(func(value []byte) error {
		more, err = fn(item.Key(), value)
		return nil
	})
	if verr != nil {
		return false, fmt.Errorf("read the index: %w", verr)
	}
	return more, err
}

// after is the first key behind key, for resuming a scan.
func after(key []byte) []byte { return append(bytes.Clone(key), 0) }
