package restore

import (
	"context"
	"errors"

	"dcmgate/dicom"
)

// Source is where studies are restored from. A *Restorer is one: the cloud.
type Source interface {
	// Study restores a study; progress, which may be nil, is called as it goes on. The error is of what concerns all of the
	// study. Images that fail by themselves, and a study that the source does not have, are in the report.
	Study(ctx context.Context, study dicom.UID, progress func(Report)) (Report, error)
}

// Sources are asked one after another until a study is whole.
type Sources struct {
	In []Source
	// Whole tells whether nothing of a study that was ever stored is lacking, and something is stored.
	Whole func(ctx context.Context, study dicom.UID) (bool, error)
}

// Study implements [Source]. A source that fails matters only if the study does not become whole without it: the errors of
// all of them are returned then.
func (s Sources) Study(ctx context.Context, study dicom.UID, progress func(Report)) (Report, error) {
	var sum Report
	var failures []error
	for _, source := range s.In {
		before := sum
		report, err := source.Study(ctx, study, func(r Report) {
			if progress != nil {
				progress(before.and(r))
			}
		})
		sum = before.and(report)
		if err != nil {
			failures = append(failures, err)
		}
		if ctx.Err() != nil {
			break
		}
		whole, err := s.Whole(ctx, study)
		if err != nil {
			return sum, errors.Join(append(failures, err)...)
		}
		if whole && sum.Listed > 0 && sum.Failed == 0 {
			return sum, nil
		}
	}
	return sum, errors.Join(failures...)
}

// and is the report of a source together with that of the one that was asked next, to which what the first has restored was
// present. What the first could not restore the second may have; if it does not have the study, it remains.
func (r Report) and(next Report) Report {
	if next.Listed == 0 {
		next.Failed, next.Failures, next.Listed, next.Present = r.Failed, r.Failures, r.Listed, r.Present+r.Restored
	}
	next.Present = max(next.Present-r.Restored, 0)
	next.Restored += r.Restored
	next.Bytes += r.Bytes
	if next.Remark == "" {
		next.Remark = r.Remark
	}
	return next
}
