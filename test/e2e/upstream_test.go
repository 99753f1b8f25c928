package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dcmgate/internal/peertest"
)

// beyond are images that only the archive behind the gateway has, of a patient of the gateway's and of another, and one that
// both have.
var beyond = []image{
	images[0],
	{"P1", "Wang^XiaoDong=王^小东", "1.2.3.7", "20200101", "A7", "1.2.3.7.1", "CT", "1.2.3.7.1.1", "1"},
	{"P1", "Wang^XiaoDong=王^小东", "1.2.3.7", "20200101", "A7", "1.2.3.7.1", "CT", "1.2.3.7.1.2", "2"},
	{"P1", "Wang^XiaoDong=王^小东", "1.2.3.7", "20200101", "A7", "1.2.3.7.2", "SR", "1.2.3.7.2.1", "1"},
	{"P8", "Lee^Ann", "1.2.3.8", "20210101", "A8", "1.2.3.8.1", "MR", "1.2.3.8.1.1", "1"},
}

// before starts a gateway that holds the images before an archive that holds those beyond. It accepts anybody.
func before(t testing.TB, archive func(gateway map[string]string) *peertest.Peer, upstream, more string) (*gate, *peertest.Peer) {
	t.Helper()
	g := newGate(t, "")
	pacs := archive(map[string]string{"DCMGATE": g.address})
	g.append(t, fmt.Sprintf("upstreams:\n  - {name: pacs, ae_title: %s, address: %q%s}\n%s", pacs.AETitle, pacs.Address, upstream, more))
	g.start(t)
	g.hold(t, images)
	sendImages(t, beyond, pacs.Address, pacs.AETitle)
	return g, pacs
}

// archives are the real ones that stand behind the gateway in these tests.
func archives(t testing.TB) map[string]func(map[string]string) *peertest.Peer {
	env := []string{"TCP_NODELAY=1"}
	return map[string]func(map[string]string) *peertest.Peer{
		"Orthanc":  func(hosts map[string]string) *peertest.Peer { return peertest.Orthanc(t, env, nil, hosts) },
		"dcmqrscp": func(hosts map[string]string) *peertest.Peer { return peertest.Dcmqrscp(t, hosts, env...) },
	}
}

// findscu asks the gateway, which asks Orthanc and dcmqrscp.
func TestQueriesGoThrough(t *testing.T) {
	for name, archive := range archives(t) {
		t.Run(name, func(t *testing.T) {
			g, pacs := before(t, archive, ", models: [study, patient], character_set: GB18030", "")
			for _, row := range []struct {
				name    string
				element string
				args    []string
				want    []string
			}{
				{"studies", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"}, []string{"1.2.3.1", "1.2.3.2", "1.2.3.7", "1.2.3.8"}},
				{"availability", "0008,0056", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P1", "-k", "StudyInstanceUID", "-k", "InstanceAvailability"}, []string{"NEARLINE", "ONLINE"}},
				{"by accession number", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "AccessionNumber=A8"}, []string{"1.2.3.8"}},
				{"by date", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "StudyDate=-20201231"}, []string{"1.2.3.7"}},
				{"by name", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=Lee*", "-k", "StudyInstanceUID"}, []string{"1.2.3.8"}},
				{"series", "0020,000e", []string{"-S", "-k", "QueryRetrieveLevel=SERIES", "-k", "StudyInstanceUID=1.2.3.7", "-k", "SeriesInstanceUID"}, []string{"1.2.3.7.1", "1.2.3.7.2"}},
				{"images", "0008,0018", []string{"-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", "StudyInstanceUID=1.2.3.7", "-k", "SeriesInstanceUID=1.2.3.7.1", "-k", "SOPInstanceUID"}, []string{"1.2.3.7.1.1", "1.2.3.7.1.2"}},
				{"patients", "0010,0020", []string{"-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID"}, []string{"P1", "P2", "P8"}},
				{"studies of a patient", "0020,000d", []string{"-P", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P1", "-k", "StudyInstanceUID"}, []string{"1.2.3.1", "1.2.3.7"}},
			} {
				got, out := findscu(t, g, row.element, row.args...)
				if !slices.Equal(got, row.want) || strings.Contains(out, "incomplete") {
					t.Errorf("%s: got %q, want %q\n%s", row.name, got, row.want, out)
				}
			}
			if n := g.metric(t, "dcmgate_upstream_queries_total", `outcome="answered"`); n != 9 {
				t.Errorf("%v questions answered", n)
			}
			pacs.Kill()
			peertest.Eventually(t, 30*time.Second, "the archive is not asked any more", func() bool {
				out, status := peertest.Run(t, nil, binary, "find", g.address, "-k", "StudyInstanceUID=")
				if status != 0 || !strings.Contains(out, "1.2.3.1") || strings.Contains(out, "1.2.3.7") || !strings.Contains(out, "remarks: incomplete; pacs: ") {
					t.Fatalf("without the archive: status %d\n%s", status, out)
				}
				return g.metric(t, "dcmgate_upstream_queries_total", `outcome="skipped"`) == 2
			})
			if out, _ := g.run(t, "status"); !strings.Contains(out, "not working, asked again") || !strings.Contains(out, "nothing listens at the upstream's address") {
				t.Errorf("status: %s", out)
			}
		})
	}
}

// Through one gateway to another, which does not ask back.
func TestGatewaysBehindEachOther(t *testing.T) {
	a, b := newGate(t, ""), newGate(t, "")
	a.append(t, fmt.Sprintf("upstreams: [{name: b, ae_title: B, address: %q}]\n", b.address))
	b.append(t, fmt.Sprintf("upstreams: [{name: a, ae_title: DCMGATE, address: %q}]\n", a.address))
	a.start(t)
	b.start(t)
	a.hold(t, images[:1])
	b.hold(t, images[3:])
	begun := time.Now()
	if got, out := findscu(t, a, "0020,000d", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"); !slices.Equal(got, []string{"1.2.3.1", "1.2.3.2"}) {
		t.Errorf("got %q after %v\n%s", got, time.Since(begun), out)
	}
}
