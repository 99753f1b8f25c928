package e2e

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// exportRows reads a view by `dcmgate views export`, in the order of its keys, without what differs by when it was written.
func exportRows(t testing.TB, g *gate, name, view string) [][]string {
	t.Helper()
	var out bytes.Buffer
	peertest.Eventually(t, 30*time.Second, "the view is made", func() bool {
		var trouble bytes.Buffer
		export := exec.Command(binary, "views", "export", "--csv", "--name", name, "--view", view, "--config", g.config)
		out.Reset()
		export.Stdout, export.Stderr = &out, &trouble
		err := export.Run()
		if err != nil && !strings.Contains(trouble.String(), "does not have the view yet") { // a gateway that has just started is about to make it
			t.Fatalf("views export: %v: %s", err, &trouble)
		}
		return err == nil
	})
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	head := rows[0]
	rows = rows[1:]
	for _, r := range rows {
		for i, c := range head {
			if c == "ChangeSeq" || c == "UpdateAt" {
				r[i] = ""
			}
		}
	}
	slices.SortFunc(rows, func(a, b []string) int { return slices.Compare(a, b) })
	return rows
}

// TestViewsAgreeWhateverHappens loads over 16 associations while the gateway is killed and PostgreSQL is, and compares what
// two databases have in the end, with each other and with the files.
func TestViewsAgreeWhateverHappens(t *testing.T) {
	d := peertest.Postgres(t)
	secrets, share := t.TempDir(), filepath.Join(t.TempDir(), "share")
	for name, text := range map[string]string{
		"admin": d.Admin + "\n", "gate": strings.Replace(d.Admin, "admin@", "gate:publish-secret@", 1) + "\n", "reader": "read-secret\n",
	} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := newGate(t, fmt.Sprintf(`institution: {code: "12511000000000000X", name: 内江市示例医院}
views:
  - {name: local, dsn: "sqlite:rows.db"}
  - {name: cloud, dsn: "file:%s/gate"}
rows: {complete_after: 1s, files: {export: %q}}
`, secrets, share))
	out, status := g.run(t, "views", "init", "--name", "cloud", "--admin", "file:"+secrets+"/admin", "--reader", "cloud", "--reader-password", "file:"+secrets+"/reader")
	if status != 0 || strings.Count(out, "\n") != 3 {
		t.Fatalf("views init: %d, %s", status, out)
	}
	g.start(t)
	const total = 640
	sender := newSender(g.address, 20<<10, total)
	ended := make(chan error, 1)
	go func() { ended <- sender.Run(context.Background(), 16) }()
	peertest.Eventually(t, 20*time.Second, "a fifth is sent", func() bool { return sender.Acked() > total/5 })
	d.Stop()
	peertest.Eventually(t, 20*time.Second, "two fifths are sent", func() bool { return sender.Acked() > 2*total/5 })
	g.process.Kill()
	g.start(t)
	d.Start()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	caughtUp := func() bool {
		var list []struct {
			State    string
			Behind   uint64
			Sequence uint64
		}
		out, _ := g.run(t, "views", "status", "--json")
		return json.Unmarshal([]byte(out), &list) == nil && len(list) == 2 && list[0].State == "running" && list[1].State == "running" &&
			list[0].Behind+list[1].Behind == 0 && list[0].Sequence >= total
	}
	peertest.Eventually(t, 60*time.Second, "everything is published", caughtUp)
	peertest.Eventually(t, 20*time.Second, "every study is complete", func() bool {
		out, err := d.Query("cloud", "read-secret", "SELECT COUNT(*) FROM v_studyinfo WHERE complete = 0")
		return err == nil && strings.TrimSpace(out) == "0"
	})
	peertest.Eventually(t, 20*time.Second, "it is in the other database, too", func() bool { // each looks by itself for what is quiet
		return slices.EqualFunc(exportRows(t, g, "local", "V_StudyInfo"), exportRows(t, g, "cloud", "V_StudyInfo"), slices.Equal[[]string])
	})
	for _, view := range []string{"V_StudyInfo", "V_DocImage"} {
		local, cloud := exportRows(t, g, "local", view), exportRows(t, g, "cloud", view)
		if len(local) == 0 || !slices.EqualFunc(local, cloud, slices.Equal[[]string]) {
			t.Errorf("%s: %d rows in SQLite, %d in PostgreSQL, or not the same ones", view, len(local), len(cloud))
		}
		if view == "V_DocImage" {
			if len(local) != total {
				t.Errorf("%d images, sent %d", len(local), total)
			}
			for _, r := range local {
				if info, err := os.Stat(r[18]); err != nil || info.Size() < 10<<10 {
					t.Errorf("%s: %v", r[18], err)
				}
			}
		}
	}
	files, _ := filepath.Glob(filepath.Join(share, "*", "*", "*.dcm"))
	if len(files) != total {
		t.Errorf("%d files", len(files))
	}

	// What psql prints is what was sent, and a rebuild changes nothing.
	before, err := d.Query("cloud", "read-secret", "SELECT COUNT(*), SUM(imagecount), MAX(changeseq) FROM v_studyinfo")
	if err != nil || !strings.Contains(before, fmt.Sprintf("|%d|", total)) {
		t.Errorf("psql: %q, %v", before, err)
	}
	if out, status := g.run(t, "views", "rebuild", "--name", "cloud"); status != 0 {
		t.Errorf("views rebuild: %s", out)
	}
	if after, err := d.Query("cloud", "read-secret", "SELECT COUNT(*), SUM(imagecount), MAX(changeseq) FROM v_studyinfo"); after != before {
		t.Errorf("after a rebuild: %q, before %q, %v", after, before, err)
	}
	if out, err := d.Query("cloud", "read-secret", "SELECT * FROM dcmgate_study"); err == nil {
		t.Errorf("the cloud's account reads tables: %s", out)
	}
}

// TestViewsWithoutAServer uses what is there without any setting.
func TestViewsWithoutAServer(t *testing.T) {
	g := newGate(t, "")
	g.start(t)
	sender := newSender(g.address, 10<<10, 40)
	if err := sender.Run(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	peertest.Eventually(t, 20*time.Second, "the rows are there", func() bool {
		var rows []map[string]any
		out, status := g.run(t, "views", "export", "--json")
		if status != 0 || json.Unmarshal([]byte(out), &rows) != nil {
			return false
		}
		images := 0.0
		for _, r := range rows {
			images += r["imagecount"].(float64)
		}
		return images == 40
	})
	out, status := g.run(t, "views", "status")
	if status != 0 || !strings.Contains(out, "local") || !strings.Contains(out, "running") {
		t.Errorf("views status: %d, %s", status, out)
	}
	info, err := os.Stat(filepath.Join(g.data, "views.db"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("views.db: %v, %v", info, err)
	}
	if out, status := g.run(t, "views", "export", "--view", "V_Nothing"); status != 2 {
		t.Errorf("a view that is not there: %d, %s", status, out)
	}
	if out, status := g.run(t, "views", "rebuild", "--name", "nothing"); status != 2 {
		t.Errorf("a database that is not there: %d, %s", status, out)
	}
	if out, status := g.run(t, "views", "init", "--reader", "cloud", "--reader-password", "secret"); status != 2 || strings.Contains(out, "secret\n") {
		t.Errorf("a secret in the command line: %d, %s", status, out)
	}
}
