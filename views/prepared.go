package views

import "database/sql"

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
	prepared *sql.Stmt // nil: the driver keeps statements by itself
}

// statement returns the one for a purpose, which text writes the first time. There are few purposes, so all are kept for as
// long as the database is open.
func (w *writer) statement(p purpose, text func() string) (*statement, error) {
	if s := w.kept[p]; s != nil {
		return s, nil
	}
	s := &statement{text: text()}
	if w.d.prepares {
		var err error
		if s.prepared, err = w.db.PrepareContext(w.ctx, s.text); err != nil {
			return nil, err
		}
	}
	w.kept[p] = s
	return s, nil
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
