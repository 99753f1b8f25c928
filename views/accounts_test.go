package views

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	dcmimages "dcmgate/images"
	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// asAccount is the administrator's source with another account.
func asAccount(t testing.TB, d *peertest.Database, name, password string) *Source {
	t.Helper()
	u, err := url.Parse(d.Admin)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(name, password)
	s, err := ParseSource(u.String(), "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestInitMakesAccountsThatMayDoNothingElse(t *testing.T) {
	for _, server := range servers[1:] {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			d := server.start(t)
			admin, err := ParseSource(d.Admin, "")
			if err != nil {
				t.Fatal(err)
			}
			publisher := asAccount(t, d, "gate", "publish$ecret")
			o := InitOptions{Source: publisher, Admin: admin, Reader: &Account{Name: "cloud", Password: "read-S3cret\"`;--", Connections: 3, Statement: 2 * time.Second}}
			steps := 0
			for range 2 { // it may be repeated
				if err := Init(t.Context(), o, func(string) { steps++ }); err != nil {
					t.Fatal(err)
				}
			}
			if steps != 6 {
				t.Errorf("%d steps", steps)
			}
			s := openSpool(t, spool.Options{})
			store(t, s, image(1, 1, 1))
			kept := openOthers(t)
			addOther(t, kept, 1, dcmimages.Identifiers{AccessionNumber: "A", StudyInstanceUID: "1.2", PatID: "P"})
			p, _ := runPublisher(t, Options{Source: publisher, Spool: s, Others: served(kept), Settings: settings(), Files: Address("/i/{id}")})
			caughtUp(t, s, p)
			othersCaughtUp(t, kept, p)
			readerMayReadTheViewsOnly(t, d, o.Reader)
			if d.Kind == "postgres" {
				transactionsDoNotStayOpen(t, asAccount(t, d, o.Reader.Name, o.Reader.Password), admin)
			}
		})
	}
}

func readerMayReadTheViewsOnly(t *testing.T, d *peertest.Database, a *Account) {
	t.Helper()
	quoted := map[string]string{"postgres": `"V_StudyInfo"`, "mysql": "V_StudyInfo"}[d.Kind]
	for _, view := range []string{quoted, "v_studyinfo", "v_docimage", "v_docimage_f"} {
		if out, err := d.Query(a.Name, a.Password, "SELECT COUNT(*) FROM "+view); err != nil || strings.TrimSpace(out) != "1" {
			t.Errorf("%s: %q, %v", view, out, err)
		}
	}
	forbidden := []string{
		"SELECT * FROM dcmgate_study", "SELECT * FROM dcmgate_image", "SELECT * FROM dcmgate_state", "SELECT * FROM dcmgate_schema_version",
		"DELETE FROM dcmgate_study", "UPDATE dcmgate_state SET " + map[string]string{"postgres": `"StudySeq"`, "mysql": "StudySeq"}[d.Kind] + " = 0",
		"DELETE FROM v_studyinfo", "UPDATE v_studyinfo SET PatID = 'x'", "INSERT INTO v_studyinfo (PatID) VALUES ('x')",
		"CREATE TABLE mine (a int)", "DROP TABLE dcmgate_study", "DROP VIEW v_studyinfo", "CREATE VIEW mine AS SELECT 1",
		map[string]string{"postgres": "SET default_transaction_read_only = off; DELETE FROM v_studyinfo", "mysql": "SELECT * FROM mysql.user"}[d.Kind],
		map[string]string{"postgres": "CREATE TEMPORARY TABLE mine (a int)", "mysql": "CREATE TEMPORARY TABLE mine (a int)"}[d.Kind],
		map[string]string{"postgres": "SET statement_timeout = 0; SELECT pg_sleep(600)", "mysql": "SET SESSION max_statement_time = 0; SELECT COUNT(*) FROM information_schema.COLLATIONS a, information_schema.COLLATIONS b, information_schema.COLLATIONS c, information_schema.COLLATIONS d"}[d.Kind],
		map[string]string{"postgres": "SELECT pg_sleep(30)", "mysql": "SELECT COUNT(*) FROM v_studyinfo WHERE SLEEP(30) = 0 OR BENCHMARK(1000000000, SHA2('x', 512)) = 1"}[d.Kind],
	}
	for _, statement := range forbidden {
		began := time.Now()
		if out, err := d.Query(a.Name, a.Password, statement); err == nil {
			t.Errorf("%s: allowed after %v: %q", statement, time.Since(began), out)
		}
	}
	if out, err := d.Query(a.Name, "wrong", "SELECT 1"); err == nil {
		t.Errorf("a wrong password may %q", out)
	}
}

// transactionsDoNotStayOpen has a reader do away with its limit and keep a transaction open.
func transactionsDoNotStayOpen(t *testing.T, reader, admin *Source) {
	t.Helper()
	db, err := reader.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "SET idle_in_transaction_session_timeout = 0"); err != nil {
		t.Fatal(err)
	}
	look, err := admin.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer look.Close()
	peertest.Eventually(t, 30*time.Second, "the session is ended", func() bool {
		var n int
		err := look.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM pg_stat_activity WHERE usename = $1 AND state LIKE 'idle in%'", reader.User).Scan(&n)
		return err == nil && n == 0
	})
}

func TestAccountsThatAreRefused(t *testing.T) {
	source := sqliteFile(t)
	postgres, err := ParseSource("postgres://gate:x@127.0.0.1:1/db", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]InitOptions{
		"SQLite has none":     {Source: source, Reader: &Account{Name: "cloud", Password: "12345678"}},
		"injection":           {Source: postgres, Reader: &Account{Name: `cloud"; DROP`, Password: "12345678"}},
		"injection by secret": {Source: postgres, Reader: &Account{Name: "cloud", Password: `1234567'; --`}},
		"backslash":           {Source: postgres, Reader: &Account{Name: "cloud", Password: `12345678\`}},
		"short":               {Source: postgres, Reader: &Account{Name: "cloud", Password: "1234567"}},
		"reader is publisher": {Source: postgres, Reader: &Account{Name: "gate", Password: "12345678"}},
		"weak publisher":      {Source: postgres, Admin: mustSource(t, "postgres://admin@127.0.0.1:1/db")},
		"another database":    {Source: postgres, Admin: mustSource(t, "postgres://admin@127.0.0.1:1/other")},
		"another kind":        {Source: postgres, Admin: source},
	} {
		if err := Init(t.Context(), o, func(string) {}); !errors.Is(err, ErrAccount) && !errors.Is(err, ErrSource) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func mustSource(t testing.TB, dsn string) *Source {
	t.Helper()
	s, err := ParseSource(dsn, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
