package doctor

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
	"dcmgate/views"
)

// published makes the accounts gate, which publishes, and lame, which may connect and nothing else.
func published(t *testing.T, d *peertest.Database) {
	t.Helper()
	source := func(dsn string) *views.Source {
		s, err := views.ParseSource(dsn, "")
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	err := views.Init(t.Context(), views.InitOptions{Source: source(dsn(d, "gate", "secret-of-gate", "gateway")), Admin: source(d.Admin)}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	lame := []string{"CREATE ROLE lame LOGIN PASSWORD 'secret-of-lame'", "CREATE DATABASE empty OWNER gate"}
	if d.Kind == "mysql" {
		lame = []string{"CREATE USER lame IDENTIFIED BY 'secret-of-lame'", "CREATE DATABASE empty", "GRANT SELECT ON empty.* TO lame", "GRANT SELECT ON gateway.* TO lame",
			"GRANT ALL ON empty.* TO gate"}
	}
	for _, statement := range lame {
		administer(t, d, statement)
	}
}

func dsn(d *peertest.Database, account, password, database string) string {
	return fmt.Sprintf("%s://%s@%s/%s", d.Kind, url.UserPassword(account, password), d.Address, database)
}

func administer(t *testing.T, d *peertest.Database, statement string) {
	t.Helper()
	account := map[string]string{"postgres": "admin", "mysql": "root"}[d.Kind]
	if out, err := d.Query(account, "", statement); err != nil {
		t.Fatalf("%s: %v %s", statement, err, out)
	}
}

// diagnosed examines one database.
func diagnosed(t *testing.T, dsn string) *Examined {
	t.Helper()
	e := examine(t, 10*time.Second, fmt.Sprintf("views: [{name: hospital, dsn: %q}]\n", dsn), "hospital")["hospital"]
	if e == nil {
		t.Fatal("not examined")
	}
	for _, f := range e.Findings {
		if strings.Contains(f.Words+f.Advice, "secret-of") {
			t.Errorf("a password is shown: %+v", f)
		}
	}
	return e
}

// What is wrong with a database is told in words, by real servers.
func TestDatabases(t *testing.T) {
	for kind, start := range map[string]func(testing.TB) *peertest.Database{"postgres": peertest.Postgres, "mysql": peertest.MariaDB} {
		t.Run(kind, func(t *testing.T) {
			d := start(t)
			published(t, d)
			good := dsn(d, "gate", "secret-of-gate", "gateway")
			check := func(what, dsn, check string, outcome Outcome, words ...string) {
				t.Helper()
				if e := diagnosed(t, dsn); !has(e, check, outcome, words...) {
					t.Errorf("%s: %+v", what, e.Findings)
				}
			}
			e := diagnosed(t, good)
			for _, c := range []string{"connect", "login", "version", "clock", "tables", "rights"} {
				if !has(e, c, OK) {
					t.Errorf("a good one: %s is missing: %+v", c, e.Findings)
				}
			}
			if e.Worst() != OK {
				t.Errorf("a good one: %+v", e.Findings)
			}
			_, port, _ := strings.Cut(d.Address, ":")
			check("a name that there is not", strings.Replace(good, d.Address, "there-is-none.invalid:"+port, 1), "resolve", Problem)
			check("another port", strings.Replace(good, d.Address, peertest.Address(t), 1), "connect", Problem)
			check("another password", dsn(d, "gate", "secret-of-nobody", "gateway"), "login", Problem, "account or password is wrong", "views init")
			check("no such account", dsn(d, "nobody", "secret-of-nobody", "gateway"), "login", Problem, "account or password is wrong")
			if kind == "postgres" {
				check("no such database", dsn(d, "gate", "secret-of-gate", "elsewhere"), "login", Problem, "there is no such database", "create it")
				check("TLS that the server has not", good+"?sslmode=require", "login", Problem, "speaks no TLS")
				check("a schema that there is not", good+"?search_path=elsewhere", "tables", Problem, "no schema", "views init")
				check("no right to make tables", dsn(d, "lame", "secret-of-lame", "empty"), "tables", Problem, "no CREATE on schema public", "views init")
			} else {
				check("no such database", dsn(d, "gate", "secret-of-gate", "elsewhere"), "login", Problem, "the account may not use this database")
				check("TLS that the server has not", good+"?tls=true", "login", Problem, "TLS")
				check("no right to make tables", dsn(d, "lame", "secret-of-lame", "empty"), "tables", Problem, "no CREATE on database empty", "views init")
				check("no right to write", dsn(d, "lame", "secret-of-lame", "gateway"), "rights", Problem, "lacks a right", "views init")
			}
			check("no tables", dsn(d, "gate", "secret-of-gate", "empty"), "tables", Note, "not there yet")

			if kind == "postgres" {
				check("no right to read", dsn(d, "lame", "secret-of-lame", "gateway"), "tables", Problem, "lacks a right", "views init")
				administer(t, d, "ALTER ROLE gate CONNECTION LIMIT 2")
				check("few connections", good, "connections", Warning, "may have 2 connections")
				administer(t, d, "ALTER ROLE gate CONNECTION LIMIT 0")
				check("no connection left", good, "login", Problem, "connections", "max_connections")
				administer(t, d, "ALTER ROLE gate CONNECTION LIMIT -1")
				administer(t, d, "ALTER DATABASE gateway SET default_transaction_read_only = on")
				check("read only", good, "rights", Problem, "takes no changes", "replica")
			} else {
				administer(t, d, "SET GLOBAL max_connections = 10; SET GLOBAL read_only = 1")
				check("read only", good, "rights", Problem, "takes no changes", "replica")
				administer(t, d, "SET GLOBAL read_only = 0")
				holders(t, d, 10, func() {
					check("no connection left", good, "login", Problem, "connections", "max_connections")
				})
			}
		})
	}
}

// holders takes connections of a server while f runs.
func holders(t *testing.T, d *peertest.Database, n int, f func()) {
	t.Helper()
	s, err := views.ParseSource(dsn(d, "gate", "secret-of-gate", "gateway"), "")
	if err != nil {
		t.Fatal(err)
	}
	db, err := s.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(n)
	for range n {
		c, err := db.Conn(t.Context())
		if err != nil {
			break // there are no more
		}
		defer c.Close()
	}
	f()
}

// What takes connections and says nothing is no database.
func TestSilentDatabase(t *testing.T) {
	l := listen(t)
	var held []net.Conn
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c)
		}
	}()
	for _, kind := range []string{"postgres", "mysql"} {
		text := fmt.Sprintf("views: [{name: hospital, dsn: %q}]\n", fmt.Sprintf("%s://a:b@%s/x", kind, l.Addr()))
		e := examine(t, 300*time.Millisecond, text, "hospital")["hospital"]
		if !has(e, "connect", OK) || !has(e, "login", Problem, "does not answer") {
			t.Errorf("%s: %+v", kind, e.Findings)
		}
	}
	l.Close()
	<-ended
	for _, c := range held {
		c.Close()
	}
}

