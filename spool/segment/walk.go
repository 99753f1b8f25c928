package segment

// Report says what Replay or ScanAll met.
type Report struct {
	Records     int
	Bytes       int64             // of the records reported, as on disk
	Torn        []Range           // what was being written when the process died; never acknowledged
	Damaged     []Range           // what is no whole record although records follow, or cannot be read; left in place
	Quarantined []string          // files made in the quarantine directory for what was torn
	Ends        map[ID]Checkpoint // where each segment's records end
}

// walk is one pass over a segment's records.
type walk struct {
	*scanner
	seg    *segment
	report *Report
	fn     func(Record) error

	end     int64   // behind the last whole record
	suspect []Range // behind end: headers without a whole record
	gap     gap     // behind end: what was there besides
}

// run reports every whole record in [start, limit) and leaves in w what came behind the last one. A record that is not
// whole does not end the walk: whole ones behind it were acknowledged, so it is damaged and they are not.
func (w *walk) run(start, limit int64) error {
	w.end = start
	for at := start; at < limit; {
		h, ok, err := w.headerAt(at)
		if !ok {
			if h, ok = w.resume(at, limit, err); !ok {
				return nil
			}
		}
		if h, ok = w.fresh(h); !ok {
			at = h.offset + Alignment
			continue
		}
		if at = h.offset + h.length; at > limit {
			w.doubt(h, limit, "record is longer than its segment")
			return nil
		}
		rec, reason, err := w.check(h)
		if reason != "" {
			w.doubt(h, at, reason)
			w.gap.err = first(w.gap.err, err)
			continue
		}
		w.settle(h.offset)
		w.end = at
		w.report.Records++
		w.report.Bytes += h.length
		if err := w.fn(rec); err != nil {
			return err
		}
	}
	return nil
}

// fresh reads the header h again from the disk, and sees to it that the rest of its record is read from there: after a
// sync that failed, the page cache may show as clean what never reached the disk.
func (w *walk) fresh(h found) (found, bool) {
	w.f.drop(h.offset, h.length)
	again, ok, err := w.headerAt(h.offset)
	if !ok {
		w.gap.junk, w.gap.err = true, first(w.gap.err, err)
		return h, false
	}
	return again, true
}

// resume looks for a header behind at, where there is none, or none that can be read.
func (w *walk) resume(at, limit int64, err error) (found, bool) {
	h, ok, g := w.seek(at, limit)
	w.gap.junk = w.gap.junk || g.junk
	w.gap.err = first(w.gap.err, first(err, g.err))
	return h, ok
}

// doubt notes a header whose record is not whole.
func (w *walk) doubt(h found, end int64, reason string) {
	w.suspect = append(w.suspect, Range{Segment: w.seg.id, Offset: h.offset, Length: end - h.offset, Reason: reason})
}

// settle is called when a whole record was found at offset: what is not whole before it is damaged. Holes are not, they
// are what Free leaves.
func (w *walk) settle(offset int64) {
	if w.gap.junk && len(w.suspect) == 0 {
		w.report.Damaged = append(w.report.Damaged, Range{
			Segment: w.seg.id, Offset: w.end, Length: offset - w.end, Reason: "no record where one should be",
		})
	}
	w.report.Damaged = append(w.report.Damaged, w.suspect...)
	w.suspect, w.gap = nil, gap{}
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
