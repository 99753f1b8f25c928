package gateway

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"dcmgate/internal/synth"
)

// drop puts an instance into a folder, the way that copying programs should.
func drop(t *testing.T, folder string, number int) string {
	t.Helper()
	o := synth.NewTemplate(4000, 1).Object(1, 1, number)
	aside, name := filepath.Join(folder, ".under way"), filepath.Join(folder, fmt.Sprint(number))
	err := os.WriteFile(aside, o.Part10(), 0o644)
	if err == nil {
		err = os.Rename(aside, name)
	}
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func leaves(name string) func() bool {
	return func() bool { _, err := os.Lstat(name); return os.IsNotExist(err) }
}

// A reload changes what is watched: one folder goes, one comes, one changes, one stays as it is.
func TestDropFoldersFollowTheConfiguration(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	entry := func(name, folder, more string) string {
		return fmt.Sprintf("  - {name: %s, folder: %q, calling_ae_title: CD, quiet: 100ms, rescan: 1s%s}\n", name, folder, more)
	}
	c := runFile(t, "drop:\n"+entry("a", a, ""))
	eventually(t, "a file to be taken", leaves(drop(t, a, 1)))

	if done := c.take(t, "drop:\n"+entry("a", a, ", after: keep")+entry("b", b, "")); !slices.Equal(done.Changed, []string{"drop[a].after", "drop[b] added"}) {
		t.Errorf("changed %q", done.Changed)
	}
	eventually(t, "a file in a new folder to be taken", leaves(drop(t, b, 2)))
	eventually(t, "a file to be taken as configured now", leaves(drop(t, a, 3)))
	if _, err := os.Stat(filepath.Join(a, "done", "3")); err != nil {
		t.Error(err)
	}

	c.take(t, "drop:\n"+entry("b", b, ""))
	left := drop(t, a, 4)
	eventually(t, "a file in the folder that stays to be taken", leaves(drop(t, b, 5)))
	if leaves(left)() {
		t.Error("a folder that was taken out of the configuration is still watched")
	}
	eventually(t, "the index to follow", func() bool { return c.Status().Spool.Instances == 4 })
	s := c.Status()
	if len(s.Drop) != 1 || s.Drop[0].Name != "b" || s.Drop[0].Taken != 2 || s.Spool.Instances != 4 {
		t.Errorf("drop folders %+v, %d instances", s.Drop, s.Spool.Instances)
	}
	if text := get(t, c.running, "/metrics", 200); strings.Contains(text, `folder="a"`) || !strings.Contains(text, `dcmgate_drop_files_total{folder="b",result="taken"} 2`) {
		t.Error("the metrics are not those of the folders watched")
	}
}

func TestDropNotes(t *testing.T) {
	good, file, open := t.TempDir(), filepath.Join(t.TempDir(), "file"), t.TempDir()
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		d    DropFolder
		want string // "" for nothing to remark on
	}{
		{DropFolder{Folder: good}, ""},
		{DropFolder{Folder: good, Rejected: good + "/aside"}, ""},
		{DropFolder{Folder: good + "/missing"}, "drop[0].folder: " + good + "/missing does not exist yet"},
		{DropFolder{Folder: file}, "is not a folder"},
		{DropFolder{Folder: open}, "may be written by everybody"},
		{DropFolder{Folder: good, Rejected: "/proc"}, "drop[0].rejected: /proc "},
	} {
		c := Config{Drop: []DropFolder{row.d}}
		notes := c.DropNotes()
		if row.want == "" && len(notes) != 0 || row.want != "" && (len(notes) != 1 || !strings.Contains(notes[0], row.want)) {
			t.Errorf("%+v: %q, want %q", row.d, notes, row.want)
		}
	}
}
