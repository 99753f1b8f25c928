package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// downloaded lists a study and downloads it with curl; the digests of the data sets.
func (s *site203) downloaded(t testing.TB, study string) sums {
	t.Helper()
	images, _ := s.list(t, study)
	args, dir := []string{"-sS", "--fail"}, t.TempDir()
	if len(images) == 0 {
		return sums{}
	}
	for i, image := range images {
		args = append(args, "-o", filepath.Join(dir, fmt.Sprint(i)), image.DownloadURL)
	}
	if out, status := peertest.Run(t, nil, peertest.Require(t, "curl"), args...); status != 0 {
		t.Fatal(out)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	return folderSums(t, files)
}

// A client of interface 203 gets, byte for byte, what was evicted or never here from Orthanc behind the gateway, also where a
// part is still stored; so does who restores by command. What Orthanc does not have either is an empty list, and what cannot be
// had because it is down is none.
func TestRetrieveThroughUpstreams(t *testing.T) {
	dir, studies := writeMR(t, "Si/")
	sink, address := startArchive(t, archive.Options{})
	s := newSite203(t, "spool: {retention: 1s}\n")
	pacs := peertest.Orthanc(t, []string{"TCP_NODELAY=1"}, nil, map[string]string{"DCMGATE": s.address})
	s.append(t, fmt.Sprintf("upstreams: [{name: pacs, ae_title: ORTHANC, address: %q}]\ndestinations: [{name: cloud, ae_title: CLOUD, address: %q}]\n", pacs.Address, address))
	if out, status := peertest.Run(t, nil, binary, "send", "--called", "ORTHANC", pacs.Address, dir); status != 0 {
		t.Fatal(out)
	}
	config, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	// retention sets what happens to what is delivered from the next start on.
	retention := func(age string) {
		t.Helper()
		s.stop(t)
		if err := os.WriteFile(s.config, []byte(strings.Replace(string(config), "retention: 1s", "retention: "+age, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		s.start(t)
	}
	expect := func(what string) {
		t.Helper()
		for study, want := range studies {
			if got := s.downloaded(t, study); !maps.Equal(got, want) {
				t.Errorf("%s: %d images, want %d; or other bytes", what, len(got), len(want))
			}
		}
	}
	s.start(t)
	retention("1h")
	expect("never here")
	if n := s.metric(t, "dcmgate_instances_received_total"); int(n) != totalOf(studies) {
		t.Errorf("%v instances have come", n)
	}
	if c := sink.Counts(); c.Instances != 0 {
		t.Errorf("%d were delivered", c.Instances)
	}
	evict := func() {
		t.Helper()
		peertest.Eventually(t, time.Minute, "all are evicted", func() bool {
			retention("1s") // a start looks at age
			for begun := time.Now(); time.Since(begun) < time.Second; time.Sleep(20 * time.Millisecond) {
				if s.metric(t, "dcmgate_spool_instances") == 0 {
					return true
				}
			}
			return false
		})
		retention("1h")
	}
	evict()
	expect("evicted")
	evict()
	// One image of each study comes again; what else there was is fetched.
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	seen := map[string]bool{}
	for _, file := range files {
		meta, _ := dataSet(t, file)
		for study, images := range studies {
			if _, ok := images[meta.SOPInstanceUID]; ok && !seen[study] {
				seen[study] = true
				if out, status := peertest.Run(t, nil, binary, "send", s.address, file); status != 0 {
					t.Fatal(out)
				}
			}
		}
	}
	expect("evicted in part")
	evict()
	for study, want := range studies {
		out, status := s.run(t, "restore", study, "--from", "upstream")
		if status != 0 || !strings.Contains(out, fmt.Sprintf("%d images restored", len(want))) || !strings.Contains(out, " 0 stored already, 0 failed") {
			t.Errorf("restore: status %d: %s", status, out)
		}
		if out, status := s.run(t, "restore", study); status != 0 || !strings.Contains(out, fmt.Sprintf(" %d stored already", len(want))) {
			t.Errorf("restore again: status %d: %s", status, out)
		}
	}
	expect("restored")
	if got := s.downloaded(t, "1.2.3.4"); len(got) != 0 {
		t.Errorf("%d images of a study that nobody has", len(got))
	}
	for _, row := range []struct {
		args   []string
		status int
		out    string
	}{
		{[]string{"restore", "1.2.3.4"}, 1, "nobody who was asked has images"},
		{[]string{"restore", "1.2.3.4", "--from", "cloud"}, 1, "set retrieve.cloud"},
		{[]string{"restore", "1.2.3.4", "--from", "home"}, 2, "not one of any, upstream, cloud"},
	} {
		if out, status := s.run(t, row.args...); status != row.status || !strings.Contains(out, row.out) {
			t.Errorf("%v: status %d: %s", row.args, status, out)
		}
	}
	pacs.Kill()
	out, status := peertest.Run(t, nil, peertest.Require(t, "curl"), "-sS", s.query("1.2.3.5"))
	if status != 0 || !strings.Contains(out, "E0000") || !strings.Contains(out, "pacs") {
		t.Errorf("with the archive down: %s", out)
	}
	s.stop(t)
	if out, status := s.run(t, "restore", "1.2.3.4"); status != 1 || !strings.Contains(out, "running gateway") {
		t.Errorf("restore without a gateway: status %d: %s", status, out)
	}
}
