package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"dcmgate/gateway"
	"dcmgate/views"
)

// database looks at one that metadata rows are published to: the way there, account and database, what the server lets the
// account do, its clock, and how the gateway that runs gets on with it. It changes nothing.
func (x *examiner) database(ctx context.Context, e *Examined, v gateway.View) {
	source, err := v.Source(x.cfg.DataDir)
	if err != nil {
		e.problem("config", err.Error(), "write the data source name in the form of docs/views.md")
		return
	}
	defer x.publishing(e, v.Name)
	if source.Kind == views.SQLite { // which opening would make
		if _, err := os.Stat(source.Database); err != nil {
			e.add("connect", Note, fmt.Sprintf("%s is not there yet", source.Database), "the gateway makes it when it first runs")
			return
		}
	}
	if source.Address != "" && !x.connected(ctx, e, source.Address) {
		return
	}
	db, err := source.Open()
	if err != nil {
		e.problem("connect", err.Error(), "check the path and who may write there")
		return
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	ctx, cancel := context.WithTimeout(ctx, x.o.Timeout)
	defer cancel()
	begun := x.o.Now()
	if err := db.PingContext(ctx); err != nil {
		words, advice := explainDatabase(err, source)
		e.problem("login", words, advice)
		return
	}
	e.ok("login", "%v answers in %s", source, millis(x.o.Now().Sub(begun)))
	s := &server{examiner: x, e: e, db: db, source: source}
	if source.Kind != views.SQLite {
		s.version(ctx)
		s.clock(ctx)
		s.places(ctx)
	}
	if s.tables(ctx) && source.Kind != views.SQLite {
		s.rights(ctx)
	}
}

// server is a database that has let the gateway's account in.
type server struct {
	*examiner
	e      *Examined
	db     *sql.DB
	source *views.Source
}

// text asks for one value; "" if it cannot be had, which is then not judged.
func (s *server) text(ctx context.Context, query string) string {
	var v sql.NullString
	if err := s.db.QueryRowContext(ctx, query).Scan(&v); err != nil {
		return ""
	}
	return v.String
}

func (s *server) number(ctx context.Context, query string) int {
	n, err := strconv.Atoi(s.text(ctx, query))
	if err != nil {
		return -1
	}
	return n
}

// Versions before these are not supported by their makers any more, or lack what the gateway's statements need.
const (
	leastPostgres = 12
	leastMySQL    = 8
	leastMariaDB  = 10
)

func (s *server) version(ctx context.Context) {
	query := "SELECT version()"
	if s.source.Kind == views.Postgres {
		query = "SHOW server_version"
	}
	judgeVersion(s.e, s.source.Kind, s.text(ctx, query))
}

// judgeVersion says whether a server is too old, by what it says of itself: 15.18 (Debian ...), 8.0.36, 10.11.19-MariaDB-...
func judgeVersion(e *Examined, kind views.Kind, version string) {
	name, least := "PostgreSQL", leastPostgres
	switch {
	case kind == views.MySQL && strings.Contains(version, "MariaDB"):
		name, least = "MariaDB", leastMariaDB
	case kind == views.MySQL:
		name, least = "MySQL", leastMySQL
	}
	first, _, _ := strings.Cut(version, ".")
	major, err := strconv.Atoi(strings.TrimSpace(first))
	short, _, _ := strings.Cut(version, " ")
	switch {
	case err != nil:
		e.add("version", Note, "its version is not known", "")
	case major < least:
		e.problem("version", fmt.Sprintf("%s %s is too old; the gateway needs %d or later", name, short, least), "have the server upgraded; its maker mends this version no longer")
	default:
		e.ok("version", "%s %s", name, short)
	}
}

func (s *server) clock(ctx context.Context) {
	begun := s.o.Now()
	// Both reckon in seconds since 1970, whatever their time zone.
	query := "SELECT UNIX_TIMESTAMP(NOW(3))"
	if s.source.Kind == views.Postgres {
		query = "SELECT EXTRACT(EPOCH FROM clock_timestamp())"
	}
	seconds, err := strconv.ParseFloat(s.text(ctx, query), 64)
	if err != nil {
		s.e.add("clock", Note, "its clock is not known", "")
		return
	}
	s.skewed(s.e, time.UnixMilli(int64(seconds*1000)), begun)
}

// wantedPlaces is how many connections the gateway may hold at once: those of its publisher, and one for commands.
const wantedPlaces = 5

// places sees how many connections the server has left for the account.
func (s *server) places(ctx context.Context) {
	var most, taken, own int
	if s.source.Kind == views.Postgres {
		most = s.number(ctx, "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int")
		taken = s.number(ctx, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
		own = s.number(ctx, "SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user")
	} else {
		most = s.number(ctx, "SELECT @@max_connections")
		taken = s.number(ctx, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'THREADS_CONNECTED'")
		own = s.number(ctx, "SELECT NULLIF(@@max_user_connections, 0)")
	}
	switch {
	case own >= 0 && own < wantedPlaces:
		s.e.add("connections", Warning, fmt.Sprintf("the account may have %d connections; the gateway wants up to %d", own, wantedPlaces), "raise the limit of the account")
	case most > 0 && taken >= 0 && most-taken < wantedPlaces:
		s.e.add("connections", Warning, fmt.Sprintf("%d of the server's %d connections are taken; the gateway wants up to %d", taken, most, wantedPlaces),
			"raise max_connections, or see who holds them: dcmgate waits while there is none")
	}
}

// tables sees whether the views can be read; what is not there yet is made by the gateway, if it may. It reports whether they are.
func (s *server) tables(ctx context.Context) bool {
	for _, view := range []string{views.StudyInfo.Name, views.DocImage.Name} {
		var n sql.NullInt64
		err := s.db.QueryRowContext(ctx, "SELECT max(ChangeSeq) FROM "+view).Scan(&n)
		if err == nil {
			s.e.ok("tables", "%s has come to change %d", view, n.Int64)
			continue
		}
		code := codeOf(err)
		switch {
		case s.source.Kind != views.SQLite && !missingTable[code]:
			words, advice := explainDatabase(err, s.source)
			s.e.problem("tables", view+" cannot be read: "+words, advice)
		case s.source.Kind == views.SQLite:
			s.e.add("tables", Note, view+" is not there yet", "the gateway makes it when it first runs; or dcmgate views init")
		default:
			s.toBeMade(ctx, view)
		}
		return false
	}
	return true
}

// missingTable are the codes of a table that is not there.
var missingTable = map[string]bool{"42P01": true, "1146": true}

// toBeMade says who makes the tables that are not there.
func (s *server) toBeMade(ctx context.Context, view string) {
	may, why := s.mayMake(ctx)
	switch {
	case !may:
		s.e.problem("tables", view+" is not there, and "+why, "dcmgate views init with --admin makes tables, views and the rights of the account")
	case s.status != nil:
		s.e.problem("tables", view+" is not there, though a gateway runs", "see below how it fares, or whether it publishes to another database or schema; dcmgate views init makes tables and views")
	default:
		s.e.add("tables", Note, view+" is not there yet", "the gateway makes it when it first runs; or dcmgate views init")
	}
}

// mayMake sees whether the account may make tables.
func (s *server) mayMake(ctx context.Context) (may bool, why string) {
	if s.source.Kind == views.Postgres {
		schema := s.text(ctx, "SELECT current_schema()")
		switch {
		case schema == "":
			return false, "the account finds no schema to make it in (search_path)"
		case s.text(ctx, "SELECT has_schema_privilege(current_schema(), 'CREATE')") != "true":
			return false, "the account may not make it: it has no CREATE on schema " + schema
		}
		return true, ""
	}
	rows, err := s.db.QueryContext(ctx, "SHOW GRANTS")
	if err != nil {
		return true, "" // it is seen when it is tried
	}
	defer rows.Close()
	for rows.Next() {
		var grant string
		if rows.Scan(&grant) == nil && (strings.Contains(grant, "ALL PRIVILEGES") || strings.Contains(grant, " CREATE,") || strings.Contains(grant, " CREATE ON")) {
			return true, ""
		}
	}
	return false, "the account may not make it: it has no CREATE on database " + s.source.Database
}

// rights sees whether the account may write, by statements that concern no row, in a transaction that is taken back.
func (s *server) rights(ctx context.Context) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		words, advice := explainDatabase(err, s.source)
		s.e.problem("rights", words, advice)
		return
	}
	defer func() { _ = tx.Rollback() }()
	for _, table := range views.Tables() {
		for _, statement := range []string{"UPDATE " + table + " SET %s = %s WHERE 1 = 0", "DELETE FROM " + table + " WHERE 1 = 0", "INSERT INTO " + table + " SELECT * FROM " + table + " WHERE 1 = 0"} {
			if strings.Contains(statement, "%s") {
				statement = fmt.Sprintf(statement, s.source.Quote("ChangeSeq"), s.source.Quote("ChangeSeq"))
			}
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				words, advice := explainDatabase(err, s.source)
				s.e.problem("rights", "rows cannot be written: "+words, advice)
				return
			}
		}
	}
	s.e.ok("rights", "the account may write rows")
}

