package qr

import (
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

func item(id, kind string) []Attribute {
	var out []Attribute
	if id != "-" {
		out = append(out, Attribute{Tag: dicom.TagPatientID, VR: "LO", Values: splitValues(id, "LO")})
	}
	if kind != "-" {
		out = append(out, Attribute{Tag: tagTypeOfPatientID, VR: "CS", Values: splitValues(kind, "CS")})
	}
	return out
}

// PS3.4 C.2.2.2.6.
func TestSequenceMatching(t *testing.T) {
	stored := [][]Attribute{item("X1", "TEXT"), item("X2", "RFID")}
	for _, row := range []struct {
		name string
		key  []Attribute
		want bool
	}{
		{"one key", item("X1", "-"), true},
		{"wildcard", item("X*", "-"), true},
		{"other", item("X3", "-"), false},
		{"all keys in one item", item("X2", "RFID"), true},
		{"keys in different items", item("X1", "RFID"), false},
		{"universal", item("", ""), true},
	} {
		match, err := newItemMatcher(row.key, false)
		if err != nil || match(stored) != row.want {
			t.Errorf("%s: want %v, %v", row.name, row.want, err)
		}
	}
	if match, err := newItemMatcher(item("X1", "-"), false); err != nil || match(nil) {
		t.Errorf("matches without items, %v", err)
	}
}

func TestOtherPatientIDsSequence(t *testing.T) {
	s := patients(t)
	store(t, s, "ISO_IR 192", object{"StudyInstanceUID": "3.1", "SeriesInstanceUID": "3.1.1", "SOPInstanceUID": "3.1.1.1", "SOPClassUID": ctImage, "PatientID": "P3", "OtherPatientIDs": `X1\X2`})
	model, _ := modelOf(dimse.CFindRQ, StudyRootFind)
	for _, row := range []struct {
		items   [][]Attribute
		matches int
		partly  bool
		refused bool
	}{
		{[][]Attribute{item("X2", "-")}, 1, false, false},
		{[][]Attribute{item("X3", "-")}, 0, false, false},
		{nil, 4, false, false},
		{[][]Attribute{append(item("X1", "-"), Attribute{Tag: 0x00111001, VR: "LO", Values: []string{"W"}})}, 1, true, false},
		{[][]Attribute{item("X1", "-"), item("X2", "-")}, 0, false, true},
	} {
		id := &Identifier{Attributes: []Attribute{{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{"STUDY"}},
			{Tag: tagOtherPatientIDsSequence, VR: "SQ", Items: row.items}}}
		q, err := newQuery(model, id, extensions{})
		if (err != nil) != row.refused {
			t.Errorf("%v: %v", row.items, err)
		}
		if err != nil {
			continue
		}
		n := 0
		for e, err := range q.matches(t.Context(), s, "DCMGATE") {
			if n++; err != nil {
				t.Fatal(err)
			}
			id, _ := e.answer()
			if a := id.Find(tagOtherPatientIDsSequence); row.matches == 1 && (len(a.Items) != 2 || len(a.Items[0]) != 1 || a.Items[1][0].Values[0] != "X2") {
				t.Errorf("%v: answer %+v", row.items, a)
			}
		}
		if n != row.matches || q.partly != row.partly {
			t.Errorf("%v: %d matches, partly %v", row.items, n, q.partly)
		}
	}
	if _, err := newQuery(model, &Identifier{}, extensions{}); err == nil || err.(*refusal).status != dimse.StatusDataSetMismatch {
		t.Errorf("no level: %v", err)
	}
}
