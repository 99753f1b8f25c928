package views

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// part10 is an instance as the spool serves it.
func part10(t testing.TB, s *spool.Spool, id spool.InstanceID) []byte {
	t.Helper()
	r, err := s.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestExportedFilesAreWhole(t *testing.T) {
	s := openSpool(t, spool.Options{})
	root := filepath.Join(t.TempDir(), "share")
	if err := os.MkdirAll(filepath.Join(root, incoming), 0o755); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(root, incoming, "half")
	if err := os.WriteFile(half, []byte("DICM"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := NewExporter(s, root, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(half); err == nil {
		t.Error("what was half written is still there")
	}
	source := sqliteFile(t)
	p, _ := runPublisher(t, Options{Source: source, Spool: s, Settings: settings(), Files: files})

	// Whoever looks at the folder meanwhile sees whole files only.
	done := make(chan struct{})
	var looking sync.WaitGroup
	looking.Go(func() {
		for {
			found, _ := filepath.Glob(filepath.Join(root, "*", "*", "*"))
			for _, f := range found {
				if data, err := os.ReadFile(f); err != nil || len(data) < 1<<20 || string(data[128:132]) != "DICM" {
					t.Errorf("%s: %d bytes, %v", f, len(data), err)
				}
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	large := strings.Repeat("x", 60000)
	var ids []spool.InstanceID
	for k := range 8 {
		o := image(1, 1, k)
		for i := range 20 { // LO of 60,000 bytes each: a megabyte
			o[[]string{"StudyDescription", "SeriesDescription", "InstitutionAddress", "InstitutionalDepartmentName", "PerformingPhysicianName", "OperatorsName",
				"ReferringPhysicianName", "StationName", "ManufacturerModelName", "ProtocolName", "StudyID", "BodyPartExamined", "OtherPatientIDs",
				"IssuerOfPatientID", "RequestedProcedureDescription", "PerformedProcedureStepID", "NameOfPhysiciansReadingStudy", "InstitutionName",
				"DeviceSerialNumber", "SoftwareVersions"}[i]] = raw + large
		}
		ids = append(ids, store(t, s, o).Instance.ID)
	}
	caughtUp(t, s, p)
	close(done)
	looking.Wait()

	rows := exported(t, source, "V_DocImage")
	if len(rows) != len(ids) {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		i := slices.IndexFunc(ids, func(id spool.InstanceID) bool { return id.String() == r[20] })
		data, err := os.ReadFile(r[18].(string))
		if err != nil || !bytes.Equal(data, part10(t, s, ids[i])) {
			t.Errorf("%v: not what the spool has: %v", r[18], err)
		}
		if r[23] != int64(1) || r[24] != "ready" {
			t.Errorf("%v", r)
		}
	}
}

func TestExportFollowsEviction(t *testing.T) {
	s := openSpool(t, spool.Options{})
	root := t.TempDir()
	files, err := NewExporter(s, root, "https://images.example/")
	if err != nil {
		t.Fatal(err)
	}
	r := store(t, s, image(1, 1, 1))
	in := r.Instance
	file, err := files.Ready(t.Context(), &in)
	if err != nil || file.State != FileReady || !strings.HasPrefix(file.Path, "https://images.example/") || strings.Contains(file.Path, "1.1.1") {
		t.Fatalf("%+v, %v", file, err)
	}
	if path := filepath.Join(root, strings.TrimPrefix(file.Path, "https://images.example/")); !bytes.Equal(must(os.ReadFile(path)), part10(t, s, in.ID)) {
		t.Errorf("%s is not the instance", path)
	}
	if err := files.Sync(); err != nil {
		t.Error(err)
	}
	for range 2 { // to remove it again is no error
		if err := files.Remove(&in); err != nil {
			t.Error(err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(root, "[0-9a-f]*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	unknown := spool.Instance{ID: 77}
	if file, err := files.Ready(t.Context(), &unknown); err != nil || file != (File{State: FileMissing}) {
		t.Errorf("of an instance that is not there: %+v, %v", file, err)
	}
}

// A file whose instance is evicted goes, also if the process ends, or the folder fails, once its row says so.
func TestFilesOfEvictedInstancesAreSwept(t *testing.T) {
	dir, root, now := t.TempDir(), t.TempDir(), time.Now()
	open := func(retention time.Duration) *spool.Spool {
		s, err := spool.Open(dir, spool.Options{SegmentSize: 16 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1,
			Retention: retention, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(0)
	in := store(t, s, image(1, 1, 1)).Instance
	source := sqliteFile(t)
	files, err := NewExporter(s, root, "")
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Source: source, Spool: s, Settings: settings(), Files: files, Now: func() time.Time { return now }}
	p, stop := runPublisher(t, o)
	caughtUp(t, s, p)
	stop()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	now = now.Add(48 * time.Hour)
	s = open(time.Hour)
	defer s.Close()
	peertest.Eventually(t, 10*time.Second, "it is evicted", func() bool { return s.Stats().Evicted == 1 })
	o.Spool, o.Files = s, forgetful{files}
	p, stop = runPublisher(t, o)
	caughtUp(t, s, p)
	stop()
	file := filepath.Join(root, place(&in))
	if rows := exported(t, source, "V_DocImage"); rows[0][24] != "evicted" || len(must(os.ReadFile(file))) == 0 {
		t.Fatalf("%v", rows)
	}
	o.Files = files
	p, stop = runPublisher(t, o)
	defer stop()
	caughtUp(t, s, p)
	if _, err := os.Stat(file); err == nil {
		t.Error("the file is still there")
	}
}

// forgetful removes nothing, as a process that ends before it does.
type forgetful struct{ *Exporter }

func (forgetful) Remove(*spool.Instance) error { return nil }

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

func TestAddressesOfFiles(t *testing.T) {
	for prefix, want := range map[string]string{
		"": "/srv/share/a/b.dcm", `\\10.0.0.2\images`: `\\10.0.0.2\images\a\b.dcm`, "https://h/i/": "https://h/i/a/b.dcm", "ftp://h": "ftp://h/a/b.dcm",
	} {
		e := (&Exporter{folder: newFolder(nil, "/srv/share", "")}).Renamed(prefix)
		if got := e.address("a/b.dcm"); got != want {
			t.Errorf("%q: %s, want %s", prefix, got, want)
		}
	}
}

// TestRowsWaitForTheirFiles: no row names a file that may be lost with the power.
func TestRowsWaitForTheirFiles(t *testing.T) {
	s := openSpool(t, spool.Options{})
	files, err := NewExporter(s, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	failing := true
	files.files.syncing = func(*os.File) error {
		mu.Lock()
		defer mu.Unlock()
		if failing {
			return errors.New("the disk fails")
		}
		return nil
	}
	store(t, s, image(1, 1, 1))
	source := sqliteFile(t)
	p, _ := runPublisher(t, Options{Source: source, Spool: s, Settings: settings(), Files: files})
	peertest.Eventually(t, 10*time.Second, "the failure is noticed", func() bool { return p.Status().State == StateFailing })
	if rows := exported(t, source, "V_DocImage"); len(rows) != 0 {
		t.Errorf("%v", rows)
	}
	mu.Lock()
	failing = false
	mu.Unlock()
	caughtUp(t, s, p)
	if rows := exported(t, source, "V_DocImage"); len(rows) != 1 {
		t.Errorf("%v", rows)
	}
}

// Publishers share a folder: who finds it being synced for another one waits until that is done.
func TestSyncOfSharedFolder(t *testing.T) {
	f := newFolder(nil, t.TempDir(), "")
	begun, end := make(chan struct{}), make(chan struct{})
	var synced atomic.Bool
	f.files.syncing = func(*os.File) error {
		close(begun)
		<-end
		synced.Store(true)
		return nil
	}
	var both sync.WaitGroup
	both.Go(func() {
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
	})
	<-begun
	both.Go(func() {
		if err := f.Sync(); err != nil || !synced.Load() {
			t.Errorf("returned before the folder was synced: %v", err)
		}
	})
	time.AfterFunc(20*time.Millisecond, func() { close(end) })
	both.Wait()
}

// storing is a spool in which somebody stores until it was asked so often.
type storing struct {
	*spool.Spool
	left int
}

func (s *storing) Quiet() time.Duration {
	if s.left--; s.left >= 0 {
		return 0
	}
	return exportGap
}

func TestExportRestsWhileOthersStore(t *testing.T) {
	busy := &storing{left: 5}
	e, in := newFolder(busy, "", ""), time.Now()
	if err := e.rest(t.Context(), in, time.Hour); err != nil || busy.left != -1 {
		t.Errorf("a gap between writers ends a rest: %v, asked %d times", err, 5-busy.left)
	}
	busy.left = 1 << 30
	if err := e.rest(t.Context(), in, time.Millisecond); err != nil {
		t.Errorf("a rest ends by itself: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.rest(ended, in, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("a rest ends with its context: %v", err)
	}
	if got := restAfter(time.Second, time.Minute); got != 9*time.Second {
		t.Errorf("of an instance that came just now: %v", got)
	}
	if got := restAfter(time.Second, 10*time.Minute); got != time.Second {
		t.Errorf("of one that has waited: %v", got)
	}
}

func TestFolderRemedy(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EROFS:  "; have ReadWritePaths= of the service name the folder",
		syscall.EACCES: "; give the user of dcmgate the right",
		syscall.ENOSPC: "",
	} {
		if got := folderRemedy(&fs.PathError{Op: "mkdir", Err: err}); !strings.HasPrefix(got, want) || want == "" && got != "" {
			t.Errorf("%v: %q", err, got)
		}
	}
}
