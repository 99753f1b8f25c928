package qr

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// attr makes an attribute by its keyword.
func attr(t testing.TB, keyword, value string, items ...[]Attribute) Attribute {
	t.Helper()
	tag, ok := dicom.TagByKeyword(keyword)
	if !ok {
		t.Fatal(keyword)
	}
	return Attribute{Tag: tag, VR: dicom.TagVR(tag), Values: splitValues(value, dicom.TagVR(tag)), Items: items}
}

// requested is a spool of three series as a worklist has them made: of two requests, and of none. Their encodings differ.
func requested(t testing.TB) *spool.Spool {
	t.Helper()
	s, err := spool.Open(t.TempDir(), spool.Options{SegmentSize: 4 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	code := func(value, meaning string) []Attribute {
		return []Attribute{attr(t, "CodeValue", value), attr(t, "CodingSchemeDesignator", "99X"), attr(t, "CodeMeaning", meaning)}
	}
	for i, ts := range []dicom.UID{dicom.ExplicitVRLittleEndian, dicom.ImplicitVRLittleEndian, dicom.ExplicitVRBigEndian} {
		n := fmt.Sprint(i + 1)
		id := &Identifier{CharacterSet: "GB18030", Attributes: []Attribute{
			attr(t, "SOPClassUID", ctImage), attr(t, "SOPInstanceUID", n+".1.1"), attr(t, "Modality", "CT"), attr(t, "PatientID", "P"+n),
			attr(t, "StudyInstanceUID", n), attr(t, "SeriesInstanceUID", n+".1"), attr(t, "EthnicGroup", "汉族"), attr(t, "PatientSize", "1."+n),
			attr(t, "ProcedureCodeSequence", "", code("CHEST"+n, "胸部")),
		}}
		if i < 2 {
			id.Attributes = append(id.Attributes, attr(t, "RequestAttributesSequence", "",
				[]Attribute{attr(t, "RequestedProcedureID", "RP"+n), attr(t, "ScheduledProcedureStepID", "SPS"+n), attr(t, "ScheduledProtocolCodeSequence", "", code("A"+n, "头"), code("B", "足"))},
				[]Attribute{attr(t, "RequestedProcedureID", "RP9"), attr(t, "ScheduledProcedureStepID", "SPS0")}))
		}
		slices.SortFunc(id.Attributes, func(a, b Attribute) int { return int(int64(a.Tag) - int64(b.Tag)) })
		storeIdentifier(t, s, id, ts)
	}
	return s
}

// askFor queries with attributes, sequences among them.
func askFor(t testing.TB, scp *SCP, level string, keys ...Attribute) ([]*Identifier, *responses) {
	t.Helper()
	id := &Identifier{CharacterSet: "ISO_IR 192", Attributes: append(keys, attr(t, "QueryRetrieveLevel", level))}
	data, err := id.Encode(dicom.ExplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	w := &responses{}
	granted := Negotiate(relational)
	scp.Find(Caller{Granted: granted}).ServeDIMSE(t.Context(), w, &dimse.Request{
		Context: dimse.NegotiatedContext{AbstractSyntax: StudyRootFind, TransferSyntax: dicom.ExplicitVRLittleEndian},
		Command: dimse.Command{CommandField: dimse.CFindRQ, MessageID: 1}, Data: bytes.NewReader(data),
	})
	var ids []*Identifier
	for _, data := range w.data {
		id, err := ParseIdentifier(data, dicom.ExplicitVRLittleEndian, "")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids, w
}

// PS3.4 C.2.2.2.6 with sequences that the index does not hold, and attributes likewise.
func TestStoredAttributes(t *testing.T) {
	scp := newSCP(t, requested(t))
	request := func(keys ...Attribute) Attribute { return attr(t, "RequestAttributesSequence", "", keys) }
	protocol := func(code string) Attribute {
		return attr(t, "ScheduledProtocolCodeSequence", "", []Attribute{attr(t, "CodeValue", code), attr(t, "CodeMeaning", "")})
	}
	for _, row := range []struct {
		name, level string
		key         Attribute
		want        []string
		status      dimse.Status
	}{
		{"all", "SERIES", attr(t, "RequestAttributesSequence", ""), []string{"1.1", "2.1", "3.1"}, dimse.StatusPending},
		{"one key", "SERIES", request(attr(t, "RequestedProcedureID", "RP1")), []string{"1.1"}, dimse.StatusPending},
		{"in the second item", "SERIES", request(attr(t, "RequestedProcedureID", "RP9")), []string{"1.1", "2.1"}, dimse.StatusPending},
		{"wildcard", "SERIES", request(attr(t, "RequestedProcedureID", "RP*")), []string{"1.1", "2.1"}, dimse.StatusPending},
		{"all keys in one item", "SERIES", request(attr(t, "RequestedProcedureID", "RP2"), attr(t, "ScheduledProcedureStepID", "SPS2")), []string{"2.1"}, dimse.StatusPending},
		{"keys in different items", "SERIES", request(attr(t, "RequestedProcedureID", "RP2"), attr(t, "ScheduledProcedureStepID", "SPS0")), nil, dimse.StatusPending},
		{"universal keys", "SERIES", request(attr(t, "RequestedProcedureID", ""), attr(t, "ScheduledProcedureStepID", "*")), []string{"1.1", "2.1", "3.1"}, dimse.StatusPending},
		{"sequence within", "SERIES", request(protocol("A2")), []string{"2.1"}, dimse.StatusPending},
		{"second item within", "SERIES", request(attr(t, "RequestedProcedureID", "RP1"), protocol("B")), []string{"1.1"}, dimse.StatusPending},
		{"not in the item within", "SERIES", request(attr(t, "RequestedProcedureID", "RP9"), protocol("B")), nil, dimse.StatusPending},
		{"of a study", "STUDY", attr(t, "ProcedureCodeSequence", "", []Attribute{attr(t, "CodeValue", "CHEST3")}), []string{"3"}, dimse.StatusPending},
		{"text in another character set", "STUDY", attr(t, "ProcedureCodeSequence", "", []Attribute{attr(t, "CodeMeaning", "胸*")}), []string{"1", "2", "3"}, dimse.StatusPending},
		{"of a lower level", "STUDY", request(attr(t, "RequestedProcedureID", "RP1")), []string{"1", "2", "3"}, dimse.StatusPendingWarning},
		{"unknown key in an item", "SERIES", request(Attribute{Tag: 0x00111001, VR: "LO", Values: []string{"x"}}), []string{"1.1", "2.1", "3.1"}, dimse.StatusPendingWarning},
		{"text", "STUDY", attr(t, "EthnicGroup", "汉?"), []string{"1", "2", "3"}, dimse.StatusPending},
		{"number", "STUDY", attr(t, "PatientSize", "1.30"), []string{"3"}, dimse.StatusPending},
		{"absent", "STUDY", attr(t, "Occupation", "NURSE"), nil, dimse.StatusPending},
	} {
		tag := uniqueKeys[LevelStudy]
		if row.level == "SERIES" {
			tag = uniqueKeys[LevelSeries]
		}
		ids, w := askFor(t, scp, row.level, row.key, Attribute{Tag: tag, VR: "UI"})
		if got := column(ids, tag); !slices.Equal(got, row.want) || w.final().Status != dimse.StatusSuccess {
			t.Errorf("%s: got %v, %+v", row.name, got, w.final())
		}
		for i := range ids {
			if w.commands[i].Status != row.status {
				t.Errorf("%s: %v", row.name, w.commands[i].Status)
			}
		}
	}
}

// An answer has the items with what was asked for, at every depth, and zero length where there is nothing.
func TestStoredAttributesInAnswers(t *testing.T) {
	scp := newSCP(t, requested(t))
	asked := attr(t, "RequestAttributesSequence", "", []Attribute{attr(t, "RequestedProcedureID", "RP2"), attr(t, "AccessionNumber", ""),
		attr(t, "ScheduledProtocolCodeSequence", "", []Attribute{attr(t, "CodeMeaning", "")})})
	ids, _ := askFor(t, scp, "SERIES", asked, attr(t, "EthnicGroup", ""), attr(t, "Occupation", ""))
	if len(ids) != 1 {
		t.Fatalf("%d matches", len(ids))
	}
	want := "[[(0008,0050)=[] (0040,0008)=[[(0008,0104)=[头]] [(0008,0104)=[足]]] (0040,1001)=[RP2]] [(0008,0050)=[] (0040,0008)=[] (0040,1001)=[RP9]]]"
	if got := itemsText(ids[0].Find(asked.Tag).Items); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if a := ids[0].Find(0x00102160); a == nil || !slices.Equal(a.Values, []string{"汉族"}) {
		t.Errorf("ethnic group %+v", a)
	}
	if a := ids[0].Find(0x00102180); a == nil || len(a.Values) != 0 {
		t.Errorf("occupation %+v", a)
	}
}

func itemsText(items [][]Attribute) string {
	var all []string
	for _, item := range items {
		var texts []string
		for _, a := range item {
			text := fmt.Sprint(a.Values)
			if a.VR == "SQ" {
				text = itemsText(a.Items)
			}
			texts = append(texts, fmt.Sprint(a.Tag, "=", text))
		}
		all = append(all, "["+strings.Join(texts, " ")+"]")
	}
	return "[" + strings.Join(all, " ") + "]"
}

// What takes looking into too many instances is ended, and says so.
func TestHeadersAreBounded(t *testing.T) {
	s := requested(t)
	m, _ := modelOf(dimse.CFindRQ, StudyRootFind)
	q, err := newQuery(m, &Identifier{Attributes: []Attribute{attr(t, "QueryRetrieveLevel", "STUDY"), attr(t, "Occupation", "NURSE")}}, extensions{})
	if err != nil {
		t.Fatal(err)
	}
	sought := &search{query: q, ctx: t.Context(), index: s, patients: map[string]bool{}, counted: map[string]patientSize{}, maxHeaders: 2}
	sought.yield = func(*entity) bool { return true }
	if r, ok := sought.run().(*refusal); !ok || r.status != dimse.StatusOutOfResources || sought.headers != 3 {
		t.Errorf("%+v after %d", r, sought.headers)
	}
}

// Every key of PS3.4 tables C.6-1 to C.6-5 is supported at its level, and so are the attributes of its items.
func TestKeysOfTheStandard(t *testing.T) {
	const reference = "ReferencedSOPClassUID ReferencedSOPInstanceUID"
	const basic = "CodeValue CodingSchemeDesignator CodingSchemeVersion CodeMeaning LongCodeValue URNCodeValue ContextIdentifier ContextUID " +
		"MappingResource MappingResourceUID ContextGroupVersion ContextGroupExtensionFlag ContextGroupLocalVersion ContextGroupExtensionCreatorUID" // table C.6-2b
	const code = basic + " EquivalentCodeSequence{" + basic + "}" // table C.6-2a
	for _, row := range []struct {
		table string
		level Level
		keys  string
	}{
		{"C.6-1", LevelPatient, "PatientName PatientID IssuerOfPatientID ReferencedPatientSequence{" + reference + "} PatientBirthDate PatientBirthTime PatientSex " +
			"OtherPatientIDsSequence{PatientID} OtherPatientNames EthnicGroup PatientComments NumberOfPatientRelatedStudies NumberOfPatientRelatedSeries " +
			"NumberOfPatientRelatedInstances OtherPatientIDs EthnicGroups EthnicGroupCodeSequence{" + code + "}"}, // of other editions: the last three
		{"C.6-2", LevelStudy, "StudyDate StudyTime AccessionNumber StudyID StudyInstanceUID ModalitiesInStudy SOPClassesInStudy " +
			"AnatomicRegionsInStudyCodeSequence{" + code + "} ReferringPhysicianName StudyDescription ProcedureCodeSequence{" + code + "} NameOfPhysiciansReadingStudy " +
			"AdmittingDiagnosesDescription ReferencedStudySequence{" + reference + "} PatientAge PatientSize PatientWeight Occupation AdditionalPatientHistory " +
			"OtherStudyNumbers NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances"},
		{"C.6-3", LevelSeries, "Modality SeriesNumber SeriesInstanceUID NumberOfSeriesRelatedInstances"},
		{"C.6-4", LevelImage, "InstanceNumber SOPInstanceUID SOPClassUID AvailableTransferSyntaxUID " +
			"AlternateRepresentationSequence{SeriesInstanceUID ReferencedSOPClassUID ReferencedSOPInstanceUID PurposeOfReferenceCodeSequence{" + code + "}} " +
			"RelatedGeneralSOPClassUID ConceptNameCodeSequence{" + code + "} ContentTemplateSequence{TemplateIdentifier MappingResource} ContainerIdentifier " +
			"SpecimenDescriptionSequence{SpecimenIdentifier SpecimenUID}"},
	} {
		for _, key := range keysOf(t, row.keys) {
			if s, has := supported[key.Tag]; !has || s.level != row.level {
				t.Errorf("table %s: %s: %+v", row.table, dicom.TagName(key.Tag), s)
			}
			m, _ := modelOf(dimse.CFindRQ, PatientRootFind)
			if row.level == LevelStudy {
				m, _ = modelOf(dimse.CFindRQ, StudyRootFind) // table C.6-5
			}
			id := &Identifier{Attributes: []Attribute{attr(t, "QueryRetrieveLevel", row.level.String())}}
			id.set(key)
			if q, err := newQuery(m, id, extensions{relational: true}); err != nil || q.partly {
				t.Errorf("table %s: %s is not wholly supported: %v", row.table, dicom.TagName(key.Tag), err)
			}
		}
	}
	// Table C.6-5 has, beside those of table C.6-2, the keys of table C.6-1 at the level STUDY of the Study Root model.
	m, _ := modelOf(dimse.CFindRQ, StudyRootFind)
	for tag, s := range supported {
		id := &Identifier{Attributes: []Attribute{attr(t, "QueryRetrieveLevel", "STUDY")}}
		id.set(Attribute{Tag: tag, VR: dicom.TagVR(tag)})
		if q, err := newQuery(m, id, extensions{}); s.level == LevelPatient && (err != nil || q.partly) {
			t.Errorf("%s in the Study Root model: %v", dicom.TagName(tag), err)
		}
	}
	for level, keywords := range storedAttributes {
		for _, keyword := range keywords {
			if tag, ok := dicom.TagByKeyword(keyword); !ok || supported[tag] != (support{level: level, stored: true}) {
				t.Errorf("%s is not in the dictionary, or listed twice", keyword)
			}
		}
	}
}

// keysOf makes universal keys of keywords, those of a sequence's item in braces.
func keysOf(t *testing.T, text string) (keys []Attribute) {
	t.Helper()
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		end := strings.IndexAny(text+" ", " {")
		keyword := text[:end]
		if text = text[end:]; !strings.HasPrefix(text, "{") {
			keys = append(keys, attr(t, keyword, ""))
			continue
		}
		depth := 0
		n := strings.IndexFunc(text, func(r rune) bool { // the brace that ends the item
			switch r {
			case '{':
				depth++
			case '}':
				depth--
			}
			return depth == 0
		})
		keys = append(keys, attr(t, keyword, "", keysOf(t, text[1:n])))
		text = text[n+1:]
	}
	return keys
}
