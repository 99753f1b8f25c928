package peers

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/archive"
	"dcmgate/internal/load"
	"dcmgate/internal/machine"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// retrieved is a study of CT images that is retrieved again and again.
const (
	retrievedInstances = 500
	retrievedTimes     = 7
)

// providers are the Query/Retrieve SCPs that are compared. Each may move to SINK.
var providers = []struct {
	name  string
	start func(b *testing.B, sink string) *peertest.Peer
}{
	{"dcmgate", func(b *testing.B, sink string) *peertest.Peer {
		return dcmgate(b, fmt.Sprintf("peers: [{ae_title: SINK, address: %q}]\n", sink))
	}},
	{"dcmqrscp", func(b *testing.B, sink string) *peertest.Peer {
		return peertest.Dcmqrscp(b, map[string]string{"SINK": sink}, noDelay...)
	}},
	{"Orthanc", func(b *testing.B, sink string) *peertest.Peer {
		return peertest.Orthanc(b, noDelay, map[string]any{"MaximumPduLength": 131072, "DicomAlwaysAllowGet": true}, map[string]string{"SINK": sink})
	}},
}

// BenchmarkRetrieve has a study moved to a counting sink and sent back over the association that asks, after it was stored.
func BenchmarkRetrieve(b *testing.B) {
	for _, p := range providers {
		a, sink := sink(b, archive.Options{Window: 8, NoDigest: true})
		peer := p.start(b, sink)
		s := &load.Sender{Address: peer.Address, CalledAETitle: peer.AETitle, Template: synth.NewTemplate(526000, 6), Total: retrievedInstances, PerStudy: retrievedInstances, Once: true}
		if err := s.Run(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
		study := s.Template.Object(0, 1, 0).StudyInstanceUID
		b.Run("move/"+p.name, func(b *testing.B) {
			r := retriever{peer: peer, operation: dimse.CMoveRQ, class: qr.StudyRootMove, arrived: func() int { c := a.Counts(); return c.Instances + c.Duplicates }}
			r.run(b, study, s.Template.Size())
		})
		for _, window := range []uint16{1, 8} {
			b.Run(fmt.Sprintf("get/window=%d/%s", window, p.name), func(b *testing.B) {
				var n atomic.Int64
				r := retriever{peer: peer, operation: dimse.CGetRQ, class: qr.StudyRootGet, window: window, arrived: func() int { return int(n.Load()) }}
				r.service = dimse.StoreFunc(func(_ context.Context, rq *dimse.Request) (dimse.Status, string) {
					if _, err := io.Copy(io.Discard, rq.Data); err != nil {
						return dimse.StatusProcessingFailure, ""
					}
					n.Add(1)
					return dimse.StatusSuccess, ""
				})
				r.run(b, study, s.Template.Size())
			})
		}
		peer.Kill()
	}
}

// retriever asks a peer for a study.
type retriever struct {
	peer      *peertest.Peer
	operation dimse.CommandField
	class     dicom.UID
	window    uint16
	service   dimse.Service
	arrived   func() int
}

// run reports the median rate of some retrievals after a first one, and the peer's processor time and peak memory.
func (r *retriever) run(b *testing.B, study string, size int) {
	b.Helper()
	r.once(b, study)
	var took []float64
	before := cpu(b, r.peer.PID())
	for range retrievedTimes {
		took = append(took, r.once(b, study).Seconds())
	}
	used := cpu(b, r.peer.PID()) - before
	slices.Sort(took)
	rate := retrievedInstances / took[retrievedTimes/2]
	b.ReportMetric(rate, "instances/s")
	b.ReportMetric(rate*float64(size)/1e6, "MB/s")
	b.ReportMetric(used.Seconds()/(retrievedTimes*retrievedInstances*float64(size)/1e9), "CPU-s/GB")
	peak, err := machine.PeakMemory(r.peer.PID())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(peak)/1e6, "peak-MB")
	b.ReportMetric(0, "ns/op")
}

func (r *retriever) once(b *testing.B, study string) time.Duration {
	b.Helper()
	const explicit = string(dicom.ExplicitVRLittleEndian)
	proposal := dimse.Proposal{CalledAETitle: r.peer.AETitle, Service: r.service, PerformedWindow: r.window,
		Contexts: []pdu.PresentationContext{{ID: 1, AbstractSyntax: string(r.class), TransferSyntaxes: []string{explicit}}}}
	if r.service != nil {
		proposal.Contexts = append(proposal.Contexts, pdu.PresentationContext{ID: 3, AbstractSyntax: synth.CTImageStorage, TransferSyntaxes: []string{explicit}})
		proposal.RoleSelections = []pdu.RoleSelection{{SOPClassUID: synth.CTImageStorage, SCP: true}}
	}
	a, err := (&dimse.Dialer{LocalAETitle: "SINK"}).Dial(b.Context(), r.peer.Address, proposal)
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	id := qr.Identifier{Attributes: []qr.Attribute{
		{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{"STUDY"}}, {Tag: dicom.TagStudyInstanceUID, VR: "UI", Values: []string{study}},
	}}
	data, err := id.Encode(dicom.ExplicitVRLittleEndian)
	if err != nil {
		b.Fatal(err)
	}
	rq := dimse.Command{CommandField: r.operation, AffectedSOPClassUID: r.class}
	if r.operation == dimse.CMoveRQ {
		rq.MoveDestination = "SINK"
	}
	had, begun := r.arrived(), time.Now()
	p, err := a.Do(b.Context(), 1, rq, bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	answer, err := p.Wait(b.Context())
	took := time.Since(begun)
	if err != nil || answer.Status != dimse.StatusSuccess || r.arrived()-had != retrievedInstances {
		b.Fatalf("%v, %v %q, %d arrived", err, answer.Status, answer.ErrorComment, r.arrived()-had)
	}
	return took
}
