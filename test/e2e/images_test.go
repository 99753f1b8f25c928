package e2e

import (
	"bytes"
	"encoding/json"
	goimage "image"
	"image/jpeg"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// Images that are not DICOM are added by command, published, fetched by curl from the address in the row, and withdrawn.
func TestImagesThatAreNotDICOM(t *testing.T) {
	curl := peertest.Require(t, "curl")
	address := peertest.Address(t)
	g := newGate(t, "public: {listen: '"+address+"'}\nretrieve: {clients: [{access_key: pacs, access_secret: s3cret}]}\nimages: {address: 'http://"+address+"'}\n")
	p := g.start(t)
	var b bytes.Buffer
	if err := jpeg.Encode(&b, goimage.NewGray(goimage.Rect(0, 0, 320, 240)), nil); err != nil {
		t.Fatal(err)
	}
	good, cut := filepath.Join(t.TempDir(), "scope.jpg"), filepath.Join(t.TempDir(), "cut.jpg")
	if err := os.WriteFile(good, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, b.Bytes()[:b.Len()/2], 0o600); err != nil {
		t.Fatal(err)
	}
	identifiers := []string{"--study", "1.2.3", "--accession", "A1", "--patient", "王1"}
	if out, status := g.run(t, append([]string{"images", "add", good, cut}, identifiers...)...); status != 1 || !strings.Contains(out, "ends early") || !strings.Contains(out, "stored as") {
		t.Fatalf("%d: %s", status, out)
	}
	p.Kill() // what was acknowledged is there again
	g.start(t)
	if out, status := g.run(t, append([]string{"images", "add", good}, identifiers...)...); status != 0 || !strings.Contains(out, "is there already") {
		t.Fatalf("%d: %s", status, out)
	}
	row := func(state string) (r []string) {
		peertest.Eventually(t, 30*time.Second, "the row is "+state, func() bool {
			rows := exportRows(t, g, "local", "V_DocImage_F")
			if len(rows) == 1 {
				r = rows[0]
			}
			return r != nil && r[9] == state
		})
		return r
	}
	ready := row("ready")
	if ready[0] != "A1" || ready[1] != "1.2.3" || ready[2] != "王1" || ready[4] != "1" || len(ready[3]) > 64 {
		t.Errorf("%q", ready)
	}
	fetched := filepath.Join(t.TempDir(), "fetched.jpg")
	if out, status := peertest.Run(t, nil, curl, "-sSf", "-o", fetched, ready[3]); status != 0 {
		t.Fatal(out)
	}
	if got, err := os.ReadFile(fetched); err != nil || !bytes.Equal(got, b.Bytes()) {
		t.Errorf("%d bytes, %v; want %d", len(got), err, b.Len())
	}
	out, status := g.run(t, "images", "list", "--json")
	var listed struct{ ID string }
	if err := json.Unmarshal([]byte(out), &listed); status != 0 || err != nil {
		t.Fatalf("%d, %v: %s", status, err, out)
	}
	if out, status := g.run(t, "images", "withdraw", listed.ID); status != 0 {
		t.Fatalf("%d: %s", status, out)
	}
	if gone := row("withdrawn"); gone[3] != ready[3] {
		t.Errorf("%q", gone)
	}
	if out, _ := peertest.Run(t, nil, curl, "-s", "-o", "/dev/null", "-w", "%{http_code}", ready[3]); out != "410" {
		t.Errorf("what was withdrawn is answered with %s", out)
	}
	if out, _ := peertest.Run(t, nil, curl, "-s", "-o", "/dev/null", "-w", "%{http_code}", ready[3][:len(ready[3])-5]+"x.jpg"); out != "404" {
		t.Errorf("a guess is answered with %s", out)
	}
}

// Images come by HTTP and through a watched folder, too.
func TestImagesFromElsewhere(t *testing.T) {
	curl := peertest.Require(t, "curl")
	address, folder := peertest.Address(t), t.TempDir()
	g := newGate(t, "public: {listen: '"+address+"'}\nretrieve: {clients: [{access_key: scope, access_secret: s3cret}]}\n"+
		"images: {address: 'http://"+address+"', upload: true}\ndrop: [{name: scope, folder: '"+folder+"', takes: images, quiet: 100ms}]\n")
	g.start(t)
	var uploaded, dropped bytes.Buffer
	for side, b := range map[int]*bytes.Buffer{30: &uploaded, 40: &dropped} {
		if err := png.Encode(b, goimage.NewGray(goimage.Rect(0, 0, side, side))); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "upload.png")
	for name, text := range map[string]string{
		file: uploaded.String(), filepath.Join(folder, "a.png"): dropped.String(),
		filepath.Join(folder, "a.json"): `{"AccessionNumber": "A2", "StudyInstanceUID": "1.2.4", "PatID": "P2"}`,
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// As docs/views.md has it.
	script := `q="AccessionNumber=A1&PatID=P1&StudyInstanceUID=1.2.3&sha256=$(sha256sum < "$2" | cut -c1-64)&timeStamp=$(date +%s)"
s=$(printf '%s' "scope${q}s3cret" | md5sum | cut -d' ' -f1)
exec "$1" -sS -i -H 'accessKey: scope' --data-binary "@$2" "$3/i/?$q&Signature=$s"`
	out, status := peertest.Run(t, nil, "/bin/sh", "-c", script, "upload", curl, file, "http://"+address)
	if status != 0 || !strings.Contains(out, " 201 ") || !strings.Contains(out, `"code":"N0000"`) {
		t.Fatalf("%d: %s", status, out)
	}
	var rows [][]string
	peertest.Eventually(t, 30*time.Second, "both rows", func() bool {
		rows = exportRows(t, g, "local", "V_DocImage_F")
		return len(rows) == 2
	})
	for _, row := range rows {
		want := map[string]string{"A1": uploaded.String(), "A2": dropped.String()}[row[0]]
		if out, status := peertest.Run(t, nil, curl, "-sSf", row[3]); status != 0 || out != want || want == "" {
			t.Errorf("%q: %d, %d bytes; want %d", row, status, len(out), len(want))
		}
	}
}
