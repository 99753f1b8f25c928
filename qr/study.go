package qr

import (
	"context"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// Sent says what became of the instances of a study that were sent.
type Sent struct {
	Instances int    `json:"instances"` // to send
	Completed int    `json:"completed"`
	Warnings  int    `json:"warnings"`
	Failed    int    `json:"failed"`
	Reason    string `json:"reason,omitempty"` // of a failure
}

// SendStudy sends what is stored of a study as a C-MOVE would, which nobody has asked for over an association. What becomes of
// the instances is in Sent; the error is of the index or the context.
func (s *SCP) SendStudy(ctx context.Context, study dicom.UID, dial Dial, told func(in *spool.Instance, ok bool)) (Sent, error) {
	q, level, err := studyRetrieval(study)
	if err != nil {
		return Sent{}, err
	}
	r := &retrieval{
		scp: s, index: s.o.Index, query: q, level: level, tally: newTally(s.metrics.suboperations[dimse.CMoveRQ]),
		told: told,
	}
	r.send = r.sendTo(dial)
	err = r.run(ctx)
	r.closing.Wait()
	t := r.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	return Sent{Instances: t.total, Completed: t.completed, Warnings: t.warnings, Failed: t.failed, Reason: t.reason}, err
}

// studyRetrieval is the query of a C-MOVE for a study.
func studyRetrieval(study dicom.UID) (*query, Level, error) {
	id := &Identifier{}
	id.set(key(dicom.TagQueryRetrieveLevel, LevelStudy.String()))
	id.set(key(dicom.TagStudyInstanceUID, string(study)))
	m, _ := modelOf(dimse.CMoveRQ, StudyRootMove)
	return newRetrieval(m, id)
}
