package spool

import (
	"context"
	"iter"
	"slices"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// Bounds of a query's memory and of its transactions, which hold a snapshot of the index each.
const (
	studiesPage  = 64   // studies read in one transaction
	keysPage     = 4096 // keys looked at in one transaction
	sortedAtMost = 4096 // candidates that are put in order by reading each
	candidates   = 1 << 16
)

// Studies yields the studies that a filter selects, those received last first; where nothing narrows the query but a
// range of dates, those of the latest date first. Instances that are not indexed yet count. Of what is stored or evicted
// meanwhile some may be missing. An error, that of ctx among them, ends it. Memory does not depend on how many there are.
func (s *Spool) Studies(ctx context.Context, f StudyFilter) iter.Seq2[Study, error] {
	return func(yield func(Study, error) bool) {
		q := &studyQuery{s: s, ctx: ctx, filter: f, yield: yield}
		if err := q.run(); err != nil && !q.over {
			yield(Study{}, err)
		}
	}
}

// studyQuery is one run of Studies.
type studyQuery struct {
	s      *Spool
	ctx    context.Context
	filter StudyFilter
	yield  func(Study, error) bool
	over   bool // the caller has had enough

	late map[hash8]lateStudy
}

// place is a study where a walk has met it. The date or time must be the study's own: it may have others, by which the
// walk meets it as well.
type place struct {
	study hash8
	date  string // of a d key
	first int64  // of an r key
}

// walk lists up to studiesPage studies from a key on; next is nil at the end.
type walk func(txn *badger.Txn, from []byte) (found []place, next []byte, err error)

func (q *studyQuery) run() error {
	q.gatherLate()
	if q.filter.onlyDated() { // the walk has the first study at once, however many there are
		if err := q.showLate(); err != nil {
			return err
		}
		return q.show(q.dates)
	}
	ids, narrowed, err := q.candidates()
	if err != nil {
		return err
	}
	if err := q.showLate(); err != nil {
		return err
	}
	switch {
	case narrowed && len(ids) <= sortedAtMost:
		return q.showSorted(ids)
	case narrowed:
		return q.show(q.arrivals(ids))
	case q.filter.dated():
		return q.show(q.dates)
	}
	return q.show(q.arrivals(nil))
}

// gatherLate notes what is not in the index. It comes first: what leaves the map behind it is in the index then.
func (q *studyQuery) gatherLate() {
	q.late = map[hash8]lateStudy{}
	uids := q.filter.UIDs
	for _, in := range q.s.pending.find(func(in *Instance) bool {
		return len(uids) == 0 || slices.Contains(uids, in.StudyInstanceUID)
	}) {
		id := hashOf(string(in.StudyInstanceUID))
		q.late[id] = append(q.late[id], in)
	}
}

// showLate yields the studies that have instances in the map, which are the newest there are. The walk leaves them out.
func (q *studyQuery) showLate() error {
	var late []hash8
	for id := range q.late {
		late = append(late, id)
	}
	slices.SortFunc(late, func(a, b hash8) int { // the last arrival first
		x, y := q.late[a], q.late[b]
		if x[len(x)-1].ID > y[len(y)-1].ID {
			return -1
		}
		return 1
	})
	return q.showEach(late)
}

// showEach yields studies in a given order.
func (q *studyQuery) showEach(ids []hash8) error {
	for chunk := range slices.Chunk(ids, studiesPage) {
		var page []Study
		err := q.s.db.View(func(txn *badger.Txn) error {
			for _, id := range chunk {
				if err := q.read(txn, place{study: id}, &page); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !q.pass(page) {
			return q.ctx.Err()
		}
	}
	return nil
}

// show yields what a walk finds.
func (q *studyQuery) show(w walk) error {
	for from := []byte(nil); ; {
		var page []Study
		err := q.s.db.View(func(txn *badger.Txn) error {
			found, next, err := w(txn, from)
			if err != nil {
				return err
			}
			from = next
			for _, p := range found {
				if q.late[p.study] != nil {
					continue // shown
				}
				if err := q.read(txn, p, &page); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if !q.pass(page) || from == nil {
			return q.ctx.Err()
		}
	}
}

// pass hands a page on; false if the query is over.
func (q *studyQuery) pass(page []Study) bool {
	for i := range page {
		if q.over || q.ctx.Err() != nil {
			return false
		}
		q.over = !q.yield(page[i], nil)
	}
	return !q.over && q.ctx.Err() == nil
}

// read appends a study to a page if the filter selects it and the walk has met it in its place.
func (q *studyQuery) read(txn *badger.Txn, p place, page *[]Study) error {
	v, ok, err := viewStudy(txn, p.study, q.late[p.study])
	if err != nil || !ok {
		return err
	}
	if !q.filter.matches(&v.record) ||
		p.date != "" && p.date != q.filter.latestDate(v.record.textKeys) || p.first != 0 && p.first != v.record.first {
		return nil
	}
	study, ok, err := v.study(txn, p.study)
	if err != nil || !ok {
		return err
	}
	if uids := q.filter.UIDs; len(uids) > 0 && !slices.Contains(uids, study.StudyInstanceUID) {
		return nil
	}
	*page = append(*page, study)
	return nil
}

// SeriesOf yields the series of a study in no particular order. Errors and changes meanwhile are as of Studies.
func (s *Spool) SeriesOf(ctx context.Context, study dicom.UID) iter.Seq2[Series, error] {
	return func(yield func(Series, error) bool) {
		late := map[hash8]lateStudy{}
		for _, in := range s.pending.find(func(in *Instance) bool { return in.StudyInstanceUID == study }) {
			id := hashOf(string(in.SeriesInstanceUID))
			late[id] = append(late[id], in)
		}
		q := seriesQuery{study: study, late: late}
		prefix := append([]byte{kindSeries}, studyKey(hashOf(string(study)))[1:]...)
		for start := prefix; start != nil; {
			page, next, err := q.page(s, prefix, start)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Series{}, err)
				return
			}
			for i := range page {
				if !yield(page[i], nil) {
					return
				}
			}
			start = next
		}
	}
}

// seriesQuery is one run of SeriesOf.
type seriesQuery struct {
	study dicom.UID
	late  map[hash8]lateStudy // by series; what has been shown is removed
}

// page reads series from a key on; the last page has those that the index does not know.
func (q *seriesQuery) page(s *Spool, prefix, start []byte) (page []Series, next []byte, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		var records []seriesRecord
		err := scan(txn, prefix, start, true, func(key, value []byte) (bool, error) {
			if r, err := decodeSeries(value); err == nil {
				records = append(records, *r)
			}
			if len(records) == studiesPage {
				next = after(key)
			}
			return next == nil, nil
		})
		if err != nil {
			return err
		}
		for i := range records {
			if page, err = q.read(txn, &records[i], page); err != nil {
				return err
			}
		}
		if next != nil {
			return nil
		}
		for _, late := range q.late {
			r := seriesRecord{uid: late[0].SeriesInstanceUID}
			if page, err = q.read(txn, &r, page); err != nil {
				return err
			}
		}
		return nil
	})
	return page, next, err
}

// read appends a series with what of it is not indexed.
func (q *seriesQuery) read(txn *badger.Txn, r *seriesRecord, page []Series) ([]Series, error) {
	out := Series{StudyInstanceUID: q.study, SeriesInstanceUID: r.uid, Instances: distinct(r.instances, r.repeats), Bytes: int64(r.bytes)}
	if r.instances > 0 {
		in, err := readEntry(txn, r.newest)
		if err != nil && err != ErrNotFound {
			return page, err
		}
		if err == nil {
			out.Newest = *in
		}
	}
	id := hashOf(string(r.uid))
	late, err := q.late[id].fresh(txn)
	if err != nil {
		return page, err
	}
	delete(q.late, id)
	more, err := late.additional(txn)
	if err != nil {
		return page, err
	}
	out.Instances += more
	for _, in := range late {
		out.Bytes += in.Size
		if in.ID > out.Newest.ID {
			out.Newest = *in
		}
	}
	if out.Newest.ID != 0 {
		page = append(page, out)
	}
	return page, nil
}
