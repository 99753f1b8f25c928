package segment

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"dcmgate/internal/durable"
)

// Bounds of the quarantine directory. What it holds was never acknowledged; it is for people to look at.
const (
	maxQuarantined    = 64       // files
	maxQuarantineSize = 64 << 20 // bytes of a file
)

// Replay reports to fn every whole record behind the checkpoints, segment by segment in the order of their
// generations, after making sure that it is durable and that its digest is right. Then it lets writing go on behind
// the last ones. A segment without a checkpoint, or with one of another generation, is read from its start. Nothing
// before a checkpoint is looked at.
//
// What was being written when the process died is copied to the quarantine directory and overwritten later. What is
// damaged stays where it is, and its segment takes no further record if there is no telling where its records end.
//
// Replay is called once, before Begin. An error of fn ends it and is returned, and so is a disk that can make nothing durable;
// the store can then only be closed.
func (s *Store) Replay(from map[ID]Checkpoint, fn func(Record) error) (Report, error) {
	if err := s.enter(); err != nil {
		return Report{}, err
	}
	defer s.leave()
	s.mu.Lock()
	phase, list := s.phase, s.byGeneration()
	s.mu.Unlock()
	if phase != opened {
		return Report{}, errors.New("segment: replayed already")
	}
	report := Report{Ends: map[ID]Checkpoint{}}
	_, _ = s.disk.quarantine().tidy() // that it cannot is told when there is something to set aside
	// A process that was killed may have put a segment to use under a name that no sync followed.
	if late, err := durable.Settled(s.disk.sync); err != nil {
		return report, fmt.Errorf("segments: sync directory: %w", asNoSpace(err))
	} else if late != nil {
		report.Late = append(report.Late, late)
	}
	for _, g := range list {
		if err := s.replay(g, from[g.id], &report, fn); err != nil {
			return report, err
		}
	}
	s.trimPool()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.lastWriter = replayed, s.o.Now()
	return report, nil
}

// replay replays one segment, and makes a lane of it if it has room.
func (s *Store) replay(g *segment, from Checkpoint, report *Report, fn func(Record) error) error {
	start := s.startOf(g, from, report)
	if g.sealed && start >= g.end {
		report.Ends[g.id] = Checkpoint{g.generation, g.end}
		return nil
	}
	f, err := s.files.acquire(g)
	if err != nil {
		return failed("open", g.id, err)
	}
	w := walk{scanner: newScanner(f, g.identity), seg: g, report: report, fn: fn}
	synced, err := s.settle(g, f, report)
	if err == nil {
		err = w.run(start, g.end)
	}
	if err != nil {
		s.files.release(g)
		return err
	}
	usable := false
	if g.sealed || g.foreign {
		w.close()
	} else {
		usable = s.cut(&w, f, synced)
	}
	report.Ends[g.id] = Checkpoint{g.generation, w.end}
	if !s.adoptLane(g, f, w.end, usable) {
		s.files.release(g)
	}
	return nil
}

// settle makes sure that what is read from a segment is what the disk holds. A process that was killed may have left a
// record that no sync followed: whole in the page cache, and lost with the power after the index took it. It may also have
// left a write to fail later, of which the kernel tells whoever syncs next, and once: then the records still count that can
// be read from the disk and are whole, but nothing is written to the segment, and settle is false.
func (s *Store) settle(g *segment, f file, report *Report) (bool, error) {
	late, err := durable.Settled(f.datasync)
	if err != nil {
		return false, failed("sync what the process before has written", g.id, err)
	}
	if late == nil {
		return true, nil
	}
	f.drop(0, 0)
	report.Late = append(report.Late, failed("sync", g.id, late))
	return false, nil
}

// startOf is where replaying a segment begins.
func (s *Store) startOf(g *segment, from Checkpoint, report *Report) int64 {
	if g.foreign {
		report.Damaged = append(report.Damaged, Range{
			Segment: g.id, Length: firstRecord, Reason: "label of the segment is not whole",
		})
	}
	switch {
	case from.Generation != g.generation || from.Offset < firstRecord || from.Offset%Alignment != 0:
		return firstRecord
	case from.Offset > g.end:
		report.Damaged = append(report.Damaged, Range{
			Segment: g.id, Offset: g.end, Length: from.Offset - g.end, Reason: "segment is shorter than its checkpoint",
		})
		g.sealed = true
		return g.end
	}
	return from.Offset
}

