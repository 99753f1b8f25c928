package spool

import (
	"context"
	"errors"
	"slices"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// Known counts the series and instances of a study by their UIDs: those that were evicted too, as long as their custody
// records are kept, and several versions of one instance once. Instances that are not indexed yet do not count.
func (s *Spool) Known(ctx context.Context, study dicom.UID) (series, instances int, err error) {
	id := hashOf(string(study))
	var last hash8
	err = s.db.View(func(txn *badger.Txn) error {
		return scan(txn, append([]byte{kindVersions}, id[:]...), nil, false, func(key, _ []byte) (bool, error) {
			k, ok := identityOfKey(key)
			if !ok {
				return true, nil
			}
			if instances == 0 || k.series != last { // keys of a series stand together
				series, last = series+1, k.series
			}
			instances++
			return instances%keysPage != 0 || ctx.Err() == nil, ctx.Err()
		})
	})
	return series, instances, err
}

// Whole tells whether something of a study is stored, and a version of every instance of it that the index knows: of those
// that were evicted, too, as long as their custody records are kept.
func (s *Spool) Whole(ctx context.Context, study dicom.UID) (whole bool, err error) {
	late := map[identity]bool{}
	for _, in := range s.pending.find(func(in *Instance) bool { return in.StudyInstanceUID == study }) {
		late[in.identity()] = true
	}
	id, lacks, n := hashOf(string(study)), false, 0
	err = s.db.View(func(txn *badger.Txn) error {
		return scan(txn, append([]byte{kindVersions}, id[:]...), nil, true, func(key, value []byte) (bool, error) {
			k, ok := identityOfKey(key)
			if !ok {
				return true, nil
			}
			versions, err := decodeVersions(value)
			lacks = !late[k] && !slices.ContainsFunc(versions, func(v version) bool { return !v.evicted })
			n++
			return !lacks, errors.Join(err, ctx.Err())
		})
	})
	return !lacks && n+len(late) > 0, err
}

// LastSequence is the number of the last change, which may become readable a moment later.
func (s *Spool) LastSequence() uint64 { return s.ledger.snapshot().sequence }
