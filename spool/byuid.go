package spool

import (
	"cmp"
	"context"
	"slices"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// sopKey says under which study and series a SOP Instance UID is known: that of a u key without the other two.
func sopKey(k identity) []byte {
	sop := hashOf(string(k.sop))
	b := append(make([]byte, 0, 25), kindSOP)
	b = append(b, sop[:]...)
	return append(append(b, k.study[:]...), k.series[:]...)
}

// seriesStudyKey says to which study a series belongs.
func seriesStudyKey(series, study hash8) []byte {
	b := append(make([]byte, 0, 17), kindSeriesStudy)
	return append(append(b, series[:]...), study[:]...)
}

// putVersions writes what is known under a set of UIDs; had tells whether anything was before.
func (t *tx) putVersions(k identity, had bool, vs []version) {
	if len(vs) == 0 {
		t.delete(versionsKey(k))
		t.delete(sopKey(k))
		return
	}
	t.set(versionsKey(k), appendVersions(nil, vs))
	if !had {
		t.set(sopKey(k), nil)
	}
}

// identitiesOf lists the studies and series under which a SOP Instance UID is known. Another UID of the same hash may
// have made a key, too: nothing is found under it.
func identitiesOf(txn *badger.Txn, sop dicom.UID) (ks []identity, err error) {
	hash := hashOf(string(sop))
	err = scan(txn, append([]byte{kindSOP}, hash[:]...), nil, false, func(key, _ []byte) (bool, error) {
		if len(key) == 25 {
			ks = append(ks, identity{study: hash8(key[9:]), series: hash8(key[17:]), sop: sop})
		}
		return true, nil
	})
	return ks, err
}

// studiesOfInstances adds the studies in which SOP Instance UIDs are known.
func studiesOfInstances(ctx context.Context, txn *badger.Txn, sops []dicom.UID, ids map[hash8]bool) error {
	for _, sop := range sops {
		ks, err := identitiesOf(txn, sop)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		for _, k := range ks {
			ids[k.study] = true
		}
	}
	return nil
}

// studiesOfSeries adds the studies that have series of these UIDs.
func studiesOfSeries(ctx context.Context, txn *badger.Txn, series []dicom.UID, ids map[hash8]bool) error {
	for _, uid := range series {
		hash := hashOf(string(uid))
		err := scan(txn, append([]byte{kindSeriesStudy}, hash[:]...), nil, false, func(key, _ []byte) (bool, error) {
			if len(key) == 17 {
				ids[hash8(key[9:])] = true
			}
			return true, nil
		})
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// LookupSOP returns the versions stored under a SOP Instance UID in whatever study and series, oldest first, evicted ones
// included. None is no error.
func (s *Spool) LookupSOP(sop dicom.UID) ([]Instance, error) {
	arrived := s.pending.find(func(in *Instance) bool { return in.SOPInstanceUID == sop })
	var found []Instance
	err := s.db.View(func(txn *badger.Txn) error {
		ks, err := identitiesOf(txn, sop)
		if err != nil {
			return err
		}
		for _, k := range ks {
			ins, err := readInstances(txn, k)
			if err != nil {
				return err
			}
			found = append(found, ins...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	found = appendArrived(found, arrived)
	slices.SortFunc(found, func(a, b Instance) int { return cmp.Compare(a.ID, b.ID) })
	return found, nil
}

// readInstances reads the versions under a set of UIDs.
func readInstances(txn *badger.Txn, k identity) (found []Instance, err error) {
	vs, err := readVersions(txn, k)
	if err != nil {
		return nil, err
	}
	for _, v := range vs {
		in, err := readEntry(txn, v.id)
		if err != nil {
			return nil, err
		}
		found = append(found, *in)
	}
	return found, nil
}