// trouble is what an error of a server means, by its code.
type trouble struct {
	codes         []string // SQLSTATE of PostgreSQL, numbers of MySQL and MariaDB
	words, advice string
}

// troubles are those that people meet. Where a text says more than the code, it is looked at before.
var troubles = []trouble{
	{[]string{"28P01", "1045", "1698"}, "account or password is wrong", "compare the data source name with what was set in the server: dcmgate views init --admin makes the account with this password"},
	{[]string{"28000"}, "the server lets this account not in from this machine, or there is no such account", "make the account (dcmgate views init --admin), and allow this machine in the server's pg_hba.conf"},
	{[]string{"1130"}, "the server lets nobody in from this machine", "make the account for this machine's address or for '%' (dcmgate views init --admin does)"},
	{[]string{"1129"}, "the server has blocked this machine after failed connections", "see what fails, then run mysqladmin flush-hosts there"},
	{[]string{"3D000", "1049"}, "there is no such database", "create it, or mend its name in the data source name; dcmgate views init makes what belongs into it"},
	{[]string{"1044"}, "the account may not use this database", "check the database's name; dcmgate views init --admin gives the account its rights"},
	{[]string{"42501", "1142", "1143", "1227", "1370"}, "the account lacks a right", "dcmgate views init with --admin gives it its rights"},
	{[]string{"3F000"}, "there is no such schema", "create it, or mend search_path"},
	{[]string{"53300", "1040", "1203", "1226"}, "all connections that the server, or this account, may have are taken", "raise max_connections or the limit of the account, or see who holds them; the gateway tries again by itself"},
	{[]string{"25006", "1290", "1792", "1836"}, "the server takes no changes: it is a replica, or was made read-only", "name the primary server in the data source name, not a replica; if it is the primary, see why it was made read-only (mostly: its disk is full)"},
	{[]string{"57P03"}, "the server is starting or stopping", "wait; the gateway tries again by itself"},
	{[]string{"53100", "1021", "1114"}, "the server's disk is full", "make room there"},
	{[]string{"3159"}, "the server wants TLS", "add ?tls=true to the data source name"},
	{[]string{"1251", "2059"}, "the server wants a kind of password that the gateway does not send", "give the account caching_sha2_password or mysql_native_password"},
}

