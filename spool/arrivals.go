package spool

import (
	"encoding/binary"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// arrivalKey names a study by when the first of its stored instances was received. It does not change while the study
// grows, so that keeping studies in order of time costs one key for each.
func arrivalKey(first int64, study hash8) []byte {
	b := binary.BigEndian.AppendUint64(append(make([]byte, 0, 17), kindArrival), uint64(first))
	return append(b, study[:]...)
}

// arrive notes the first instance of a study.
func (t *tx) arrive(id hash8, study *studyRecord, ms int64) {
	if study.first != 0 { // it was emptied in this transaction, or before one that failed
		t.delete(arrivalKey(study.first, id))
	}
	study.first = ms
	t.set(arrivalKey(ms, id), nil)
}

// fillBatch is how many studies a transaction of fillArrivals takes: with the text keys that each may have it stays
// below what Badger takes.
const fillBatch = 256

// fillArrivals makes the r and b keys of an index that was written before there were any. It is done again from the
// beginning if it was interrupted.
func fillArrivals(db *badger.DB) error {
	var done bool
	err := db.View(func(txn *badger.Txn) (err error) {
		_, done, err = get(txn, metaKey(metaArrivals))
		return err
	})
	if err != nil || done {
		return err
	}
	for start := []byte{kindStudy}; start != nil; {
		var keys [][]byte
		if keys, start, err = missingArrivals(db, start); err != nil {
			return err
		}
		if err := setEmpty(db, keys...); err != nil {
			return err
		}
	}
	return setEmpty(db, metaKey(metaArrivals))
}

// missingArrivals lists the keys for a batch of studies; next is nil at the end.
func missingArrivals(db *badger.DB, start []byte) (keys [][]byte, next []byte, err error) {
	n := 0
	err = db.View(func(txn *badger.Txn) error {
		return scan(txn, []byte{kindStudy}, start, true, func(key, value []byte) (bool, error) {
			r, err := decodeStudy(value)
			if err != nil || len(key) != 9 {
				return true, nil // a rebuild restores it
			}
			id := hash8(key[1:])
			keys = append(keys, arrivalKey(r.first, id))
			for _, k := range r.textKeys {
				if len(k) > 1 && k[0] == kindPatient {
					keys = append(keys, textKey(kindPatientID, k[1:], id))
				}
			}
			if n++; n == fillBatch {
				next = after(key)
			}
			return next == nil, nil
		})
	})
	return keys, next, err
}

func setEmpty(db *badger.DB, keys ...[]byte) error {
	err := db.Update(func(txn *badger.Txn) error {
		for _, key := range keys {
			if err := txn.Set(key, []byte{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	return nil
}
