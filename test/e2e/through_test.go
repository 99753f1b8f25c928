package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/mrdata"
	"dcmgate/internal/peertest"
)

// movescu has the gateway move what only Orthanc or dcmqrscp has to storescp, at every level; what has come is kept, and not
// delivered to the destinations.
func TestMovesGoThrough(t *testing.T) {
	for name, real := range archives(t) {
		t.Run(name, func(t *testing.T) {
			scp := peertest.Storescp(t, nil)
			cloud, address := startArchive(t, archive.Options{})
			g, _ := before(t, real, "", fmt.Sprintf("peers: [{ae_title: ARCHIVE, address: %q}]\ndestinations: [{name: cloud, ae_title: CLOUD, address: %q}]\n", scp.Address, address))
			for _, row := range []struct {
				name string
				args []string
				want []string
			}{
				{"an image", []string{"-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", "StudyInstanceUID=1.2.3.7", "-k", "SeriesInstanceUID=1.2.3.7.1", "-k", "SOPInstanceUID=1.2.3.7.1.2"}, []string{"1.2.3.7.1.2"}},
				{"a series", []string{"-S", "-k", "QueryRetrieveLevel=SERIES", "-k", "StudyInstanceUID=1.2.3.7", "-k", "SeriesInstanceUID=1.2.3.7.2"}, []string{"1.2.3.7.2.1"}},
				{"a study, of which part has come", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.7"}, []string{"1.2.3.7.1.1", "1.2.3.7.1.2", "1.2.3.7.2.1"}},
				{"a patient", []string{"-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P1"}, []string{"1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.2.1", "1.2.3.7.1.1", "1.2.3.7.1.2", "1.2.3.7.2.1"}},
				{"another patient", []string{"-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P8"}, []string{"1.2.3.8.1.1"}},
				{"nobody", []string{"-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P9"}, nil},
			} {
				removeAll(t, scp.Files())
				out, status := movescu(t, g, "ARCHIVE", row.args...)
				if got := sopsOf(scp.Files()); status != 0 || !slices.Equal(got, row.want) {
					t.Errorf("%s: status %d, got %v, want %v\n%s", row.name, status, got, row.want, out)
				}
			}
			peertest.Eventually(t, 10*time.Second, "all are kept once", func() bool { return g.metric(t, "dcmgate_spool_instances") == float64(len(images)+4) })
			g.delivered(t, "cloud", len(images), 10*time.Second)
			if c := cloud.Counts(); c.Instances != len(images) {
				t.Errorf("%d instances delivered", c.Instances)
			}
			g.counts(t, 4, "dcmgate_upstream_moves_total", `outcome="answered"`)
		})
	}
}

// getscu has the gateway get what only Orthanc or dcmqrscp has.
func TestGetsGoThrough(t *testing.T) {
	for name, real := range archives(t) {
		t.Run(name, func(t *testing.T) {
			g, pacs := before(t, real, "", "")
			for range 2 {
				dir := t.TempDir()
				out, status := getscu(t, g, dir, "-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P1")
				files, _ := filepath.Glob(filepath.Join(dir, "*.*"))
				if got := sopsOf(files); status != 0 || !slices.Equal(got, []string{"1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.2.1", "1.2.3.7.1.1", "1.2.3.7.1.2", "1.2.3.7.2.1"}) {
					t.Errorf("status %d, got %v\n%s", status, got, out)
				}
			}
			pacs.Kill()
			dir := t.TempDir()
			if out, _ := getscu(t, g, dir, "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.8"); !strings.Contains(out, "OutOfResourcesNumberOfMatches") {
				t.Errorf("nothing here, and nobody to ask: %s", out)
			}
		})
	}
}

// Three who want the same studies at once share the archive's work; each gets all of them, byte for byte as from the archive.
func TestSharedMoveThrough(t *testing.T) {
	const askers = 3
	g := newGate(t, "")
	direct, address := startArchive(t, archive.Options{})
	pacs := peertest.Orthanc(t, []string{"TCP_NODELAY=1"}, nil, map[string]string{"DCMGATE": g.address, "DIRECT": address})
	more := fmt.Sprintf("upstreams: [{name: pacs, ae_title: ORTHANC, address: %q}]\npeers:\n", pacs.Address)
	var sinks [askers]*archive.Archive
	for i := range sinks {
		var address string
		sinks[i], address = startArchive(t, archive.Options{})
		more += fmt.Sprintf("  - {ae_title: SINK%d, address: %q}\n", i, address)
	}
	g.append(t, more)
	g.start(t)
	dir := t.TempDir()
	n := 0
	if err := mrdata.Walk(func(f mrdata.File) error {
		if n++; n%4 != 0 {
			return nil
		}
		return os.WriteFile(filepath.Join(dir, strings.ReplaceAll(f.Name, "/", "_")), f.Data, 0o600)
	}); err != nil {
		t.Fatal(err)
	}
	if out, status := peertest.Run(t, nil, binary, "send", "--called", "ORTHANC", pacs.Address, dir); status != 0 {
		t.Fatal(out)
	}
	studies, _ := findscu(t, g, "0020,000d", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
	move := func(address, called, destination string) {
		out, status := peertest.Run(t, nil, binary, "move", "--called", called, address, "--dest", destination, "-k", "StudyInstanceUID="+strings.Join(studies, `\`))
		if status != 0 {
			t.Errorf("%s: status %d\n%s", destination, status, out)
		}
	}
	begun := time.Now()
	move(pacs.Address, "ORTHANC", "DIRECT")
	t.Logf("from the archive itself in %v", time.Since(begun))
	want := sums{}
	direct.Walk(func(sop dicom.UID, e archive.Entry) { want[sop] = e.Digest })
	begun = time.Now()
	var group sync.WaitGroup
	for i := range sinks {
		group.Go(func() { move(g.address, "DCMGATE", fmt.Sprint("SINK", i)) })
	}
	group.Wait()
	t.Logf("%d instances of %d studies to %d destinations in %v, by %v moves at the archive", len(want), len(studies), askers, time.Since(begun), g.metric(t, "dcmgate_upstream_moves_total"))
	for _, s := range sinks {
		expect(t, s, want)
	}
	peertest.Eventually(t, 10*time.Second, "all are kept once", func() bool { return g.metric(t, "dcmgate_spool_instances") == float64(len(want)) })
	if n := g.metric(t, "dcmgate_duplicates_total"); n > float64(len(want)) {
		t.Errorf("%v instances came more than once", n)
	}
}
