package e2e

import (
	"os"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/internal/archive"
	"dcmgate/internal/peertest"
)

// residentLimit is what the gateway's resident memory may peak at.
const residentLimit = 150 << 20

// TestMemoryOfAHugeInstance receives and forwards one instance of 4 GiB.
func TestMemoryOfAHugeInstance(t *testing.T) {
	size := int64(4 << 30)
	if testing.Short() {
		size = 256 << 20
	}
	cloud, address := startArchive(t, archive.Options{})
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	p := g.start(t)

	o, digest, n := storeStream(t, g.address, size)
	g.delivered(t, "cloud", 1, 5*time.Minute)
	e, ok := cloud.Lookup(dicom.UID(o.SOPInstanceUID))
	if !ok || e.Bytes != n || e.Digest != digest {
		t.Errorf("%d bytes arrived, want %d; digest equal: %v", e.Bytes, n, e.Digest == digest)
	}
	peak := residentPeak(t, p.PID())
	t.Logf("%d bytes received and forwarded with a resident peak of %d MiB", n, peak>>20)
	if peak > residentLimit {
		t.Errorf("resident memory peaked at %d MiB, the limit is %d MiB", peak>>20, residentLimit>>20)
	}
	g.stop(t)
	os.RemoveAll(g.data)
}

// TestMemoryOfManyAssociations has 64 associations send at once.
func TestMemoryOfManyAssociations(t *testing.T) {
	_, address := startArchive(t, archive.Options{Window: 8})
	g := newGate(t, "", destination{name: "cloud", aeTitle: "CLOUD", address: address})
	p := g.start(t)
	s := newSender(g.address, 526000, 64*20)
	s.Run(t.Context(), 64)
	g.delivered(t, "cloud", s.Total, time.Minute)
	peak := residentPeak(t, p.PID())
	t.Logf("64 associations, %d instances of 0.5 MB: resident peak %d MiB", s.Total, peak>>20)
	if peak > residentLimit {
		t.Errorf("resident memory peaked at %d MiB, the limit is %d MiB", peak>>20, residentLimit>>20)
	}
	peertest.Eventually(t, 10*time.Second, "no association left", func() bool {
		return g.metric(t, "dcmgate_associations", `direction="in"`) == 0
	})
}
