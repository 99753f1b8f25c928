package spool

import (
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// A destination that gets several versions of an instance is left with the one that it got last. So a version is not
// claimed while an older one is still to be sent to the same destination: one that has to be repeated would take the place
// of what came after it.

const (
	// versionWait is how long a version waits for an older one before it is looked at again.
	versionWait = time.Second
	// deferredAtMost bounds the jobs that one Claim puts off.
	deferredAtMost = 256

	codeOlderVersion = "older-version"
)

// preceded tells whether an older version of an instance is still to be sent to a destination, and when to look again. The
// instance is claimed: whoever is about to make an older version pending finds it so, or is found holding that.
func (s *Spool) preceded(in *Instance, q *queue) (until time.Time, ok bool, err error) {
	k, now := in.identity(), s.o.Now()
	older := func(id InstanceID) bool { return id < in.ID }
	if s.pending.owed(k, q.name, older) { // before the index is read: what leaves the pending is in the index by then
		return now.Add(versionWait), true, nil
	}
	err = s.db.View(func(txn *badger.Txn) error {
		vs, err := readVersions(txn, k)
		for _, v := range vs {
			if !older(v.id) || err != nil {
				continue
			}
			var r jobRecord
			var known bool
			if r, known, err = readJob(txn, v.id, q.name); known && (r.state == JobPending || q.leased(v.id)) {
				ok = true
				until = later(until, later(now, timeOfMilli(r.due)).Add(versionWait))
			}
		}
		return err
	})
	return until, ok, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// superseded tells whether a destination has a later version of an instance, or is about to be sent one: the instance, sent
// now, would take its place.
func (s *Spool) superseded(txn *badger.Txn, in *Instance, q *queue) (bool, error) {
	k := in.identity()
	if s.pending.owed(k, q.name, func(id InstanceID) bool { return id > in.ID && q.leased(id) }) {
		return true, nil
	}
	vs, err := readVersions(txn, k)
	for _, v := range vs {
		if v.id <= in.ID || err != nil {
			continue
		}
		var r jobRecord
		var known bool
		if r, known, err = readJob(txn, v.id, q.name); known && (r.state.arrived() || r.state == JobRefused || q.leased(v.id)) {
			return true, nil
		}
	}
	return false, err
}

// owed tells whether one of some versions is not in the index yet and has a job for a destination.
func (p *pending) owed(k identity, destination string, of func(InstanceID) bool) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.ContainsFunc(p.byIdentity[k], func(a *arrival) bool {
		return of(a.in.ID) && slices.ContainsFunc(a.in.jobs, func(j jobEntry) bool { return j.destination == destination && !j.delivered })
	})
}

// putOff has a claimed job claimed again later. No attempt was made, none is counted.
func (s *Spool) putOff(q *queue, in *Instance, until time.Time) {
	if _, ok := q.completing(in.ID); !ok {
		return
	}
	s.committer.enqueue(&outcomeOp{s: s, q: q, in: in, outcome: Outcome{
		Result: resultPutOff, At: until, Code: codeOlderVersion, Reason: "an older version of the instance is to be sent first",
	}}, false)
}
