package qr

import (
	"context"

	"dcmgate/dicom"
	"dcmgate/dimse"
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
func (s *SCP) SendStudy(ctx context.Context, study dicom.UID, dial Dial) (Sent, error) {
	id := &Identifier{}
	for tag, value := range map[dicom.Tag]string{dicom.TagQueryRetrieveLevel: LevelStudy.String(), dicom.TagStudyInstanceUID: string(study)} {
		id.set(Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: []string{value}})
	}
	m, _ := modelOf(dimse.CMoveRQ, StudyRootMove)
	q, level, err := newRetrieval(m, id)
	if err != nil {
		return Sent{}, err
	}
	r := &retrieval{scp: s, index: s.o.Index, query: q, level: level, tally: newTally(s.metrics.suboperations[dimse.CMoveRQ])}
	r.send = r.sendTo(dial)
	err = r.run(ctx)
	r.closing.Wait()
	t := r.tally
	t.mu.Lock()
	defer t.mu.Unlock()
	return Sent{Instances: t.total, Completed: t.completed, Warnings: t.warnings, Failed: t.failed, Reason: t.reason}, err
}
