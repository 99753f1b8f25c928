package views

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"dcmgate/spool"
)

// state is the record of how far publishing has come. It is read under a lock at the begin of each transaction and
// written at its end.
type state struct {
	sequence uint64 // of the spool's changes
	last     string // instance that the change was about, "" if not known
	studySeq int64
	imageSeq int64
	updated  string // UpdateAt of the last row
	scan     bool

	otherSequence uint64 // of the changes of images that are not DICOM
	otherStore    string // whose changes they are
	otherSeq      int64
}

func stateNames() []string {
	var names []string
	for _, c := range slices.Concat(stateColumns, otherStateColumns) {
		names = append(names, c.Name)
	}
	return names
}

// queryer is a database or a transaction.
type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func readState(ctx context.Context, d *dialect, q queryer, lock string) (s state, err error) {
	err = q.QueryRowContext(ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s = 1%s", d.names(stateNames()), d.name1(stateTable), d.name1("Id"), lock)).
		Scan(&s.sequence, &s.last, &s.studySeq, &s.imageSeq, &s.updated, &s.scan, &s.otherSequence, &s.otherStore, &s.otherSeq)
	if err != nil {
		return s, fmt.Errorf("read the state: %w", err)
	}
	return s, nil
}

func (s *state) write(ctx context.Context, d *dialect, tx *sql.Tx) error {
	set := ""
	for i, name := range stateNames() {
		if i > 0 {
			set += ", "
		}
		set += d.name1(name) + " = " + d.parameters(1+i, 1)
	}
	scan := 0
	if s.scan {
		scan = 1
	}
	_, err := tx.ExecContext(ctx, fmt.Sprintf("UPDATE %s SET %s WHERE %s = 1", d.name1(stateTable), set, d.name1("Id")),
		int64(s.sequence), s.last, s.studySeq, s.imageSeq, s.updated, scan, int64(s.otherSequence), s.otherStore, s.otherSeq)
	return err
}

// numbers is the counter of a table.
func (s *state) numbers(t *table) *int64 {
	switch t {
	case studies:
		return &s.studySeq
	case images:
		return &s.imageSeq
	}
	return &s.otherSeq
}

// touch sets the time of the next rows, which never goes back.
func (s *state) touch(now time.Time) { s.updated = max(s.updated, now.Format(dateTimeForm)) }

// passed notes a change of the spool as published.
func (s *state) passed(c spool.Change) {
	if s.sequence, s.last = c.Sequence, c.ID.String(); c.ID == 0 {
		s.last = ""
	}
}
