package qr

import (
	"fmt"
	"slices"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// code is an item with a code.
func code(t testing.TB, value, scheme, meaning string, more ...Attribute) []Attribute {
	t.Helper()
	keyword := "CodeValue"
	switch {
	case len(value) > 3 && value[:4] == "urn:":
		keyword = "URNCodeValue"
	case len(value) > 16:
		keyword = "LongCodeValue"
	}
	item := append([]Attribute{attr(t, keyword, value), attr(t, "CodingSchemeDesignator", scheme), attr(t, "CodeMeaning", meaning)}, more...)
	slices.SortFunc(item, func(a, b Attribute) int { return int(int64(a.Tag) - int64(b.Tag)) })
	return item
}

// regional is a spool of four studies: of one series whose images show three regions, of two series, one of them with frames,
// of regions in long codes, and of none.
func regional(t testing.TB) *spool.Spool {
	t.Helper()
	s, err := spool.Open(t.TempDir(), spool.Options{SegmentSize: 4 << 20, AllocateStep: 1 << 20, ReserveBytes: -1, MinFree: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	region := func(items ...[]Attribute) Attribute { return attr(t, "AnatomicRegionSequence", "", items...) }
	frames := func(regions ...Attribute) (groups [][]Attribute) {
		for _, r := range regions {
			groups = append(groups, []Attribute{attr(t, "FrameAnatomySequence", "", []Attribute{r, attr(t, "FrameLaterality", "U")})})
		}
		return groups
	}
	chest := code(t, "51185008", "SCT", "胸部", attr(t, "AnatomicRegionModifierSequence", "", code(t, "261183002", "SCT", "Upper")))
	abdomen, pelvis := code(t, "113345001", "SCT", "Abdomen"), code(t, "12921003", "SCT", "Pelvis")
	for i, row := range []struct {
		series string
		ts     dicom.UID
		of     []Attribute
	}{
		{"1.1", dicom.ExplicitVRLittleEndian, []Attribute{region(chest)}},
		{"1.1", dicom.ImplicitVRLittleEndian, []Attribute{region(abdomen)}},
		{"1.1", dicom.ExplicitVRBigEndian, []Attribute{region(pelvis, chest)}},
		{"1.1", dicom.ExplicitVRLittleEndian, nil}, // the newest, which stands for study and series
		{"2.1", dicom.ExplicitVRLittleEndian, []Attribute{region(code(t, "51185008", "SRT", "Chest"))}},
		{"2.2", dicom.ExplicitVRLittleEndian, []Attribute{attr(t, "SharedFunctionalGroupsSequence", "", frames(region(pelvis))...)}},
		{"2.2", dicom.ExplicitVRLittleEndian, []Attribute{attr(t, "PerFrameFunctionalGroupsSequence", "", frames(region(abdomen), region(pelvis), region(code(t, "T-D1100", "SRT", "Head")))...)}},
		{"3.1", dicom.ExplicitVRLittleEndian, []Attribute{region(code(t, "12345678901234567890", "SCT", "Long"), code(t, "urn:oid:1.2.3", "99X", "URN"), nil)}},
		{"4.1", dicom.ExplicitVRLittleEndian, []Attribute{region()}},
	} {
		id := &Identifier{CharacterSet: "GB18030", Attributes: append([]Attribute{
			attr(t, "SOPClassUID", ctImage), attr(t, "SOPInstanceUID", fmt.Sprint("9.", i+1)), attr(t, "Modality", "CT"), attr(t, "PatientID", "P"),
			attr(t, "StudyInstanceUID", row.series[:1]), attr(t, "SeriesInstanceUID", row.series),
		}, row.of...)}
		slices.SortFunc(id.Attributes, func(a, b Attribute) int { return int(int64(a.Tag) - int64(b.Tag)) })
		storeIdentifier(t, s, id, row.ts)
	}
	return s
}

// PS3.4 table C.3-1: the union of the codes in the instances of the study; C.2.2.2.6: a study matches if one of them does.
func TestAnatomicRegionsInStudy(t *testing.T) {
	scp := newSCP(t, regional(t))
	regions := func(keys ...Attribute) Attribute { return attr(t, "AnatomicRegionsInStudyCodeSequence", "", keys) }
	for _, row := range []struct {
		name string
		key  Attribute
		want []string
	}{
		{"empty", attr(t, "AnatomicRegionsInStudyCodeSequence", ""), []string{"1", "2", "3", "4"}},
		{"empty item", regions(), []string{"1", "2", "3", "4"}},
		{"universal keys", regions(attr(t, "CodeValue", ""), attr(t, "CodeMeaning", "*")), []string{"1", "2", "3", "4"}},
		{"of one image", regions(attr(t, "CodeValue", "113345001")), []string{"1", "2"}},
		{"of all frames", regions(attr(t, "CodeValue", "12921003"), attr(t, "CodingSchemeDesignator", "SCT")), []string{"1", "2"}},
		{"of a frame", regions(attr(t, "CodeValue", "T-D1100")), []string{"2"}},
		{"with its scheme", regions(attr(t, "CodeValue", "51185008"), attr(t, "CodingSchemeDesignator", "SCT")), []string{"1"}},
		{"of two codes", regions(attr(t, "CodeValue", "113345001"), attr(t, "CodingSchemeDesignator", "SRT")), nil},
		{"meaning in another character set", regions(attr(t, "CodeMeaning", "胸*")), []string{"1"}},
		{"long", regions(attr(t, "LongCodeValue", "12345678901234567890")), []string{"3"}},
		{"URN", regions(attr(t, "URNCodeValue", "urn:oid:1.2.3")), []string{"3"}},
		{"none", regions(attr(t, "CodeValue", "1")), nil},
	} {
		ids, w := askFor(t, scp, "STUDY", row.key, attr(t, "StudyInstanceUID", ""))
		if got := column(ids, dicom.TagStudyInstanceUID); !slices.Equal(got, row.want) || w.final().Status != dimse.StatusSuccess {
			t.Errorf("%s: got %v, %+v", row.name, got, w.final())
		}
		for i := range ids {
			if w.commands[i].Status != dimse.StatusPending {
				t.Errorf("%s: %v", row.name, w.commands[i].Status)
			}
		}
	}
}

// Each code is answered once, without what modifies it, with what was asked for; also at the levels below.
func TestAnatomicRegionsInAnswers(t *testing.T) {
	scp := newSCP(t, regional(t))
	values := attr(t, "AnatomicRegionsInStudyCodeSequence", "", []Attribute{attr(t, "CodeValue", ""), attr(t, "CodingSchemeVersion", "")})
	for level, want := range map[string]int{"STUDY": 4, "SERIES": 5, "IMAGE": 9} {
		ids, _ := askFor(t, scp, level, values, attr(t, "StudyInstanceUID", ""))
		if len(ids) != want {
			t.Errorf("%s: %d matches", level, len(ids))
		}
		for _, id := range ids {
			want := map[string][]string{
				"1": {"113345001", "12921003", "51185008"}, "2": {"113345001", "12921003", "51185008", "T-D1100"}, "3": {"", ""}, "4": nil,
			}[id.Find(dicom.TagStudyInstanceUID).Values[0]]
			var got []string
			for _, item := range id.Find(values.Tag).Items {
				got = append(got, first(valuesIn(item, tagCodeValue)))
				if len(item) != 2 {
					t.Errorf("%+v", item)
				}
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s: got %v, want %v", level, got, want)
			}
		}
	}
	ids, _ := askFor(t, scp, "STUDY", attr(t, "AnatomicRegionsInStudyCodeSequence", ""), attr(t, "StudyInstanceUID", "1"))
	if len(ids) != 1 || itemsText(ids[0].Find(values.Tag).Items[:1]) != "[[(0008,0100)=[51185008] (0008,0102)=[SCT] (0008,0104)=[胸部]]]" {
		t.Errorf("%+v", ids)
	}
}

// A study is looked into once, however often its regions are wanted, and no further than the bound of a query.
func TestLookingForRegionsIsBounded(t *testing.T) {
	m, _ := modelOf(dimse.CFindRQ, StudyRootFind)
	id := &Identifier{Attributes: []Attribute{attr(t, "QueryRetrieveLevel", "IMAGE"), attr(t, "AnatomicRegionsInStudyCodeSequence", "", code(t, "12921003", "SCT", "*"))}}
	slices.SortFunc(id.Attributes, func(a, b Attribute) int { return int(int64(a.Tag) - int64(b.Tag)) })
	q, err := newQuery(m, id, extensions{relational: true})
	if err != nil {
		t.Fatal(err)
	}
	run := func(most int) (*search, int, error) {
		n := 0
		sought := &search{query: q, ctx: t.Context(), index: regional(t), patients: map[string]bool{}, counted: map[string]patientSize{}, maxHeaders: most}
		sought.yield = func(e *entity) bool { e.answer(); n++; return true }
		return sought, n, sought.run()
	}
	if s, n, err := run(9); err != nil || s.headers != 9 {
		t.Errorf("looked into %d for %d matches: %v", s.headers, n, err)
	}
	s, _, err := run(8)
	if r, ok := err.(*refusal); !ok || r.status != dimse.StatusOutOfResources || s.headers != 9 {
		t.Errorf("%+v after %d", err, s.headers)
	}
}

// A key that only asks does not end a query that looks into too many instances: from there on the matches lack its value,
// and say so (PS3.4 C.4.1.1.4). A study whose regions are known in part only is answered without any.
func TestAnswersBeyondTheBoundAreWarnedOf(t *testing.T) {
	m, _ := modelOf(dimse.CFindRQ, StudyRootFind)
	id := &Identifier{Attributes: []Attribute{attr(t, "QueryRetrieveLevel", "SERIES"), attr(t, "AnatomicRegionsInStudyCodeSequence", "")}}
	slices.SortFunc(id.Attributes, func(a, b Attribute) int { return int(int64(a.Tag) - int64(b.Tag)) })
	q, err := newQuery(m, id, extensions{relational: true})
	if err != nil {
		t.Fatal(err)
	}
	// Studies 4, 3, 2 of two series and 1, the last first, have 1, 1, 3 and 4 instances.
	for most, want := range map[int]string{9: "4:true 3:true 2:true 2:true 1:true ", 8: "4:true 3:true 2:true 2:true 1:false ", 4: "4:true 3:true 2:false 2:false 1:false "} {
		sought := &search{query: q, ctx: t.Context(), index: regional(t), patients: map[string]bool{}, counted: map[string]patientSize{}, maxHeaders: most}
		got := ""
		sought.yield = func(e *entity) bool {
			id, whole := e.answer()
			got += fmt.Sprintf("%s:%v ", e.study.StudyInstanceUID, whole)
			if n := len(id.Find(tagAnatomicRegionsInStudyCodeSequence).Items); !whole && n != 0 {
				t.Errorf("%d: study %s has %d regions", most, e.study.StudyInstanceUID, n)
			}
			return true
		}
		if err := sought.run(); err != nil || got != want {
			t.Errorf("%d: %q, want %q; %v", most, got, want, err)
		}
	}
}

// PS3.4 C.6.1.1.5.1: whatever is stored is stored in one encoding, so that there are no alternates to list or to match.
func TestAlternateRepresentation(t *testing.T) {
	scp := newSCP(t, regional(t))
	sop := attr(t, "SOPInstanceUID", "")
	for _, row := range []struct {
		name string
		key  Attribute
		want int
	}{
		{"empty", attr(t, "AlternateRepresentationSequence", ""), 4},
		{"empty item", attr(t, "AlternateRepresentationSequence", "", []Attribute{}), 4},
		{"universal keys", attr(t, "AlternateRepresentationSequence", "", []Attribute{attr(t, "SeriesInstanceUID", ""), attr(t, "PurposeOfReferenceCodeSequence", "", code(t, "", "", ""))}), 4},
		{"with a value", attr(t, "AlternateRepresentationSequence", "", []Attribute{attr(t, "ReferencedSOPInstanceUID", "9.1")}), 0},
	} {
		ids, w := askFor(t, scp, "IMAGE", attr(t, "StudyInstanceUID", "1"), attr(t, "SeriesInstanceUID", "1.1"), sop, row.key)
		if len(ids) != row.want || w.final().Status != dimse.StatusSuccess {
			t.Errorf("%s: %d matches, %+v", row.name, len(ids), w.final())
		}
		for i, id := range ids {
			if a := id.Find(row.key.Tag); a == nil || a.VR != "SQ" || len(a.Items) != 0 || w.commands[i].Status != dimse.StatusPending {
				t.Errorf("%s: %+v %v", row.name, a, w.commands[i].Status)
			}
		}
	}
	if _, w := askFor(t, scp, "STUDY", attr(t, "AlternateRepresentationSequence", "")); w.commands[0].Status != dimse.StatusPendingWarning {
		t.Error("a key of a lower level is not told")
	}
}
