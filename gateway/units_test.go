package gateway

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "500ms": 500 * time.Millisecond, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "0d": 0,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "5 seconds", "-1d", "99999d", "d", "1.5d"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "16384": 16384, "64KiB": 65536, "64kib": 65536, "20GB": 20e9, "1.5 MiB": 3 << 19, "2 TB": 2e12, "7b": 7,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "GB", "-1", "20 gigabytes", "1e30TB", "NaN", "infGB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestFormatSizeReadsBack(t *testing.T) {
	for _, n := range []int64{0, 1, 1000, 1024, 65536, 2e9, 256 << 20, 3e12, 12345} {
		if got, err := parseSize(formatSize(n)); err != nil || got != n {
			t.Errorf("%d: %s read back as %d, %v", n, formatSize(n), got, err)
		}
	}
}

func TestParseAETitle(t *testing.T) {
	for text, want := range map[string]string{"CT1": "CT1", " CT 1 ": "CT 1", "ABCDEFGHIJKLMNOP": "ABCDEFGHIJKLMNOP"} {
		if got, err := parseAETitle(text); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
	for _, text := range []string{"", "   ", "ABCDEFGHIJKLMNOPQ", `CT\1`, "CT\t1", "内江"} {
		if got, err := parseAETitle(text); err == nil {
			t.Errorf("%q: got %q, want an error", text, got)
		}
	}
}

func TestParseAddresses(t *testing.T) {
	for _, text := range []string{"127.0.0.1:11112", "localhost:0", "[::1]:104", "0.0.0.0:104"} {
		if got, err := parseListen(text); err != nil || got != text {
			t.Errorf("listen %s: got %q, %v", text, got, err)
		}
	}
	if got, err := parseListen("off"); got != "" || err != nil {
		t.Errorf("off: got %q, %v", got, err)
	}
	for _, text := range []string{"", ":104", "104", "h:x", "h:70000"} {
		if _, err := parseListen(text); err == nil {
			t.Errorf("listen %q: want an error", text)
		}
	}
	for _, text := range []string{"", "10.0.0.5", "h:0", ":104", "h:-1"} {
		if _, err := parseAddress(text); err == nil {
			t.Errorf("address %q: want an error", text)
		}
	}
	for text, want := range map[string]string{
		"10.0.0.5": "10.0.0.5/32", "10.0.1.0/24": "10.0.1.0/24", "::1": "::1/128", "::ffff:10.0.0.5": "10.0.0.5/32",
		"::ffff:10.0.0.0/120": "10.0.0.0/24", "::ffff:0.0.0.0/96": "0.0.0.0/0",
	} {
		if got, err := parsePrefix(text); err != nil || got.String() != want {
			t.Errorf("prefix %s: got %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "10.0.0", "10.0.0.5/24", "::ffff:10.0.0.5/120", "::ffff:0.0.0.0/90", "fe80::1%eth0", "10.0.0.0/33"} {
		if _, err := parsePrefix(text); err == nil {
			t.Errorf("prefix %q: want an error", text)
		}
	}
}

func TestSecret(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "s"), []byte("hunter2\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for ref, want := range map[string]string{"file:" + filepath.Join(dir, "s"): "hunter2", "credential:s": "hunter2", "plain": "plain"} {
		if got, err := (Secret{ref}).Read(); err != nil || got != want {
			t.Errorf("%s: got %q, %v", ref, got, err)
		}
	}
	if got := (Secret{"plain"}).String(); got == "plain" {
		t.Error("String shows the secret")
	}
	for _, ref := range []string{"file:" + filepath.Join(dir, "none"), "credential:../s", "credential:", "credential:.."} {
		if _, err := (Secret{ref}).Read(); err == nil {
			t.Errorf("%s: want an error", ref)
		}
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := (Secret{"credential:s"}).Read(); err == nil {
		t.Error("want an error without $CREDENTIALS_DIRECTORY")
	}
}
