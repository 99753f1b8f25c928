package views

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// servers are the databases that everything here has to work with.
var servers = []struct {
	name  string
	start func(t testing.TB) *peertest.Database // nil: without a server
}{
	{"SQLite", nil}, {"PostgreSQL", peertest.Postgres}, {"MariaDB", peertest.MariaDB},
}

// source opens a server's database; for SQLite there is none.
func sourceOf(t testing.TB, d *peertest.Database) *Source {
	t.Helper()
	if d == nil {
		return sqliteFile(t)
	}
	source, err := ParseSource(d.Admin, "")
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func TestServers(t *testing.T) {
	for _, server := range servers {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			var d *peertest.Database
			if server.start != nil {
				d = server.start(t)
			}
			source := sourceOf(t, d)
			for _, test := range []struct {
				name string
				run  func(*testing.T, *Source, *peertest.Database)
			}{
				{"nothing yet", nothingIsMadeByReading},
				{"columns", columnsAreTheStandards},
				{"values", valuesComeThrough},
				{"others", othersComeAndGo},
				{"pollers of others", otherPollersMissNothing},
				{"outage", outagesLoseNothing},
				{"pollers", pollersMissNothing},
			} {
				t.Run(test.name, func(t *testing.T) { test.run(t, source, d) })
			}
		})
	}
}

// nothingIsMadeByReading reads a database that nobody has published to.
func nothingIsMadeByReading(t *testing.T, source *Source, _ *peertest.Database) {
	read := func() {
		t.Helper()
		if n, err := Export(t.Context(), source, "V_StudyInfo", false, io.Discard); n != 0 || !errors.Is(err, ErrNotMade) {
			t.Errorf("%d rows, %v", n, err)
		}
	}
	read()
	if source.Kind != SQLite {
		return
	}
	if _, err := os.Stat(source.Database); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made: %v", err)
	}
	if err := os.WriteFile(source.Database, nil, 0o600); err != nil { // as a publisher begins
		t.Fatal(err)
	}
	read()
}

// columnsAreTheStandards compares each column of the views with the standard's list: name, order, type and length.
func columnsAreTheStandards(t *testing.T, source *Source, _ *peertest.Database) {
	s := openSpool(t, spool.Options{})
	p, stop := runPublisher(t, Options{Source: source, Spool: s, Settings: settings()})
	caughtUp(t, s, p)
	stop()
	db, err := source.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	names := map[string]map[string]string{ // the type that each server reports for one of the standard's
		"SQLite":     {"string": "VARCHAR(%)", "integer": "INTEGER", "number": "INTEGER", "date": "DATE", "datetime": "DATETIME"},
		"PostgreSQL": {"string": "character varying(%)", "integer": "integer(%)", "number": "integer(%)", "date": "date(%)", "datetime": "timestamp without time zone(%)"},
		"MySQL":      {"string": "varchar(%)", "integer": "int(%)", "number": "int(%)", "date": "date(%)", "datetime": "datetime(%)"},
	}[source.dialect.name]
	query := map[string]string{
		"SQLite":     "SELECT name, type FROM pragma_table_info('%') ORDER BY cid",
		"PostgreSQL": "SELECT column_name, data_type || '(' || COALESCE(CAST(character_maximum_length AS text), '') || ')' FROM information_schema.columns WHERE table_name = '%' ORDER BY ordinal_position",
		"MySQL":      "SELECT column_name, CONCAT(data_type, '(', COALESCE(character_maximum_length, ''), ')') FROM information_schema.columns WHERE table_schema = 'gateway' AND table_name = '%' ORDER BY ordinal_position",
	}[source.dialect.name]
	for _, v := range []View{StudyInfo, DocImage, DocImageF} {
		forms := []string{v.Name}
		if source.dialect != sqliteDialect {
			forms = append(forms, strings.ToLower(v.Name))
		}
		for _, name := range forms {
			rows, err := db.QueryContext(t.Context(), strings.ReplaceAll(query, "%", name))
			if err != nil {
				t.Fatal(err)
			}
			var got [][2]string
			for rows.Next() {
				var c [2]string
				if err := rows.Scan(&c[0], &c[1]); err != nil {
					t.Fatal(err)
				}
				got = append(got, c)
			}
			if rows.Close(); len(got) < len(v.Columns)+3 {
				t.Fatalf("%s has %d columns", name, len(got))
			}
			for i, c := range v.Columns {
				length := ""
				if c.Type == "string" {
					length = itoa(c.Length)
				}
				want := [2]string{c.Name, strings.ReplaceAll(names[c.Type], "%", length)}
				if name != v.Name {
					want[0] = strings.ToLower(want[0])
					if source.dialect == mysqlDialect {
						want[0] = got[i][0]
					}
				}
				if got[i] != want {
					t.Errorf("%s, column %d: %v, want %v", name, i+1, got[i], want)
				}
			}
			for i, want := range []string{"ChangeSeq", "UpdateAt", "Complete"} {
				if !strings.EqualFold(got[len(v.Columns)+i][0], want) {
					t.Errorf("%s: %v, want %s", name, got[len(v.Columns)+i], want)
				}
			}
		}
	}
}

