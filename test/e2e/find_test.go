package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/internal/peertest"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// image is an instance made for queries.
type image struct{ patient, name, study, date, accession, series, modality, sop, number string }

var images = []image{
	{"P1", "Wang^XiaoDong=王^小东", "1.2.3.1", "20240101", "A1", "1.2.3.1.1", "CT", "1.2.3.1.1.1", "1"},
	{"P1", "Wang^XiaoDong=王^小东", "1.2.3.1", "20240101", "A1", "1.2.3.1.1", "CT", "1.2.3.1.1.2", "2"},
	{"P1", "Wang^XiaoDong=王^小东", "1.2.3.1", "20240101", "A1", "1.2.3.1.2", "SR", "1.2.3.1.2.1", "1"},
	{"P2", "Smith^John", "1.2.3.2", "20240202", "A2", "1.2.3.2.1", "MR", "1.2.3.2.1.1", "1"},
}

// part10 writes the image as a file.
func (i image) part10(t testing.TB, path string) {
	t.Helper()
	id := qr.Identifier{CharacterSet: "GB18030"}
	for _, a := range []struct {
		tag dicom.Tag
		v   string
	}{
		{dicom.TagSOPClassUID, "1.2.840.10008.5.1.4.1.1.2"}, {dicom.TagSOPInstanceUID, i.sop}, {dicom.TagStudyDate, i.date}, {dicom.TagAccessionNumber, i.accession},
		{dicom.TagModality, i.modality}, {dicom.TagPatientName, i.name}, {dicom.TagPatientID, i.patient}, {dicom.TagStudyInstanceUID, i.study},
		{dicom.TagSeriesInstanceUID, i.series}, {dicom.TagInstanceNumber, i.number},
	} {
		id.Attributes = append(id.Attributes, qr.Attribute{Tag: a.tag, VR: dicom.TagVR(a.tag), Values: []string{a.v}})
	}
	if i.patient == "P1" {
		id.Attributes = append(id.Attributes, coded(0x00081032, "CHEST1"), coded(0x00082218, "REGION"+i.number)) // Procedure Code, Anatomic Region Sequence
	}
	data, err := id.Encode(dicom.ExplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	meta := dicom.FileMeta{SOPClassUID: "1.2.840.10008.5.1.4.1.1.2", SOPInstanceUID: dicom.UID(i.sop), TransferSyntaxUID: dicom.ExplicitVRLittleEndian}
	if err := os.WriteFile(path, append(meta.Append(nil), data...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// coded is a sequence of one code.
func coded(tag dicom.Tag, code string) qr.Attribute {
	return qr.Attribute{Tag: tag, VR: "SQ", Items: [][]qr.Attribute{{{Tag: 0x00080100, VR: "SH", Values: []string{code}}}}}
}

// queried is a gateway that holds the images.
func queried(t testing.TB, more string) *gate {
	t.Helper()
	g := newGate(t, more)
	g.start(t)
	g.hold(t, images)
	return g
}

// hold sends images to the gateway.
func (g *gate) hold(t testing.TB, images []image) {
	t.Helper()
	sendImages(t, images, g.address, "DCMGATE")
}

// sendImages sends images to an application entity.
func sendImages(t testing.TB, images []image, address, title string) {
	t.Helper()
	dir := t.TempDir()
	for n, i := range images {
		i.part10(t, filepath.Join(dir, fmt.Sprint(n, ".dcm")))
	}
	if out, status := peertest.Run(t, nil, binary, "send", "--called", title, address, dir); status != 0 {
		t.Fatal(out)
	}
}

var elementLine = regexp.MustCompile(`(?m)^I: \(([0-9a-f]{4}),([0-9a-f]{4})\) \w\w \[([^\]]*)\]`)

// findscu queries with DCMTK and returns the values that the answers have of an element, sorted.
func findscu(t testing.TB, g *gate, element string, args ...string) ([]string, string) {
	t.Helper()
	program := peertest.Require(t, "findscu")
	host, port, _ := strings.Cut(g.address, ":")
	out, status := peertest.Run(t, nil, program, append(append([]string{"-v", "-aec", "DCMGATE"}, args...), host, port)...)
	if status != 0 {
		t.Fatalf("findscu %v: status %d\n%s", args, status, out)
	}
	_, answers, _ := strings.Cut(out, "Find Response: 1")
	var values []string
	for _, m := range elementLine.FindAllStringSubmatch(answers, -1) {
		if m[1]+","+m[2] == element {
			values = append(values, strings.TrimRight(m[3], " \x00"))
		}
	}
	slices.Sort(values)
	return values, out
}

// DCMTK's findscu in every model, at every level.
func TestFindscu(t *testing.T) {
	g := queried(t, "")
	for _, row := range []struct {
		name    string
		element string
		args    []string
		want    []string
	}{
		{"study root, studies", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"}, []string{"1.2.3.1", "1.2.3.2"}},
		{"study root, by accession number", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "AccessionNumber=A2"}, []string{"1.2.3.2"}},
		{"study root, by date", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "StudyDate=20240102-"}, []string{"1.2.3.2"}},
		{"study root, by name", "0010,0020", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID", "-k", "PatientName=wang*"}, []string{"P1"}},
		{"study root, counts", "0020,1208", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.1", "-k", "NumberOfStudyRelatedInstances"}, []string{"3"}},
		{"study root, series", "0020,000e", []string{"-S", "-k", "QueryRetrieveLevel=SERIES", "-k", "StudyInstanceUID=1.2.3.1", "-k", "SeriesInstanceUID"}, []string{"1.2.3.1.1", "1.2.3.1.2"}},
		{"study root, images", "0008,0018", []string{"-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", "StudyInstanceUID=1.2.3.1", "-k", "SeriesInstanceUID=1.2.3.1.1", "-k", "SOPInstanceUID"}, []string{"1.2.3.1.1.1", "1.2.3.1.1.2"}},
		{"patient root, patients", "0010,0020", []string{"-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID"}, []string{"P1", "P2"}},
		{"patient root, studies", "0020,000d", []string{"-P", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P1", "-k", "StudyInstanceUID"}, []string{"1.2.3.1"}},
		{"patient root, series", "0008,0060", []string{"-P", "-k", "QueryRetrieveLevel=SERIES", "-k", "PatientID=P1", "-k", "StudyInstanceUID=1.2.3.1", "-k", "Modality"}, []string{"CT", "SR"}},
		{"patient root, images", "0020,0013", []string{"-P", "-k", "QueryRetrieveLevel=IMAGE", "-k", "PatientID=P1", "-k", "StudyInstanceUID=1.2.3.1", "-k", "SeriesInstanceUID=1.2.3.1.1", "-k", "InstanceNumber"}, []string{"1", "2"}},
		{"patient/study only, patients", "0010,0020", []string{"-O", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P*"}, []string{"P1", "P2"}},
		{"patient/study only, studies", "0020,000d", []string{"-O", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P2", "-k", "StudyInstanceUID"}, []string{"1.2.3.2"}},
		{"explicit little endian", "0020,000d", []string{"-S", "-xe", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientID=P2"}, []string{"1.2.3.2"}},
		{"big endian", "0020,000d", []string{"-S", "-xb", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientID=P2"}, []string{"1.2.3.2"}},
		{"implicit little endian", "0020,000d", []string{"-S", "-xi", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientID=P2"}, []string{"1.2.3.2"}},
		{"ideographs in UTF-8", "0010,0010", []string{"-S", "-k", "SpecificCharacterSet=ISO_IR 192", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=王*"}, []string{"Wang^XiaoDong=王^小东"}},
		{"ideographs in GBK that does not say so", "0008,0005", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=\xcd\xf5*"}, []string{"GB18030"}},
		{"sequence", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "ProcedureCodeSequence[0].CodeValue=CHEST*"}, []string{"1.2.3.1"}},
		{"anatomic region of the newest image", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "AnatomicRegionsInStudyCodeSequence[0].CodeValue=REGION1"}, []string{"1.2.3.1"}},
		{"anatomic region of another image", "0020,000d", []string{"-P", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P1", "-k", "StudyInstanceUID", "-k", "AnatomicRegionsInStudyCodeSequence[0].CodeValue=REGION2"}, []string{"1.2.3.1"}},
		{"anatomic region of none", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "AnatomicRegionsInStudyCodeSequence[0].CodeValue=REGION3"}, nil},
		{"alternate representations", "0008,0018", []string{"-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", "StudyInstanceUID=1.2.3.1", "-k", "SeriesInstanceUID=1.2.3.1.1", "-k", "SOPInstanceUID", "-k", "AlternateRepresentationSequence"}, []string{"1.2.3.1.1.1", "1.2.3.1.1.2"}},
		{"modality of a day", "0020,000d", []string{"-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "ModalitiesInStudy=SR", "-k", "StudyDate=20240101"}, []string{"1.2.3.1"}},
	} {
		got, out := findscu(t, g, row.element, row.args...)
		if !slices.Equal(got, row.want) || strings.Contains(out, "UnsupportedOptionalKeys") {
			t.Errorf("%s: got %q, want %q\n%s", row.name, got, row.want, out)
		}
	}
	if _, out := findscu(t, g, "", "-S", "-k", "QueryRetrieveLevel=SERIES", "-k", "SeriesInstanceUID"); !strings.Contains(out, "IdentifierDoesNotMatchSOPClass") && !strings.Contains(out, "DataSetDoesNotMatchSOPClass") && !strings.Contains(out, "0xa900") {
		t.Errorf("a query without unique key: %s", out)
	}
	g.counts(t, 24, "dcmgate_queries_total", `status="0000"`)
}

// The command asks as DCMTK does.
func TestFindCommand(t *testing.T) {
	g := queried(t, "")
	out, status := peertest.Run(t, nil, binary, "find", g.address, "-k", "PatientName=王*")
	if status != 0 || !strings.Contains(out, "1.2.3.1") || !strings.Contains(out, "王^小东") || strings.Contains(out, "1.2.3.2") {
		t.Errorf("status %d\n%s", status, out)
	}
	out, status = peertest.Run(t, nil, binary, "find", g.address, "--level", "image", "-k", "StudyInstanceUID=1.2.3.1", "-k", "0020,000e=1.2.3.1.1", "--json")
	if status != 0 || strings.Count(out, `"SOPInstanceUID":"1.2.3.1.1.`) != 2 {
		t.Errorf("status %d\n%s", status, out)
	}
	out, status = peertest.Run(t, nil, binary, "find", g.address, "--model", "patient", "--level", "patient", "--fuzzy", "-k", "PatientName=john smith")
	if status != 0 || !strings.Contains(out, "P2") || strings.Contains(out, "P1") {
		t.Errorf("status %d\n%s", status, out)
	}
	if out, status = peertest.Run(t, nil, binary, "find", g.address, "--level", "series"); status != 1 || !strings.Contains(out, "StudyInstanceUID is needed") {
		t.Errorf("status %d\n%s", status, out)
	}
	if out, status = peertest.Run(t, nil, binary, "find", g.address, "-k", "NoSuchKeyword=1"); status != 2 {
		t.Errorf("status %d\n%s", status, out)
	}
}

// Who may not query is told so when the association is negotiated, and a peer's own cap holds.
func TestRightToQuery(t *testing.T) {
	g := newGate(t, "")
	config, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(config), "accept: any", "accept: known", 1) +
		"peers:\n  - {ae_title: CT1}\n  - {ae_title: WS1, allow: [query], query: {max_matches: 1}}\n"
	if err := os.WriteFile(g.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start(t)
	dir := t.TempDir()
	for n, i := range images {
		i.part10(t, filepath.Join(dir, fmt.Sprint(n, ".dcm")))
	}
	if out, status := peertest.Run(t, nil, binary, "send", "--calling", "CT1", g.address, dir); status != 0 {
		t.Fatal(out)
	}
	if out, status := peertest.Run(t, nil, binary, "find", "--calling", "CT1", g.address); status != 1 || !strings.Contains(out, "no accepted presentation context") {
		t.Errorf("CT1: status %d\n%s", status, out)
	}
	if out, status := peertest.Run(t, nil, binary, "find", "--calling", "WS1", g.address); status != 1 || !strings.Contains(out, "more than 1 matches") {
		t.Errorf("WS1: status %d\n%s", status, out)
	}
}

// A C-CANCEL ends the stream of answers, and the association serves the next query.
func TestCancelOnTheWire(t *testing.T) {
	g := queried(t, "")
	a, err := (&dimse.Dialer{LocalAETitle: "WS"}).Dial(t.Context(), g.address, dimse.Proposal{CalledAETitle: "DCMGATE", CallingAETitle: "WS", Contexts: []pdu.PresentationContext{
		{ID: 1, AbstractSyntax: string(qr.StudyRootFind), TransferSyntaxes: []string{string(dicom.ImplicitVRLittleEndian)}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	id := qr.Identifier{Attributes: []qr.Attribute{{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{"STUDY"}}, {Tag: dicom.TagStudyInstanceUID, VR: "UI"}}}
	data, err := id.Encode(dicom.ImplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		p, err := a.Do(t.Context(), 1, dimse.Command{CommandField: dimse.CFindRQ, AffectedSOPClassUID: qr.StudyRootFind}, strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		r, err := p.Wait(t.Context())
		if err != nil || r.Status != dimse.StatusCancel && r.Status != dimse.StatusSuccess { // it may have been over
			t.Fatalf("%v, %v", r.Status, err)
		}
	}
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	g.counts(t, 3, "dcmgate_queries_total")
}

// Orthanc as the user of queries, at every level that its REST interface has.
func TestOrthancQueries(t *testing.T) {
	g := queried(t, "")
	orthanc := peertest.Orthanc(t, nil, nil, map[string]string{"DCMGATE": g.address})
	for _, row := range []struct {
		level, query, element string
		want                  []string
	}{
		{"Patient", `{"PatientID": "P*"}`, "PatientID", []string{"P1", "P2"}},
		{"Study", `{"PatientID": "", "StudyInstanceUID": "", "StudyDate": "20240102-"}`, "StudyInstanceUID", []string{"1.2.3.2"}},
		{"Study", `{"PatientName": "WANG*", "StudyInstanceUID": "", "ModalitiesInStudy": ""}`, "ModalitiesInStudy", []string{`CT\SR`}},
		{"Series", `{"PatientID": "P1", "StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "", "Modality": "SR"}`, "SeriesInstanceUID", []string{"1.2.3.1.2"}},
		{"Instance", `{"PatientID": "P1", "StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1", "SOPInstanceUID": ""}`, "SOPInstanceUID", []string{"1.2.3.1.1.1", "1.2.3.1.1.2"}},
	} {
		var made struct{ Path string }
		if err := json.Unmarshal(orthanc.REST(t, "POST", "/modalities/DCMGATE/query", fmt.Sprintf(`{"Level": %q, "Query": %s}`, row.level, row.query)), &made); err != nil {
			t.Fatal(err)
		}
		var answers []string
		if err := json.Unmarshal(orthanc.REST(t, "GET", made.Path+"/answers", ""), &answers); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, n := range answers {
			content := map[string]string{}
			if err := json.Unmarshal(orthanc.REST(t, "GET", made.Path+"/answers/"+n+"/content?simplify", ""), &content); err != nil {
				t.Fatal(err)
			}
			got = append(got, content[row.element])
		}
		slices.Sort(got)
		if !slices.Equal(got, row.want) {
			t.Errorf("%s %s: got %q, want %q", row.level, row.query, got, row.want)
		}
	}
}
