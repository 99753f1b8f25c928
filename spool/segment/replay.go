package segment

import (
	"errors"
	"fmt"
	"io"
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
// Replay is called once, before Begin. An error of fn ends it and is returned; the store can then only be closed.
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
	// A process that was killed may have left a record that no sync followed: whole in the page cache, and lost with
	// the power after the index took it. If this sync fails, what can be read from the disk still counts, but the
	// segment takes nothing more.
	usable := f.datasync() == nil && !g.sealed && !g.foreign
	if err := w.run(start, g.end); err != nil {
		s.files.release(g)
		return err
	}
	if usable {
		usable = s.cut(&w, f)
	} else {
		w.close()
	}
	report.Ends[g.id] = Checkpoint{g.generation, w.end}
	if !s.adoptLane(g, f, w.end, usable) {
		s.files.release(g)
	}
	return nil
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
// whole record. It cannot where the end cannot be read.
func (s *Store) cut(w *walk, f file) bool {
	if w.tail.err != nil {
		w.close()
		w.report.Damaged = append(w.report.Damaged, Range{
			Segment: w.seg.id, Offset: w.end, Length: w.seg.end - w.end, Reason: unreadable(w.tail.err, "end of the segment"),
		})
		return false
	}
	for _, torn := range w.pending {
		w.report.Torn = append(w.report.Torn, torn.Range)
		if s.setAside(torn, f, w.end, w.report) != nil {
			return false
		}
	}
	if len(w.pending) == 0 {
		return true
	}
	return f.datasync() == nil
}

// setAside copies a torn record to the quarantine directory and takes it away, so that it is met only once. Before end,
// where nothing is written any more, that is a hole; behind it the next records need the blocks.
func (s *Store) setAside(torn doubt, f file, end int64, report *Report) error {
	if torn.header {
		s.quarantine(torn.Range, f, report)
	}
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

// quarantine copies a range of a segment to a file for people to look at. That it cannot must not keep the gateway from
// starting: nobody was told that these bytes are safe.
func (s *Store) quarantine(r Range, f file, report *Report) {
	q := s.disk.quarantine()
	if n, err := q.count(); err != nil || n >= maxQuarantined {
		return
	}
	name := fmt.Sprintf("%08x-%d-%s.torn", uint32(r.Segment), r.Offset, s.o.Now().UTC().Format("20060102T150405.000000000"))
	if err := q.put(name, io.NewSectionReader(f, r.Offset, min(r.Length, maxQuarantineSize))); err == nil {
		report.Quarantined = append(report.Quarantined, name)
	}
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
	if !live {
		f.datasync() // as replay does; a failure is met again there
	}
	w := walk{scanner: newScanner(f, g.identity), seg: g, report: report, fn: fn}
	if err := w.run(firstRecord, limit); err != nil {
		return err
	}
	if g.sealed {
		w.close()
	}
	for _, d := range w.pending {
		report.Torn = append(report.Torn, d.Range)
	}
	report.Ends[g.id] = Checkpoint{g.generation, w.end}
	return nil
}