// hostile are values that break what is put together by hand.
var hostile = []string{
	`'; DROP TABLE dcmgate_study; --`, `") OR 1=1 --`, "`x`", `$1 ? %s :name`, `\`, `\'`, "王小东😀", strings.Repeat("长", 64), "NULL", "a;b",
}

// valuesComeThrough publishes hostile values and reads them back, as the server's own client does.
func valuesComeThrough(t *testing.T, source *Source, d *peertest.Database) {
	s := openSpool(t, spool.Options{})
	for i, value := range hostile {
		store(t, s, image(100+i, 1, 1).with(object{"SpecificCharacterSet": "ISO_IR 192", "PatientID": value, "Manufacturer": value}))
	}
	p, stop := runPublisher(t, Options{Source: source, Spool: s, Settings: settings(), Files: Address("/images/{id}")})
	defer stop()
	caughtUp(t, s, p)
	rows, images := exported(t, source, "V_StudyInfo"), exported(t, source, "V_DocImage")
	if len(rows) != len(hostile) || len(images) != len(hostile) {
		t.Fatalf("%d, %d rows", len(rows), len(images))
	}
	for i, want := range hostile {
		if rows[i][4] != want || images[i][19] != want {
			t.Errorf("%q: PatID %q, Manufacturer %q", want, rows[i][4], images[i][19])
		}
		if rows[i][1] != hospital.Name || rows[i][6] != "2024-01-31" || rows[i][7] != "2024-01-31 23:59:01" {
			t.Errorf("%q: %v", want, rows[i])
		}
	}
	if d == nil {
		return
	}
	account := map[string]string{"postgres": "admin", "mysql": "root"}[d.Kind]
	out, err := d.Query(account, "", "SELECT HospCode, HostName, PatID, StudyDate, StudyTime, imagecount FROM v_studyinfo WHERE StudyInstanceUID = '1.106'")
	if err != nil {
		t.Fatal(err)
	}
	separator := map[string]string{"postgres": "|", "mysql": "\t"}[d.Kind]
	if want := strings.Join([]string{hospital.Code, hospital.Name, "王小东😀", "2024-01-31", "2024-01-31 23:59:01", "1"}, separator) + "\n"; out != want {
		t.Errorf("the client prints %q, want %q", out, want)
	}
}

// outagesLoseNothing stops the server in the middle of a load.
func outagesLoseNothing(t *testing.T, source *Source, d *peertest.Database) {
	if d == nil {
		t.Skip("SQLite is a file: no server that could stop")
	}
	s := openSpool(t, spool.Options{})
	set := settings()
	set.Quiet = time.Hour
	o := Options{Source: source, Spool: s, Settings: set, Files: Address("/images/{id}")}
	p, stop := runPublisher(t, o)
	defer stop()
	const studies, instances = 40, 10
	for i := range studies {
		for k := range instances {
			store(t, s, image(1000+i, 1+k%2, k))
		}
		switch i {
		case 10:
			peertest.Eventually(t, 20*time.Second, "rows come", func() bool { return p.Status().StudyRows > 10 })
			d.Stop()
		case 30:
			peertest.Eventually(t, 20*time.Second, "the outage is noticed", func() bool { return p.Status().State == StateFailing })
			d.Start()
		}
	}
	caughtUp(t, s, p)
	fresh := sqliteFile(t)
	o.Source = fresh
	other, stopOther := runPublisher(t, o)
	defer stopOther()
	caughtUp(t, s, other)
	for _, view := range []string{"V_StudyInfo", "V_DocImage"} {
		want := exported(t, fresh, view)
		n := 10
		if view == "V_DocImage" {
			n = 21
		}
		got := map[any][]any{} // by study, or RelationField
		for _, r := range exported(t, source, view) {
			got[r[keyAt(n)]] = r
		}
		for _, w := range want {
			if g := got[w[keyAt(n)]]; g == nil || !reflect.DeepEqual(g[:n], w[:n]) {
				t.Errorf("%s: %v, want %v", view, g, w[:n])
			}
		}
		if want := map[int]int{10: studies, 21: studies * instances}[n]; len(exported(t, fresh, view)) != want {
			t.Errorf("%s has %d rows, want %d", view, len(exported(t, fresh, view)), want)
		}
	}
}

// keyAt is the column that tells the rows of a view apart.
func keyAt(columns int) int {
	if columns == 10 {
		return 3
	}
	return 20
}
