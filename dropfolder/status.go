package dropfolder

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Status is how a folder is.
type Status struct {
	Name      string        `json:"name"`
	Folder    string        `json:"folder"`
	State     string        `json:"state"`               // one of the states below
	Waiting   int           `json:"waiting"`             // files known to be there, at most 10000
	Oldest    time.Duration `json:"oldest"`              // nanoseconds since the one seen first was
	Taken     int64         `json:"taken"`               // since the start
	Aside     int64         `json:"aside"`               // moved aside since the start
	Rejected  int           `json:"rejected"`            // files there that were moved aside, at most 100000
	Trouble   string        `json:"trouble,omitempty"`   // what keeps files from being taken, and what to do
	Since     time.Time     `json:"since,omitzero"`      // of the trouble
	Unwatched string        `json:"unwatched,omitempty"` // why only rescans find files, or some of them
}

// States of a folder.
const (
	StateStarting = "starting"
	StateWatching = "watching"
	StateTrouble  = "trouble"
)

// Status returns a snapshot.
func (w *Watcher) Status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	if s.State == "" {
		s.State = StateStarting
	}
	return s
}

// tally counts what left the folder in a pass.
type tally struct {
	taken, rejected int
	bytes           int64
	byCode          map[string]int
	reasons         map[string]string // of the first by code
}

func (t *tally) left(r outcome, size int64) {
	switch r.left {
	case "":
	case resultTaken:
		t.taken++
		t.bytes += size
	default:
		if t.byCode == nil {
			t.byCode, t.reasons = map[string]int{}, map[string]string{}
		}
		if t.byCode[r.left]++; t.byCode[r.left] == 1 {
			t.reasons[r.left] = r.reason
		}
		t.rejected++
	}
}

// report logs and counts what left the folder. Of names there is nothing in the log, since they may be those of patients.
func (w *Watcher) report(t tally) {
	for _, code := range slices.Sorted(maps.Keys(t.byCode)) {
		w.metrics.left(code, t.byCode[code])
		w.o.Logger.Warn("files of a drop folder were moved aside", "code", code, "files", t.byCode[code], "reason", t.reasons[code], "to", w.o.Rejected)
	}
	w.metrics.left(resultTaken, t.taken)
	w.metrics.bytes.Add(float64(t.bytes))
	w.mu.Lock()
	w.status.Taken += int64(t.taken)
	w.status.Aside += int64(t.rejected)
	w.mu.Unlock()

	b := &w.burst
	if b.begun.IsZero() && len(w.candidates) > 0 {
		b.begun = w.now()
	}
	b.taken, b.rejected, b.bytes = b.taken+t.taken, b.rejected+t.rejected, b.bytes+t.bytes
	if len(w.candidates) == 0 {
		if b.taken+b.rejected > 0 {
			w.o.Logger.Info("drop folder worked off", "taken", b.taken, "moved_aside", b.rejected, "bytes", b.bytes, "took", w.now().Sub(b.begun).Round(time.Millisecond))
		}
		*b = burst{}
	}
}

// publish makes status and gauges current. lost says why the folder cannot be opened.
func (w *Watcher) publish(lost error) {
	trouble := w.trouble(lost)
	unwatched := ""
	if w.hints.err != nil {
		unwatched = w.hints.err.Error() + "; files are found by rescans only, every " + w.o.Rescan.String()
	}
	now := w.now()
	oldest := time.Duration(0)
	for _, c := range w.candidates {
		oldest = max(oldest, now.Sub(c.first))
	}
	w.metrics.waiting.Set(float64(len(w.candidates)))
	w.metrics.oldest.Set(oldest.Seconds())
	w.metrics.trouble.Set(flag(trouble != ""))
	w.metrics.notified.Set(flag(lost == nil && unwatched == ""))

	w.mu.Lock()
	defer w.mu.Unlock()
	s := &w.status
	switch log := w.o.Logger; came(s.Trouble, trouble) {
	case 1:
		log.Warn("drop folder cannot be worked off", "reason", trouble)
	case -1:
		log.Info("drop folder can be worked off again")
	}
	switch log := w.o.Logger; came(s.Unwatched, unwatched) {
	case 1:
		log.Warn("drop folder is not watched", "reason", unwatched)
	case -1:
		log.Info("drop folder is watched again")
	}
	switch {
	case trouble == "":
		s.State, s.Since = StateWatching, time.Time{}
	case s.Trouble == "":
		s.State, s.Since = StateTrouble, time.Now()
	}
	s.Waiting, s.Oldest, s.Trouble, s.Unwatched = len(w.candidates), oldest, trouble, unwatched
}

// came tells whether a condition has come, 1, or gone, -1.
func came(before, now string) int {
	switch {
	case before == "" && now != "":
		return 1
	case before != "" && now == "":
		return -1
	}
	return 0
}

// trouble says in words what is wrong, "" if nothing is.
func (w *Watcher) trouble(lost error) string {
	if lost != nil {
		return lost.Error()
	}
	if w.held.reason != "" {
		return w.held.reason
	}
	put, oldest := 0, (*candidate)(nil)
	for _, c := range w.candidates {
		if c.err != nil {
			put++
			if oldest == nil || c.first.Before(oldest.first) {
				oldest = c
			}
		}
	}
	switch {
	case put > 0:
		return fmt.Sprintf("%d of the files are put off, the first of them since: %v", put, oldest.err)
	case w.left.unreadable > 0:
		return fmt.Sprintf("%d of the sub-folders cannot be read; give the user of dcmgate the right to read and enter them", w.left.unreadable)
	case w.left.deep > 0:
		return fmt.Sprintf("%d of the sub-folders are deeper than %d levels and not looked into; move them up", w.left.deep, maxDepth)
	}
	return ""
}
