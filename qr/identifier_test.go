package qr

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/internal/peertest"
)

var identifierSyntaxes = []dicom.UID{dicom.ImplicitVRLittleEndian, dicom.ExplicitVRLittleEndian, dicom.ExplicitVRBigEndian, dicom.DeflatedExplicitVRLittleEndian}

func TestIdentifierRoundTrip(t *testing.T) {
	id := &Identifier{Attributes: []Attribute{
		{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{"IMAGE"}},
		{Tag: tagModalitiesInStudy, VR: "CS", Values: []string{"CT", "SR"}},
		{Tag: 0x00081111, VR: "SQ", Items: [][]Attribute{{{Tag: dicom.TagPatientName, VR: "PN", Values: []string{"王^小东"}}}}},
		{Tag: dicom.TagPatientName, VR: "PN", Values: []string{"Wang^XiaoDong=王^小东"}},
		{Tag: dicom.TagPatientID, VR: "LO"},
		{Tag: dicom.TagStudyInstanceUID, VR: "UI", Values: []string{"1.2", "1.2.3"}},
		{Tag: dicom.TagRows, VR: "US", Values: []string{"512"}},
	}}
	for _, charset := range []string{"ISO_IR 192", "GB18030", "GBK", `\ISO 2022 IR 58`} {
		id.CharacterSet = charset
		for _, ts := range identifierSyntaxes {
			data, err := id.Encode(ts)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseIdentifier(data, ts, "")
			if err != nil || !reflect.DeepEqual(got, id) {
				t.Errorf("%s, %s: got %+v, %v", charset, ts, got, err)
			}
		}
	}
}

