package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dcmgate/internal/machine"
)

// A file in the place of the data folder, or of one above it, is named with the remedy by the start, by config check in its line,
// and by commands that look for the gateway that runs.
func TestDataFolderThatIsAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const want = " is a file, not a folder; move it away, or set data_dir to another path"
	for _, dir := range []string{file, filepath.Join(file, "below", "it")} {
		cfg, err := Parse("c.yaml", []byte("# its place\ndata_dir: "+dir+"\ndicom: {listen: 127.0.0.1:0}\nhttp: {listen: 127.0.0.1:0}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := cfg.CheckFiles(); err == nil || !strings.HasPrefix(err.Error(), "c.yaml:2:") || !strings.Contains(err.Error(), "data_dir: "+file+want) {
			t.Errorf("%s: checked: %v", dir, err)
		}
		g, err := New(cfg, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "data_dir: "+file+want) {
			t.Errorf("%s: started: %v", dir, err)
		}
		if _, err := Rebuild(t.Context(), cfg, nil); err == nil || !strings.Contains(err.Error(), file+want) {
			t.Errorf("%s: rebuilt: %v", dir, err)
		}
		if _, _, err := ConnectRunning(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), file+want) {
			t.Errorf("%s: a command: %v", dir, err)
		}
	}
	cfg := Config{DataDir: filepath.Join(filepath.Dir(file), "to be made")}
	if err := checkDataFolder(cfg.DataDir); err != nil {
		t.Errorf("a folder that is to be made: %v", err)
	}
}

func TestDataNotes(t *testing.T) {
	for _, row := range []struct {
		disk machine.FileSystem
		want []string // nil: nothing to remark on
	}{
		{machine.FileSystem{Name: "ext4"}, nil},
		{machine.FileSystem{Name: "nfs", Remote: true}, []string{"data_dir: /data: nfs is another machine's", "flock", "fsync", "local disk"}},
		{machine.FileSystem{Name: "tmpfs", InMemory: true}, []string{"everything is lost", "to a folder on a disk"}},
	} {
		notes := strings.Join(dataNotes("/data", &row.disk), "\n")
		if row.want == nil && notes != "" {
			t.Errorf("%s: %q", row.disk.Name, notes)
		}
		for _, want := range row.want {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: %q lacks %q", row.disk.Name, notes, want)
			}
		}
	}
	if dir := "/dev/shm"; isTmpfs(dir) { // a real one, and a folder that is not there yet
		cfg := Config{DataDir: filepath.Join(dir, "to be", "made")}
		if notes := cfg.DataNotes(); len(notes) != 1 || !strings.Contains(notes[0], "tmpfs is kept in memory") {
			t.Errorf("%q", notes)
		}
	}
}

func isTmpfs(dir string) bool {
	disk, err := machine.FileSystemOf(dir)
	return err == nil && disk.Name == "tmpfs"
}
