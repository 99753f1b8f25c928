// Package deb builds the Debian package and looks into it. scripts/deb-test (make deb-test) installs it.
package deb

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// run runs a program that has to succeed.
func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	p := peertest.Start(t, []string{"SOURCE_DATE_EPOCH=1700000000", "DEB_COMPRESS=none"}, program, args...)
	status, err := p.Wait(10 * time.Minute) // it may have to compile everything, beside all other tests
	if err != nil || status != 0 {
		t.Fatalf("%s: exit status %d, %v\n%s", filepath.Base(program), status, err, p.Output())
	}
	return p.Output()
}

// A commit without a tag is newer than the one before it, whatever their hashes are, and older than a release.
func TestVersion(t *testing.T) {
	dpkg := peertest.Require(t, "dpkg")
	before := "0~git20261127.ffffff0" // as it was before the time of day was in it
	for _, row := range []struct{ epoch, version, want string }{
		{"1795767089", "ffffff0", "0~git20261127081129.ffffff0"},
		{"1795767090", "0a00000-dirty", "0~git20261127081130.0a00000+dirty"},
		{"1795767091", "unknown", "0~git20261127081131.unknown"},
		{"0", "1.2.3", "1.2.3"},
		{"0", "v1.2.3-4-gabcdef0", "1.2.3+4+gabcdef0"},
	} {
		got := strings.TrimSpace(run(t, "env", "SOURCE_DATE_EPOCH="+row.epoch, "../../scripts/deb-version", row.version))
		if got != row.want {
			t.Errorf("%s: %s, want %s", row.version, got, row.want)
		}
		run(t, dpkg, "--compare-versions", before, "lt", got)
		before = got
	}
}

func TestPackage(t *testing.T) {
	dpkg := peertest.Require(t, "dpkg-deb")
	dir := t.TempDir()
	run(t, "../../scripts/deb", runtime.GOARCH, "v1.2.3-4-gabcdef0", dir)
	file := filepath.Join(dir, "dcmgate_1.2.3+4+gabcdef0_"+runtime.GOARCH+".deb")

	for field, want := range map[string]string{"Package": "dcmgate", "Version": "1.2.3+4+gabcdef0", "Architecture": runtime.GOARCH} {
		if got := strings.TrimSpace(run(t, dpkg, "--field", file, field)); got != want {
			t.Errorf("%s: %s, want %s", field, got, want)
		}
	}
	if got := run(t, dpkg, "--info", file, "conffiles"); got != "/etc/dcmgate/dcmgate.yaml\n" {
		t.Errorf("conffiles: %q", got)
	}

	contents := run(t, dpkg, "--contents", file)
	t.Log(contents)
	got := make(map[string]string) // path to mode and owner
	for line := range strings.Lines(contents) {
		f := strings.Fields(line)
		got[strings.TrimPrefix(f[5], ".")] = f[0] + " " + f[1]
	}
	const doc = "/usr/share/doc/dcmgate/"
	for path, mode := range map[string]string{
		"/usr/bin/dcmgate":          "-rwxr-xr-x root/root",
		"/etc/dcmgate/dcmgate.yaml": "-rw-r----- root/root", // postinst gives it to the group
	} {
		if got[path] != mode {
			t.Errorf("%s: %q, want %s", path, got[path], mode)
		}
	}
	for _, path := range []string{
		"/usr/lib/systemd/system/dcmgate.service", "/usr/lib/systemd/system/dcmgate.socket",
		"/usr/lib/sysusers.d/dcmgate.conf", "/usr/lib/tmpfiles.d/dcmgate.conf",
		"/usr/share/man/man1/dcmgate.1.gz", "/usr/share/man/man1/dcmgate-queue-list.1.gz",
		"/usr/share/bash-completion/completions/dcmgate", "/usr/share/zsh/vendor-completions/_dcmgate", "/usr/share/fish/vendor_completions.d/dcmgate.fish",
		doc + "copyright", doc + "licences.gz", doc + "changelog.gz", doc + "CHANGELOG.md.gz", doc + "operations.md.gz", doc + "zh/operations.md.gz",
		doc + "examples/dcmgate.yaml", doc + "examples/systemd/port-104.conf", doc + "examples/grafana/dcmgate.json", doc + "examples/prometheus/dcmgate.rules.yml",
	} {
		if got[path] != "-rw-r--r-- root/root" {
			t.Errorf("%s: %q", path, got[path])
		}
	}
	for path, mode := range got {
		if strings.Contains(mode[:10], "s") || mode[8] == 'w' || !strings.HasSuffix(mode, " root/root") {
			t.Errorf("%s: %s", path, mode)
		}
	}

	root := filepath.Join(dir, "root")
	run(t, dpkg, "--raw-extract", file, root)
	program := filepath.Join(root, "usr/bin/dcmgate")
	if out := run(t, program, "version"); !strings.HasPrefix(out, "dcmgate v1.2.3-4-gabcdef0 ") {
		t.Error(out)
	}
	out := run(t, program, "config", "check", filepath.Join(root, "etc/dcmgate/dcmgate.yaml"))
	if !strings.Contains(out, "valid; DCMGATE listens on 127.0.0.1:11112, accepts 0 peers") || strings.Contains(out, "note:") {
		t.Error(out)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		run(t, "/bin/sh", "-n", filepath.Join(root, "DEBIAN", script))
	}
	licence, err := os.ReadFile(filepath.Join(root, doc, "copyright"))
	if err != nil || !strings.Contains(string(licence), "\n Copyright (c) 2018, Chris Rorden\n") {
		t.Errorf("copyright: %v\n%s", err, licence)
	}
}
