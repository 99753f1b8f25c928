package views

import (
	"fmt"
	"slices"
	"strings"
)

// Sizes of statements where each value is a parameter. Few sizes, so that servers parse few statements; the greatest has
// less than 4096 parameters.
var chunkSizes = [...]int{128, 16, 1}

// inStatements calls fn for the parts of a list that one statement takes: of the sizes of chunkSizes, or all of it.
func inStatements[T any](d *dialect, list []T, fn func([]T) error) error {
	if d.arrays {
		if len(list) == 0 {
			return nil
		}
		return fn(list)
	}
	for _, size := range chunkSizes {
		for len(list) >= size {
			if err := fn(list[:size]); err != nil {
				return err
			}
			list = list[size:]
		}
	}
	return nil
}

// size tells the statements for so many rows apart, which are all alike where a parameter may be a list.
func (d *dialect) size(rows int) int {
	if d.arrays {
		return 0
	}
	return rows
}

// oneOf writes the condition that the key is that of one of so many rows; keys are its parameters, which begin with the first.
func (d *dialect) oneOf(rows int) string {
	if d.arrays {
		return "= ANY($1::bpchar[])"
	}
	return "IN (" + d.parameters(1, rows) + ")"
}

func (d *dialect) keys(rows []Row) []any {
	keys, args := make([]string, len(rows)), make([]any, len(rows))
	for i := range rows {
		keys[i], args[i] = rows[i].Key, rows[i].Key
	}
	if d.arrays {
		return []any{keys}
	}
	return args
}

// upsert writes a statement that puts so many rows into a table in place of those with the same keys.
func (d *dialect) upsert(t *table, rows int) string {
	columns := t.columns()
	var b strings.Builder
	fmt.Fprintf(&b, "INSERT INTO %s (%s) ", d.name1(t.name), d.names(t.columnNames()))
	if d.arrays {
		b.WriteString(selectArrays(columns))
	} else {
		for i := range rows {
			separator := ", "
			if i == 0 {
				separator = "VALUES "
			}
			fmt.Fprintf(&b, "%s(%s)", separator, d.parameters(1+i*len(columns), len(columns)))
		}
	}
	b.WriteString(d.conflict(d, t.columnNames()))
	return b.String()
}

// values lists the parameters of upsert.
func (d *dialect) values(t *table, rows [][]any) []any {
	if d.arrays {
		return arrays(t.columns(), rows)
	}
	return slices.Concat(rows...)
}

// selectArrays makes rows of arrays of PostgreSQL, one for each column. Texts are not cast to their length, which would cut
// them in silence.
func selectArrays(columns []Column) string {
	var values, lists []string
	for i, c := range columns {
		value, list := fmt.Sprintf("c%d", i+1), "text[]"
		switch c.Type {
		case "date":
			value = "CAST(" + value + " AS date)"
		case "datetime":
			value = "CAST(" + value + " AS timestamp)"
		case "integer", "number", "big", "flag":
			list = "bigint[]"
		}
		values, lists = append(values, value), append(lists, fmt.Sprintf("$%d::%s", i+1, list))
	}
	return fmt.Sprintf("SELECT %s FROM unnest(%s) AS r(%s)", strings.Join(values, ", "), strings.Join(lists, ", "), numbered("c", 1, len(columns)))
}

// arrays turns rows into lists of the values of each column, which are nil, string or int64.
func arrays(columns []Column, rows [][]any) []any {
	args := make([]any, len(columns))
	for i, c := range columns {
		switch c.Type {
		case "integer", "number", "big", "flag":
			args[i] = column[int64](rows, i)
		default:
			args[i] = column[string](rows, i)
		}
	}
	return args
}

func column[T any](rows [][]any, i int) []*T {
	list := make([]*T, len(rows))
	for k, r := range rows {
		if v, ok := r[i].(T); ok {
			list[k] = &v
		}
	}
	return list
}

// upsert puts rows into a table, those of the same keys being replaced.
func (w *writer) upsert(t *table, rows [][]any) error {
	return inStatements(w.d, rows, func(rows [][]any) error {
		statement := w.statement(purpose{"upsert", t, w.d.size(len(rows))}, func() string { return w.d.upsert(t, len(rows)) })
		if _, err := statement.exec(w, w.d.values(t, rows)...); err != nil {
			return fmt.Errorf("write rows of %s: %w", t.view.Name, err)
		}
		return nil
	})
}
