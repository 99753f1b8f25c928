package views

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	goimage "image"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dcmimages "dcmgate/images"
	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

func openOthers(t testing.TB) *dcmimages.Store {
	t.Helper()
	s, err := dcmimages.Open(context.Background(), t.TempDir(), dcmimages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// served gives the images of a store addresses.
func served(s *dcmimages.Store) Others {
	return ServedImages{ImageSource: s, Prefix: "https://images.example/i/"}
}

// addOther stores an image of n pixels.
func addOther(t testing.TB, s *dcmimages.Store, n int, id dcmimages.Identifiers) dcmimages.Image {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, goimage.NewGray(goimage.Rect(0, 0, n, 1))); err != nil {
		t.Fatal(err)
	}
	in, _, err := s.Add(t.Context(), dcmimages.Incoming{Source: dcmimages.FromCommand, Identifiers: id, Body: &b})
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func othersCaughtUp(t testing.TB, s *dcmimages.Store, p *Publisher) {
	t.Helper()
	peertest.Eventually(t, 30*time.Second, "images are published", func() bool {
		st := p.Status()
		return st.State == StateRunning && st.others == s.LastSequence() && st.Behind == 0
	})
}

// othersComeAndGo publishes images that are not DICOM, one of which is withdrawn, over an interruption and a rebuild.
func othersComeAndGo(t *testing.T, source *Source, d *peertest.Database) {
	s, kept := openSpool(t, spool.Options{}), openOthers(t)
	o := Options{Source: source, Spool: s, Others: served(kept), Settings: settings()}
	p, stop := runPublisher(t, o)
	var want []dcmimages.Image
	for i, value := range hostile {
		want = append(want, addOther(t, kept, 1+i, dcmimages.Identifiers{AccessionNumber: value, StudyInstanceUID: fmt.Sprintf("1.9.%d", i), PatID: value}))
	}
	othersCaughtUp(t, kept, p)
	rows := exported(t, source, "V_DocImage_F")
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d", len(rows), len(want))
	}
	for i, in := range want {
		r := rows[i]
		wantRow := []any{in.AccessionNumber, in.StudyInstanceUID, in.PatID, served(kept).Address(&in), int64(1), in.Changed.In(settings().location()).Format(dateTimeForm)}
		if !reflect.DeepEqual(r[:6], wantRow) || r[8] != int64(1) || r[9] != "ready" || r[6] != int64(i+1) {
			t.Errorf("%v, want %v", r, wantRow)
		}
	}
	stop()

	// While nobody publishes, one goes and one comes.
	if _, err := kept.Withdraw(t.Context(), want[2].ID, "wrong patient"); err != nil {
		t.Fatal(err)
	}
	addOther(t, kept, 100, dcmimages.Identifiers{AccessionNumber: "last", StudyInstanceUID: "1.99", PatID: "P"})
	p, stop = runPublisher(t, o)
	defer stop()
	othersCaughtUp(t, kept, p)
	after := exported(t, source, "V_DocImage_F")
	if len(after) != len(want)+1 {
		t.Fatalf("%d rows, want %d", len(after), len(want)+1)
	}
	for i := range want {
		switch {
		case i == 2:
			if r := after[i]; r[3] != rows[i][3] || r[6] != int64(len(want)+1) || r[8] != int64(0) || r[9] != "withdrawn" {
				t.Errorf("the withdrawn one: %v", r)
			}
		case !reflect.DeepEqual(after[i], rows[i]):
			t.Errorf("%v has become %v", rows[i], after[i])
		}
	}
	if err := p.Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if again := exported(t, source, "V_DocImage_F"); !reflect.DeepEqual(again, after) {
		t.Errorf("after a rebuild %v, before %v", again, after)
	}
	if d == nil {
		return
	}
	account := map[string]string{"postgres": "admin", "mysql": "root"}[d.Kind]
	out, err := d.Query(account, "", "SELECT FilePath FROM v_docimage_f WHERE StudyInstanceUID = '1.99' AND FileType = 1")
	if err != nil || len(out) < 40 || out[:25] != "https://images.example/i/" {
		t.Errorf("the client prints %q, %v", out, err)
	}
}

// Images are copied to a folder that an FTP server shares, before their rows are there, and gone before a row says so.
func TestImagesAreExported(t *testing.T) {
	s, kept, root := openSpool(t, spool.Options{}), openOthers(t), filepath.Join(t.TempDir(), "scope")
	files, err := NewImageExporter(kept, s, root, "ftp://10.0.0.9/scope")
	if err != nil {
		t.Fatal(err)
	}
	first := addOther(t, kept, 1, dcmimages.Identifiers{AccessionNumber: "A1", StudyInstanceUID: "1.1", PatID: "P"})
	source := sqliteFile(t)
	p, _ := runPublisher(t, Options{Source: source, Spool: s, Others: files, Settings: settings()})
	othersCaughtUp(t, kept, p)
	second := addOther(t, kept, 2, dcmimages.Identifiers{AccessionNumber: "A2", StudyInstanceUID: "1.2", PatID: "P"})
	othersCaughtUp(t, kept, p)
	check := func(withdrawn dcmimages.Image, there ...dcmimages.Image) {
		t.Helper()
		rows := exported(t, source, "V_DocImage_F")
		if len(rows) != 2 {
			t.Fatalf("%v", rows)
		}
		for _, r := range rows {
			name, ok := strings.CutPrefix(r[3].(string), "ftp://10.0.0.9/scope/")
			content, err := os.ReadFile(filepath.Join(root, name))
			switch i := slices.IndexFunc(there, func(in dcmimages.Image) bool { return in.Name() == name }); {
			case !ok || len(r[3].(string)) > 64:
				t.Errorf("address %v", r[3])
			case i < 0 && (name != withdrawn.Name() || r[9] != "withdrawn" || err == nil):
				t.Errorf("%v, %d bytes", r, len(content))
			case i >= 0 && (r[9] != "ready" || sha256.Sum256(content) != there[i].Digest):
				t.Errorf("%v: %d bytes, %v", r, len(content), err)
			}
		}
		if found, _ := filepath.Glob(filepath.Join(root, "*.png")); len(found) != len(there) {
			t.Errorf("the folder has %v", found)
		}
	}
	check(dcmimages.Image{}, first, second)

	if _, err := kept.Withdraw(t.Context(), first.ID, "wrong patient"); err != nil {
		t.Fatal(err)
	}
	othersCaughtUp(t, kept, p)
	check(first, second)
	again := addOther(t, kept, 1, first.Identifiers)
	othersCaughtUp(t, kept, p)
	check(dcmimages.Image{}, again, second)

	// What is lost from the folder comes back with a rebuild.
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(root, incoming), exportFolder); err != nil {
		t.Fatal(err)
	}
	if err := p.Rebuild(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	check(dcmimages.Image{}, again, second)
}

// What cannot be read, or was withdrawn since it was listed, is in no folder, and its row says so.
func TestImagesThatCannotBeExported(t *testing.T) {
	s, kept, root := openSpool(t, spool.Options{}), openOthers(t), t.TempDir()
	files, err := NewImageExporter(kept, s, root, "https://h")
	if err != nil {
		t.Fatal(err)
	}
	gone := addOther(t, kept, 1, dcmimages.Identifiers{AccessionNumber: "A1", StudyInstanceUID: "1.1", PatID: "P"})
	if _, err := kept.Withdraw(t.Context(), gone.ID, ""); err != nil {
		t.Fatal(err)
	}
	unknown := gone
	unknown.ID = "unknown"
	for in, want := range map[*dcmimages.Image]FileState{&gone: FileWithdrawn, &unknown: FileMissing} {
		state, err := files.Ready(t.Context(), in)
		if row := settings().OtherRow(in, files.Address(in), state); err != nil || state != want || row.Complete || row.State != want {
			t.Errorf("%q, %v, %+v", state, err, row)
		}
		if found, _ := filepath.Glob(filepath.Join(root, "*.png")); len(found) != 0 {
			t.Errorf("the folder has %v", found)
		}
	}
}

// growing are images of which another one comes whenever somebody has asked how many there are.
type growing struct {
	Others
	grow func()
}

func (g growing) LastSequence() uint64 {
	n := g.Others.LastSequence()
	g.grow()
	return n
}

// No image that comes while others are being published is passed over.
func TestImagesThatComeMeanwhileAreNotMissed(t *testing.T) {
	const images = 20
	source, s, kept := sqliteFile(t), openSpool(t, spool.Options{}), openOthers(t)
	var mu sync.Mutex
	n := 0
	p, _ := runPublisher(t, Options{Source: source, Spool: s, Settings: settings(), Others: growing{served(kept), func() {
		mu.Lock()
		defer mu.Unlock()
		if n < images {
			n++
			addOther(t, kept, n, dcmimages.Identifiers{AccessionNumber: "A", StudyInstanceUID: fmt.Sprintf("1.%d", n), PatID: "P"})
		}
	}}})
	peertest.Eventually(t, 30*time.Second, "the last image is published", func() bool { return p.Status().others == images })
	if rows := exported(t, source, "V_DocImage_F"); len(rows) != images {
		t.Errorf("%d rows, want %d", len(rows), images)
	}
}

// A database that was filled from another store, or a later state of this one, gets everything that is there.
func TestAnotherStoreOfImagesIsRecognised(t *testing.T) {
	source, s := sqliteFile(t), openSpool(t, spool.Options{})
	for n := range 2 {
		kept := openOthers(t)
		for i := range 3 - n {
			addOther(t, kept, 1+i, dcmimages.Identifiers{AccessionNumber: "A", StudyInstanceUID: fmt.Sprintf("1.%d.%d", n, i), PatID: "P"})
		}
		p, stop := runPublisher(t, Options{Source: source, Spool: s, Others: served(kept), Settings: settings()})
		othersCaughtUp(t, kept, p)
		stop()
	}
	if rows := exported(t, source, "V_DocImage_F"); len(rows) != 5 {
		t.Errorf("%d rows, want 5", len(rows))
	}
}
