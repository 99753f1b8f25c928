package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"log/slog"

	"dcmgate/dicom"
	"dcmgate/internal/faultdisk"
	"dcmgate/restore"
	"dcmgate/spool"
)

// fakeOperator answers with what it was asked.
type fakeOperator struct {
	err error
	ImageOperator
}

func (f fakeOperator) Status(context.Context) (Status, error) {
	return Status{AETitle: "DCMGATE", Running: true}, f.err
}

func (f fakeOperator) Jobs(_ context.Context, j JobFilter, cursor string, limit int) (JobPage, error) {
	return JobPage{
		Jobs: []Job{{Destination: j.Destination, State: j.State, Study: j.Study, Instance: j.Instance, Code: j.Code, Attempts: limit}},
		Next: cursor + "+",
	}, f.err
}

func (f fakeOperator) Retry(_ context.Context, j JobFilter, reason string) (Changed, error) {
	return Changed{Count: len(j.Destination) + len(reason)}, f.err
}

func (f fakeOperator) Drop(_ context.Context, j JobFilter, reason string) (Changed, error) {
	if f.err == nil && j == (JobFilter{}) {
		return Changed{}, ErrNothingSelected
	}
	if f.err == nil && j.Destination == "nosuch" {
		return Changed{}, &DestinationError{Name: "nosuch", Configured: []string{"cloud"}}
	}
	return Changed{Count: len(reason), Active: 2}, f.err
}

func (f fakeOperator) Verify(_ context.Context, progress func(done, total int64)) (VerifyReport, error) {
	progress(1, 2)
	return VerifyReport{Instances: 2, Problems: []VerifyProblem{{ID: "7", What: "digest"}}}, f.err
}

func (f fakeOperator) RebuildViews(_ context.Context, name string, progress func(studies int64)) error {
	progress(int64(len(name)))
	return f.err
}

func (f fakeOperator) Restore(_ context.Context, rq RestoreRequest, progress func(done, total int)) (RestoreReport, error) {
	progress(1, 3)
	return RestoreReport{To: rq.To, Report: restore.Report{Listed: 3, Failures: []restore.Failure{{Instance: rq.Study, Reason: "gone"}}}}, f.err
}

func (f fakeOperator) Reload(context.Context) (Reloaded, error) {
	return Reloaded{File: "f", Changed: []string{"peers"}}, f.err
}

func (f fakeOperator) RevokeLinks(_ context.Context, study dicom.UID) error {
	if study == "1.9" {
		return errors.New("disk full")
	}
	return f.err
}

