package web

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"dcmgate/spool"
)

// A link in a row works without end, for its database alone; it is the same whenever it is made, until it is revoked.
func TestLinksInRows(t *testing.T) {
	s := newSite(t, func(o *Options) { o.Views = []string{"cloud", "local"} })
	in, file, _ := s.one(2000)
	links := s.web.current.Load().Links
	if err := links.KeepRevocations(); err != nil {
		t.Fatal(err)
	}
	status := func(path string) int {
		t.Helper()
		resp, body, err := s.get("GET", s.http.URL+path)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK && string(body) != string(file) {
			t.Error("other bytes")
		}
		return resp.StatusCode
	}
	first := links.RowPath("cloud", &in)
	if got := links.RowPath("cloud", &in); got != first || len(first) > 128 {
		t.Errorf("%s, then %s", first, got)
	}
	now := time.Now()
	for _, row := range []struct {
		path  string
		after time.Duration
		want  int
	}{
		{first, 0, 200}, {first, 1000 * time.Hour, 200}, {first, -1000 * time.Hour, 200},
		{links.RowPath("local", &in), 0, 200}, {links.RowPath("elsewhere", &in), 0, 404}, {links.RowPath("cloud", &spool.Instance{ID: in.ID + 1}), 0, 410},
	} {
		s.setClock(now.Add(row.after))
		if got := status(row.path); got != row.want {
			t.Errorf("%s after %v: %d, want %d", row.path, row.after, got, row.want)
		}
	}
	// Revoked twice, the second time by a clock that was set back.
	paths := []string{first}
	for _, at := range []time.Time{now, now.Add(-time.Hour)} {
		if err := links.Revoke(in.StudyInstanceUID, at); err != nil {
			t.Fatal(err)
		}
		for i, path := range paths {
			if got := status(path); got != 410 {
				t.Errorf("link %d, revoked: %d", i, got)
			}
		}
		again := links.RowPath("cloud", &in)
		if got := status(again); got != 200 {
			t.Errorf("made after the revocation: %d", got)
		}
		paths = append(paths, again)
	}
	if err := links.Revoke("1.2.3", now.Add(10_000*time.Hour)); err != nil {
		t.Fatal(err)
	}
	reopened, renewed, err := OpenLinks(filepath.Join(s.dir, "links.json"))
	if err != nil || renewed || reopened.RowPath("cloud", &in) != paths[2] {
		t.Errorf("after a restart: another link, or %v", err)
	}
	for _, path := range paths[:2] {
		if got := status(path); got != 410 {
			t.Errorf("long after the revocation: %d", got)
		}
	}
	if err := links.RevokeAll(); err != nil {
		t.Fatal(err)
	}
	if got := status(paths[2]); got != 404 {
		t.Errorf("all revoked: %d", got)
	}
	if got := status(links.RowPath("cloud", &in)); got != 200 {
		t.Errorf("made after all were revoked: %d", got)
	}
}
