package peers

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
	"dcmgate/internal/synth"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// queries are what is asked of an archive of n studies of synth.Study; each has as many matches whatever n.
var queries = []struct {
	name   string
	key    func(n int) (keyword, value string)
	second string // a further key: the date of study n/2
}{
	{"StudyInstanceUID", func(n int) (string, string) { return "StudyInstanceUID", synth.Study(n / 2).StudyInstanceUID }, ""},
	{"AccessionNumber", func(n int) (string, string) { return "AccessionNumber", synth.Study(n / 2).AccessionNumber }, ""},
	{"PatientID", func(n int) (string, string) { return "PatientID", synth.Study(n / 2).PatientID }, ""},
	{"NamePrefix", func(n int) (string, string) { return "PatientName", synth.Study(n / 2).PatientName[:9] + "*" }, ""},
	{"Day", func(n int) (string, string) { return "StudyDate", synth.Study(n / 2).StudyDate }, ""},
	{"ThreeDays", func(n int) (string, string) {
		return "StudyDate", synth.Study(n/2).StudyDate + "-" + synth.Study(n/2+2*synth.StudiesPerDay).StudyDate
	}, ""},
	{"ModalityOfADay", func(n int) (string, string) { return "ModalitiesInStudy", "XA" }, "StudyDate"},
	{"CommonModalityOfADay", func(n int) (string, string) { return "ModalitiesInStudy", "CT" }, "StudyDate"},
}

// BenchmarkFind asks for studies over one association, ten times each, and reports the median times to the first answer and
// to the last: of dcmgate over indexes of several sizes, of Orthanc and dcmqrscp over as many studies as they are given.
func BenchmarkFind(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("dcmgate/studies=%d", n), func(b *testing.B) { find(b, indexed(b, n), n) })
	}
	b.Run("Orthanc/studies=10000", func(b *testing.B) {
		peer := peertest.Orthanc(b, noDelay, map[string]any{"SyncStorageArea": false, "MaximumPduLength": 131072, "DicomThreadsCount": 16}, nil)
		fillPeer(b, peer, 10_000)
		find(b, peer, 10_000)
	})
	b.Run("dcmqrscp/studies-400", func(b *testing.B) { // it deletes the oldest of more than some 500, and its configuration no = in a path
		peer := peertest.Dcmqrscp(b, map[string]string{"NOBODY": "127.0.0.1:9"}, noDelay...) // it wants a host
		fillPeer(b, peer, 400)
		find(b, peer, 400)
	})
}

// indexed is a gateway over an index of n studies.
func indexed(b *testing.B, n int) *peertest.Peer {
	b.Helper()
	data := peertest.Index(b, n)
	peer := &peertest.Peer{AETitle: "DCMGATE", Address: peertest.Address(b), HTTP: peertest.Address(b), Dir: b.TempDir()}
	config := filepath.Join(peer.Dir, "dcmgate.yaml")
	text := fmt.Sprintf("data_dir: %s\ndicom: {listen: %q, accept: any}\nhttp: {listen: %q}\n", data, peer.Address, peer.HTTP)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	peer.Process = peertest.Start(b, nil, binary, "serve", "--config", config)
	peer.Listening(b, peer.Address)
	return peer
}

// fillPeer stores n studies.
func fillPeer(b *testing.B, peer *peertest.Peer, n int) {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		f := synth.Study(i)
		id := identifier(map[string]string{
			"SOPClassUID": synth.CTImageStorage, "SOPInstanceUID": f.SOPInstanceUID, "StudyInstanceUID": f.StudyInstanceUID, "SeriesInstanceUID": f.SeriesInstanceUID,
			"PatientName": f.PatientName, "PatientID": f.PatientID, "PatientBirthDate": f.PatientBirthDate, "AccessionNumber": f.AccessionNumber, "StudyID": f.StudyID,
			"StudyDate": f.StudyDate, "StudyTime": f.StudyTime, "Modality": f.Modality, "StudyDescription": f.StudyDescription, "InstitutionName": f.InstitutionName,
		})
		data, err := id.Encode(dicom.ExplicitVRLittleEndian)
		if err != nil {
			b.Fatal(err)
		}
		meta := dicom.FileMeta{SOPClassUID: synth.CTImageStorage, SOPInstanceUID: dicom.UID(f.SOPInstanceUID), TransferSyntaxUID: dicom.ExplicitVRLittleEndian}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%06d.dcm", i)), append(meta.Append(nil), data...), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	if out, status := peertest.Run(b, nil, binary, "send", "--called", peer.AETitle, peer.Address, dir); status != 0 {
		b.Fatal(out)
	}
}

func identifier(keys map[string]string) *qr.Identifier {
	id := &qr.Identifier{}
	for keyword, value := range keys {
		tag, _ := dicom.TagByKeyword(keyword)
		a := qr.Attribute{Tag: tag, VR: dicom.TagVR(tag)}
		if value != "" {
			a.Values = []string{value}
		}
		id.Attributes = append(id.Attributes, a)
	}
	slices.SortFunc(id.Attributes, func(a, b qr.Attribute) int { return int(int64(a.Tag) - int64(b.Tag)) })
	return id
}

// find asks every query.
func find(b *testing.B, peer *peertest.Peer, n int) {
	a, err := (&dimse.Dialer{LocalAETitle: "WS"}).Dial(b.Context(), peer.Address, dimse.Proposal{CalledAETitle: peer.AETitle, Contexts: []pdu.PresentationContext{
		{ID: 1, AbstractSyntax: string(qr.StudyRootFind), TransferSyntaxes: []string{string(dicom.ImplicitVRLittleEndian)}}}})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	for _, q := range queries {
		b.Run(q.name, func(b *testing.B) {
			keys := map[string]string{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "PatientName": "", "PatientID": "", "AccessionNumber": "",
				"StudyDate": "", "StudyTime": "", "ModalitiesInStudy": "", "StudyDescription": ""}
			if q.second != "" {
				keys[q.second] = synth.Study(n / 2).StudyDate
			}
			keyword, value := q.key(n)
			keys[keyword] = value
			data, err := identifier(keys).Encode(dicom.ImplicitVRLittleEndian)
			if err != nil {
				b.Fatal(err)
			}
			const times = 10
			var first, last []time.Duration
			matches := 0
			for range times {
				f, l, m := query(b, a, data)
				first, last, matches = append(first, f), append(last, l), m
			}
			slices.Sort(first)
			slices.Sort(last)
			b.ReportMetric(float64(first[times/2].Microseconds())/1000, "ms-to-first")
			b.ReportMetric(float64(last[times/2].Microseconds())/1000, "ms-to-last")
			b.ReportMetric(float64(matches), "matches")
			b.ReportMetric(float64(matches)/last[times/2].Seconds(), "answers/s")
			b.ReportMetric(peertest.Anonymous(b, peer.PID()), "MB-anonymous")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// query asks once.
func query(b *testing.B, a *dimse.Association, data []byte) (first, last time.Duration, matches int) {
	b.Helper()
	began := time.Now()
	p, err := a.Do(b.Context(), 1, dimse.Command{CommandField: dimse.CFindRQ, AffectedSOPClassUID: qr.StudyRootFind}, bytes.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	for {
		r, err := p.Next(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if first == 0 {
			first = time.Since(began)
		}
		if r.Status.Class() != dimse.ClassPending {
			if r.Status != dimse.StatusSuccess {
				b.Fatal(r.Status)
			}
			return first, time.Since(began), matches
		}
		matches++
	}
}
