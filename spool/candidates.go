package spool

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// indexRange is a part of a text index that a filter names.
type indexRange struct {
	prefix []byte
	until  []byte // exclusive, where prefix is a whole kind; nil: to its end
	from   []byte
}

// ranges lists the parts of the indexes that could answer the filter, each by itself.
func (q *studyQuery) ranges() [][]indexRange {
	var out [][]indexRange
	for _, c := range [...]struct {
		kind byte
		text TextFilter
	}{{kindAccession, q.filter.AccessionNumber}, {kindPatientID, q.filter.PatientID}, {kindName, q.filter.PatientName}} {
		if !c.text.set() {
			continue
		}
		prefix := append([]byte{c.kind}, foldText(c.text.Text)...)
		if !c.text.Prefix {
			prefix = append(prefix, 0)
		}
		out = append(out, []indexRange{{prefix: prefix, from: prefix}})
	}
	if len(q.filter.Modalities) > 0 {
		many := modalityPrefix("")
		r := []indexRange{{prefix: many, from: many}}
		for _, m := range q.filter.Modalities {
			r = append(r, q.dateRange(modalityPrefix(m)))
		}
		out = append(out, r)
	}
	if q.filter.dated() {
		out = append(out, []indexRange{q.dateRange([]byte{kindDate})})
	}
	return out
}

// dateRange is the part of the keys under a prefix that the filter's dates name; keys go on with a date.
func (q *studyQuery) dateRange(prefix []byte) indexRange {
	r := indexRange{prefix: prefix, from: append(slices.Clip(prefix), q.filter.DateFrom...)}
	if q.filter.DateTo != "" {
		r.until = append(append(slices.Clip(prefix), q.filter.DateTo...), 1) // behind the 0 that ends the date
	}
	return r
}

// candidates finds the studies that the most selective index names. It looks into each of the indexes a little, then
// further, until one of them comes to its end; if none does, narrowed is false. The keys of an index are read alone, so
// that even the widest look takes some milliseconds.
func (q *studyQuery) candidates() (ids map[hash8]bool, narrowed bool, err error) {
	if q.filter.identified() {
		ids, err := q.identified()
		return ids, err == nil, err
	}
	ranges := q.ranges()
	for _, limit := range [...]int{64, 2048, candidates} {
		for _, r := range ranges {
			if err := q.ctx.Err(); err != nil {
				return nil, false, err
			}
			ids, complete, err := q.s.collect(r, limit)
			if err != nil || complete {
				return ids, complete, err
			}
		}
	}
	return nil, false, nil
}

// identified finds the studies that the filter's UIDs name; of several kinds of UIDs, those of one.
func (q *studyQuery) identified() (ids map[hash8]bool, err error) {
	ids = map[hash8]bool{}
	f := &q.filter
	if len(f.UIDs) > 0 {
		for _, uid := range f.UIDs {
			ids[hashOf(string(uid))] = true
		}
		return ids, nil
	}
	err = q.s.db.View(func(txn *badger.Txn) error {
		if len(f.Instances) > 0 {
			return studiesOfInstances(q.ctx, txn, f.Instances, ids)
		}
		return studiesOfSeries(q.ctx, txn, f.Series, ids)
	})
	for study, late := range q.late { // what the index does not know of is asked for, or another part of the study
		if ids[study] || slices.ContainsFunc(late, f.names) {
			ids[study] = true
		} else {
			delete(q.late, study)
		}
	}
	return ids, err
}

// collect reads ranges of an index up to a number of keys; complete tells that there are no more.
func (s *Spool) collect(ranges []indexRange, limit int) (ids map[hash8]bool, complete bool, err error) {
	ids = make(map[hash8]bool)
	n := 0
	err = s.db.View(func(txn *badger.Txn) error {
		for _, r := range ranges {
			if err := r.collect(txn, ids, &n, limit); err != nil {
				return err
			}
		}
		return nil
	})
	return ids, n <= limit, err
}

// collect adds the studies of a range until more than limit keys, of which *n have been read before, are read.
func (r *indexRange) collect(txn *badger.Txn, ids map[hash8]bool, n *int, limit int) error {
	return scan(txn, r.prefix, r.from, false, func(key, _ []byte) (bool, error) {
		if r.until != nil && bytes.Compare(key, r.until) >= 0 {
			return false, nil
		}
		if *n++; *n > limit {
			return false, nil
		}
		if id, ok := studyOfKey(key); ok {
			ids[id] = true
		}
		return true, nil
	})
}

// studyOfKey takes the study from the end of a key.
func studyOfKey(key []byte) (id hash8, ok bool) {
	if len(key) < 10 {
		return id, false
	}
	return hash8(key[len(key)-8:]), true
}

// showSorted yields a few studies in order of their arrival, the last first.
func (q *studyQuery) showSorted(ids map[hash8]bool) error {
	type arrival struct {
		first int64
		study hash8
	}
	var order []arrival
	err := q.s.db.View(func(txn *badger.Txn) error {
		for id := range ids {
			if q.late[id] != nil {
				continue // shown
			}
			value, ok, err := get(txn, studyKey(id))
			if err != nil {
				return err
			}
			if r, err := decodeStudy(value); ok && err == nil {
				order = append(order, arrival{r.first, id})
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(order, func(a, b arrival) int {
		return bytes.Compare(arrivalKey(b.first, b.study), arrivalKey(a.first, a.study))
	})
	sorted := make([]hash8, len(order))
	for i := range order {
		sorted[i] = order[i].study
	}
	return q.showEach(sorted)
}

// arrivals walks all studies, or those of ids, from the one that came last.
func (q *studyQuery) arrivals(ids map[hash8]bool) walk {
	return func(txn *badger.Txn, from []byte) (found []place, next []byte, err error) {
		looked := 0
		err = scanBack(txn, []byte{kindArrival}, from, func(key []byte) (bool, error) {
			if len(key) != 17 {
				return true, nil
			}
			p := place{study: hash8(key[9:]), first: int64(binary.BigEndian.Uint64(key[1:]))}
			if ids == nil || ids[p.study] {
				found = append(found, p)
			}
			if looked++; looked == keysPage || len(found) == studiesPage {
				next = bytes.Clone(key)
			}
			return next == nil, nil
		})
		return found, next, err
	}
}

// dates walks the studies of the filter's range of dates from the latest.
func (q *studyQuery) dates(txn *badger.Txn, from []byte) (found []place, next []byte, err error) {
	if from == nil && q.filter.DateTo != "" {
		from = append(append([]byte{kindDate}, q.filter.DateTo...), 1)
	}
	err = scanBack(txn, []byte{kindDate}, from, func(key []byte) (bool, error) {
		id, ok := studyOfKey(key)
		if !ok {
			return true, nil
		}
		date := string(key[1 : len(key)-9])
		if date < q.filter.DateFrom {
			return false, nil
		}
		if found = append(found, place{study: id, date: date}); len(found) == studiesPage {
			next = bytes.Clone(key)
		}
		return next == nil, nil
	})
	return found, next, err
}

// scanBack calls fn for the keys under prefix that come before a key (nil: all), from the last on, until fn says no more.
func scanBack(txn *badger.Txn, prefix, before []byte, fn func(key []byte) (bool, error)) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	defer it.Close()
	if before == nil {
		before = append(bytes.Clone(prefix), 0xFF)
	}
	for it.Seek(before); it.ValidForPrefix(prefix); it.Next() {
		key := it.Item().Key()
		if bytes.Equal(key, before) {
			continue
		}
		if more, err := fn(key); err != nil || !more {
			return err
		}
	}
	return nil
}
