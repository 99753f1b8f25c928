package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// take writes a configuration, what the gate began with and more, and has it taken. It returns what that has said.
func (g *gate) take(t *testing.T, base, more string) string {
	t.Helper()
	aside := g.config + "~"
	if err := errors.Join(os.WriteFile(aside, []byte(base+more), 0o600), os.Rename(aside, g.config)); err != nil {
		t.Fatal(err)
	}
	out, status := peertest.Run(t, nil, binary, "reload", "--data-dir", g.data)
	if status != 0 {
		t.Fatalf("%s\nnot taken: %s", more, out)
	}
	return out
}

// configuration is what is in the gate's file.
func (g *gate) configuration(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestUpstreamsChangeUnderWay pulls study after study through the gateway out of the archive behind it, while what the
// configuration says of that archive changes and another one comes and goes: every pull is whole.
func TestUpstreamsChangeUnderWay(t *testing.T) {
	const studies, each = 9, 40
	g, pacs, empty := newGate(t, ""), newGate(t, ""), newGate(t, "")
	pacs.reconfigure(t, "ae_title: DCMGATE", "ae_title: PACS")
	pacs.append(t, fmt.Sprintf("peers: [{ae_title: DCMGATE, address: %q}]\n", g.address))
	base := g.configuration(t)
	upstreams := func(i int) string {
		text := fmt.Sprintf("upstreams:\n  - {name: pacs, ae_title: PACS, address: %q, associations: %d, rate: %s, timeouts: {query: %ds}}\n",
			pacs.address, 1+i%4, []string{"unlimited", "4MB/s"}[i%2], 20+i)
		if i%3 == 1 {
			text += fmt.Sprintf("  - {name: empty, ae_title: EMPTY, address: %q}\n", empty.address)
		}
		return text
	}
	g.append(t, upstreams(0))
	for _, one := range []*gate{pacs, empty, g} {
		one.start(t)
	}
	s := newSender(pacs.address, 20<<10, studies*each)
	s.PerStudy = each
	if err := s.Run(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	all, out := findscu(t, g, "0020,000d", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
	if len(all) != studies {
		t.Fatalf("%d studies are found\n%s", len(all), out)
	}
	pull := func(study string) (files int, err error) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			return 0, err
		}
		out, err := exec.Command(binary, "get", g.address, "--out", dir, "-k", "StudyInstanceUID="+study).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		written, _ := filepath.Glob(filepath.Join(dir, "*"))
		return len(written), err
	}
	last := all[studies-1] // which is left
	pulled := make(chan error, 1)
	go func() {
		var errs error
		for _, study := range all[:studies-1] {
			if n, err := pull(study); n != each || err != nil {
				errs = errors.Join(errs, fmt.Errorf("%s: %d files: %w", study, n, err))
			}
		}
		pulled <- errs
	}()
	changes := 0
	for over := false; !over; {
		select {
		case err := <-pulled:
			if over = true; err != nil {
				t.Error(err)
			}
		default:
			changes++
			g.take(t, base, upstreams(changes))
		}
	}
	t.Logf("%d changes", changes)
	if out := g.take(t, base, ""); !strings.Contains(out, "upstreams[pacs] removed") {
		t.Errorf("reload says %s", out)
	}
	if n, err := pull(last); n != 0 || err != nil {
		t.Errorf("%d files from an archive that is not asked any more: %v", n, err)
	}
	g.take(t, base, upstreams(0))
	if n, err := pull(last); n != each || err != nil {
		t.Errorf("%d files: %v", n, err)
	}
}

// TestViewsChangeUnderWay adds and removes databases, changes the password that one of them wants and the rules of rows while
// instances come: in the end either has a row for each.
func TestViewsChangeUnderWay(t *testing.T) {
	d := peertest.Postgres(t)
	secrets := t.TempDir()
	secret := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	password := func(p string) { secret("gate", strings.Replace(d.Admin, "admin@", "gate:"+p+"@", 1)) }
	secret("admin", d.Admin)
	password("publish-first")
	g := newGate(t, "")
	base := g.configuration(t) + "institution: {code: \"12511000000000000X\", name: 内江市示例医院}\n"
	published := func(late bool, quiet string) string {
		text := fmt.Sprintf("rows: {complete_after: %s, files: {address: \"https://images.example/{instance}\"}}\nviews:\n  - {name: cloud, dsn: \"file:%s/gate\"}\n", quiet, secrets)
		if late {
			text += "  - {name: late, dsn: \"sqlite:late.db\"}\n"
		}
		return text
	}
	if err := os.WriteFile(g.config, []byte(base+published(false, "1s")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, status := g.run(t, "views", "init", "--name", "cloud", "--admin", "file:"+secrets+"/admin"); status != 0 {
		t.Fatalf("views init: %d, %s", status, out)
	}
	g.start(t)
	var over atomic.Bool
	s := newSender(g.address, 4<<10, 1_000_000)
	s.Once, s.More = true, func() bool { return !over.Load() }
	sent := make(chan error, 1)
	go func() { sent <- s.Run(t.Context(), 2) }()
	for i, change := range []struct {
		what string
		do   func() string
	}{
		{"views[late] added", func() string { return g.take(t, base, published(true, "1s")) }},
		{"views[cloud].dsn (contents of the file)", func() string {
			for _, query := range []string{"ALTER ROLE gate PASSWORD 'publish-second'", "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gate'"} {
				if out, err := d.Query("admin", "", query); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			password("publish-second")
			return g.take(t, base, published(true, "1s"))
		}},
		{"rows.complete_after", func() string { return g.take(t, base, published(true, "2s")) }},
		{"views[late] removed", func() string { return g.take(t, base, published(false, "2s")) }},
		{"views[late] added", func() string { return g.take(t, base, published(true, "2s")) }},
	} {
		before := s.Acked()
		peertest.Eventually(t, time.Minute, "more instances", func() bool { return s.Acked() > before+20 })
		if out := change.do(); !strings.Contains(out, change.what) && i != 1 { // the file may have been noticed before
			t.Errorf("reload says %s, want %s", out, change.what)
		}
	}
	over.Store(true)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	rows := func(name string) [][]string { return exportRows(t, g, name, "V_DocImage") }
	for _, name := range []string{"cloud", "late"} {
		peertest.Eventually(t, time.Minute, "all rows in "+name, func() bool { return len(rows(name)) >= s.Acked() })
	}
	cloud, late := rows("cloud"), rows("late")
	if len(cloud) != s.Acked() || !slices.EqualFunc(cloud, late, slices.Equal[[]string]) {
		t.Errorf("%d and %d rows of %d instances", len(cloud), len(late), s.Acked())
	}
}
