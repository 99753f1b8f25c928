package views

import (
	"bytes"
	"context"
	"fmt"
	goimage "image"
	"image/png"
	"reflect"
	"testing"
	"time"

	dcmimages "dcmgate/images"
	"dcmgate/internal/peertest"
	"dcmgate/spool"
)

// addressed are the images of a store with addresses.
type addressed struct{ *dcmimages.Store }

func (addressed) Address(in *dcmimages.Image) string { return "https://images.example/i/" + in.Name() }

func openOthers(t testing.TB) addressed {
	t.Helper()
	s, err := dcmimages.Open(context.Background(), t.TempDir(), dcmimages.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return addressed{s}
}

// addOther stores an image of n pixels.
func addOther(t testing.TB, s addressed, n int, id dcmimages.Identifiers) dcmimages.Image {
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

func othersCaughtUp(t testing.TB, s addressed, p *Publisher) {
	t.Helper()
	peertest.Eventually(t, 30*time.Second, "images are published", func() bool {
		st := p.Status()
		return st.State == StateRunning && st.others == s.LastSequence() && st.Behind == 0
	})
}

// othersComeAndGo publishes images that are not DICOM, one of which is withdrawn, over an interruption and a rebuild.
func othersComeAndGo(t *testing.T, source *Source, d *peertest.Database) {
	s, kept := openSpool(t, spool.Options{}), openOthers(t)
	o := Options{Source: source, Spool: s, Others: kept, Settings: settings()}
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
		wantRow := []any{in.AccessionNumber, in.StudyInstanceUID, in.PatID, kept.Address(&in), int64(1), in.Changed.In(settings().location()).Format(dateTimeForm)}
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

// A database that was filled from another store, or a later state of this one, gets everything that is there.
func TestAnotherStoreOfImagesIsRecognised(t *testing.T) {
	source, s := sqliteFile(t), openSpool(t, spool.Options{})
	for n := range 2 {
		kept := openOthers(t)
		for i := range 3 - n {
			addOther(t, kept, 1+i, dcmimages.Identifiers{AccessionNumber: "A", StudyInstanceUID: fmt.Sprintf("1.%d.%d", n, i), PatID: "P"})
		}
		p, stop := runPublisher(t, Options{Source: source, Spool: s, Others: kept, Settings: settings()})
		othersCaughtUp(t, kept, p)
		stop()
	}
	if rows := exported(t, source, "V_DocImage_F"); len(rows) != 5 {
		t.Errorf("%d rows, want 5", len(rows))
	}
}
