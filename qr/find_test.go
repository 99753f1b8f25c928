package qr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// object are the elements of an instance by keyword.
type object map[string]string

func store(t testing.TB, s *spool.Spool, charset string, o object) spool.InstanceID {
	t.Helper()
	id := &Identifier{CharacterSet: charset}
	for keyword, value := range o {
		tag, ok := dicom.TagByKeyword(keyword)
		if !ok {
			t.Fatal(keyword)
		}
		id.Attributes = append(id.Attributes, Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: splitValues(value, dicom.TagVR(tag))})
	}
	return storeIdentifier(t, s, id, dicom.ExplicitVRLittleEndian)
}

// storeIdentifier stores an instance that has the attributes of an identifier.
func storeIdentifier(t testing.TB, s *spool.Spool, id *Identifier, ts dicom.UID) spool.InstanceID {
	t.Helper()
	data, err := id.Encode(ts)
	if err != nil {
		t.Fatal(err)
	}
	uid := func(tag dicom.Tag) dicom.UID {
		if a := id.Find(tag); a != nil {
			return dicom.UID(a.Values[0])
		}
		return ""
	}
	return storeBytes(t, s, uid(dicom.TagSOPClassUID), uid(dicom.TagSOPInstanceUID), ts, data)
}

// storeBytes stores a data set.
func storeBytes(t testing.TB, s *spool.Spool, class, sop, ts dicom.UID, data []byte) spool.InstanceID {
	t.Helper()
	w, err := s.Begin(spool.Incoming{SOPClassUID: class, SOPInstanceUID: sop, TransferSyntaxUID: ts})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	r, err := w.Commit(nil)
	if err != nil {
		t.Fatal(err)
	}
	return r.Instance.ID
}

const ctImage, srDocument = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.11"

