package views

import (
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"
)

// dialect is what the servers do each in its own way.
type dialect struct {
	name      string
	goose     goose.Dialect
	quote     string // around names
	numbered  bool   // parameters are $1, $2, ..., else ?
	arrays    bool   // a parameter may be a list, so that one statement takes any number of rows
	prepares  bool   // statements are made ready once for a connection; the driver of the others does so by itself
	forUpdate string // locks the state's record; SQLite has the whole database
	conflict  func(d *dialect, columns []string) string
	types     map[string]string // a column's type by the standard's name of it; %d is the length
	options   string            // behind a table
	replace   string            // begins the definition of a view that may be there
	dateText  string            // a date as text, %s is the column
	timeText  string
}

var (
	sqliteDialect = &dialect{
		name: "SQLite", goose: goose.DialectSQLite3, quote: `"`, prepares: true,
		types: map[string]string{
			"string": "VARCHAR(%d)", "integer": "INTEGER", "number": "INTEGER", "date": "DATE", "datetime": "DATETIME",
			"key": "CHAR(32)", "big": "BIGINT", "flag": "SMALLINT",
		},
		conflict: onConflict, replace: "CREATE VIEW IF NOT EXISTS", dateText: "%s", timeText: "%s",
	}
	postgresDialect = &dialect{
		name: "PostgreSQL", goose: goose.DialectPostgres, quote: `"`, numbered: true, arrays: true, forUpdate: " FOR UPDATE",
		types: map[string]string{
			"string": "varchar(%d)", "integer": "integer", "number": "integer", "date": "date", "datetime": "timestamp(0)",
			"key": "char(32)", "big": "bigint", "flag": "smallint",
		},
		conflict: onConflict, replace: "CREATE OR REPLACE VIEW",
		dateText: "CAST(to_char(%s, 'YYYY-MM-DD') AS varchar(10))", timeText: "CAST(to_char(%s, 'YYYY-MM-DD HH24:MI:SS') AS varchar(19))",
	}
	mysqlDialect = &dialect{
		name: "MySQL", goose: goose.DialectMySQL, quote: "`", prepares: true, forUpdate: " FOR UPDATE",
		types: map[string]string{
			"string": "VARCHAR(%d)", "integer": "INT", "number": "INT", "date": "DATE", "datetime": "DATETIME",
			"key": "CHAR(32) CHARACTER SET ascii COLLATE ascii_bin", "big": "BIGINT", "flag": "SMALLINT",
		},
		options:  " ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ROW_FORMAT=DYNAMIC",
		conflict: onDuplicateKey, replace: "CREATE OR REPLACE SQL SECURITY DEFINER VIEW",
		dateText: "DATE_FORMAT(%s, '%%Y-%%m-%%d')", timeText: "DATE_FORMAT(%s, '%%Y-%%m-%%d %%H:%%i:%%s')",
	}
)

func onConflict(d *dialect, columns []string) string {
	return " ON CONFLICT (" + d.name1(keyColumn) + ") DO UPDATE SET " + d.assignments(columns, "excluded.%s")
}

func onDuplicateKey(d *dialect, columns []string) string {
	return " ON DUPLICATE KEY UPDATE " + d.assignments(columns, "VALUES(%s)")
}

// name1 quotes a name. None of ours holds a quote.
func (d *dialect) name1(name string) string { return d.quote + name + d.quote }

func (d *dialect) names(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = d.name1(n)
	}
	return strings.Join(quoted, ", ")
}

func (d *dialect) assignments(columns []string, value string) string {
	var parts []string
	for _, c := range columns {
		if c != keyColumn {
			parts = append(parts, d.name1(c)+" = "+fmt.Sprintf(value, d.name1(c)))
		}
	}
	return strings.Join(parts, ", ")
}

// parameters writes n of them from the first-th on.
func (d *dialect) parameters(first, n int) string {
	if !d.numbered {
		return strings.TrimSuffix(strings.Repeat("?, ", n), ", ")
	}
	return numbered("$", first, n)
}

// numbered writes n names with numbers from the first-th on.
func numbered(name string, first, n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf("%s%d", name, first+i)
	}
	return strings.Join(parts, ", ")
}

// columnType is the type of a column of the standard.
func (d *dialect) columnType(c Column) string {
	t := d.types[c.Type]
	if strings.Contains(t, "%d") {
		return fmt.Sprintf(t, c.Length)
	}
	return t
}
