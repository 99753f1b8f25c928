package forwarder

import (
	"slices"

	"dcmgate/transfer"
)

// entry is a claimed job on its way to a worker.
type entry struct {
	Job
	// alone marks a suspect: an association with several requests under way
	// broke, and this was one of them. Sent alone it shows its innocence, or
	// takes the blame.
	alone  bool
	passed int // how many others were taken before it since it was the first
}

// feed holds the claimed jobs of a destination, most urgent first, then in
// the order in which they were claimed. The courier's lock guards it.
type feed struct {
	entries []*entry
}

// add appends claimed jobs behind those of the same or higher urgency.
func (f *feed) add(jobs ...*entry) {
	for _, e := range jobs {
		at := len(f.entries)
		for at > 0 && f.entries[at-1].Urgency < e.Urgency {
			at--
		}
		f.entries = slices.Insert(f.entries, at, e)
	}
}

// giveBack puts a job that a worker could not finish before its equals.
func (f *feed) giveBack(e *entry) {
	at := 0
	for at < len(f.entries) && f.entries[at].Urgency > e.Urgency {
		at++
	}
	f.entries = slices.Insert(f.entries, at, e)
}

// take removes and returns the first entry whose pair can be served, or nil.
func (f *feed) take(can map[transfer.Pair]bool) *entry {
	for i, e := range f.entries {
		if can[e.Pair] {
			f.entries = slices.Delete(f.entries, i, i+1)
			return e
		}
		e.passed++
	}
	return nil
}

// drain removes and returns all entries.
func (f *feed) drain() []*entry {
	all := f.entries
	f.entries = nil
	return all
}

// any reports whether there is an entry whose pair can be served.
func (f *feed) any(can map[transfer.Pair]bool) bool {
	return slices.ContainsFunc(f.entries, func(e *entry) bool { return can[e.Pair] })
}

// isOrphan reports whether an entry waits for an association that is yet to
// be made: because none carries its pair, or those that do have been busy
// with others for long.
func (f *feed) isOrphan(e *entry, served map[transfer.Pair]int) bool {
	return served[e.Pair] == 0 || e.passed >= maxPassed
}

// orphan returns the first such entry, or nil.
func (f *feed) orphan(served map[transfer.Pair]int) *entry {
	for _, e := range f.entries {
		if f.isOrphan(e, served) {
			return e
		}
	}
	return nil
}

// pairs returns what the waiting entries need, that of first before all.
func (f *feed) pairs(first *entry) []transfer.Pair {
	pairs := make([]transfer.Pair, 0, len(f.entries)+1)
	if first != nil {
		pairs = append(pairs, first.Pair)
	}
	for _, e := range f.entries {
		pairs = append(pairs, e.Pair)
	}
	return pairs
}

// recentPairs remembers the pairs a destination was sent lately, newest
// last, so that later associations propose them too.
type recentPairs []transfer.Pair

func (r *recentPairs) note(p transfer.Pair) {
	if n := len(*r); n > 0 && (*r)[n-1] == p {
		return
	}
	if i := slices.Index(*r, p); i >= 0 {
		*r = slices.Delete(*r, i, i+1)
	} else if len(*r) >= transfer.MaxContexts {
		*r = slices.Delete(*r, 0, 1)
	}
	*r = append(*r, p)
}
