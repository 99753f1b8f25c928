package views

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// database is an open database as the publisher uses it. Rows are written by one goroutine.
type database struct {
	d        *dialect
	db       *sql.DB
	location *time.Location
	now      func() time.Time
	kept     map[purpose]*statement
}

// written counts what a transaction changed.
type written struct{ study, image, other int }

// update runs one transaction: it locks the state, calls fn, writes what fn has left of the state, and commits.
func (st *database) update(ctx context.Context, fn func(w *writer) error) (s state, w written, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := st.prepare(ctx); err != nil {
		return s, w, fmt.Errorf("prepare statements: %w", err)
	}
	// Read committed: behind the lock everything read is what the last holder of the lock committed.
	options := &sql.TxOptions{Isolation: sql.LevelReadCommitted}
	if st.d == sqliteDialect {
		options = nil // serializable
	}
	tx, err := st.db.BeginTx(ctx, options)
	if err != nil {
		return s, w, err
	}
	defer tx.Rollback() // nothing after a commit
	wr := &writer{database: st, ctx: ctx, tx: tx}
	if wr.state, err = readState(ctx, st.d, tx, st.d.forUpdate); err != nil {
		return s, w, err
	}
	wr.state.touch(st.now().In(st.location))
	if err := fn(wr); err != nil {
		return s, w, err
	}
	if err := wr.state.write(ctx, st.d, tx); err != nil {
		return s, w, fmt.Errorf("write the state: %w", err)
	}
	return wr.state, wr.written, tx.Commit()
}

// writer is a transaction under way.
type writer struct {
	*database
	ctx     context.Context
	tx      *sql.Tx
	state   state
	written written
}

// known is what the database has of a row.
type known struct {
	hash     string
	held     bool
	complete bool
}

// put publishes rows of one view in their order. A row that is there with the same content is left alone, so that to do it
// again changes nothing; each other one gets the next number. A row is held back only if it was never published.
func (w *writer) put(t *table, rows []Row, hold bool) error {
	rows = lastOfEach(rows)
	before, err := w.known(t, rows)
	if err != nil {
		return err
	}
	var args [][]any
	for i := range rows {
		r := &rows[i]
		r.sum()
		old, there := before[r.Key]
		held := hold && r.Lacking && (!there || old.held)
		if there && old == (known{r.Hash, held, r.Complete}) {
			continue
		}
		args = append(args, w.arguments(t, r, held))
	}
	return w.upsert(t, args)
}

// lastOfEach keeps the last row of each key, in the order of the last ones.
func lastOfEach(rows []Row) []Row {
	last := map[string]int{}
	for i := range rows {
		last[rows[i].Key] = i
	}
	var out []Row
	for i := range rows {
		if last[rows[i].Key] == i {
			out = append(out, rows[i])
		}
	}
	return out
}

// arguments gives a row its number and lists the values of the table's columns.
func (w *writer) arguments(t *table, r *Row, held bool) []any {
	var number any
	if !held {
		*w.state.numbers(t)++
		number = *w.state.numbers(t)
	}
	args := append([]any{r.Key}, r.Values...)
	args = append(args, number, w.state.updated, flag(r.Complete))
	switch t {
	case studies:
		w.written.study++
	case images:
		args = append(args, string(r.State))
		w.written.image++
	case others:
		args = append(args, string(r.State))
		w.written.other++
	}
	var gaps any
	if len(r.Gaps) > 0 {
		gaps = r.gaps()
	}
	return append(args, r.Hash, gaps, flag(held), r.Received.UnixMilli())
}

func flag(v bool) int64 {
	if v {
		return 1
	}
	return 0
}

// known reads what is there of rows.
func (w *writer) known(t *table, rows []Row) (map[string]known, error) {
	found := make(map[string]known, len(rows))
	err := inStatements(w.d, rows, func(rows []Row) error {
		statement := w.statement(purpose{"known", t, w.d.size(len(rows))}, func() string {
			return fmt.Sprintf("SELECT %s FROM %s WHERE %s %s",
				w.d.names([]string{keyColumn, "RowHash", "Held", "Complete"}), w.d.name1(t.name), w.d.name1(keyColumn), w.d.oneOf(len(rows)))
		})
		res, err := statement.query(w, w.d.keys(rows)...)
		if err != nil {
			return fmt.Errorf("read rows of %s: %w", t.view.Name, err)
		}
		defer res.Close()
		for res.Next() {
			var key string
			var k known
			if err := res.Scan(&key, &k.hash, &k.held, &k.complete); err != nil {
				return err
			}
			found[key] = k
		}
		return res.Err()
	})
	return found, err
}

// quietBatch is how many studies are called complete in one transaction.
const quietBatch = 256

// completeQuiet marks studies complete that nothing was added to since a time.
func (w *writer) completeQuiet(since time.Time) (n int, err error) {
	d := w.d
	rows, err := w.tx.QueryContext(w.ctx, fmt.Sprintf("SELECT %s FROM %s WHERE %s = 0 AND %s <= %s ORDER BY %s LIMIT %d",
		d.names([]string{keyColumn, "Held"}), d.name1(studyTable), d.name1("Complete"), d.name1("LastReceived"), d.parameters(1, 1), d.name1("LastReceived"), quietBatch),
		since.UnixMilli())
	if err != nil {
		return 0, fmt.Errorf("look for complete studies: %w", err)
	}
	type study struct {
		key  string
		held bool
	}
	var list []study
	for rows.Next() {
		var s study
		if err := rows.Scan(&s.key, &s.held); err != nil {
			rows.Close()
			return 0, err
		}
		list = append(list, s)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	statement := fmt.Sprintf("UPDATE %s SET %s = 1, %s = %s, %s = %s WHERE %s = %s", d.name1(studyTable), d.name1("Complete"),
		d.name1("ChangeSeq"), d.parameters(1, 1), d.name1("UpdateAt"), d.parameters(2, 1), d.name1(keyColumn), d.parameters(3, 1))
	for _, s := range list {
		var number any
		if !s.held {
			w.state.studySeq++
			number = w.state.studySeq
		}
		if _, err := w.tx.ExecContext(w.ctx, statement, number, w.state.updated, s.key); err != nil {
			return 0, fmt.Errorf("mark complete studies: %w", err)
		}
		w.written.study++
	}
	return len(list), nil
}

// anyQuiet tells whether completeQuiet would find something, without taking the lock.
func (st *database) anyQuiet(ctx context.Context, since time.Time) (bool, error) {
	var n int
	err := st.db.QueryRowContext(ctx, fmt.Sprintf("SELECT COUNT(*) FROM (SELECT 1 FROM %s WHERE %s = 0 AND %s <= %s LIMIT 1) q",
		st.d.name1(studyTable), st.d.name1("Complete"), st.d.name1("LastReceived"), st.d.parameters(1, 1)), since.UnixMilli()).Scan(&n)
	return n > 0, err
}
