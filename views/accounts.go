package views

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Account is one that may read the views and nothing else.
type Account struct {
	Name     string
	Password string
	// Connections at once; where the server can be told so.
	Connections int
	// Statement is how long a statement may take; where the server can be told so.
	Statement time.Duration
}

// InitOptions say what Init does.
type InitOptions struct {
	Source *Source // that the gateway publishes to
	Admin  *Source // with the right to make accounts; nil: Source itself
	Reader *Account
	AsText bool
}

// ErrAccount says that an account cannot be made as asked.
var ErrAccount = errors.New("account")

var accountName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,30}$`)

func (a *Account) check() error {
	switch {
	case !accountName.MatchString(a.Name):
		return fmt.Errorf("%w: a name has 1 to 31 letters, digits and _, and does not begin with a digit", ErrAccount)
	case len(a.Password) < 8 || len(a.Password) > 128 || strings.ContainsFunc(a.Password, func(r rune) bool { return r < ' ' || r > '~' || r == '\'' || r == '\\' }):
		return fmt.Errorf("%w: a password has 8 to 128 printable ASCII characters without ' and \\", ErrAccount)
	}
	return nil
}

// Init makes the tables and defines the views anew, as the settings want them. With an administrator's access it makes the
// account that publishes, if it is not there, and the one that reads, which may only SELECT the views. It may be repeated.
// The steps that were done are told.
func Init(ctx context.Context, o InitOptions, done func(step string)) error {
	d := o.Source.dialect
	if o.Reader != nil {
		if err := o.Reader.check(); err != nil {
			return err
		}
		if d == sqliteDialect {
			return fmt.Errorf("%w: SQLite has none; whoever may read the file reads all of it", ErrAccount)
		}
		if o.Reader.Name == o.Source.User {
			return fmt.Errorf("%w: %s publishes; another one has to read", ErrAccount, o.Reader.Name)
		}
	}
	admin := o.Admin
	if admin == nil {
		admin = o.Source
	} else if admin.dialect != d || admin.Database != o.Source.Database {
		return fmt.Errorf("%w: the administrator's has to name the same database", ErrSource)
	}
	adminDB, err := admin.Open()
	if err != nil {
		return err
	}
	defer adminDB.Close()
	if o.Admin != nil && admin.User != o.Source.User {
		publisher := &Account{Name: o.Source.User, Password: o.Source.Password}
		if err := publisher.check(); err != nil {
			return fmt.Errorf("that publishes: %w", err)
		}
		if err := execute(ctx, adminDB, d.publisherAccount(publisher, o.Source.Database)); err != nil {
			return fmt.Errorf("account that publishes: %w", err)
		}
		done("account " + publisher.Name + " may publish")
	}
	if err := initSchema(ctx, o); err != nil {
		return err
	}
	done("tables and views are there")
	if o.Reader == nil {
		return nil
	}
	names, err := viewNames(ctx, d, adminDB)
	if err != nil {
		return err
	}
	statements, err := d.readerAccount(ctx, adminDB, o.Reader, o.Source.Database)
	if err != nil {
		return err
	}
	for _, t := range tables {
		for _, lower := range names {
			statements = append(statements, fmt.Sprintf("GRANT SELECT ON %s TO %s", d.name1(t.viewName(lower)), d.account(o.Reader.Name)))
		}
	}
	owner, watched := d.watchedBy(o.Reader, o.Source.User, o.Source.Database)
	if err := execute(ctx, adminDB, append(statements, watched...)); err != nil {
		return fmt.Errorf("account that reads: %w", err)
	}
	if err := executeAs(ctx, o.Source, owner); err != nil {
		return fmt.Errorf("limits of the account that reads: %w", err)
	}
	done("account " + o.Reader.Name + " may read the views, and nothing else")
	return nil
}

func executeAs(ctx context.Context, source *Source, statements []string) error {
	db, err := source.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	return execute(ctx, db, statements)
}

func initSchema(ctx context.Context, o InitOptions) error {
	db, err := o.Source.Open()
	if err != nil {
		return err
	}
	defer db.Close()
	if err := migrate(ctx, o.Source.dialect, db, o.AsText); err != nil {
		return err
	}
	return replaceViews(ctx, o.Source.dialect, db, o.AsText)
}

// execute runs statements in order. Their errors do not show them: they may hold passwords.
func execute(ctx context.Context, db *sql.DB, statements []string) error {
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			verb, _, _ := strings.Cut(s, " ")
			return fmt.Errorf("%s: %w", verb, err)
		}
	}
	return nil
}

// account quotes the name of an account.
func (d *dialect) account(name string) string {
	if d == mysqlDialect {
		return "'" + name + "'@'%'"
	}
	return d.name1(name)
}

// ensureRole makes a PostgreSQL role that is not there; CREATE ROLE has no IF NOT EXISTS.
func ensureRole(d *dialect, a *Account) string {
	return fmt.Sprintf("DO $$ BEGIN IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = '%s') THEN CREATE ROLE %s LOGIN; END IF; END $$", a.Name, d.account(a.Name))
}

// publisherAccount makes the account that owns the tables.
func (d *dialect) publisherAccount(a *Account, database string) []string {
	name := d.account(a.Name)
	if d == mysqlDialect {
		return []string{
			fmt.Sprintf("CREATE USER IF NOT EXISTS %s IDENTIFIED BY '%s'", name, a.Password),
			fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, DROP, CREATE VIEW, SHOW VIEW ON %s.* TO %s", d.name1(database), name),
		}
	}
	return []string{
		ensureRole(d, a),
		fmt.Sprintf("ALTER ROLE %s LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD '%s'", name, a.Password),
		fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", d.name1(database), name),
		fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA public TO %s", name),
	}
}

// readerAccount makes the account that reads, without any right yet, and sets what limits the server has.
func (d *dialect) readerAccount(ctx context.Context, db *sql.DB, a *Account, database string) ([]string, error) {
	name := d.account(a.Name)
	if d == mysqlDialect {
		var version string
		if err := db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
			return nil, err
		}
		limits := fmt.Sprintf(" WITH MAX_USER_CONNECTIONS %d", a.Connections)
		if strings.Contains(version, "MariaDB") { // MySQL has no limit of time for an account
			limits += fmt.Sprintf(" MAX_STATEMENT_TIME %.3f", a.Statement.Seconds())
		}
		return []string{
			fmt.Sprintf("CREATE USER IF NOT EXISTS %s IDENTIFIED BY '%s'", name, a.Password),
			fmt.Sprintf("ALTER USER %s IDENTIFIED BY '%s'%s", name, a.Password, limits),
			"REVOKE ALL PRIVILEGES, GRANT OPTION FROM " + name,
		}, nil
	}
	milliseconds := a.Statement.Milliseconds()
	return []string{
		ensureRole(d, a),
		fmt.Sprintf("ALTER ROLE %s LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT CONNECTION LIMIT %d PASSWORD '%s'", name, a.Connections, a.Password),
		fmt.Sprintf("ALTER ROLE %s SET statement_timeout = %d", name, milliseconds),
		fmt.Sprintf("ALTER ROLE %s SET idle_in_transaction_session_timeout = %d", name, milliseconds),
		fmt.Sprintf("ALTER ROLE %s SET lock_timeout = %d", name, milliseconds),
		fmt.Sprintf("ALTER ROLE %s SET default_transaction_read_only = on", name),
		"REVOKE CREATE ON SCHEMA public FROM PUBLIC",
		fmt.Sprintf("REVOKE TEMPORARY ON DATABASE %s FROM PUBLIC", d.name1(database)),
		fmt.Sprintf("GRANT CONNECT ON DATABASE %s TO %s", d.name1(database), name),
		fmt.Sprintf("GRANT USAGE ON SCHEMA public TO %s", name),
	}, nil
}