// codeOf is the code of a server's error, "" if it is none of a server.
func codeOf(err error) string { return views.ErrorCode(err) }

// explainDatabase says in words why a database cannot be used, and what to do about it.
func explainDatabase(err error, source *views.Source) (words, advice string) {
	text, code := err.Error(), codeOf(err)
	if strings.Contains(text, "no encryption") || strings.Contains(text, "SSL off") {
		return "the server wants TLS from this machine (pg_hba.conf)", "set sslmode=verify-full and sslrootcert in the data source name"
	}
	// Before what is said of TLS: the driver tries with it first, and a server may have none.
	for _, t := range troubles {
		if slices.Contains(t.codes, code) {
			return fmt.Sprintf("%s (%s: %s)", t.words, code, serverWords(err)), t.advice
		}
	}
	unknown, verified, named := x509.UnknownAuthorityError{}, x509.CertificateInvalidError{}, x509.HostnameError{}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it takes the connection and does not answer", "see to the server: it hangs, or something that is no database listens there"
	case errors.As(err, &unknown):
		return "its certificate is of an authority that is not trusted: " + unknown.Error(), "name the authority's certificate by sslrootcert (PostgreSQL), or add it to the system's (MySQL)"
	case errors.As(err, &verified) && verified.Reason == x509.Expired:
		return "its certificate has expired, or the clocks differ", "have it renewed"
	case errors.As(err, &named):
		return "its certificate is for another name: " + named.Error(), "write the name of the certificate into the data source name, or have a certificate made for this one"
	case errors.As(err, new(tls.RecordHeaderError)), errors.As(err, new(*tls.CertificateVerificationError)):
		return "no TLS connection: " + plainly(err), "compare the TLS settings of both sides"
	case strings.Contains(text, "refused TLS") || strings.Contains(text, "does not support TLS"):
		return "the server speaks no TLS, and the data source name wants it", "have TLS switched on there, or take it out of the data source name: then rows go over the network in the clear"
	}
	return serverWords(err), "see to address, port and the server's log"
}

// serverWords are a server's own, without what it repeats of the data source name.
func serverWords(err error) string {
	if text := views.ErrorText(err); text != "" {
		return text
	}
	return plainly(err)
}
