package e2e

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// filePaths are the addresses in V_DocImage, by SOP Instance UID.
func filePaths(t testing.TB, g *gate, n int) (paths map[string]string) {
	t.Helper()
	peertest.Eventually(t, 30*time.Second, fmt.Sprintf("%d rows with addresses", n), func() bool {
		out, err := exec.Command(binary, "views", "export", "--csv", "--name", "local", "--view", "V_DocImage", "--config", g.config).Output()
		if err != nil {
			return false
		}
		rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
		if err != nil || len(rows) == 0 {
			return false
		}
		path, sop := slices.Index(rows[0], "FilePathName"), slices.Index(rows[0], "SOPInstanceUID")
		paths = map[string]string{}
		for _, row := range rows[1:] {
			if row[path] != "" {
				paths[row[sop]] = row[path]
			}
		}
		return len(paths) == n
	})
	return paths
}

// Whoever polls V_DocImage gets the images themselves by the addresses in it, byte for byte, as often as the rows are made
// again and after a restart, until the addresses are revoked.
func TestLinksInRows(t *testing.T) {
	curl := peertest.Require(t, "curl")
	s := newSite203(t, "views: [{name: local, dsn: 'sqlite:rows.db'}]\nrows: {files: {links: true}}\n")
	if out, status := peertest.Run(t, nil, binary, "config", "check", s.config); status != 2 || !strings.Contains(out, "public.url is needed") {
		t.Errorf("without public.url: status %d: %s", status, out)
	}
	config, err := os.ReadFile(s.config)
	if err == nil {
		err = os.WriteFile(s.config, bytes.Replace(config, []byte("public: {"), fmt.Appendf(nil, "public: {url: %q, ", s.public), 1), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.start(t)
	dir, studies := writeMR(t, "Si/")
	if out, status := peertest.Run(t, nil, binary, "send", s.address, dir); status != 0 {
		t.Fatal(out)
	}
	status := func(address string) string {
		t.Helper()
		out, _ := peertest.Run(t, nil, curl, "-sS", "-o", os.DevNull, "-w", "%{http_code}", address)
		return out
	}
	first := filePaths(t, s.gate, totalOf(studies))
	for study, want := range studies {
		args, folder := []string{"-sS", "--fail"}, t.TempDir()
		for sop := range want {
			args = append(args, "-o", filepath.Join(folder, string(sop)), first[string(sop)])
		}
		if out, status := peertest.Run(t, nil, curl, args...); status != 0 {
			t.Fatal(out)
		}
		files, _ := filepath.Glob(filepath.Join(folder, "*"))
		if got := folderSums(t, files); !maps.Equal(got, want) {
			t.Errorf("study %s: %d files, want %d; or other bytes", study, len(got), len(want))
		}
	}
	rebuild := func() map[string]string {
		t.Helper()
		if out, status := s.run(t, "views", "rebuild", "--name", "local"); status != 0 {
			t.Fatal(out)
		}
		return filePaths(t, s.gate, len(first))
	}
	if !maps.Equal(rebuild(), first) {
		t.Error("made again, the addresses are others")
	}
	s.stop(t)
	if !maps.Equal(rebuild(), first) {
		t.Error("made again with no gateway running, the addresses are others")
	}
	s.start(t)
	for study, images := range studies {
		if out, status := s.run(t, "links", "revoke", "--study", study); status != 0 {
			t.Fatal(out)
		}
		for sop := range images {
			if got := status(first[string(sop)]); got != "410" {
				t.Errorf("after the revocation: %s", got)
			}
		}
		break
	}
	for sop, address := range rebuild() {
		if got := status(address); got != "200" {
			t.Errorf("made after the revocation: %s", got)
		}
		if old := status(first[sop]); (old == "200") != (address == first[sop]) {
			t.Errorf("before: %s", old)
		}
	}
}
