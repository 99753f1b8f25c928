package spool

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// maxScanned bounds the keys that one call of Jobs looks at, so that a filter which matches little gives a short page
// instead of a long wait.
const maxScanned = 50_000

// Jobs lists jobs that match the filter, from an opaque cursor ("" to begin) on. next is empty at the end; before that,
// a page may hold fewer jobs than limit, and a few more where an instance has several. Jobs that are claimed show as
// active. Filters by State parked, refused, awaiting or pending, by study and by instance are answered from their own keys; others read the
// jobs in order of age.
func (s *Spool) Jobs(f JobFilter, cursor string, limit int) (jobs []Job, next string, err error) {
	start, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return nil, "", ErrBadFilter
	}
	if cursor == "" { // what was done before the call is to be seen, if the index can be written
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = s.Flush(ctx)
		cancel()
	}
	l := jobLister{s: s, filter: f, limit: max(limit, 1)}
	err = s.db.View(func(txn *badger.Txn) error {
		l.txn = txn
		return l.list(start)
	})
	if err != nil {
		return nil, "", err
	}
	return l.jobs, base64.RawURLEncoding.EncodeToString(l.next), nil
}

// jobLister walks one page.
type jobLister struct {
	s       *Spool
	txn     *badger.Txn
	filter  JobFilter
	limit   int
	scanned int
	jobs    []Job
	next    []byte
}

// prefixes lists the key ranges that hold what the filter may match, in the order in which they are walked.
func (l *jobLister) prefixes() [][]byte {
	f := &l.filter
	switch {
	case f.ID != 0:
		return [][]byte{jobPrefix(f.ID)}
	case f.StudyInstanceUID != "":
		prefix := treePrefix(hashOf(string(f.StudyInstanceUID)))
		if f.SeriesInstanceUID != "" {
			h := hashOf(string(f.SeriesInstanceUID))
			prefix = append(prefix, h[:]...)
		}
		return [][]byte{prefix}
	case f.State.waitsForPerson():
		return l.queuePrefixes(kindParked)
	case f.State == JobAwaiting:
		return l.queuePrefixes(kindAwaiting)
	case f.State == JobPending || f.State == JobActive:
		return l.queuePrefixes(kindReady, kindWaiting)
	}
	return [][]byte{{kindJob}}
}

func (l *jobLister) queuePrefixes(kinds ...byte) [][]byte {
	var out [][]byte
	for _, kind := range kinds {
		if l.filter.Destination != "" {
			out = append(out, queuePrefix(kind, l.filter.Destination))
		} else {
			out = append(out, []byte{kind})
		}
	}
	return out
}

func (l *jobLister) list(start []byte) error {
	prefixes := l.prefixes()
	if len(start) > 0 {
		at := slices.IndexFunc(prefixes, func(p []byte) bool { return bytes.HasPrefix(start, p) })
		if at < 0 {
			return ErrBadFilter
		}
		prefixes = prefixes[at:]
	}
	for i, prefix := range prefixes {
		if i > 0 || len(start) == 0 {
			start = prefix
		}
		err := scan(l.txn, prefix, start, false, l.visit)
		if err != nil || l.next != nil {
			return err
		}
	}
	return nil
}

// visit looks at one key; it says no when the page is full, and leaves where to go on in next.
func (l *jobLister) visit(key, _ []byte) (bool, error) {
	if len(l.jobs) >= l.limit || l.scanned >= maxScanned {
		l.next = bytes.Clone(key)
		return false, nil
	}
	l.scanned++
	switch {
	case key[0] == kindTree && len(key) == 25:
		return true, l.addAll(idAt(key[17:]))
	case key[0] == kindJob && len(key) > 9:
		return true, l.add(idAt(key[1:]), string(key[9:]))
	}
	if destination, p, ok := queueEntry(key); ok {
		return true, l.add(p.id, destination)
	}
	return true, nil
}

func (l *jobLister) addAll(id InstanceID) error {
	in, err := readEntry(l.txn, id)
	if err != nil {
		return skipMissing(err)
	}
	for _, j := range in.jobs {
		if err := l.add(id, j.destination); err != nil {
			return err
		}
	}
	return nil
}

func skipMissing(err error) error {
	if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, errBadRecord) {
		return nil
	}
	return err
}

func (l *jobLister) add(id InstanceID, destination string) error {
	f := &l.filter
	if f.Destination != "" && f.Destination != destination {
		return nil
	}
	r, ok, err := readJob(l.txn, id, destination)
	if err != nil || !ok || f.Code != "" && f.Code != r.code {
		return err
	}
	if r.state == JobPending && l.s.queue(destination).leased(id) {
		r.state = JobActive
	}
	if f.State != 0 && f.State != r.state {
		return nil
	}
	in, err := readEntry(l.txn, id)
	if err != nil {
		return skipMissing(err)
	}
	if f.matches(in) {
		l.jobs = append(l.jobs, r.job(*in, destination))
	}
	return nil
}

func (f *JobFilter) matches(in *Instance) bool {
	return (f.StudyInstanceUID == "" || f.StudyInstanceUID == in.StudyInstanceUID) &&
		(f.SeriesInstanceUID == "" || f.SeriesInstanceUID == in.SeriesInstanceUID) &&
		(f.SOPInstanceUID == "" || f.SOPInstanceUID == in.SOPInstanceUID) &&
		(f.ID == 0 || f.ID == in.ID)
}

// Counts returns the number of jobs on record of every destination by state; exact at each moment. Jobs leave the record
// with the custody record of their instance.
func (s *Spool) Counts() map[string]JobCounts {
	out := map[string]JobCounts{}
	for _, q := range s.allQueues() {
		if c := q.jobCounts(); c != (JobCounts{}) {
			out[q.name] = c
		}
	}
	return out
}

// Destinations lists every destination that has jobs on record, sorted.
func (s *Spool) Destinations() []string { return slices.Sorted(maps.Keys(s.Counts())) }
