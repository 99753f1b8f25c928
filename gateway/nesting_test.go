package gateway

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFilesThatAreNoConfiguration gives what may be copied over a configuration by mistake: it is refused in few words, and
// costs no more than its size. Without bounds the nested ones take minutes and gigabytes.
func TestFilesThatAreNoConfiguration(t *testing.T) {
	var keys, items, entries strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&keys, "key%d: value\n", i)
		fmt.Fprintf(&items, `"k%d": {"a": [1, {"b": "c"}]}, `, i)
	}
	for range 900 {
		entries.WriteString("  - {k1: 1, k2: 2, k3: 3, k4: 4, k5: 5, k6: 6, k7: 7, k8: 8, k9: 9}\n")
	}
	const tooDeep, tooMany = "deeper nested than any key is; is this the right file?", "more keys in one mapping than a configuration has; is this the right file?"
	tests := []struct{ name, text, first, last string }{
		{"lists in lists", strings.Repeat("[", 1<<16), "f:1:33: " + tooDeep, ""},
		{"keys in keys", strings.Repeat("{a: ", 1<<14), "f:1:129: " + tooDeep, ""},
		{"dashes", strings.Repeat("- ", 1<<15), "f:1:65: " + tooDeep, ""},
		{"another program's", keys.String(), "f:1001:8: " + tooMany, ""},
		{"JSON", "{" + items.String() + "}", "f:1:31899: " + tooMany, ""},
		{"other lists", "peers:\n" + entries.String(), "f:2:6: peers[0].k1: unknown key; known here are ae_title", "and 8000 more mistakes; is this the right file?"},
		{"long value", `ae_title: "` + strings.Repeat(`\n`, 1<<14) + `"`, `f:1:1: ae_title: AE title "\n\n`, "16 are allowed"},
		{"long key", strings.Repeat("k", 1000) + ": 1\n", "f:1:1: kkk", "shutdown_timeout"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("f", []byte(test.text))
			if err == nil || !strings.HasPrefix(err.Error(), test.first) || !strings.HasSuffix(err.Error(), test.last) {
				t.Fatalf("got %.500v, want %s ... %s", err, test.first, test.last)
			}
			if n := len(err.Error()); n > (maxMistakes+1)*(2*maxQuoted+100) {
				t.Errorf("the error has %d bytes", n)
			}
		})
	}
}

// TestFilesThatAreNotRead names what is no file: nothing waits for a FIFO that nobody writes to.
func TestFilesThatAreNotRead(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{fifo: "holds no keys", dir: "is a folder; name the file in it"} {
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("configuration %s: got %v, want %s", path, err, want)
		}
	}
	for _, path := range []string{fifo, dir, "/dev/zero"} {
		cfg, err := Parse("f", fmt.Appendf(nil, "http: {token: 'file:%s', tls: {cert: %[1]s, key: %[1]s}}\n", path))
		if err != nil {
			t.Fatal(err)
		}
		_, err = cfg.CheckFiles()
		for _, key := range []string{"http.token", "http.tls.cert", "http.tls.key"} {
			if want := key + ": " + path + " is a folder, FIFO, device or socket; name a file"; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
	}
}