// The same name as queries bring it.
func TestCharacterSetOfQueries(t *testing.T) {
	for _, row := range []struct {
		name, declared, peer, bytes string
		text, answered              string
	}{
		{"UTF-8", "ISO_IR 192", "", "王^小东", "王^小东", "ISO_IR 192"},
		{"GB18030", "GB18030", "", "\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东", "GB18030"},
		{"GBK", "GBK", "", "\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东", "GBK"},
		{"ISO 2022 IR 58", `\ISO 2022 IR 58`, "", "\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab", "王^小东", `\ISO 2022 IR 58`},
		{"latin 1", "ISO_IR 100", "", "M\xfcller", "Müller", "ISO_IR 100"},
		{"GBK without saying so", "", "", "\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东", "GB18030"},
		{"GBK said to be UTF-8", "ISO_IR 192", "", "\xcd\xf5^\xd0\xa1\xb6\xab", "王^小东", "GB18030"},
		{"UTF-8 without saying so", "", "", "王^小东", "王^小东", "ISO_IR 192"},
		{"as configured", "", "GBK", "\xcd\xf5^\xd0\xa1", "王^小", "GBK"},
		{"what is said counts", "ISO_IR 100", "GBK", "M\xfcller", "Müller", "ISO_IR 100"},
		{"plain", "", "", "WANG", "WANG", ""},
	} {
		elements := []dicom.DataElement{{Tag: dicom.TagPatientName, VR: "PN", Value: []byte(row.bytes)}}
		if row.declared != "" {
			elements = append(elements, dicom.DataElement{Tag: dicom.TagSpecificCharacterSet, VR: "CS", Value: []byte(row.declared)})
		}
		data, err := dicom.EncodeElements(elements, dicom.ImplicitVRLittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		id, err := ParseIdentifier(data, dicom.ImplicitVRLittleEndian, row.peer)
		if err != nil || len(id.Attributes) != 1 || id.Attributes[0].Values[0] != row.text || id.CharacterSet != row.answered {
			t.Errorf("%s: got %+v, %v", row.name, id, err)
		}
	}
}

func TestCharacterSetOfAnswers(t *testing.T) {
	for _, row := range []struct{ asked, name, want string }{
		{"", "WANG", "ISO_IR 100"},
		{"", "王", "ISO_IR 192"},
		{"ISO_IR 100", "Müller", "ISO_IR 100"},
		{"ISO_IR 100", "王", "ISO_IR 192"},
		{"GB18030", "王", "GB18030"},
		{"GBK", "Peña", "ISO_IR 192"},
		{`\ISO 2022 IR 58`, "王", `\ISO 2022 IR 58`},
	} {
		id := &Identifier{Attributes: []Attribute{{Tag: dicom.TagPatientName, VR: "PN", Values: []string{row.name}}}}
		if got := answerCharset(row.asked, id); got != row.want {
			t.Errorf("asked in %q for %s: got %q", row.asked, row.name, got)
		}
	}
}

// Names as pydicom's files have them, asked for in the file's own character set.
func TestNamesOfCharacterSetFiles(t *testing.T) {
	found := 0
	for _, path := range peertest.PydicomFiles(t) {
		if filepath.Base(filepath.Dir(path)) != "charset_files" || strings.HasPrefix(filepath.Base(path), "chrSQ") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		meta, at, err := dicom.ReadFileMeta(strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		scan := dicom.NewScanner(meta.TransferSyntaxUID, []dicom.Tag{dicom.TagSpecificCharacterSet, dicom.TagPatientName})
		_, _ = scan.Write(data[at:])
		charset, _ := scan.Value(dicom.TagSpecificCharacterSet)
		name, _ := scan.Value(dicom.TagPatientName)
		query, err := dicom.EncodeElements([]dicom.DataElement{{Tag: dicom.TagSpecificCharacterSet, VR: "CS", Value: charset},
			{Tag: dicom.TagPatientName, VR: "PN", Value: name}}, dicom.ExplicitVRLittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		id, err := ParseIdentifier(query, dicom.ExplicitVRLittleEndian, "")
		if err != nil {
			t.Fatal(err)
		}
		match, err := newMatcher(&id.Attributes[0], false)
		if err != nil || !match([]string{dicom.Text(charset, name, "PN")}) {
			t.Errorf("%s does not match itself: %v", filepath.Base(path), err)
		}
		if strings.Contains(id.Attributes[0].Values[0], "\uFFFD") {
			t.Errorf("%s: %q", filepath.Base(path), id.Attributes[0].Values[0])
		}
		found++
	}
	if found < 12 {
		t.Errorf("only %d files", found)
	}
}

func TestIdentifiersBeyondBounds(t *testing.T) {
	encode := func(e ...dicom.DataElement) []byte {
		data, err := dicom.EncodeElements(e, dicom.ExplicitVRLittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	var many []dicom.DataElement
	for i := range maxAttributes + 1 {
		many = append(many, dicom.DataElement{Tag: dicom.NewTag(0x0011, 0x1000+uint16(i)), VR: "LO"})
	}
	nested := dicom.DataElement{Tag: 0x00081111, VR: "SQ", Items: [][]dicom.DataElement{{}}}
	for range 100 {
		nested = dicom.DataElement{Tag: 0x00081111, VR: "SQ", Items: [][]dicom.DataElement{{nested}}}
	}
	for name, data := range map[string][]byte{
		"long":       make([]byte, MaxIdentifier+1),
		"long value": encode(dicom.DataElement{Tag: dicom.TagPatientID, VR: "LO", Value: make([]byte, maxValue+2)}),
		"many":       encode(many...),
		"deep":       encode(nested),
		"cut":        encode(dicom.DataElement{Tag: dicom.TagPatientID, VR: "LO", Value: []byte("12345678")})[:12],
	} {
		if _, err := ParseIdentifier(data, dicom.ExplicitVRLittleEndian, ""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzParseIdentifier(f *testing.F) {
	id := &Identifier{CharacterSet: "GB18030", Attributes: []Attribute{
		{Tag: dicom.TagQueryRetrieveLevel, VR: "CS", Values: []string{"STUDY"}},
		{Tag: dicom.TagStudyDate, VR: "DA", Values: []string{"20240101-"}},
		{Tag: dicom.TagPatientName, VR: "PN", Values: []string{"王*"}},
		{Tag: 0x00081111, VR: "SQ", Items: [][]Attribute{{{Tag: dicom.TagPatientID, VR: "LO", Values: []string{"1"}}}}},
	}}
	id.Attributes = append(id.Attributes, Attribute{Tag: 0x00400275, VR: "SQ", Items: [][]Attribute{{
		{Tag: 0x00400008, VR: "SQ", Items: [][]Attribute{{{Tag: 0x00080100, VR: "SH", Values: []string{"A*"}}}}}}}})
	for i, ts := range identifierSyntaxes {
		data, err := id.Encode(ts)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, byte(i))
	}
	f.Fuzz(func(t *testing.T, data []byte, syntax byte) {
		ts := identifierSyntaxes[int(syntax)%len(identifierSyntaxes)]
		id, err := ParseIdentifier(data, ts, "")
		if err != nil {
			return
		}
		for _, m := range models {
			_, _ = newQuery(m, id, extensions{relational: true, dateTime: true, fuzzy: syntax&0x80 != 0})
		}
		encoded, err := id.Encode(ts)
		if err != nil {
			return // a value that is longer in another character set or form
		}
		// An attribute that comes with another VR than its own need not be readable again: no demand but that nothing breaks.
		_, _ = ParseIdentifier(encoded, ts, "")
	})
}
