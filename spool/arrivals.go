package spool

import "encoding/binary"

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
