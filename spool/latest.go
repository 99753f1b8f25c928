package spool

import (
	"context"
	"iter"

	"dcmgate/dicom"

	"github.com/dgraph-io/badger/v4"
)

// Latest is Instances without what a later version of the same instance has replaced: of several stored under the same
// UIDs only the one received last is yielded. ctx's error ends it.
func (s *Spool) Latest(ctx context.Context, study, series dicom.UID) iter.Seq2[Instance, error] {
	return func(yield func(Instance, error) bool) {
		late := map[identity]InstanceID{}
		for _, in := range s.pending.find(func(in *Instance) bool {
			return in.StudyInstanceUID == study && (series == "" || in.SeriesInstanceUID == series)
		}) {
			late[in.identity()] = in.ID // in order of arrival: the last remains
		}
		for in, err := range s.Instances(study, series) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Instance{}, err)
				return
			}
			id, err := s.latestOf(&in, late)
			if err != nil {
				yield(Instance{}, err)
				return
			}
			if id == in.ID && !yield(in, nil) {
				return
			}
		}
	}
}

// latestOf finds the version that was stored last under an instance's UIDs.
func (s *Spool) latestOf(in *Instance, late map[identity]InstanceID) (id InstanceID, err error) {
	k := in.identity()
	id = max(in.ID, late[k])
	err = s.db.View(func(txn *badger.Txn) error {
		vs, err := readVersions(txn, k)
		for _, v := range vs {
			if !v.evicted {
				id = max(id, v.id)
			}
		}
		return err
	})
	return id, err
}
