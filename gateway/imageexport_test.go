package gateway

import (
	"bytes"
	"fmt"
	goimage "image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/images"
	"dcmgate/internal/peertest"
)

// Images are copied to the folder that the configuration names, also while it changes, without interface 203; a withdrawn one
// leaves it.
func TestExportedImagesFollowTheConfiguration(t *testing.T) {
	root := t.TempDir()
	first, second := filepath.Join(root, "a"), filepath.Join(root, "b")
	g := runFile(t, "")
	g.head = strings.Replace(g.head, "views: []\n", "", 1) // the database without a server
	operator := g.operations(g.parts())
	var last StoredImage
	for i, step := range []struct {
		address, folder string
		there           map[string]int // files by folder
	}{
		{"ftp://10.0.0.9/a", first, map[string]int{first: 1}},
		{"ftp://10.0.0.8/a", first, map[string]int{first: 2}}, // the same folder under another name
		{"https://10.0.0.8/b", second, map[string]int{first: 2, second: 1}},
	} {
		g.take(t, fmt.Sprintf("images: {address: '%s', export: %s}\n", step.address, step.folder))
		var b bytes.Buffer
		if err := png.Encode(&b, goimage.NewGray(goimage.Rect(0, 0, 1+i, 1))); err != nil {
			t.Fatal(err)
		}
		var err error
		if last, err = operator.AddImage(t.Context(), images.Identifiers{AccessionNumber: "A1", StudyInstanceUID: "1.2.3", PatID: "P"}, &b); err != nil {
			t.Fatal(err)
		}
		peertest.Eventually(t, 20*time.Second, "its row is there", func() bool { // else it is exported again to the next folder
			l := g.parts().publish.list()
			return len(l) == 1 && l[0].Status().OtherRows == int64(i+1)
		})
		for folder, want := range step.there {
			files(t, folder, want)
		}
	}
	if err := operator.WithdrawImage(t.Context(), last.ID, "wrong patient"); err != nil {
		t.Fatal(err)
	}
	files(t, second, 0)
	files(t, first, 2)
}

// files waits until a folder has so many images.
func files(t *testing.T, folder string, want int) {
	t.Helper()
	peertest.Eventually(t, 20*time.Second, fmt.Sprintf("%s has %d files", folder, want), func() bool {
		found, _ := filepath.Glob(filepath.Join(folder, "*.png"))
		half, err := os.ReadDir(filepath.Join(folder, ".incoming"))
		return err == nil && len(found) == want && len(half) == 0
	})
}
