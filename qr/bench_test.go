package qr

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// forgetful takes answers and forgets them.
type forgetful struct{ answers int }

func (s *forgetful) Respond(c dimse.Command, data io.Reader) error {
	if data != nil {
		s.answers++
		_, err := io.Copy(io.Discard, data)
		return err
	}
	if c.Status.Class() == dimse.ClassFailure && c.Status != dimse.StatusOutOfResources {
		return fmt.Errorf("%v %s", c.Status, c.ErrorComment)
	}
	return nil
}

// fill stores n studies of one instance each: ten of a patient, over five years, from a hundred families.
func fill(b *testing.B, s *spool.Spool, n int) {
	b.Helper()
	var next atomic.Int64
	var writers sync.WaitGroup
	for range 16 {
		writers.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				study := fmt.Sprint("1.2.3.", i)
				store(b, s, "GB18030", object{
					"StudyInstanceUID": study, "SeriesInstanceUID": study + ".1", "SOPInstanceUID": study + ".1.1", "SOPClassUID": ctImage, "Modality": "CT",
					"PatientName": fmt.Sprintf("Family%02d^Given%d=王^小东", i/10%100, i/10), "PatientID": fmt.Sprint("P", i/10), "AccessionNumber": fmt.Sprint("A", i),
					"StudyDate": fmt.Sprintf("%d%02d%02d", 2020+i%5, i/5%12+1, i/60%28+1), "StudyTime": "120000", "StudyDescription": "CHEST",
				})
			}
		})
	}
	writers.Wait()
	if err := s.Flush(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkFind answers queries over many studies; the answers are encoded and go nowhere.
func BenchmarkFind(b *testing.B) {
	for _, studies := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint("studies=", studies), func(b *testing.B) {
			s, err := spool.Open(b.TempDir(), spool.Options{ReserveBytes: -1, MinFree: -1})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			fill(b, s, studies)
			for _, row := range []struct{ name, keyword, value string }{
				{"StudyInstanceUID", "StudyInstanceUID", fmt.Sprint("1.2.3.", studies/2)},
				{"AccessionNumber", "AccessionNumber", fmt.Sprint("A", studies/2)},
				{"PatientID", "PatientID", fmt.Sprint("P", studies/20)},
				{"PatientNamePrefix", "PatientName", "family42*"},
				{"StudyDateDay", "StudyDate", "20230615"},
				{"StudyDateMonth", "StudyDate", "20230601-20230630"},
				{"NoKey", "StudyDescription", ""},
			} {
				b.Run(row.name, func(b *testing.B) { benchFind(b, s, row.keyword, row.value) })
			}
		})
	}
}

func benchFind(b *testing.B, s *spool.Spool, keyword, value string) {
	keys := object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "PatientName": "", "PatientID": "", "AccessionNumber": "", "ModalitiesInStudy": "", "StudyDate": "", "NumberOfStudyRelatedInstances": ""}
	keys[keyword] = value
	id := &Identifier{CharacterSet: "ISO_IR 192"}
	for k, v := range keys {
		tag, _ := dicom.TagByKeyword(k)
		id.Attributes = append(id.Attributes, Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: splitValues(v, dicom.TagVR(tag))})
	}
	data, err := id.Encode(dicom.ImplicitVRLittleEndian)
	if err != nil {
		b.Fatal(err)
	}
	scp, w := newSCP(b, s), &forgetful{}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		w.answers = 0
		scp.Find(Caller{}).ServeDIMSE(context.Background(), w, &dimse.Request{
			Context: dimse.NegotiatedContext{AbstractSyntax: StudyRootFind, TransferSyntax: dicom.ImplicitVRLittleEndian}, Data: bytes.NewReader(data)})
	}
	b.ReportMetric(float64(w.answers), "matches")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(max(w.answers, 1)), "ns/match")
}
