package views

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"dcmgate/spool"
)

func TestAddress(t *testing.T) {
	in := &spool.Instance{ID: 0x2a, StudyInstanceUID: "1.2", SeriesInstanceUID: "1.2.3", SOPInstanceUID: "1/2?"}
	for template, want := range map[string]string{
		"":                       "",
		"https://images/":        "https://images/",
		"/{study}/{series}":      "/1.2/1.2.3",
		"{instance}&id={id}.dcm": "1%2F2%3F&id=" + in.ID.String() + ".dcm",
		"{study}{study}":         "1.21.2",
		"{patient}/{study":       "{patient}/{study",
		"{{study}}":              "{1.2}",
		"影像/{study}":             "影像/1.2",
	} {
		got, err := Address(template).Ready(context.Background(), in)
		if err != nil || got != (File{Path: want, State: FileReady}) {
			t.Errorf("%q: %+v, %v; want %q", template, got, err, want)
		}
	}
}

// TestRelativePathOfSQLite has a data folder that is named from where the gateway was started.
func TestRelativePathOfSQLite(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"data", "./data ?#%"} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		source, err := ParseSource("sqlite:views.db", dir)
		if err != nil {
			t.Fatal(err)
		}
		db, err := source.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec("CREATE TABLE a (b)"); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if info, err := os.Stat(filepath.Join(dir, "views.db")); err != nil || info.Size() == 0 {
			t.Errorf("%v, %v", info, err)
		}
	}
}
