package spool

import (
	"os"
	"strconv"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/synth"
)

// TestGenerateIndex makes an index of as many studies of synth.Study as DCMGATE_GENERATE_STUDIES says in
// DCMGATE_GENERATE_DIR, for benchmarks (peertest.Index); without, it sees that such an index can be opened. There are no records to
// it, but for one that is none of them, as a spool without segments is not opened: the studies can be asked for and nothing else.
func TestGenerateIndex(t *testing.T) {
	dir := os.Getenv("DCMGATE_GENERATE_DIR")
	n, err := strconv.Atoi(os.Getenv("DCMGATE_GENERATE_STUDIES"))
	if dir == "" || err != nil {
		dir, n = t.TempDir(), 10
	}
	o := Options{ReserveBytes: -1, MinFree: -1, SegmentSize: 16 << 20}
	s := openSpool(t, dir, o)
	mustSend(t, s, synth.NewTemplate(500, 1).Object(0, 0, 0))
	const batch = 500
	for begin := 0; begin < n; begin += batch {
		err := s.adjust(func(tx *tx) error {
			for i := begin; i < min(begin+batch, n); i++ {
				if err := tx.addGenerated(s, synth.Study(i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = openSpool(t, dir, o); s.Stats().Instances != int64(n)+1 {
		t.Errorf("%d instances, want %d and one", s.Stats().Instances, n)
	}
}

// addGenerated enters the one instance of a study as if its record were stored.
func (t *tx) addGenerated(s *Spool, f synth.StudyFields) error {
	in := &Instance{
		ID: s.ids.next(t.now), Received: t.now, Size: 512 << 10, SOPClassUID: synth.CTImageStorage, TransferSyntaxUID: dicom.ExplicitVRLittleEndian,
		StudyInstanceUID: dicom.UID(f.StudyInstanceUID), SeriesInstanceUID: dicom.UID(f.SeriesInstanceUID), SOPInstanceUID: dicom.UID(f.SOPInstanceUID),
		CallingAETitle: "CT1", CalledAETitle: "DCMGATE", RemoteAddress: "10.0.0.5:4242",
	}
	for _, e := range [...]struct {
		tag dicom.Tag
		v   string
	}{
		{dicom.TagSOPClassUID, synth.CTImageStorage}, {dicom.TagSOPInstanceUID, f.SOPInstanceUID}, {dicom.TagStudyDate, f.StudyDate},
		{dicom.TagStudyTime, f.StudyTime}, {dicom.TagAccessionNumber, f.AccessionNumber}, {dicom.TagModality, f.Modality},
		{dicom.TagInstitutionName, f.InstitutionName}, {dicom.TagStudyDescription, f.StudyDescription}, {dicom.TagPatientName, f.PatientName},
		{dicom.TagPatientID, f.PatientID}, {dicom.TagPatientBirthDate, f.PatientBirthDate}, {dicom.TagStudyInstanceUID, f.StudyInstanceUID},
		{dicom.TagSeriesInstanceUID, f.SeriesInstanceUID}, {dicom.TagStudyID, f.StudyID},
	} {
		in.Metadata.Elements = append(in.Metadata.Elements, dicom.Element{Tag: e.tag, VR: dicom.TagVR(e.tag), Value: []byte(e.v)})
	}
	t.putVersions(in.identity(), false, []version{in.version()})
	t.set(entryKey(in.ID), appendEntry(nil, in))
	t.total(func(c *totals) {
		c.instances++
		c.highest = max(c.highest, uint64(in.ID))
	})
	return t.addToTree(in, false)
}
