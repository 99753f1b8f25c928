package views

import (
	"context"
	"database/sql"
)

// purpose is what a statement is for that is used again and again: a verb and a table, for so many rows.
type purpose struct {
	verb string
	t    *table
	rows int
}

// statement is the text of one, and what the server has made of it where that pays: a statement of 128 rows has thousands of
// parameters, and a server that reads it anew spends a quarter of its time on that.
type statement struct {
	text     string
	prepared *sql.Stmt // nil before the next transaction, and where the driver keeps statements by itself
}

// statement returns the one for a purpose, which text writes the first time. There are few purposes, so all are kept for as
// long as the database is open.
func (st *database) statement(p purpose, text func() string) *statement {
	s := st.kept[p]
	if s == nil {
		s = &statement{text: text()}
		st.kept[p] = s
	}
	return s
}

// prepare has the server read the statements that were used for the first time: between transactions, as within one it would
// take a connection more.
func (st *database) prepare(ctx context.Context) (err error) {
	if !st.d.prepares {
		return nil
	}
	for _, s := range st.kept {
		if s.prepared == nil && err == nil {
			s.prepared, err = st.db.PrepareContext(ctx, s.text)
		}
	}
	return err
}

func (s *statement) exec(w *writer, args ...any) (sql.Result, error) {
	if s.prepared == nil {
		return w.tx.ExecContext(w.ctx, s.text, args...)
	}
	return w.tx.StmtContext(w.ctx, s.prepared).ExecContext(w.ctx, args...)
}

func (s *statement) query(w *writer, args ...any) (*sql.Rows, error) {
	if s.prepared == nil {
		return w.tx.QueryContext(w.ctx, s.text, args...)
	}
	return w.tx.StmtContext(w.ctx, s.prepared).QueryContext(w.ctx, args...)
}
