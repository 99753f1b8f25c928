package views

import (
	"context"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrView says that there is no view of that name.
var ErrView = errors.New("no such view; V_StudyInfo, V_DocImage and V_DocImage_F are there")

// ErrNotMade says that the database has no views yet.
var ErrNotMade = errors.New("the database does not have the view yet: a gateway makes it when it starts to publish there (dcmgate serve), or do it now: dcmgate views init")

// Export writes the rows of a view as a reader of the database sees them, in the order of ChangeSeq: as CSV with a line of
// names, or as a JSON array of objects. It makes nothing: without the view it fails with [ErrNotMade].
func Export(ctx context.Context, source *Source, view string, asJSON bool, out io.Writer) (rows int64, err error) {
	var t *table
	for _, candidate := range tables {
		if candidate.view.Name == view {
			t = candidate
		}
	}
	if t == nil {
		return 0, ErrView
	}
	if _, err := os.Stat(source.Database); source.Kind == SQLite && errors.Is(err, fs.ErrNotExist) { // which Open would make
		return 0, fmt.Errorf("read %s: %w", view, ErrNotMade)
	}
	db, err := source.Open()
	if err != nil {
		return 0, err
	}
	defer db.Close()
	d := source.dialect
	res, err := db.QueryContext(ctx, fmt.Sprintf("SELECT * FROM %s ORDER BY %s", d.name1(view), d.name1("ChangeSeq")))
	if notMade(err) {
		err = fmt.Errorf("%w (%w)", ErrNotMade, err)
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", view, err)
	}
	defer res.Close()
	w := newRowWriter(out, asJSON)
	columns := t.published()
	names := make([]string, len(columns))
	for i := range columns {
		names[i] = columns[i].Name
	}
	if err := w.begin(names); err != nil {
		return 0, err
	}
	for ; res.Next(); rows++ {
		values, err := scanValues(res, columns)
		if err == nil {
			err = w.row(values)
		}
		if err != nil {
			return rows, err
		}
	}
	return rows, errors.Join(res.Err(), w.end())
}

// notMade tells whether an error is that there is no such table or view.
func notMade(err error) bool {
	var postgres *pgconn.PgError
	var mariadb *mysql.MySQLError
	switch {
	case errors.As(err, &postgres):
		return postgres.Code == "42P01"
	case errors.As(err, &mariadb):
		return mariadb.Number == 1146
	}
	return err != nil && strings.Contains(err.Error(), "no such table") // SQLite has no code of its own for it
}

// scanValues reads a row: strings, int64 and nil, with dates and times as the standard writes them.
func scanValues(rows *sql.Rows, columns []Column) ([]any, error) {
	values, places := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		places[i] = &values[i]
	}
	if err := rows.Scan(places...); err != nil {
		return nil, err
	}
	for i, v := range values {
		switch v := v.(type) {
		case []byte:
			values[i] = string(v)
		case time.Time:
			if values[i] = v.Format(dateTimeForm); columns[i].Type == "date" {
				values[i] = v.Format(dateForm)
			}
		case int32:
			values[i] = int64(v)
		}
		switch columns[i].Type {
		case "integer", "number", "big", "flag":
			if s, ok := values[i].(string); ok { // MySQL without parameters answers in text
				n, err := strconv.ParseInt(s, 10, 64)
				if err != nil {
					return nil, fmt.Errorf("%s: not a number", columns[i].Name)
				}
				values[i] = n
			}
		}
	}
	return values, nil
}

// rowWriter writes rows in one of the two forms.
type rowWriter struct {
	out   io.Writer
	csv   *csv.Writer // nil: JSON
	names []string
	n     int
}

func newRowWriter(out io.Writer, asJSON bool) *rowWriter {
	w := &rowWriter{out: out}
	if !asJSON {
		w.csv = csv.NewWriter(out)
	}
	return w
}

func (w *rowWriter) begin(names []string) error {
	w.names = names
	if w.csv != nil {
		return w.csv.Write(names)
	}
	_, err := io.WriteString(w.out, "[")
	return err
}

func (w *rowWriter) row(values []any) error {
	w.n++
	if w.csv != nil {
		record := make([]string, len(values))
		for i, v := range values {
			if v != nil {
				record[i] = fmt.Sprint(v)
			}
		}
		return w.csv.Write(record)
	}
	line := []byte(",\n{")
	if w.n == 1 {
		line = []byte("\n{")
	}
	for i, v := range values { // in the order of the columns, which a map would lose
		if i > 0 {
			line = append(line, ", "...)
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		line = append(append(strconv.AppendQuote(line, w.names[i]), ": "...), text...)
	}
	_, err := w.out.Write(append(line, '}'))
	return err
}

func (w *rowWriter) end() error {
	if w.csv != nil {
		w.csv.Flush()
		return w.csv.Error()
	}
	_, err := io.WriteString(w.out, "\n]\n")
	return err
}
