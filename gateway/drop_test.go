package gateway

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dropfolder"
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
	eventually(t, "the index and the counts to follow, which a file that has left the folder does not wait for", func() bool {
		s := c.Status()
		return s.Spool.Instances == 4 && len(s.Drop) == 1 && s.Drop[0].Name == "b" && s.Drop[0].Taken == 2
	})
	eventually(t, "the metrics to be those of the folders watched", func() bool {
		text := get(t, c.running, "/metrics", 200)
		return !strings.Contains(text, `folder="a"`) && strings.Contains(text, `dcmgate_drop_files_total{folder="b",result="taken"} 2`)
	})
}

// A folder that goes while a file of it is under way has no series once that is done, and a folder that comes in its place is
// watched then, not before.
func TestDropFolderGoesWhileAFileIsUnderWay(t *testing.T) {
	begun, goOn := make(chan string, 10), make(chan struct{})
	registry := prometheus.NewRegistry()
	f := &dropFolders{metrics: dropfolder.NewMetrics(registry)}
	f.build = func(_ *Config, d watchedAs) (*dropfolder.Watcher, error) {
		o := dropfolder.Options{Name: d.Name, Folder: d.Folder, Quiet: 10 * time.Millisecond, Rescan: 50 * time.Millisecond, Metrics: f.metrics}
		return dropfolder.New(o, func(context.Context, *dropfolder.File) dropfolder.Verdict {
			begun <- d.called
			<-goOn
			return dropfolder.Taken()
		})
	}
	use := func(cfg Config) {
		t.Helper()
		list, err := f.prepare(&cfg)
		if err != nil {
			t.Fatal(err)
		}
		f.use(list)
	}
	taken := func() string {
		var b strings.Builder
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == "dcmgate_drop_bytes_total" {
					fmt.Fprintf(&b, "%s %v;", m.GetLabel()[0].GetValue(), m.GetCounter().GetValue())
				}
			}
		}
		return b.String()
	}
	folder := t.TempDir()
	with := func(name, called string) Config {
		return Config{AETitle: called, Drop: []DropFolder{{Name: name, Folder: folder}}}
	}
	put := func(name string) {
		t.Helper()
		aside := filepath.Join(t.TempDir(), name) // whole at once: it is quiet for longer than 10 ms soon
		err := os.WriteFile(aside, []byte("12345"), 0o600)
		if err == nil {
			err = os.Rename(aside, filepath.Join(folder, name))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	f.start()
	use(with("a", "FIRST"))
	put("1")
	if who := <-begun; who != "FIRST" {
		t.Fatal(who)
	}
	use(Config{})
	use(with("a", "SECOND")) // in two steps: the one before the last is waited for, too
	put("2")
	if got := taken(); got != "a 0;" {
		t.Errorf("while the file is under way: %q", got)
	}
	select {
	case who := <-begun:
		t.Errorf("%s began beside FIRST", who)
	case <-time.After(200 * time.Millisecond): // what must not happen: 20 times what it would take
	}
	close(goOn)
	eventually(t, "the next to take its file, counted under the name that both have", func() bool { return taken() == "a 10;" })

	use(with("b", "THIRD"))
	eventually(t, "the series of a name that is used no more to go", func() bool { return taken() == "b 0;" })
	f.stop()
	f.wait()
	if got := taken(); got != "" {
		t.Errorf("at the end: %q", got)
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
