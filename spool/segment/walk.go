package segment

import "math"

// Report says what Replay or ScanAll met.
type Report struct {
	Records int
	Bytes   int64             // of the records reported, as on disk
	Torn    []Torn            // what was being written when the process died; never acknowledged
	Damaged []Range           // what is no whole record although records follow, or cannot be read; left in place
	Late    []error           // of syncs: what could not be written before is not among the records
	Ends    map[ID]Checkpoint // where each segment's records end
}

// Torn is a range that was being written when the process died.
type Torn struct {
	Range
	File      string // in the quarantine directory, that it was copied to; "": it was not, or has nothing that tells what it is
	NotCopied error  // why it could not be
}

// walk is one pass over a segment's records.
//
// Several small records may be synced together, so a loss of power may leave any of the last group whole and any not;
// none of those was acknowledged. What is not whole before the last group was acknowledged, and is damaged.
type walk struct {
	*scanner
	seg    *segment
	report *Report
	fn     func(Record) error

	end     int64   // behind the last whole or damaged record
	pending []doubt // what is not whole in the last group met
	tail    gap     // behind everything
}

// doubt is a range without a whole record.
type doubt struct {
	Range
	header bool // it begins with a header
}

// run reports every whole record in [start, limit). One that is not whole does not end the walk.
func (w *walk) run(start, limit int64) error {
	w.end = start
	for at := start; at < limit; {
		h, ok := w.next(at, limit)
		if !ok {
			return nil
		}
		w.settle(h.offset - int64(h.back)*Alignment)
		if at = h.offset + h.length; at > limit {
			w.doubt(h.offset, limit, "record is longer than its segment", true)
			return nil
		}
		rec, reason, _ := w.check(h)
		if reason != "" {
			w.doubt(h.offset, at, reason, true)
			continue
		}
		w.end = at
		w.report.Records++
		w.report.Bytes += h.length
		if err := w.fn(rec); err != nil {
			return err
		}
	}
	return nil
}

// next gives the header at a place, or the next one behind it. What it passes over is in doubt, unless it is a hole:
// those Free leaves.
func (w *walk) next(at, limit int64) (found, bool) {
	var g gap
	for from := at; ; g.junk = true {
		h, ok, err := w.headerAt(from)
		if !ok {
			var more gap
			h, ok, more = w.seek(from, limit)
			g.add(more)
			g.add(gap{junk: err != nil, err: err})
		}
		if !ok {
			w.tail = g
			return h, false
		}
		if again, ok := w.fresh(h); ok {
			if g.junk && h.offset > at {
				w.doubt(at, h.offset, g.reason(), false)
			}
			return again, true
		}
		from = h.offset + Alignment
	}
}

// fresh reads the header h again from the disk, and sees to it that the rest of its record is read from there: after a
// sync that failed, the page cache may show as clean what never reached the disk.
func (w *walk) fresh(h found) (found, bool) {
	w.f.drop(h.offset, h.length)
	again, ok, _ := w.headerAt(h.offset)
	return again, ok
}

// doubt notes that there is no whole record in [from, to).
func (w *walk) doubt(from, to int64, reason string, header bool) {
	r := Range{Segment: w.seg.id, Offset: from, Length: to - from, Reason: reason}
	w.pending = append(w.pending, doubt{r, header})
}

// settle is called when a group was found to begin at start: whatever is in doubt before it is damaged. Damaged ranges
// are left in place, so records end behind them.
func (w *walk) settle(start int64) {
	n := 0
	for _, d := range w.pending {
		if d.Offset >= start {
			break
		}
		w.report.Damaged = append(w.report.Damaged, d.Range)
		w.end = max(w.end, d.Offset+d.Length)
		n++
	}
	w.pending = w.pending[n:]
}

// close ends the walk of a segment that takes no more records: there is no group under way, so all doubt is damage.
func (w *walk) close() {
	w.settle(math.MaxInt64)
	if w.seg.sealed {
		w.end = w.seg.end
	}
}

// add merges what was met in another part of a gap.
func (g *gap) add(other gap) {
	g.junk = g.junk || other.junk
	if g.err == nil {
		g.err = other.err
	}
}

func (g gap) reason() string {
	if g.err != nil {
		return unreadable(g.err, "record")
	}
	return "no record where one should be"
}
