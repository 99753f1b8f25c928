package views

import (
	"fmt"
	"strings"
)

// Describe writes the columns of the views as tables in Markdown, with their types on each server: a part of docs/views.md.
func Describe() string {
	var b strings.Builder
	for i, t := range tables {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "### %s\n\n%s, section %s of the standard.\n\n", t.view.Name, t.view.Title, t.view.Section)
		b.WriteString("| column | | required | SQLite | PostgreSQL | MySQL, MariaDB | |\n| --- | --- | --- | --- | --- | --- | --- |\n")
		for n, c := range t.published() {
			required, title := c.Required, c.Title
			if n >= len(t.view.Columns) {
				required, title = "ours", ""
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", c.Name, title, required,
				sqliteDialect.columnType(c), postgresDialect.columnType(c), mysqlDialect.columnType(c), c.Note)
		}
	}
	return b.String()
}
