package spool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

const (
	// memTableRoom is as much of a memtable's log as is ever written: it is full at memTableSize, and one transaction
	// (15 % of it at most) may follow. Badger makes the file twice as long as a memtable, all of it a hole.
	memTableRoom = memTableSize + memTableSize/4
	// memTableRelief is kept for evictions, each of which takes some 2 KiB.
	memTableRelief = memTableSize / 4
	// indexRoomLeast is what has to be free when a memtable may be full: for its table, and those of the compaction that
	// follows.
	indexRoomLeast = 3 * memTableSize
	// indexOpenLeast is what opening the index takes beside what depends on the memtables it finds.
	indexOpenLeast = memTableSize / 2
	// indexOpenUsed is more than a new memtable has before the first transaction that room is asked for.
	indexOpenUsed = 4 << 10

	memTableSuffix = ".mem"
)

// indexRoom sees to it that Badger finds room for what it writes. It writes into files that it maps, and a store into a
// page for which the file system has no block, or that has become read-only, kills the process by SIGBUS. Where other programs fill the disk too, it
// does not help to look before: so the logs of the memtables, which take every transaction, get their blocks ahead, that
// of the next memtable in time. For the tables, whose names and sizes only Badger knows, room is asked for when the memtable may
// be full, and only then: what evicts, and so makes room, needs the index, too, and mostly finds blocks for many thousand
// transactions on a disk that is full.
type indexRoom struct {
	dir     string
	reserve *reserve
	free    func() (int64, error)   // of the file system
	pool    func(bytes int64) error // gives so many bytes back to it, if there are as many to give
	writes  func() error            // an error if the file system takes no writes at present

	once sync.Once
	done chan struct{} // ends the waits for room

	spare string // the log that the next memtable is going to have; "" if it has no blocks yet
	used  int64  // bytes that the memtable has taken at most
	last  int64  // of them, those of the last transaction
}

func newIndexRoom(dir string, r *reserve) *indexRoom {
	free := func() (int64, error) { // of where the index is, which may lead elsewhere
		n, err := freeBytes(dir)
		if errors.Is(err, os.ErrNotExist) {
			return freeBytes(filepath.Dir(dir))
		}
		return n, err
	}
	return &indexRoom{
		dir: dir, reserve: r, free: free, pool: func(int64) error { return nil }, writes: func() error { return writable(dir) }, done: make(chan struct{}),
	}
}

// writable is an error if the file system of an index has become read-only, or was shut down, as happens after an error of
// the disk. The kernel says so to whoever opens a file for writing; ext4 does not show it in statfs.
func writable(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, badger.ManifestFilename), os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // no index yet
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// freeBytes is what the file system of a directory has left for this user.
func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// noRoomError says that the index must not be written. It is an ENOSPC.
type noRoomError struct {
	dir        string
	free, need int64
}

func (e *noRoomError) Error() string {
	return fmt.Sprintf("no room for the index: %d MiB are free on the file system of %s and %d MiB are needed; free space there",
		e.free>>20, e.dir, (e.need+1<<20-1)>>20)
}

func (e *noRoomError) Unwrap() error { return syscall.ENOSPC }

func (e *noRoomError) Is(target error) bool { return target == errSaysWhatToDo }

// ask wants so many bytes free on a file system that takes writes. It gives the reserve for them if it has to, and then what the
// pool of segments holds ready: the evictor, which would see to that, waits for the index as well.
func (r *indexRoom) ask(need int64) error {
	if err := r.writes(); err != nil {
		return err
	}
	free, err := r.free()
	if err == nil && free < need && r.reserve.give() {
		free, err = r.free()
	}
	if err == nil && free < need {
		if err = r.pool(need - free); err == nil {
			free, err = r.free()
		}
	}
	if err == nil && free < need {
		err = &noRoomError{dir: r.dir, free: free, need: need}
	}
	return err
}

// lacking tells that the file system has no room for the index, or takes no writes.
func (r *indexRoom) lacking() bool {
	free, err := r.free()
	return err != nil || free < indexRoomLeast || r.writes() != nil
}

// forWrite is asked before each transaction, with the bytes that it takes of a memtable at most. Only a transaction can make
// Badger take the next memtable and write a table of the one before, and only if that is full. The last part of a memtable is
// left to what makes room while there is none for the next.
func (r *indexRoom) forWrite(bytes int64, relief bool) error {
	if r.spare != "" {
		switch st, err := os.Stat(r.spare); {
		case err != nil: // another is made before there is need of one
			r.spare = ""
		case st.Size() > 0: // the last transaction has begun it
			r.spare, r.used = "", r.last
		}
	}
	limit := int64(memTableSize - memTableRelief)
	if relief {
		limit = memTableSize
	}
	if r.used < limit {
		if err := r.writes(); err != nil {
			return err
		}
	} else if err := r.forNext(); err != nil {
		return err
	}
	if bytes > 0 {
		r.used, r.last = r.used+bytes, bytes
	}
	return nil
}