// serveControl runs the control socket in dir and returns a client.
func serveControl(t *testing.T, dir string, op Operator) *client {
	t.Helper()
	l, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := newHTTPServer(context.Background(), control{Operator: op}.handler(), slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- serveHTTP(s, l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	c := newClient(dir)
	t.Cleanup(func() { c.close() })
	return c
}

func TestControlSocketCarriesEveryOperation(t *testing.T) {
	c := serveControl(t, t.TempDir(), fakeOperator{})
	ctx := t.Context()
	if s, err := c.Status(ctx); err != nil || s.AETitle != "DCMGATE" || !s.Running {
		t.Errorf("status: %+v, %v", s, err)
	}
	f := JobFilter{Destination: "cloud", State: "parked", Study: "1.2", Instance: "1.2.3", Code: "A7xx"}
	page, err := c.Jobs(ctx, f, "after 5/ü", 17)
	want := Job{Destination: "cloud", State: "parked", Study: "1.2", Instance: "1.2.3", Code: "A7xx", Attempts: 17}
	if err != nil || len(page.Jobs) != 1 || page.Jobs[0] != want || page.Next != "after 5/ü+" {
		t.Errorf("jobs: %+v, %v", page, err)
	}
	if n, err := c.Retry(ctx, f, "mended"); err != nil || n != (Changed{Count: len("cloud") + len("mended")}) {
		t.Errorf("retry: %+v, %v", n, err)
	}
	if n, err := c.Drop(ctx, f, "test"); err != nil || n != (Changed{Count: 4, Active: 2}) {
		t.Errorf("drop: %+v, %v", n, err)
	}
	if _, err := c.Drop(ctx, JobFilter{}, ""); !errors.Is(err, ErrNothingSelected) {
		t.Errorf("drop of everything: %v, want ErrNothingSelected", err)
	}
	var unknown *DestinationError
	if _, err := c.Drop(ctx, JobFilter{Destination: "nosuch"}, ""); !errors.As(err, &unknown) || unknown.Name != "nosuch" || len(unknown.Configured) != 1 {
		t.Errorf("drop for a destination that is not there: %v", err)
	}
	steps := 0
	r, err := c.Verify(ctx, func(done, total int64) { steps++ })
	if err != nil || r.Instances != 2 || len(r.Problems) != 1 || steps != 1 {
		t.Errorf("verify: %+v, %v after %d steps", r, err, steps)
	}
	studies := int64(0)
	if err := c.RebuildViews(ctx, "a&b", func(n int64) { studies = n }); err != nil || studies != 3 {
		t.Errorf("rebuild of rows: %v after %d studies", err, studies)
	}
	images := 0
	restored, err := c.Restore(ctx, RestoreRequest{Study: "1.2", To: "PACS"}, func(done, total int) { images = total })
	if err != nil || images != 3 || restored.To != "PACS" || restored.Listed != 3 || restored.Failures[0].Instance != "1.2" {
		t.Errorf("restore: %+v, %v", restored, err)
	}
	if err := c.RevokeLinks(ctx, "1.2"); err != nil {
		t.Errorf("revoke: %v", err)
	}
	if err := c.RevokeLinks(ctx, "1.9"); err == nil || err.Error() != "disk full" {
		t.Errorf("revoke: %v", err)
	}
}

func TestControlSocketReportsErrors(t *testing.T) {
	c := serveControl(t, t.TempDir(), fakeOperator{err: errors.New("the disk is on fire")})
	ctx := t.Context()
	for name, err := range map[string]error{
		"status":  func() error { _, err := c.Status(ctx); return err }(),
		"rows":    c.RebuildViews(ctx, "cloud", nil),
		"jobs":    func() error { _, err := c.Jobs(ctx, JobFilter{}, "", 1); return err }(),
		"retry":   func() error { _, err := c.Retry(ctx, JobFilter{}, ""); return err }(),
		"verify":  func() error { _, err := c.Verify(ctx, nil); return err }(),
		"restore": func() error { _, err := c.Restore(ctx, RestoreRequest{}, nil); return err }(),
		"revoke":  c.RevokeLinks(ctx, ""),
	} {
		if err == nil || err.Error() != "the disk is on fire" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestControlRefusesWhatItDoesNotKnow(t *testing.T) {
	h := control{Operator: fakeOperator{}}.handler()
	for _, row := range []struct {
		method, path, body string
		want               int
	}{
		{"GET", "/v1/status", "", http.StatusOK},
		{"POST", "/v1/status", "", http.StatusMethodNotAllowed},
		{"GET", "/v2/status", "", http.StatusNotFound},
		{"POST", "/v1/jobs/drop", "{}", http.StatusBadRequest},
		{"POST", "/v1/jobs/drop", "{", http.StatusBadRequest},
		{"POST", "/v1/jobs/retry", `{"filter":{"everything":true}}`, http.StatusBadRequest},
		{"POST", "/v1/jobs/retry", `{"reason":"` + strings.Repeat("x", maxControlBody) + `"}`, http.StatusBadRequest},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(row.method, row.path, strings.NewReader(row.body)))
		if w.Code != row.want {
			t.Errorf("%s %s %.40s: got %d, want %d", row.method, row.path, row.body, w.Code, row.want)
		}
	}
}

func TestControlSocketIsPrivateAndReplacesAStaleOne(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, socketName)
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close() // as after kill -9: the name is there, nobody listens

	if _, err := dialControl(t.Context(), dir); err == nil {
		t.Fatal("connected to a socket that nobody listens on")
	}
	l, err := listenControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left in the directory: %v, %v", entries, err)
	}
	removeControl(dir)
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestControlSocketOnAFailingDisk has each call fail that making the socket makes: the start fails and says why, or there is a
// socket that only the owner may use, and what was left is gone after the next start.
func TestControlSocketOnAFailingDisk(t *testing.T) {
	disk := faultdisk.MountApart(t)
	listen := func() error {
		l, err := listenControl(disk.Dir)
		if err != nil {
			return err
		}
		defer l.Close()
		info, err := os.Stat(filepath.Join(disk.Dir, socketName))
		if err == nil && info.Mode().Perm() != 0o600 {
			err = fmt.Errorf("mode %v", info.Mode())
		}
		return err
	}
	for _, errno := range faultdisk.Errnos {
		disk.Each(t, faultdisk.Rule{Errno: errno}, 1, func(failing func(func())) {
			failing(func() {
				if err := listen(); err != nil && !errors.Is(err, errno) {
					t.Errorf("%v: %v", errno, err)
				}
			})
			if err := listen(); err != nil {
				t.Error(err)
			}
			if entries, err := os.ReadDir(disk.Dir); err != nil || len(entries) != 1 {
				t.Errorf("left in the directory: %v, %v", entries, err)
			}
		})
	}
}

func TestControlSocketInADeepDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if s, err := serveControl(t, dir, fakeOperator{}).Status(t.Context()); err != nil || !s.Running {
		t.Errorf("status: %+v, %v", s, err)
	}
}

func TestFilterForChangesMustSelect(t *testing.T) {
	for _, f := range []JobFilter{{}, {State: "parked"}} {
		if _, err := f.spoolForChange(); !errors.Is(err, ErrNothingSelected) {
			t.Errorf("%+v: got %v", f, err)
		}
	}
	for _, f := range []JobFilter{{All: true}, {Destination: "a"}, {Study: "1"}, {Instance: "1"}, {Code: "x"}} {
		if _, err := f.spoolForChange(); err != nil {
			t.Errorf("%+v: got %v", f, err)
		}
	}
	if _, err := (JobFilter{State: "lost"}).spool(); !errors.Is(err, errBadState) {
		t.Errorf("got %v", err)
	}
	for _, name := range JobStates() {
		if f, err := (JobFilter{State: name}).spool(); err != nil || f.State.String() != name {
			t.Errorf("%s: got %v, %v", name, f.State, err)
		}
	}
}

func TestDestinationStatusJoinsAllSources(t *testing.T) {
	list := destinationStatus(
		[]Destination{{Name: "b", AETitle: "B"}, {Name: "a", AETitle: "A"}}, nil,
		map[string]spool.JobCounts{"a": {Pending: 1}, "old": {Parked: 3}, "older": {}}, nil,
	)
	var names []string
	for _, d := range list {
		names = append(names, d.Name+" "+d.State)
	}
	want := "b gateway not running, a gateway not running, old not configured, older not configured"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if list[1].Pending != 1 || list[2].Parked != 3 {
		t.Errorf("counts: %+v", list)
	}
}

// The control socket answers as soon as it is there; the gateway is still starting then.
func TestStatusWhileTheGatewayStarts(t *testing.T) {
	for range 3 {
		cfg := configure(t, "institution: {code: 12511000000000000X, name: a}\nviews: [{name: a, dsn: 'sqlite:"+filepath.Join(t.TempDir(), "a.db")+"'}]\n")
		answered := make(chan error, 1)
		go func() {
			for {
				op, done, err := ConnectRunning(t.Context(), cfg)
				if isNotRunning(err) {
					runtime.Gosched()
					continue
				}
				if err == nil {
					for range 20 {
						_, e := op.Status(t.Context())
						err = errors.Join(err, e)
					}
					done()
				}
				answered <- err
				return
			}
		}()
		r := run(t, cfg)
		if err := <-answered; err != nil {
			t.Error(err)
		}
		r.stop(t)
	}
}
