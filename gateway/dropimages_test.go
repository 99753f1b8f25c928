package gateway

import (
	"bytes"
	"context"
	goimage "image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/dropfolder"
	"dcmgate/images"
)

func TestFolderOfImages(t *testing.T) {
	store, err := images.Open(t.Context(), t.TempDir(), images.Options{MaxSize: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	var picture bytes.Buffer
	if err := png.Encode(&picture, goimage.NewGray(goimage.Rect(0, 0, 30, 20))); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sidecar := func(accession string) string {
		return `{"AccessionNumber": "` + accession + `", "StudyInstanceUID": "1.2.3", "PatID": "王1"}`
	}
	put("a.png", picture.String())
	put("a.png.json", sidecar("A1"))
	put("b.json", sidecar("A2")) // before its image, and named without the image's suffix
	put("alone.png", picture.String())
	put("alone.json.json", sidecar("A3"))
	put("bad.png", picture.String())
	put("bad.png.json", `{"AccessionNumber": 1}`)
	put("junk.png", "no image")
	put("junk.png.json", sidecar("A4"))
	put("huge.png", picture.String()+strings.Repeat("x", 200_000))
	put("huge.png.json", sidecar("A5"))
	put("a copy.jpg", picture.String()) // what counts is what it is
	put("a copy.jpg.json", sidecar("A1"))

	handler := &imageFolder{store, time.Second, func(*images.Image) {}}
	w, err := dropfolder.New(dropfolder.Options{Name: "scope", Folder: dir, Quiet: 100 * time.Millisecond, Rescan: 50 * time.Millisecond, Codes: imageCodes}, handler.take)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	put("b.png", picture.String())
	eventually(t, "what is whole to be taken", func() bool {
		return leaves(filepath.Join(dir, "a.png"))() && leaves(filepath.Join(dir, "a copy.jpg"))()
	})
	rejected := func(name, reason string) {
		t.Helper()
		file := filepath.Join(dir, "rejected", name)
		eventually(t, name+" to be moved aside", func() bool { info, err := os.Stat(file + ".reason.txt"); return err == nil && info.Size() > 0 })
		if text, err := os.ReadFile(file + ".reason.txt"); err != nil || !strings.Contains(string(text), reason) {
			t.Errorf("%s: %q, %v; want %q", name, text, err, reason)
		}
	}
	rejected("alone.png", "no file of identifiers beside it")
	rejected("alone.json.json", "no image beside it")
	rejected("bad.png", "cannot be used")
	rejected("bad.png.json", "")
	rejected("junk.png", "no image that is taken")
	rejected("huge.png", "")
	eventually(t, "the folder to be empty", func() bool {
		left, err := os.ReadDir(dir)
		return err == nil && len(left) == 1 // rejected
	})
	stop()
	<-ended
	list, err := store.Changes(t.Context(), 0, 100)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d images, %v", len(list), err)
	}
	for i, accession := range []string{"A1", "A2"} {
		if in := list[i]; in.AccessionNumber != accession || in.PatID != "王1" || in.Kind != images.PNG || in.Size != int64(picture.Len()) {
			t.Errorf("image %+v", in)
		}
	}
}