// adoptLane notes where a segment's records end, and makes a lane of it if it can take more.
func (s *Store) adoptLane(g *segment, f file, end int64, usable bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.end = end
	l := &lane{seg: g, f: f, offset: end, reserved: g.size &^ (Alignment - 1)}
	if !usable || s.full(l) || len(s.idle) >= s.maxLanes {
		return false
	}
	s.idle = append(s.idle, l)
	g.open = true
	return true
}

// cut sets aside what was being written when the process died, and reports whether writing can go on behind the last
// whole record. It cannot where the end cannot be read, or where nothing may be written: what is torn stays in place then,
// to be met again.
func (s *Store) cut(w *walk, f file, writable bool) bool {
	if w.tail.err != nil {
		w.close()
		w.report.Damaged = append(w.report.Damaged, Range{
			Segment: w.seg.id, Offset: w.end, Length: w.seg.end - w.end, Reason: unreadable(w.tail.err, "end of the segment"),
		})
		return false
	}
	for _, d := range w.pending {
		torn := Torn{Range: d.Range}
		if d.header {
			torn.File, torn.NotCopied = s.quarantine(d.Range, f)
		}
		w.report.Torn = append(w.report.Torn, torn)
	}
	for _, d := range w.pending {
		writable = writable && takeAway(d.Range, f, w.end) == nil
	}
	if len(w.pending) == 0 || !writable {
		return writable
	}
	return f.datasync() == nil
}

// takeAway removes a torn record from its segment, so that it is met only once. Before end, where nothing is written any
// more, that is a hole; behind it the next records need the blocks.
func takeAway(torn Range, f file, end int64) error {
	if torn.Offset < end {
		err := f.punch(torn.Offset, torn.Length)
		if errors.Is(err, errUnsupported) {
			err = wipe(f, torn.Offset, torn.Length)
		}
		return err
	}
	_, err := f.WriteAt(zeros[:], torn.Offset)
	return err
}

// quarantine copies a range of a segment to a file for people to look at, and gives its name. That it cannot must not keep
// the gateway from starting: nobody was told that these bytes are safe. What is met again, since it could not be taken away,
// has the same name again.
func (s *Store) quarantine(r Range, f file) (name string, err error) {
	q := s.disk.quarantine()
	n, err := q.tidy()
	switch {
	case err != nil:
		return "", err
	case n >= maxQuarantined:
		return "", fmt.Errorf("there are %d files in the quarantine folder: look at them and remove them", n)
	}
	digest := sha256.New()
	content := io.NewSectionReader(f, r.Offset, min(r.Length, maxQuarantineSize))
	if _, err := io.Copy(digest, content); err != nil {
		return "", err
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	name = fmt.Sprintf("%08x-%d-%x.torn", uint32(r.Segment), r.Offset, digest.Sum(nil)[:8])
	if err := q.put(name, content); err != nil && !errors.Is(err, durable.ErrInPlace) {
		return "", err
	}
	return name, nil
}

// ScanAll reports to fn every whole record of every segment in use, in the order of generations and offsets, so that
// an index can be built anew. Freed records are passed over; digests are checked; nothing is changed. It may be
// called before Replay or, when nobody writes, after it.
func (s *Store) ScanAll(fn func(Record) error) (Report, error) {
	if err := s.enter(); err != nil {
		return Report{}, err
	}
	defer s.leave()
	s.mu.Lock()
	list := s.byGeneration()
	s.mu.Unlock()
	report := Report{Ends: map[ID]Checkpoint{}}
	for _, g := range list {
		if err := s.scan(g, &report, fn); err != nil {
			return report, err
		}
	}
	return report, nil
}

// scan reports the records of one segment.
func (s *Store) scan(g *segment, report *Report, fn func(Record) error) error {
	f, err := s.files.acquire(g)
	if err != nil {
		return failed("open", g.id, err)
	}
	defer s.files.release(g)
	s.mu.Lock()
	limit, live := g.end, s.phase == replayed
	s.mu.Unlock()
	if !live { // as replay does, which cannot be told again of what fails here
		if _, err := s.settle(g, f, report); err != nil {
			return err
		}
	}
	w := walk{scanner: newScanner(f, g.identity), seg: g, report: report, fn: fn}
	if err := w.run(firstRecord, limit); err != nil {
		return err
	}
	if g.sealed {
		w.close()
	}
	for _, d := range w.pending {
		report.Torn = append(report.Torn, Torn{Range: d.Range})
	}
	report.Ends[g.id] = Checkpoint{g.generation, w.end}
	return nil
}