func TestOldServersAreNamed(t *testing.T) {
	for _, c := range []struct {
		kind    views.Kind
		version string
		outcome Outcome
		words   string
	}{
		{views.Postgres, "15.18 (Debian 15.18-0+deb12u1)", OK, "PostgreSQL 15.18"},
		{views.Postgres, "9.6.24", Problem, "PostgreSQL 9.6.24 is too old"},
		{views.Postgres, "", Note, "not known"},
		{views.MySQL, "10.11.19-MariaDB-0+deb12u1", OK, "MariaDB 10.11.19"},
		{views.MySQL, "5.5.68-MariaDB", Problem, "MariaDB 5.5.68"},
		{views.MySQL, "8.0.36", OK, "MySQL 8.0.36"},
		{views.MySQL, "5.1.73", Problem, "MySQL 5.1.73"},
	} {
		e := &Examined{}
		judgeVersion(e, c.kind, c.version)
		if !has(e, "version", c.outcome, c.words) {
			t.Errorf("%s %s: %+v", c.kind, c.version, e.Findings)
		}
	}
}

// A clock that is off is told; the servers of the other tests have this machine's.
func TestClocksAreCompared(t *testing.T) {
	now := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	x := &examiner{o: Options{Now: func() time.Time { return now }}}
	for off, words := range map[time.Duration]string{0: "agrees", -2 * time.Minute: "2m0s behind", 3 * time.Minute: "3m0s ahead"} {
		e := &Examined{}
		if x.skewed(e, now.Add(off), now); len(e.Findings) != 1 || !strings.Contains(e.Findings[0].Words, words) {
			t.Errorf("off by %v: %+v", off, e.Findings)
		}
	}
}
