package segment

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options are a store's settings. The zero value of each field means its default.
type Options struct {
	SegmentSize  int64            // nominal size of a segment in bytes; 128 MiB
	AllocateStep int64            // bytes reserved on disk at a time, before data is accepted; 32 MiB
	MaxLanes     int              // writers at once; 256
	PoolBytes    int64            // bytes of dead segments kept to be written again; 2 GiB; negative: none
	MaxOpenFiles int              // descriptors kept open for reading, beside those in use; 64
	Now          func() time.Time // seeds generations; time.Now
}

const (
	defaultSegmentSize  = 128 << 20
	defaultAllocateStep = 32 << 20
	defaultMaxLanes     = 256
	defaultPoolBytes    = 2 << 30
	defaultMaxOpenFiles = 64
	minSegmentSize      = 256 << 10
)

// minRoom is the room below which a segment takes no further record: an object of ordinary size begun there would have
// to allocate while it streams in, when a full disk is met too late.
func (o Options) minRoom() int64 { return min(1<<20, o.SegmentSize/4) }

// withDefaults fills in the defaults and checks the rest.
func (o Options) withDefaults() (Options, error) {
	set := func(v *int64, otherwise int64) {
		if *v == 0 {
			*v = otherwise
		}
	}
	set(&o.SegmentSize, defaultSegmentSize)
	set(&o.AllocateStep, min(defaultAllocateStep, o.SegmentSize))
	set(&o.PoolBytes, defaultPoolBytes)
	if o.MaxLanes == 0 {
		o.MaxLanes = defaultMaxLanes
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = defaultMaxOpenFiles
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	switch {
	case o.SegmentSize < minSegmentSize || o.SegmentSize%Alignment != 0:
		return o, fmt.Errorf("segment: segment size %d is not a multiple of %d from %d on", o.SegmentSize, Alignment, minSegmentSize)
	case o.AllocateStep < Alignment || o.AllocateStep%Alignment != 0:
		return o, fmt.Errorf("segment: allocation step %d is not a multiple of %d", o.AllocateStep, Alignment)
	case o.MaxLanes < 0 || o.MaxOpenFiles < 0:
		return o, errors.New("segment: negative limit")
	}
	return o, nil
}

// Store is a directory of segments. Its methods may be called by many goroutines.
type Store struct {
	disk    disk
	o       Options
	files   handles
	lock    io.Closer
	scratch sync.Pool // of *scratch
	group   group

	// calls is held for reading by every call that touches the disk, so that Close can wait for them.
	calls sync.RWMutex

	mu         sync.Mutex
	phase      phase
	segments   map[ID]*segment // in use
	pool       []*segment      // dead, to be written again
	idle       []*lane         // the last used at the end
	leased     int
	maxLanes   int       // Options.MaxLanes, or SetMaxLanes
	lastWriter time.Time // when the last writer ended, or Replay
	retired    int
	lastID     ID
	generation uint64 // the last one given
}

// phase is how far a store has come.
type phase int

const (
	opened phase = iota
	replayed
	closed
)

const (
	segmentSuffix = ".seg"  // in use
	freeSuffix    = ".free" // in the pool: holds nothing
)

// Open takes the directory, which it creates if need be, and lists its segments. It reads the first blocks of each and
// no record. If another process has the directory the error is a *LockError. Call Replay before Begin.
func Open(dir string, o Options) (*Store, error) { return open(diskDir(dir), o) }

func open(d disk, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	lock, err := d.lock()
	if err != nil {
		return nil, err
	}
	s := &Store{
		disk:     d,
		o:        o,
		lock:     lock,
		files:    handles{disk: d, max: o.MaxOpenFiles},
		segments: map[ID]*segment{},
		maxLanes: o.MaxLanes,
	}
	s.scratch.New = func() any { return &scratch{turn: make(chan bool, 1)} }
	if err := s.load(); err != nil {
		s.files.closeIdle()
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// load lists the directory.
func (s *Store) load() error {
	entries, err := s.disk.list()
	if err != nil {
		return err
	}
	seen := map[ID]string{}
	for _, e := range entries {
		id, suffix, ok := parseName(e.name)
		if !ok {
			continue
		}
		if other := seen[id]; other != "" {
			return fmt.Errorf("there are two segments of one number, %s and %s: move away the one that was copied there (%s holds nothing that is needed)",
				s.disk.path(other), e.name, fileName(id, freeSuffix))
		}
		seen[id] = e.name
		s.lastID = max(s.lastID, id)
		g := &segment{identity: identity{id: id}, name: e.name, size: e.size, allocated: e.allocated, end: e.size}
		if suffix == freeSuffix {
			s.pool = append(s.pool, g)
			continue
		}
		if err := s.identify(g); err != nil {
			return err
		}
		s.segments[id] = g
		s.generation = max(s.generation, g.generation)
	}
	return nil
}

// fileName is the name of a segment's file: its ID in hexadecimal and what it is.
func fileName(id ID, suffix string) string { return fmt.Sprintf("%08x%s", uint32(id), suffix) }

// parseName takes a name apart that fileName made.
func parseName(name string) (id ID, suffix string, ok bool) {
	number, rest, _ := strings.Cut(name, ".")
	n, err := strconv.ParseUint(number, 16, 32)
	id, suffix = ID(n), "."+rest
	return id, suffix, err == nil && (suffix == segmentSuffix || suffix == freeSuffix) && name == fileName(id, suffix)
}

// enter begins a call that touches the disk; unless it fails, leave must follow.
func (s *Store) enter() error {
	s.calls.RLock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == closed {
		s.calls.RUnlock()
		return ErrClosed
	}
	return nil
}

func (s *Store) leave() { s.calls.RUnlock() }

// Close waits for the calls under way and gives up the directory. Writers still open can only be aborted after it, so
// their records are abandoned. Close payloads before: nothing keeps their bytes in place any more. Safe to call twice.
func (s *Store) Close() error {
	s.calls.Lock()
	defer s.calls.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.phase == closed {
		return nil
	}
	s.phase = closed
	for _, l := range s.idle {
		s.files.release(l.seg)
	}
	s.idle = nil
	s.files.closeIdle()
	return s.lock.Close()
}

// nextGeneration gives the next generation. Taking the time where it is ahead keeps generations from being given twice
// even if the segment with the last one was removed.
func (s *Store) nextGeneration() uint64 {
	s.generation = max(s.generation+1, uint64(max(s.o.Now().UnixMicro(), 0)))
	return s.generation
}

// newNonce makes a nonce. crypto/rand does not fail.
func newNonce() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.LittleEndian.Uint64(b[:])
}

// byGeneration lists the segments in use, oldest first. The caller holds s.mu.
func (s *Store) byGeneration() []*segment {
	list := make([]*segment, 0, len(s.segments))
	for _, g := range s.segments {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *segment) int {
		if a.generation != b.generation {
			if a.generation < b.generation {
				return -1
			}
			return 1
		}
		return int(int64(a.id) - int64(b.id))
	})
	return list
}
