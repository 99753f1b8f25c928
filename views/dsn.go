package views

import (
	"crypto/tls"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite" // registers the driver
)

// Timeouts towards servers.
const (
	connectTimeout = 10 * time.Second
	queryTimeout   = time.Minute // one transaction of a publisher
)

// ErrSource says that a data source name cannot be used. Its text never holds the name, which may hold a password.
var ErrSource = errors.New("data source")

// Source is a database to publish to: a server and its dialect, not connected yet.
type Source struct {
	Kind     Kind
	Address  string // HOST:PORT of a server; "" of SQLite, and of one that is reached by a socket
	dialect  *dialect
	open     func() (*sql.DB, error)
	User     string // account that publishes, "" for SQLite
	Password string
	Database string // file of SQLite, database of a server
}

// ParseSource reads postgres://USER:PASSWORD@HOST:PORT/DATABASE?..., mysql:// in the same form, or sqlite:PATH, which is
// relative to dir. Options are pgx's (sslmode, sslrootcert), or for mysql tls=true, skip-verify or preferred.
func ParseSource(dsn, dir string) (*Source, error) {
	scheme, rest, _ := strings.Cut(dsn, ":")
	switch scheme {
	case "sqlite":
		return sqliteSource(strings.TrimPrefix(rest, "//"), dir)
	case "postgres", "postgresql":
		return postgresSource(dsn)
	case "mysql", "mariadb":
		return mysqlSource(dsn)
	}
	return nil, fmt.Errorf("%w: must be sqlite:PATH, postgres://... or mysql://... in the form that docs/views.md gives", ErrSource)
}

func sqliteSource(path, dir string) (*Source, error) {
	if path == "" || strings.ContainsAny(path, "\x00") {
		return nil, fmt.Errorf("%w: sqlite: needs the path of a file", ErrSource)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	// FULL: a number that a poller has seen must not be given to another row after a power failure.
	query := url.Values{"_txlock": {"immediate"}, "_pragma": {"journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)"}}
	open := func() (*sql.DB, error) {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would let everybody read
		if err != nil {
			return nil, err
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
		return sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String())
	}
	return &Source{Kind: SQLite, dialect: sqliteDialect, Database: path, open: open}, nil
}

func postgresSource(dsn string) (*Source, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("%w: not a PostgreSQL address", ErrSource)
	}
	cfg.ConnectTimeout = connectTimeout
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "dcmgate"
	}
	cfg.RuntimeParams["synchronous_commit"] = "on" // as for SQLite
	// Statements are planned for the tables as they are: a plan that was kept from when they were empty reads all of them.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	address := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	if strings.HasPrefix(cfg.Host, "/") {
		address = ""
	}
	return &Source{
		Kind: Postgres, Address: address, dialect: postgresDialect, User: cfg.User, Password: cfg.Password, Database: cfg.Database,
		open: func() (*sql.DB, error) { return stdlib.OpenDB(*cfg), nil },
	}, nil
}

func mysqlSource(dsn string) (*Source, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" && u.Query().Get("socket") == "" || strings.Trim(u.Path, "/") == "" {
		return nil, fmt.Errorf("%w: not of the form mysql://USER:PASSWORD@HOST:PORT/DATABASE", ErrSource)
	}
	cfg := mysql.NewConfig()
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	cfg.Net, cfg.Addr, cfg.DBName = "tcp", u.Host, strings.Trim(u.Path, "/")
	if u.Port() == "" {
		cfg.Addr = u.Hostname() + ":3306"
	}
	if socket := u.Query().Get("socket"); socket != "" {
		cfg.Net, cfg.Addr = "unix", socket
	}
	if cfg.TLSConfig = u.Query().Get("tls"); cfg.TLSConfig == "" {
		cfg.TLSConfig = "false"
	}
	if ca := u.Query().Get("sslrootcert"); ca != "" {
		return nil, fmt.Errorf("%w: mysql:// takes tls=true, skip-verify, preferred or false, and trusts the system's authorities", ErrSource)
	}
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = connectTimeout, queryTimeout, queryTimeout
	cfg.InterpolateParams = true // one round trip for a statement in place of three; the driver refuses it for unsafe character sets
	cfg.Params = map[string]string{"sql_mode": "'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'"}
	if err := cfg.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, err
	}
	if cfg.TLSConfig == "true" {
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: not a MySQL address", ErrSource)
	}
	address := cfg.Addr
	if cfg.Net == "unix" {
		address = ""
	}
	return &Source{
		Kind: MySQL, Address: address, dialect: mysqlDialect, User: cfg.User, Password: cfg.Passwd, Database: cfg.DBName,
		open: func() (*sql.DB, error) { return sql.OpenDB(connector), nil },
	}, nil
}

// String names the kind of server and the database, without account or address.
func (s *Source) String() string { return s.dialect.name + " " + s.Database }

// Open opens the database without connecting.
func (s *Source) Open() (*sql.DB, error) {
	db, err := s.open()
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(4)
	db.SetMaxIdleConns(2)
	db.SetConnMaxIdleTime(10 * time.Minute)
	return db, nil
}
