package spool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"dcmgate/spool/segment"

	"golang.org/x/sys/unix"
)

// MakeRoom sees to it that there is room for a file of so many bytes that somebody else is about to write into a folder. Nothing
// is asked of a folder on another file system than the segments'. On theirs such files get what instances could have:
// Options.MinFree stays free in any case, or what the index needs, if that is more. It waits for what eviction can free, for as long
// as an instance does. The error is an ENOSPC, or that of ctx.
func (s *Spool) MakeRoom(ctx context.Context, dir string, bytes int64) error {
	if !s.besideSegments(dir) {
		return nil
	}
	defer s.pressure.wanted.Store(0) // another who waits says again what he wants
	deadline := time.NewTimer(evictionWait)
	defer deadline.Stop()
	poll := time.NewTicker(evictionPoll)
	defer poll.Stop()
	for {
		err := s.makeRoom(dir, bytes)
		if !errors.Is(err, syscall.ENOSPC) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return err
		case <-poll.C:
		}
	}
}

func (s *Spool) makeRoom(dir string, bytes int64) error {
	stats, err := s.payloads.Stats()
	if err != nil {
		return err
	}
	keep := max(s.pressure.reserveOf(stats), indexRoomLeast)
	lacking := bytes + keep - stats.FreeBytes
	if evict := lacking - stats.PoolBytes; evict > 0 {
		// The spool may have room enough for itself, and the evictor nothing to do.
		if evict <= s.evictableBytes(s.ledger.snapshot()) {
			s.pressure.wanted.Store(bytes + keep)
			s.wakeEvictor()
		}
		s.pressure.current(s)
		return &noRoomBesideError{dir: dir, free: stats.FreeBytes, keep: keep, need: bytes}
	}
	if lacking > 0 {
		return s.payloads.Shrink(lacking)
	}
	return nil
}

// noRoomBesideError says that a file would take what the spool needs. It is an ENOSPC.
type noRoomBesideError struct {
	dir              string
	free, keep, need int64
}

func (e *noRoomBesideError) Error() string {
	return fmt.Sprintf("no room for a file of %d bytes: %d MiB are free on the file system of %s, where the spool is, too, and %d MiB are kept for that (spool.min_free); free space there",
		e.need, e.free>>20, e.dir, e.keep>>20)
}

func (e *noRoomBesideError) Unwrap() error { return syscall.ENOSPC }

// giveFromPool gives so many bytes to the index from what the pool of segments holds ready, if that has as many.
func (s *Spool) giveFromPool(bytes int64) error {
	stats, err := s.payloads.Stats()
	if err == nil && stats.PoolBytes >= bytes && s.besideSegments(s.room.dir) {
		err = s.payloads.Shrink(bytes)
	}
	if errors.Is(err, segment.ErrClosed) {
		return nil
	}
	return err
}

// besideSegments tells whether a folder is on the segments' file system, as is assumed where it cannot be found out.
func (s *Spool) besideSegments(dir string) bool {
	var there, segments unix.Stat_t
	err := errors.Join(unix.Stat(dir, &there), unix.Stat(filepath.Join(s.dir, segmentsDir), &segments))
	return err != nil || there.Dev == segments.Dev
}
