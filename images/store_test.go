package images

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var one = Identifiers{AccessionNumber: "A1", StudyInstanceUID: "1.2.3", PatID: "王1"}

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func add(t testing.TB, s *Store, id Identifiers, data []byte) (Image, bool) {
	t.Helper()
	in, added, err := s.Add(t.Context(), Incoming{Source: FromCommand, Identifiers: id, Body: bytes.NewReader(data)})
	if err != nil {
		t.Fatal(err)
	}
	return in, added
}

// files counts what the store's folder holds beside its index.
func files(t testing.TB, dir string) (n int) {
	t.Helper()
	for _, pattern := range []string{"??/*", incomingDir + "/*"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		n += len(found)
	}
	return n
}

func TestStore(t *testing.T) {
	dir, registry := t.TempDir(), prometheus.NewRegistry()
	s := open(t, dir, Options{Registerer: registry})
	data := encoded(t, JPEG, 40, 30)
	in, added := add(t, s, one, data)
	if !added || len(in.ID) != 22 || in.Sequence != 1 || in.Info != (Info{JPEG, 40, 30}) || in.Size != int64(len(data)) || in.Digest != sha256.Sum256(data) {
		t.Fatalf("%+v", in)
	}
	if again, added := add(t, s, one, data); added || again.ID != in.ID || again.Sequence != 1 {
		t.Errorf("the same once more: %+v, %v", again, added)
	}
	other := one
	other.PatID = "P2"
	second, added := add(t, s, other, data)
	if !added || second.ID == in.ID || second.Sequence != 2 || files(t, dir) != 1 {
		t.Errorf("the same of another patient: %+v, %v, %d files", second, added, files(t, dir))
	}

	if _, err := s.Withdraw(t.Context(), in.ID, "wrong patient"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Content(t.Context(), in.ID); !errors.Is(err, ErrWithdrawn) {
		t.Error(err)
	}
	if files(t, dir) != 1 {
		t.Error("the other one has lost its bytes")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s2 := open(t, dir, Options{Registerer: registry})
	if s2.ID() != s.ID() || s2.LastSequence() != 3 {
		t.Errorf("%s, %d after reopening", s2.ID(), s2.LastSequence())
	}
	list, err := s2.Changes(t.Context(), 0, 10)
	if err != nil || len(list) != 2 || list[0].ID != second.ID || list[1].ID != in.ID || !list[1].Withdrawn || list[1].Sequence != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	f, _, err := s2.Content(t.Context(), second.ID)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if _, err := s2.Withdraw(t.Context(), second.ID, ""); err != nil || files(t, dir) != 0 {
		t.Errorf("%v, %d files", err, files(t, dir))
	}
	if back, added := add(t, s2, one, data); !added || back.ID != in.ID || back.Withdrawn || back.Sequence != 5 || files(t, dir) != 1 {
		t.Errorf("what was withdrawn comes back as %+v, %v", back, added)
	}
	if _, err := s2.Withdraw(t.Context(), "nobody", ""); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	const want = `# HELP dcmgate_images_stored Images that are not DICOM that are stored, without the withdrawn ones.
# TYPE dcmgate_images_stored gauge
dcmgate_images_stored 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "dcmgate_images_stored"); err != nil {
		t.Error(err)
	}
}

func TestNothingOfWhatIsRefusedIsKept(t *testing.T) {
	dir := t.TempDir()
	var full error
	data := encoded(t, PNG, 40, 30)
	s := open(t, dir, Options{MaxSize: int64(len(data)), Room: func() error { return full }})
	gone := errors.New("gone")
	for _, row := range []struct {
		name string
		in   Incoming
		want error // nil: a FormatError or IdentifierError
	}{
		{"no image", Incoming{Identifiers: one, Body: strings.NewReader("MZ")}, nil},
		{"cut", Incoming{Identifiers: one, Body: bytes.NewReader(data[:len(data)-1])}, nil},
		{"nothing", Incoming{Identifiers: one, Body: strings.NewReader("")}, nil},
		{"no patient", Incoming{Identifiers: Identifiers{"A", "1.2", " "}, Body: bytes.NewReader(data)}, nil},
		{"too large", Incoming{Identifiers: one, Body: bytes.NewReader(encoded(t, BMP, 0, 0)[:18:18])}, nil},
		{"too large a PNG", Incoming{Identifiers: one, Body: bytes.NewReader(encoded(t, PNG, 400, 300))}, ErrTooLarge},
		{"another digest", Incoming{Identifiers: one, Body: bytes.NewReader(data), Digest: make([]byte, 32)}, ErrDigest},
		{"a lost connection", Incoming{Identifiers: one, Body: io.MultiReader(bytes.NewReader(data[:50]), iotest.ErrReader(gone))}, gone},
	} {
		_, added, err := s.Add(t.Context(), row.in)
		if added || err == nil || row.want != nil && !errors.Is(err, row.want) || row.want != gone && !Refusal(err) {
			t.Errorf("%s: %v, %v", row.name, added, err)
		}
	}
	full = ErrFull
	if _, _, err := s.Add(t.Context(), Incoming{Identifiers: one, Body: bytes.NewReader(data)}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	if n := files(t, dir); n != 0 || s.LastSequence() != 0 {
		t.Errorf("%d files, %d changes", n, s.LastSequence())
	}
	full = nil
	for _, most := range []int64{int64(len(data)) - 1, int64(len(data)), 0} {
		s.SetMaxSize(most)
		_, _, err := s.Add(t.Context(), Incoming{Identifiers: one, Body: bytes.NewReader(data)})
		if tooLarge := most == int64(len(data))-1; tooLarge != errors.Is(err, ErrTooLarge) || !tooLarge && err != nil {
			t.Errorf("%d bytes where %d are taken: %v", len(data), most, err)
		}
	}
}

// A crash leaves half a file in the incoming folder, or a whole one that has no record, or one whose record is withdrawn.
func TestWhatACrashLeavesIsTakenAway(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	in, _ := add(t, s, one, encoded(t, JPEG, 40, 30))
	if _, _, err := s.index.withdraw(t.Context(), in.ID, "", time.Now()); err != nil { // and the bytes stay
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	half := filepath.Join(dir, incomingDir, "123")
	if err := os.WriteFile(half, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if n := files(t, dir); n != 0 {
		t.Errorf("%d files are left", n)
	}
	kept, _ := add(t, s, one, encoded(t, PNG, 40, 30))
	orphan := filepath.Join(filepath.Dir(s.place(&kept)), strings.Repeat("ab", 32)+".jpg")
	if err := os.WriteFile(orphan, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-time.Hour)
	if err := errors.Join(os.Chtimes(orphan, long, long), os.Chtimes(s.place(&kept), long, long)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Verify(t.Context(), nil)
	if err != nil || r.Images != 1 || r.Damaged != 0 || r.Orphans != 1 || files(t, dir) != 1 {
		t.Errorf("%+v, %v, %d files", r, err, files(t, dir))
	}
}

func TestDamageIsNotServed(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	data := encoded(t, JPEG, 40, 30)
	in, _ := add(t, s, one, data)
	damaged := bytes.Clone(data)
	damaged[100] ^= 1
	if err := os.WriteFile(s.place(&in), damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Content(t.Context(), in.ID); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if r, err := s.Verify(t.Context(), nil); err != nil || r.Damaged != 1 || len(r.Problems) != 1 || r.Problems[0].ID != in.ID {
		t.Errorf("%+v, %v", r, err)
	}
	if _, added := add(t, s, one, data); added {
		t.Error("it was there")
	}
	if f, _, err := s.Content(t.Context(), in.ID); err != nil {
		t.Errorf("to add it again does not mend it: %v", err)
	} else {
		f.Close()
	}
}

func TestIdentifiers(t *testing.T) {
	for _, row := range []struct{ sidecar, want string }{
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.2.3","PatID":"王1"}`, ""},
		{"\xEF\xBB\xBF" + `{"AccessionNumber":" A1 ","StudyInstanceUID":"1.2.3","PatID":"王1"} `, ""},
		{"{\"AccessionNumber\":\"A1\",\"StudyInstanceUID\":\"1.2.3\",\"PatID\":\"\xcd\xf51\"}", ""}, // GB18030
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.2.3"}`, "PatID: is missing"},
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.02.3","PatID":"1"}`, "StudyInstanceUID"},
		{`{"AccessionNumber":"A1","StudyInstanceUID":",","PatID":"1"}`, "no UID"},
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.2","PatID":1}`, "not a string"},
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.2","PatID":null}`, "not a string"},
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.2","PatID":{"a":"b"}}`, "not a string"},
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.2","PatID":"1","PatID":"2"}`, "twice"},
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.2","PatID":"1","PatName":"x"}`, "not one of"},
		{`{"AccessionNumber":"A1","StudyInstanceUID":"1.2","PatID":"1"}{}`, "goes on"},
		{`{"AccessionNumber":"A\u0000","StudyInstanceUID":"1.2","PatID":"1"}`, "control"},
		{`{"AccessionNumber":"` + strings.Repeat("长", 65) + `","StudyInstanceUID":"1.2","PatID":"1"}`, "64 characters"},
		{`["AccessionNumber"]`, "not a JSON object"},
		{`{"AccessionNumber"`, "not a JSON object"},
		{"\xff\xff", "neither"},
		{"", "not a JSON object"},
		{strings.Repeat(" ", MaxSidecar+1), "more than"},
	} {
		id, err := ParseSidecar([]byte(row.sidecar))
		if row.want == "" && (err != nil || id != one) || row.want != "" && (err == nil || !strings.Contains(err.Error(), row.want)) {
			t.Errorf("%.80s: %+v, %v; want %q", row.sidecar, id, err, row.want)
		}
	}
	long := Identifiers{"A", " 1.2，1.3, 1.4 ", "P"}
	if id, err := long.Normalize(); err != nil || id.StudyInstanceUID != "1.2,1.3,1.4" {
		t.Errorf("%+v, %v", id, err)
	}
}

func FuzzSidecar(f *testing.F) {
	f.Add([]byte(`{"AccessionNumber":"A1","StudyInstanceUID":"1.2.3,1.4","PatID":"王1"}`))
	f.Add([]byte("{\"PatID\":\"\xcd\xf51\"}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := ParseSidecar(data)
		if err != nil {
			return
		}
		again, err := id.Normalize()
		if err != nil || again != id {
			t.Fatalf("%+v becomes %+v, %v", id, again, err)
		}
	})
}

// An identifier is an argument of commands.
func TestIDsAreNoOptions(t *testing.T) {
	for range 2000 {
		if id := newID(); len(id) != 22 || id[0] == '-' {
			t.Fatal(id)
		}
	}
}

// TestRelativeFolder has a data folder that is named from where the gateway was started.
func TestRelativeFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "images", Options{})
	if _, err := os.Stat(filepath.Join("images", "index.db")); err != nil || s.LastSequence() != 0 {
		t.Errorf("%v, %d", err, s.LastSequence())
	}
}