// patients is a spool of two patients: Wang with two studies, of which the first has two series, and Müller with one.
func patients(t testing.TB) *spool.Spool {
	t.Helper()
	s, err := spool.Open(t.TempDir(), spool.Options{SegmentSize: 4 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, o := range []object{
		{"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1", "Modality": "CT", "SOPClassUID": ctImage, "InstanceNumber": "1", "Rows": "512", "Columns": "256", "SeriesNumber": "1"},
		{"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.2", "Modality": "CT", "SOPClassUID": ctImage, "InstanceNumber": "2", "Rows": "512", "Columns": "256", "SeriesNumber": "1"},
		{"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.2", "SOPInstanceUID": "1.1.2.1", "Modality": "SR", "SOPClassUID": srDocument, "SeriesNumber": "2"},
		{"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.1", "SOPInstanceUID": "1.2.1.1", "Modality": "CT", "SOPClassUID": ctImage, "StudyDate": "20240202", "StudyTime": "080000", "AccessionNumber": "A2"},
	} {
		for k, v := range (object{"PatientName": "Wang^XiaoDong=王^小东", "PatientID": "P1", "PatientSex": "M", "StudyDate": "20240101", "StudyTime": "120000", "AccessionNumber": "A1", "InstitutionName": "示例医院"}) {
			if o[k] == "" {
				o[k] = v
			}
		}
		store(t, s, "GB18030", o)
	}
	store(t, s, "ISO_IR 100", object{"StudyInstanceUID": "2.1", "SeriesInstanceUID": "2.1.1", "SOPInstanceUID": "2.1.1.1", "Modality": "MR", "SOPClassUID": ctImage,
		"PatientName": "Müller^Hans", "PatientID": "P2", "StudyDate": "20240303", "StudyTime": "090000", "AccessionNumber": "A3"})
	return s
}

// responses gathers what a service answers.
type responses struct {
	commands []dimse.Command
	data     [][]byte
	each     func(n int) error
}

func (r *responses) Respond(c dimse.Command, data io.Reader) error {
	r.commands = append(r.commands, c)
	if data != nil {
		b, err := io.ReadAll(data)
		if err != nil {
			return err
		}
		r.data = append(r.data, b)
	}
	if r.each != nil {
		return r.each(len(r.commands))
	}
	return nil
}

func (r *responses) final() dimse.Command { return r.commands[len(r.commands)-1] }

// ask queries and returns the matches and the final response.
func ask(t testing.TB, scp *SCP, c Caller, sopClass dicom.UID, charset string, keys object) ([]*Identifier, *responses) {
	t.Helper()
	w := &responses{}
	serve(t, scp, c, sopClass, charset, keys, w, nil)
	var ids []*Identifier
	for _, data := range w.data {
		id, err := ParseIdentifier(data, dicom.ImplicitVRLittleEndian, "")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids, w
}

func serve(t testing.TB, scp *SCP, c Caller, sopClass dicom.UID, charset string, keys object, w *responses, cancelled <-chan struct{}) {
	t.Helper()
	id := &Identifier{CharacterSet: charset}
	for keyword, value := range keys {
		tag, ok := dicom.TagByKeyword(keyword)
		if !ok {
			t.Fatal(keyword)
		}
		id.Attributes = append(id.Attributes, Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: splitValues(value, dicom.TagVR(tag))})
	}
	data, err := id.Encode(dicom.ImplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	scp.Find(c).ServeDIMSE(t.Context(), w, &dimse.Request{
		Context:   dimse.NegotiatedContext{AbstractSyntax: sopClass, TransferSyntax: dicom.ImplicitVRLittleEndian},
		Command:   dimse.Command{CommandField: dimse.CFindRQ, MessageID: 1},
		Data:      bytes.NewReader(data),
		Cancelled: cancelled,
	})
}

func newSCP(t testing.TB, s Index) *SCP {
	t.Helper()
	return New(Options{Index: s, AETitle: "DCMGATE"})
}

// column are the first values of an attribute in the matches, sorted.
func column(ids []*Identifier, tag dicom.Tag) []string {
	var out []string
	for _, id := range ids {
		if a := id.Find(tag); a != nil {
			out = append(out, strings.Join(a.Values, `\`))
		}
	}
	slices.Sort(out)
	return out
}

var relational = []pdu.ExtendedNegotiation{{SOPClassUID: string(StudyRootFind), Information: []byte{1}}, {SOPClassUID: string(PatientRootFind), Information: []byte{1}}}

func TestFind(t *testing.T) {
	scp := newSCP(t, patients(t))
	dateTime := []pdu.ExtendedNegotiation{{SOPClassUID: string(StudyRootFind), Information: []byte{0, 1}}}
	fuzzy := []pdu.ExtendedNegotiation{{SOPClassUID: string(StudyRootFind), Information: []byte{0, 0, 1}}}
	for _, row := range []struct {
		name    string
		class   dicom.UID
		granted []pdu.ExtendedNegotiation
		keys    object
		tag     dicom.Tag
		want    []string
	}{
		{"all studies", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1", "1.2", "2.1"}},
		{"studies by UID", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": `1.2\2.1`}, dicom.TagStudyInstanceUID, []string{"1.2", "2.1"}},
		{"studies by patient", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P1", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1", "1.2"}},
		{"patient ID with regard to case", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "PatientID": "p1", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, nil},
		{"studies by accession number", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "AccessionNumber": "A3", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"2.1"}},
		{"studies by name", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "PatientName": "wang*", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1", "1.2"}},
		{"studies by ideographs", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "PatientName": "王^小?", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1", "1.2"}},
		{"end of a name", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "PatientName": "*hans", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"2.1"}},
		{"studies by date", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "StudyDate": "20240102-20240303", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.2", "2.1"}},
		{"by date and time apart", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "StudyDate": "20240101-20240303", "StudyTime": "1000-", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1"}},
		{"by date and time together", StudyRootFind, dateTime, object{"QueryRetrieveLevel": "STUDY", "StudyDate": "20240101-20240303", "StudyTime": "1000-0900", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1", "1.2", "2.1"}},
		{"together, after noon", StudyRootFind, dateTime, object{"QueryRetrieveLevel": "STUDY", "StudyDate": "20240101-20240303", "StudyTime": "1201-0859", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.2"}},
		{"fuzzy", StudyRootFind, fuzzy, object{"QueryRetrieveLevel": "STUDY", "PatientName": "hans muller", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"2.1"}},
		{"not fuzzy", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "PatientName": "hans muller", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, nil},
		{"modalities in study", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "ModalitiesInStudy": "SR", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1"}},
		{"several modalities", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "ModalitiesInStudy": `SR\MR`, "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1", "2.1"}},
		{"SOP classes in study", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "SOPClassesInStudy": srDocument, "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1"}},
		{"series of a study", StudyRootFind, nil, object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "SeriesInstanceUID": ""}, dicom.TagSeriesInstanceUID, []string{"1.1.1", "1.1.2"}},
		{"series by modality", StudyRootFind, nil, object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "Modality": "SR", "SeriesInstanceUID": ""}, dicom.TagSeriesInstanceUID, []string{"1.1.2"}},
		{"series by number", StudyRootFind, nil, object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "SeriesNumber": "01", "SeriesInstanceUID": ""}, dicom.TagSeriesInstanceUID, []string{"1.1.1"}},
		{"images of a series", StudyRootFind, nil, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": ""}, dicom.TagSOPInstanceUID, []string{"1.1.1.1", "1.1.1.2"}},
		{"images by number", StudyRootFind, nil, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "InstanceNumber": "2", "SOPInstanceUID": ""}, dicom.TagSOPInstanceUID, []string{"1.1.1.2"}},
		{"images by UID", StudyRootFind, nil, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": `1.1.1.2\9`}, dicom.TagSOPInstanceUID, []string{"1.1.1.2"}},
		{"relational: series of everybody", StudyRootFind, relational, object{"QueryRetrieveLevel": "SERIES", "Modality": "CT", "SeriesInstanceUID": ""}, dicom.TagSeriesInstanceUID, []string{"1.1.1", "1.2.1"}},
		{"relational: images of a patient", PatientRootFind, relational, object{"QueryRetrieveLevel": "IMAGE", "PatientID": "P1", "SOPInstanceUID": ""}, dicom.TagSOPInstanceUID, []string{"1.1.1.1", "1.1.1.2", "1.1.2.1", "1.2.1.1"}},
		{"relational: an image by UID", StudyRootFind, relational, object{"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": "1.2.1.1"}, dicom.TagSOPInstanceUID, []string{"1.2.1.1"}},
		{"relational: a series by UID", StudyRootFind, relational, object{"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": `1.1.2\2.1.1`}, dicom.TagSeriesInstanceUID, []string{"1.1.2", "2.1.1"}},
		{"relational: images of a series", StudyRootFind, relational, object{"QueryRetrieveLevel": "IMAGE", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": ""}, dicom.TagSOPInstanceUID, []string{"1.1.1.1", "1.1.1.2"}},
		{"relational: images by UID", StudyRootFind, relational, object{"QueryRetrieveLevel": "IMAGE", "SOPInstanceUID": `2.1.1.1\1.1.1.2\1.1.1.2\9`}, dicom.TagSOPInstanceUID, []string{"1.1.1.2", "2.1.1.1"}},
		{"relational: an image of another series", StudyRootFind, relational, object{"QueryRetrieveLevel": "IMAGE", "SeriesInstanceUID": "1.2.1", "SOPInstanceUID": "1.1.1.1"}, dicom.TagSOPInstanceUID, nil},
		{"relational: studies with a modality", StudyRootFind, relational, object{"QueryRetrieveLevel": "IMAGE", "Modality": "SR", "SOPInstanceUID": ""}, dicom.TagSOPInstanceUID, []string{"1.1.2.1"}},
		{"modality with wildcards", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "ModalitiesInStudy": "M*", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"2.1"}},
		{"modality on a day", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "ModalitiesInStudy": "CT", "StudyDate": "20240101", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1"}},
		{"patients", PatientRootFind, nil, object{"QueryRetrieveLevel": "PATIENT", "PatientID": ""}, dicom.TagPatientID, []string{"P1", "P2"}},
		{"patients by name", PatientRootFind, nil, object{"QueryRetrieveLevel": "PATIENT", "PatientName": "W*", "PatientID": ""}, dicom.TagPatientID, []string{"P1"}},
		{"studies of a patient", PatientRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P1", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, []string{"1.1", "1.2"}},
		{"patients without images", PatientStudyOnlyFind, nil, object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P?"}, dicom.TagPatientID, []string{"P1", "P2"}},
		{"nobody", StudyRootFind, nil, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P9", "StudyInstanceUID": ""}, dicom.TagStudyInstanceUID, nil},
	} {
		ids, w := ask(t, scp, Caller{Granted: row.granted}, row.class, "ISO_IR 192", row.keys)
		if got := column(ids, row.tag); !slices.Equal(got, row.want) || w.final().Status != dimse.StatusSuccess {
			t.Errorf("%s: got %v, %v", row.name, got, w.final())
		}
		for i := range w.data {
			if w.commands[i].Status != dimse.StatusPending {
				t.Errorf("%s: %v", row.name, w.commands[i].Status)
			}
		}
	}
}

// What an answer holds: what was asked for, computed attributes included, the level, the character set, where to retrieve.
func TestAnswers(t *testing.T) {
	scp := newSCP(t, patients(t))
	for _, row := range []struct {
		name    string
		class   dicom.UID
		charset string
		keys    object
		want    object
	}{
		{"study", StudyRootFind, "GB18030", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1", "PatientName": "", "ModalitiesInStudy": "", "SOPClassesInStudy": "",
			"NumberOfStudyRelatedSeries": "", "NumberOfStudyRelatedInstances": "", "InstitutionName": "", "StudyDescription": "", "InstanceAvailability": "", "NumberOfPatientRelatedStudies": ""},
			object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "1.1", "PatientName": "Wang^XiaoDong=王^小东", "ModalitiesInStudy": `CT\SR`,
				"SOPClassesInStudy": ctImage + `\` + srDocument, "NumberOfStudyRelatedSeries": "2", "NumberOfStudyRelatedInstances": "3", "InstitutionName": "示例医院",
				"StudyDescription": "", "InstanceAvailability": "ONLINE", "RetrieveAETitle": "DCMGATE", "NumberOfPatientRelatedStudies": "2"}},
		{"patient", PatientRootFind, "ISO_IR 192", object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1", "PatientSex": "", "NumberOfPatientRelatedStudies": "", "NumberOfPatientRelatedSeries": "", "NumberOfPatientRelatedInstances": ""},
			object{"QueryRetrieveLevel": "PATIENT", "PatientID": "P1", "PatientSex": "M", "NumberOfPatientRelatedStudies": "2", "NumberOfPatientRelatedSeries": "3", "NumberOfPatientRelatedInstances": "4", "RetrieveAETitle": "DCMGATE"}},
		{"series", StudyRootFind, "ISO_IR 100", object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "Modality": "", "NumberOfSeriesRelatedInstances": ""},
			object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "Modality": "CT", "NumberOfSeriesRelatedInstances": "2", "RetrieveAETitle": "DCMGATE"}},
		{"image", StudyRootFind, "", object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1", "SOPClassUID": "", "Rows": "", "Columns": "", "AvailableTransferSyntaxUID": ""},
			object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1", "SOPClassUID": ctImage, "Rows": "512", "Columns": "256",
				"AvailableTransferSyntaxUID": string(dicom.ExplicitVRLittleEndian), "RetrieveAETitle": "DCMGATE"}},
	} {
		ids, _ := ask(t, scp, Caller{}, row.class, row.charset, row.keys)
		if len(ids) != 1 {
			t.Errorf("%s: %d matches", row.name, len(ids))
			continue
		}
		got := object{}
		for _, a := range ids[0].Attributes {
			got[dicom.TagName(a.Tag)] = strings.Join(a.Values, `\`)
		}
		if fmt.Sprint(got) != fmt.Sprint(row.want) {
			t.Errorf("%s: got  %v\nwant %v", row.name, got, row.want)
		}
		if want := row.charset; want != "" && ids[0].CharacterSet != want || ids[0].CharacterSet == "" {
			t.Errorf("%s: character set %q", row.name, ids[0].CharacterSet)
		}
	}
}

// Of an instance with several versions the last is found, and all of them count as one.
func TestVersionsAreOneInstance(t *testing.T) {
	s := patients(t)
	changed := object{"StudyInstanceUID": "2.1", "SeriesInstanceUID": "2.1.1", "SOPInstanceUID": "2.1.1.1", "Modality": "MR", "SOPClassUID": ctImage, "PatientID": "P2", "InstanceNumber": "7"}
	store(t, s, "", changed)
	scp := newSCP(t, s)
	keys := object{"PatientID": "P2", "StudyInstanceUID": "2.1", "NumberOfPatientRelatedSeries": "", "NumberOfPatientRelatedInstances": "", "NumberOfStudyRelatedSeries": "", "NumberOfStudyRelatedInstances": ""}
	levels := []object{{"QueryRetrieveLevel": "STUDY"}, {"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": "2.1.1", "NumberOfSeriesRelatedInstances": ""},
		{"QueryRetrieveLevel": "IMAGE", "SeriesInstanceUID": "2.1.1", "SOPInstanceUID": "2.1.1.1", "InstanceNumber": "", "NumberOfSeriesRelatedInstances": ""}}
	for _, level := range levels {
		for k, v := range keys {
			level[k] = v
		}
		ids, _ := ask(t, scp, Caller{}, PatientRootFind, "", level)
		if len(ids) != 1 {
			t.Fatalf("%s: %d matches", level["QueryRetrieveLevel"], len(ids))
		}
		for keyword := range level {
			tag, _ := dicom.TagByKeyword(keyword)
			want := "1"
			if keyword == "InstanceNumber" {
				want = "7"
			}
			if got := ids[0].Find(tag).Values; level[keyword] == "" && !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s is %v", level["QueryRetrieveLevel"], keyword, got)
			}
		}
	}
}

// PS3.4 C.4.1.2 and C.4.1.1.4: what is refused, and with what.
func TestRefusedQueries(t *testing.T) {
	scp := newSCP(t, patients(t))
	for _, row := range []struct {
		name   string
		class  dicom.UID
		keys   object
		status dimse.Status
		tag    dicom.Tag
	}{
		{"no level", StudyRootFind, object{"StudyInstanceUID": ""}, dimse.StatusDataSetMismatch, dicom.TagQueryRetrieveLevel},
		{"unknown level", StudyRootFind, object{"QueryRetrieveLevel": "VISIT"}, dimse.StatusDataSetMismatch, dicom.TagQueryRetrieveLevel},
		{"patients in study root", StudyRootFind, object{"QueryRetrieveLevel": "PATIENT"}, dimse.StatusDataSetMismatch, dicom.TagQueryRetrieveLevel},
		{"series in patient/study only", PatientStudyOnlyFind, object{"QueryRetrieveLevel": "SERIES"}, dimse.StatusDataSetMismatch, dicom.TagQueryRetrieveLevel},
		{"study without a patient", PatientRootFind, object{"QueryRetrieveLevel": "STUDY", "PatientID": ""}, dimse.StatusDataSetMismatch, dicom.TagPatientID},
		{"study with a wildcard above", PatientRootFind, object{"QueryRetrieveLevel": "STUDY", "PatientID": "P*"}, dimse.StatusDataSetMismatch, dicom.TagPatientID},
		{"series without a study", StudyRootFind, object{"QueryRetrieveLevel": "SERIES", "SeriesInstanceUID": ""}, dimse.StatusDataSetMismatch, dicom.TagStudyInstanceUID},
		{"image without a series", StudyRootFind, object{"QueryRetrieveLevel": "IMAGE", "StudyInstanceUID": "1.1"}, dimse.StatusDataSetMismatch, dicom.TagSeriesInstanceUID},
		{"several studies above", StudyRootFind, object{"QueryRetrieveLevel": "SERIES", "StudyInstanceUID": `1.1\1.2`}, dimse.StatusDataSetMismatch, dicom.TagStudyInstanceUID},
		{"no date", StudyRootFind, object{"QueryRetrieveLevel": "STUDY", "StudyDate": "yesterday"}, dimse.StatusDataSetMismatch, dicom.TagStudyDate},
		{"no model", "1.2.840.10008.5.1.4.31", object{"QueryRetrieveLevel": "STUDY"}, dimse.StatusSOPClassNotSupported, 0},
	} {
		ids, w := ask(t, scp, Caller{}, row.class, "", row.keys)
		c := w.final()
		if len(ids) != 0 || c.Status != row.status || c.ErrorComment == "" || len(c.ErrorComment) > 64 || row.tag != 0 && !slices.Equal(c.OffendingElements, []dicom.Tag{row.tag}) {
			t.Errorf("%s: %d matches, %+v", row.name, len(ids), c)
		}
	}
}

// A key that is not supported is not answered, and every match says so (PS3.4 C.4.1.1.4, FF01).
func TestKeysThatAreNotSupported(t *testing.T) {
	scp := newSCP(t, patients(t))
	for _, keys := range []object{
		{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "InsurancePlanIdentification": ""},
		{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "Modality": "CT"},
		{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "NumberOfStudyRelatedInstances": "3"},
	} {
		ids, w := ask(t, scp, Caller{}, StudyRootFind, "", keys)
		if len(ids) != 3 || w.final().Status != dimse.StatusSuccess {
			t.Errorf("%v: %d matches, %+v", keys, len(ids), w.final())
		}
		for i, id := range ids {
			if w.commands[i].Status != dimse.StatusPendingWarning || id.Find(0x00101050) != nil || id.Find(dicom.TagModality) != nil {
				t.Errorf("%v: %v, %+v", keys, w.commands[i].Status, id)
			}
		}
	}
}

func TestCapOfMatches(t *testing.T) {
	var log bytes.Buffer
	scp := New(Options{Index: patients(t), AETitle: "DCMGATE", Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: prometheus.NewRegistry()})
	keys := object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": "", "PatientName": "*W*"}
	ids, w := ask(t, scp, Caller{MaxMatches: 1, AETitle: "WS"}, StudyRootFind, "", keys)
	if c := w.final(); len(ids) != 1 || c.Status != dimse.StatusOutOfResources || !strings.Contains(c.ErrorComment, "more than 1 ") {
		t.Errorf("%d matches, %+v", len(ids), c)
	}
	if ids, w = ask(t, scp, Caller{MaxMatches: 2}, StudyRootFind, "", keys); len(ids) != 2 || w.final().Status != dimse.StatusSuccess {
		t.Errorf("as many as allowed: %d, %+v", len(ids), w.final())
	}
	text := log.String()
	if !strings.Contains(text, "query refused") || !strings.Contains(text, "keys=PatientName") || strings.Contains(text, "*W*") || strings.Contains(text, "Wang") {
		t.Errorf("log: %s", text)
	}
}

// endless is an index of one study that is yielded again and again.
type endless struct{ *spool.Spool }

func (e endless) Studies(ctx context.Context, _ spool.StudyFilter) iter.Seq2[spool.Study, error] {
	return func(yield func(spool.Study, error) bool) {
		var study spool.Study
		for s, err := range e.Spool.Studies(ctx, spool.StudyFilter{}) {
			if study = s; err != nil {
				yield(s, err)
				return
			}
		}
		for ctx.Err() == nil {
			if !yield(study, nil) {
				return
			}
		}
		yield(spool.Study{}, ctx.Err())
	}
}

func TestCancel(t *testing.T) {
	scp := New(Options{Index: endless{patients(t)}, AETitle: "DCMGATE"})
	cancelled := make(chan struct{})
	w := &responses{each: func(n int) error {
		if n == 5 {
			close(cancelled)
		}
		return nil
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		serve(t, scp, Caller{MaxMatches: 1 << 30}, StudyRootFind, "", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}, w, cancelled)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("goes on")
	}
	if c := w.final(); c.Status != dimse.StatusCancel {
		t.Errorf("%+v", c)
	}
}

func TestCallerThatGoesAway(t *testing.T) {
	registry := prometheus.NewRegistry()
	scp := New(Options{Index: patients(t), AETitle: "DCMGATE", Registerer: registry})
	w := &responses{each: func(int) error { return errors.New("connection lost") }}
	serve(t, scp, Caller{}, StudyRootFind, "", object{"QueryRetrieveLevel": "STUDY", "StudyInstanceUID": ""}, w, nil)
	if len(w.commands) != 1 {
		t.Errorf("%d answers to nobody", len(w.commands))
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == "dcmgate_queries_total" && m.GetCounter().GetValue() != 0 {
				if got := m.String(); !strings.Contains(got, `"none"`) || !strings.Contains(got, `"STUDY"`) {
					t.Errorf("counted as %s", got)
				}
			}
		}
	}
}

func TestNegotiate(t *testing.T) {
	got := Negotiate([]pdu.ExtendedNegotiation{
		{SOPClassUID: string(StudyRootFind), Information: []byte{1, 1, 1, 1, 1, 1}},
		{SOPClassUID: string(PatientRootFind), Information: []byte{1, 0}},
		{SOPClassUID: ctImage, Information: []byte{1}},
		{SOPClassUID: string(PatientStudyOnlyFind)},
	})
	want := []pdu.ExtendedNegotiation{
		{SOPClassUID: string(StudyRootFind), Information: []byte{1, 1, 1, 0, 0}},
		{SOPClassUID: string(PatientRootFind), Information: []byte{1, 0}},
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v", got)
	}
	if x := extensionsOf(got, StudyRootFind); !x.relational || !x.dateTime || !x.fuzzy {
		t.Errorf("%+v", x)
	}
	if x := extensionsOf(got, PatientStudyOnlyFind); x != (extensions{}) {
		t.Errorf("%+v", x)
	}
}