// forNext sees to it that Badger can take the next memtable.
func (r *indexRoom) forNext() error {
	if err := r.ask(indexRoomLeast); err != nil || r.spare != "" {
		return err
	}
	return r.prepareSpare()
}

// forTable is called before a compaction writes a table, and waits until there is room.
func (r *indexRoom) forTable() {
	for r.ask(indexRoomLeast) != nil {
		select {
		case <-r.done:
			return
		case <-time.After(retryInterval):
		}
	}
}

// closing ends the waits: there is room enough to close.
func (r *indexRoom) closing() { r.once.Do(func() { close(r.done) }) }

// forOpen is asked before the index is opened: that makes a memtable, and flushes those that are left.
func (r *indexRoom) forOpen() error {
	logs, err := r.memTables()
	if err != nil {
		return err
	}
	if err := r.removeEmptyValueLogs(); err != nil {
		return err
	}
	need := int64(indexOpenLeast + memTableRoom)
	for _, l := range logs {
		if l.size == 0 {
			// A spare, or one that was being deleted. Badger would not open the index with it.
			if err := os.Remove(l.path); err != nil {
				return err
			}
			continue
		}
		need += min(l.size, memTableRoom)
	}
	return r.ask(need)
}

// removeEmptyValueLogs removes logs of values that have no length: each opening makes one, and the power can go before that
// has its length. They hold nothing, and Badger would not open the index with one.
func (r *indexRoom) removeEmptyValueLogs() error {
	paths, err := filepath.Glob(filepath.Join(r.dir, "*.vlog"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if st, err := os.Stat(path); err != nil || st.Size() > 0 {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	return nil
}

// opened gives the memtable its blocks that opening the index has made.
func (r *indexRoom) opened() error {
	logs, err := r.memTables()
	if err != nil || len(logs) == 0 {
		return err
	}
	r.used = indexOpenUsed
	return allocate(logs[len(logs)-1].path, 0)
}

// prepareSpare makes the log of the next memtable: a file without length that has blocks all the same. Badger takes a
// file that is empty for a new one, and sets its length.
func (r *indexRoom) prepareSpare() error {
	r.spare = ""
	logs, err := r.memTables()
	if err != nil {
		return err
	}
	next := uint64(1)
	if n := len(logs); n > 0 && logs[n-1].size == 0 {
		next = logs[n-1].number // could not be given blocks the last time
	} else if n > 0 {
		next = logs[n-1].number + 1
	}
	path := filepath.Join(r.dir, fmt.Sprintf("%05d%s", next, memTableSuffix))
	if err := allocate(path, unix.FALLOC_FL_KEEP_SIZE); err != nil {
		return err
	}
	r.spare = path
	return nil
}

// forClose is asked before the index is closed, which flushes the memtables.
func (r *indexRoom) forClose() error {
	logs, err := r.memTables()
	if err != nil {
		return err
	}
	need := int64(indexOpenLeast)
	for _, l := range logs {
		if l.size > 0 {
			need += memTableRoom
		}
	}
	return r.ask(need)
}

// closed removes the spare.
func (r *indexRoom) closed() error {
	if r.spare == "" {
		return nil
	}
	if st, err := os.Stat(r.spare); err != nil || st.Size() != 0 {
		return nil // it became a memtable
	}
	return os.Remove(r.spare)
}

// allocate gives a log its blocks. Where the file system cannot, there is no more than the asking.
func allocate(path string, mode uint32) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), mode, 0, memTableRoom)
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return &os.PathError{Op: "fallocate", Path: path, Err: err}
}

// memTable is the log of a memtable.
type memTable struct {
	path   string
	number uint64
	size   int64
}

// memTables lists the logs of the memtables, the youngest last.
func (r *indexRoom) memTables() ([]memTable, error) {
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var logs []memTable
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), memTableSuffix)
		number, err := strconv.ParseUint(name, 10, 32)
		if !ok || err != nil {
			continue
		}
		st, err := e.Info()
		if errors.Is(err, os.ErrNotExist) {
			continue // flushed at this moment
		}
		if err != nil {
			return nil, err
		}
		logs = append(logs, memTable{filepath.Join(r.dir, e.Name()), number, st.Size()})
	}
	slices.SortFunc(logs, func(a, b memTable) int { return int(int64(a.number) - int64(b.number)) })
	return logs, nil
}
