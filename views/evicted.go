package views

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// evict says in an image's row that its file is gone. The rest of the row stays; the spool no longer has it. A row that is
// of another version of the instance is left alone.
func (w *writer) evict(in *spool.Instance) error {
	statement := w.statement(purpose{"evict", images, 1}, w.d.evict)
	result, err := statement.exec(w, nil, string(FileEvicted), 0, "", w.state.imageSeq+1, w.state.updated,
		imageKey(in), in.ID.String(), string(FileEvicted))
	if err != nil {
		return fmt.Errorf("revise rows of %s: %w", DocImage.Name, err)
	}
	changed, err := result.RowsAffected()
	if err == nil && changed > 0 {
		w.state.imageSeq++
		w.written.image++
	}
	return err
}

// evict writes the statement of [writer.evict].
func (d *dialect) evict() string {
	statement := "UPDATE " + d.name1(imageTable) + " SET "
	for i, name := range []string{"FilePathName", "FileState", "Complete", "RowHash", "ChangeSeq", "UpdateAt"} {
		if i > 0 {
			statement += ", "
		}
		statement += d.name1(name) + " = " + d.parameters(1+i, 1)
	}
	return statement + fmt.Sprintf(" WHERE %s = %s AND %s = %s AND %s <> %s AND %s = 0", d.name1(keyColumn), d.parameters(7, 1),
		d.name1("RelationField"), d.parameters(8, 1), d.name1("FileState"), d.parameters(9, 1), d.name1("Held"))
}

// lost counts, by tables, what was evicted before it had a row and will have none.
func (s *session) lost(ctx context.Context, w *writer, gone []*spool.Instance) (n [len(tables)]int, err error) {
	if len(gone) == 0 {
		return n, nil
	}
	imageKeys, studyOf := make([]string, len(gone)), map[string]dicom.UID{}
	for i, in := range gone {
		imageKeys[i] = imageKey(in)
		if in.StudyInstanceUID != "" { // without which there is no row
			studyOf[rowKey(in.StudyInstanceUID)] = in.StudyInstanceUID
		}
	}
	if s.o.Files != nil {
		absent, err := w.absent(images, imageKeys)
		if err != nil {
			return n, err
		}
		n[1] = len(absent)
	}
	absent, err := w.absent(studies, slices.Collect(maps.Keys(studyOf)))
	if err != nil {
		return n, err
	}
	for _, key := range absent {
		left, err := s.holds(ctx, studyOf[key])
		if err != nil {
			return n, err
		}
		if !left {
			n[0]++
		}
	}
	return n, nil
}

// holds tells whether the spool has something of a study, whose row follows if it is not there.
func (s *session) holds(ctx context.Context, study dicom.UID) (bool, error) {
	for _, err := range s.o.Spool.Studies(ctx, spool.StudyFilter{UIDs: []dicom.UID{study}}) {
		return err == nil, err
	}
	return false, nil
}

// absent lists those of the keys, of which one may be there several times, that have no row.
func (w *writer) absent(t *table, keys []string) (absent []string, err error) {
	rows := make([]Row, len(keys))
	for i, key := range keys {
		rows[i].Key = key
	}
	rows = lastOfEach(rows)
	there, err := w.known(t, rows)
	for _, r := range rows {
		if _, ok := there[r.Key]; !ok {
			absent = append(absent, r.Key)
		}
	}
	return absent, err
}

// sweep takes away the files of the instances that were evicted last: a process that ended between the transaction that said
// so and their removal, or a removal that failed, has left some.
func (s *session) sweep() error {
	if s.o.Files == nil {
		return nil
	}
	changes, err := s.o.Spool.Changes(s.state.sequence-min(s.state.sequence, batchChanges), batchChanges)
	if errors.Is(err, spool.ErrChangesPruned) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, c := range changes {
		if c.Kind != spool.ChangeEvicted || c.Sequence > s.state.sequence {
			continue // or its row still names the file
		}
		in, err := s.o.Spool.Instance(c.ID)
		if err == nil && in.State != spool.InstanceStored {
			err = s.o.Files.Remove(&in)
		}
		if err != nil && !errors.Is(err, spool.ErrNotFound) {
			return err
		}
	}
	return nil
}
