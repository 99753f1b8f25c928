package views

import (
	"errors"
	"strconv"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// Kind is a kind of server.
type Kind string

// The kinds.
const (
	SQLite   Kind = "sqlite"
	Postgres Kind = "postgres"
	MySQL    Kind = "mysql" // and MariaDB
)

// Tables are the names of the tables that the gateway writes rows of the views to.
func Tables() (names []string) {
	for _, t := range tables {
		names = append(names, t.name)
	}
	return names
}

// Quote quotes the name of a column or a table.
func (s *Source) Quote(name string) string { return s.dialect.name1(name) }

// ErrorCode is what a server calls an error: SQLSTATE of PostgreSQL, the number of MySQL and MariaDB. "" if it is not of a
// server.
func ErrorCode(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return strconv.Itoa(int(e.Number))
	}
	return ""
}

// ErrorText is what a server says of an error, without values of rows; "" if it is not of a server.
func ErrorText(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Message
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return speakable(e)
	}
	return ""
}
