package indexfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// settings are those of the spool's index, with small tables.
func settings(dir string) badger.Options {
	o := badger.DefaultOptions(dir).WithLogger(nil).WithCompression(options.None).WithBlockCacheSize(0)
	o.MemTableSize, o.BaseTableSize, o.BaseLevelSize = 1<<20, 256<<10, 512<<10
	o.ValueThreshold, o.NumVersionsToKeep = 64<<10, 1
	return o
}

func key(i int) string { return fmt.Sprintf("key %05d", i) }

// fill makes an index of several tables and returns what it says.
func fill(t *testing.T, dir string, n int) map[string]string {
	t.Helper()
	db, err := badger.Open(settings(dir))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for i := 0; i < n; i += 100 {
		err := db.Update(func(txn *badger.Txn) error {
			for k := i; k < i+100; k++ {
				value := strings.Repeat(fmt.Sprint(k), 1+k%40)
				want[key(k)] = value
				if err := txn.Set([]byte(key(k)), []byte(value)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

// read reads all that an index says.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	db, err := badger.Open(settings(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	got := map[string]string{}
	err = db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			value, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			got[string(it.Item().Key())] = string(value)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func tableFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

func change(t *testing.T, path string, fn func(b []byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, fn(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func flip(at, n int) func([]byte) []byte {
	return func(b []byte) []byte {
		for i := at; i < min(at+n, len(b)); i++ {
			b[i] ^= 0xFF
		}
		return b
	}
}

func mustCheck(t *testing.T, dir string) Report {
	t.Helper()
	r, err := Check(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWholeIndex(t *testing.T) {
	dir := t.TempDir()
	if r := mustCheck(t, filepath.Join(dir, "none")); r.Err() != nil || r.Bytes != 0 {
		t.Errorf("no index: %+v", r)
	}
	fill(t, dir, 20_000)
	// What a crash leaves: a table that is not in the MANIFEST yet, and a torn change in that.
	if err := os.WriteFile(filepath.Join(dir, "009999.sst"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	change(t, filepath.Join(dir, "MANIFEST"), func(b []byte) []byte { return append(b, 0, 0, 0, 9, 1, 2) })
	r := mustCheck(t, dir)
	if r.Err() != nil || r.Bytes < 1<<20 {
		t.Errorf("%+v", r)
	}
}

// TestEveryDamageIsFound spoils a table at places all over it: each has to be found, and what the copy says is what was
// written.
func TestEveryDamageIsFound(t *testing.T) {
	whole := t.TempDir()
	want := fill(t, whole, 5000)
	files := tableFiles(t, whole)
	path := files[len(files)/2]
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	size := int(st.Size())
	places := []int{0, 1, 4, size - 1, size - 4, size - 5, size - 9, size - 14, size - 20, size / 2}
	for i := range 8 {
		places = append(places, i*size/8+i)
	}
	for _, at := range places {
		dir := filepath.Join(t.TempDir(), "index")
		if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
			t.Fatal(err)
		}
		change(t, filepath.Join(dir, filepath.Base(path)), flip(at, 8))
		r := mustCheck(t, dir)
		if r.Count == 0 || r.Count > 2 || !strings.Contains(r.Err().Error(), "index/"+filepath.Base(path)) {
			t.Errorf("at %d: %+v", at, r)
		}
		copied := filepath.Join(filepath.Dir(dir), "copied")
		s, err := Salvage(dir, copied)
		if err != nil || s.Count != r.Count {
			t.Errorf("at %d: %+v, %v, want %+v", at, s, err, r)
		}
		if c := mustCheck(t, copied); c.Err() != nil {
			t.Errorf("at %d: the copy: %v", at, c.Err())
		}
		lost := len(want)
		for k, v := range read(t, copied) {
			if lost--; want[k] != v {
				t.Errorf("at %d: %s is %q, want %q", at, k, v, want[k])
			}
		}
		limit := len(want) // the whole table, if it is the index of its blocks
		if r.Damages[0].Length > 0 {
			limit = 500 // two blocks of 4 KiB at most
		}
		if lost == 0 || lost > limit {
			t.Errorf("at %d: %d of %d lost", at, lost, len(want))
		}
	}
}

func TestManyDamages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	want := fill(t, dir, 20_000)
	files := tableFiles(t, dir)
	if len(files) < 3 {
		t.Fatal("too few tables: ", files)
	}
	change(t, files[0], func(b []byte) []byte { return b[:len(b)/2] })
	if err := os.Remove(files[1]); err != nil {
		t.Fatal(err)
	}
	change(t, files[2], func(b []byte) []byte { // every other block
		for i := 100; i < len(b)/2; i += 8192 {
			b[i] ^= 1
		}
		return b
	})
	r := mustCheck(t, dir)
	if r.Count < 4 || len(r.Damages) > maxDamages {
		t.Errorf("%+v", r)
	}
	if !slices.ContainsFunc(r.Damages, func(d Damage) bool { return errors.Is(d, fs.ErrNotExist) }) ||
		!strings.Contains(r.Err().Error(), fmt.Sprintf("and %d more", r.Count-1)) {
		t.Error(r.Err())
	}
	ids := []uint64{}
	for _, f := range files {
		var id uint64
		if _, err := fmt.Sscanf(filepath.Base(f), "%d.sst", &id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	if live := CheckTables(dir, func() []uint64 { return ids }); live.Count != r.Count-1 {
		t.Errorf("a table that is gone is no damage of a running index: %d and %d", live.Count, r.Count)
	}
	list := ids
	removing := CheckTables(dir, func() []uint64 { // the first is being removed: emptied, and no longer listed
		defer func() { list = ids[1:] }()
		return list
	})
	if removing.Count != r.Count-2 {
		t.Errorf("a table that is being removed is no damage: %d and %d", removing.Count, r.Count)
	}
	copied := filepath.Join(filepath.Dir(dir), "copied")
	if _, err := Salvage(dir, copied); err != nil {
		t.Fatal(err)
	}
	got := read(t, copied)
	for k, v := range got {
		if want[k] != v {
			t.Errorf("%s is %q, want %q", k, v, want[k])
		}
	}
	if len(got) == 0 || len(got) == len(want) {
		t.Errorf("%d of %d", len(got), len(want))
	}
}

func TestDamagesAreBoundedAndJoined(t *testing.T) {
	var r Report
	for i := range int64(500) {
		r.add(Damage{Path: "a", Offset: i * 8192, Length: 4096, Err: ErrChecksum})
	}
	if r.Count != 500 || len(r.Damages) != maxDamages {
		t.Errorf("%d, %d", r.Count, len(r.Damages))
	}
	r = Report{}
	for i := range int64(500) {
		r.add(Damage{Path: "x/index/a", Offset: i * 4096, Length: 4096, Err: syscall.EIO})
	}
	if got, want := r.Err().Error(), "index/a, 2048000 bytes at 0: input/output error"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestManifestDamage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "index")
	fill(t, dir, 1000)
	change(t, filepath.Join(dir, "MANIFEST"), flip(20, 2))
	r := mustCheck(t, dir)
	if r.Count != 1 || !strings.Contains(r.Err().Error(), "index/MANIFEST") {
		t.Errorf("%+v", r)
	}
	if _, err := Salvage(dir, filepath.Join(filepath.Dir(dir), "copied")); err == nil {
		t.Error("a copy without a MANIFEST")
	}
}

// FuzzTable reads anything as a table, as a whole and a block of it.
func FuzzTable(f *testing.F) {
	dir := f.TempDir()
	db, err := badger.Open(settings(dir))
	if err != nil {
		f.Fatal(err)
	}
	if err := db.Update(func(txn *badger.Txn) error { return txn.Set([]byte("key"), []byte("value")) }); err != nil {
		f.Fatal(err)
	}
	if err := db.Close(); err != nil {
		f.Fatal(err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.sst"))
	seed, err := os.ReadFile(files[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:len(seed)-1])
	path := filepath.Join(f.TempDir(), "000001.sst")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		var r Report
		if is, err := r.checkTable(path); err != nil || (is == whole) != (r.Count == 0) {
			t.Errorf("%+v, %v", r, err)
		}
		tab := &tableFile{}
		if tab.list(b, int64(len(b))) != nil {
			return
		}
		for _, bl := range tab.blocks {
			if fill := filler(bl); fill != nil && int64(len(fill)) != bl.length {
				t.Errorf("a filler of %d bytes for %d", len(fill), bl.length)
			}
		}
	})
}
