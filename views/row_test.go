package views

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dcmgate/dicom"
	"dcmgate/spool"
)

// The sums of what was extracted from the standard: a change of the lists must be a decision.
func TestStandardIsUnchanged(t *testing.T) {
	for _, f := range []struct {
		name, sum string
		data      []byte
	}{
		{"standard.json", "2c6638f62b001e063af50cedea31b0072944505c67737f6106832d7b54ac5a73", standardJSON},
		{"modalities.json", "0a65d15f442ce16e740308859e3ffce6ecc02ed0ac9d229f176685c48939bc94", modalitiesJSON},
	} {
		if sum := sha256.Sum256(f.data); hex.EncodeToString(sum[:]) != f.sum {
			t.Errorf("%s is not what was extracted: %x", f.name, sum)
		}
	}
	source, err := os.ReadFile("../../shared/standard/views.json")
	if err != nil {
		t.Skip("the checksums agree; the document's own list to compare with as well is not beside this clone")
	}
	var all, ours []json.RawMessage
	if json.Unmarshal(source, &all) != nil || json.Unmarshal(standardJSON, &ours) != nil {
		t.Fatal("not JSON")
	}
	for _, v := range ours {
		if !slices.ContainsFunc(all, func(s json.RawMessage) bool { return bytes.Equal(compact(s), compact(v)) }) {
			t.Errorf("not in the source: %.80s", v)
		}
	}
}

func compact(m json.RawMessage) []byte {
	var b bytes.Buffer
	if json.Compact(&b, m) != nil {
		return nil
	}
	return b.Bytes()
}

func TestEveryColumnIsMade(t *testing.T) {
	for _, v := range []View{StudyInfo, DocImage} {
		for _, c := range v.Columns {
			if makers[c.Name] == nil {
				t.Errorf("%s.%s has no value", v.Name, c.Name)
			}
		}
	}
	if len(StudyInfo.Columns) != 10 || len(DocImage.Columns) != 21 || len(modalities) != 39 {
		t.Errorf("%d, %d columns, %d modalities", len(StudyInfo.Columns), len(DocImage.Columns), len(modalities))
	}
}

var beijing = time.FixedZone("", 8*3600)

func settings() *Settings {
	return &Settings{Institution: hospital, Quiet: time.Minute, Location: beijing}
}

// instance is an indexed object.
func instance(t testing.TB, o object) *spool.Instance {
	return &spool.Instance{
		ID: 0x1234, StudyInstanceUID: dicom.UID(o["StudyInstanceUID"]), SeriesInstanceUID: dicom.UID(o["SeriesInstanceUID"]), SOPInstanceUID: dicom.UID(o["SOPInstanceUID"]),
		CallingAETitle: "CT1", Metadata: o.metadata(t),
	}
}

// named gives a row's values names.
func named(v View, r Row) map[string]any {
	out := map[string]any{}
	for i, c := range v.Columns {
		out[c.Name] = r.Values[i]
	}
	return out
}

func TestStudyRow(t *testing.T) {
	now := time.Date(2024, 2, 1, 0, 0, 0, 0, time.UTC)
	study := &spool.Study{StudyInstanceUID: "1.1", Newest: *instance(t, complete), Modalities: []string{"SR", "CT"}, LastReceived: now.Add(-time.Minute)}
	r := settings().StudyRow(study, 2, 30, now)
	want := map[string]any{
		"HospCode": "12511000000000000X", "HostName": "内江市示例医院", "AccessionNumber": "A1", "StudyInstanceUID": "1.1", "PatID": "P1", "Modality": "CT",
		"StudyDate": "2024-01-31", "StudyTime": "2024-01-31 23:59:01", "Instancecount": int64(2), "imagecount": int64(30),
	}
	if got := named(StudyInfo, r); !reflect.DeepEqual(got, want) || !r.Complete || r.Lacking || len(r.Gaps) > 0 {
		t.Errorf("%v, complete %v, gaps %v", got, r.Complete, r.Gaps)
	}
	swapped := settings()
	swapped.SwapCounts = true
	swapped.Quiet = time.Minute + 1
	r = swapped.StudyRow(study, 2, 30, now)
	if got := named(StudyInfo, r); got["Instancecount"] != int64(30) || got["imagecount"] != int64(2) || r.Complete {
		t.Errorf("swapped: %v, complete %v", got, r.Complete)
	}
}

func TestImageRow(t *testing.T) {
	r := settings().ImageRow(instance(t, complete), File{Path: "/images/1.dcm", State: FileReady})
	want := map[string]any{
		"HospCode": "12511000000000000X", "HostName": "内江市示例医院", "PatName": "张三", "BirthDate": "1970-01-02", "PatSex": "M", "PatAge": "54岁",
		"AccessionNumber": "A1", "StudyInstanceUID": "1.1", "PatID": "P1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1",
		"StudyTime": "2024-01-31 23:59:01", "SeriesTime": "2024-01-31 23:59:02", "AcquisitionTime": "2024-02-01 00:00:03", "Modality": "CT",
		"SeriesNumber": "2", "AcquisitionNumber": "3", "InstanceNumber": "4", "FilePathName": "/images/1.dcm", "Manufacturer": "联影", "RelationField": "0000000000001234",
	}
	if got := named(DocImage, r); !reflect.DeepEqual(got, want) || !r.Complete || r.Lacking || len(r.Gaps) > 0 {
		t.Errorf("%v, gaps %v", got, r.Gaps)
	}
}

func TestValues(t *testing.T) {
	for _, test := range []struct {
		column string
		object object
		want   any
	}{
		// Ages, 10天, 10月, 10岁 (4.2.5, errata 37).
		{"PatAge", object{"PatientAge": "010D"}, "10天"},
		{"PatAge", object{"PatientAge": "000D"}, "0天"},
		{"PatAge", object{"PatientAge": "003W"}, "21天"},
		{"PatAge", object{"PatientAge": "200W"}, "46月"},
		{"PatAge", object{"PatientAge": "010M"}, "10月"},
		{"PatAge", object{"PatientAge": "102Y"}, "102岁"},
		{"PatAge", object{"PatientAge": "999Y"}, "999岁"},
		{"PatAge", object{"PatientAge": "", "PatientBirthDate": "20240130"}, "1天"},
		{"PatAge", object{"PatientAge": "abcY", "PatientBirthDate": "20231230"}, "1月"},
		{"PatAge", object{"PatientAge": "", "PatientBirthDate": "20230201"}, "11月"},
		{"PatAge", object{"PatientAge": "", "PatientBirthDate": "20230131"}, "1岁"},
		{"PatAge", object{"PatientAge": "", "PatientBirthDate": "20240201"}, nil},
		{"PatAge", object{"PatientAge": "", "PatientBirthDate": ""}, nil},
		// Names in the object's own character set.
		{"PatName", object{"PatientName": "Zhang^San"}, "Zhang San"},
		{"PatName", object{"PatientName": "张^三"}, "张三"},
		{"PatName", object{"PatientName": "王小东"}, "王小东"},
		{"PatName", object{"PatientName": "SMITH^ANN^^DR"}, "SMITH ANN DR"},
		{"PatName", object{"SpecificCharacterSet": "ISO_IR 192", "PatientName": "Müller^Jörg"}, "Müller Jörg"},
		{"PatName", object{"SpecificCharacterSet": "", "PatientName": raw + "\xcd\xf5^\xd0\xa1\xb6\xab"}, "王小东"}, // GBK without a label
		{"PatName", object{"PatientName": "O'Neil\"; DROP TABLE dcmgate_study; --"}, "O'Neil\"; DROP TABLE dcmgate_study; --"},
		{"PatName", object{"PatientName": "a\x00b\x1bc"}, "abc"},
		{"PatName", object{"PatientName": ""}, nil},
		{"PatSex", object{"PatientSex": "f"}, "F"},
		{"PatSex", object{"PatientSex": "U"}, "O"},
		{"PatSex", object{"PatientSex": ""}, nil},
		// Dates and times with the object's own zone.
		{"StudyTime", object{"TimezoneOffsetFromUTC": "+0000"}, "2024-02-01 07:59:01"},
		{"StudyTime", object{"TimezoneOffsetFromUTC": "+0800"}, "2024-01-31 23:59:01"},
		{"StudyTime", object{"TimezoneOffsetFromUTC": "-0530"}, "2024-02-01 13:29:01"},
		{"StudyTime", object{"TimezoneOffsetFromUTC": "nonsense"}, "2024-01-31 23:59:01"},
		{"StudyTime", object{"StudyTime": "1201"}, "2024-01-31 12:01:00"},
		{"StudyTime", object{"StudyTime": "12"}, "2024-01-31 12:00:00"},
		{"StudyTime", object{"StudyTime": "235960"}, "2024-01-31 23:59:59"},
		{"StudyTime", object{"StudyDate": "2024.01.31", "StudyTime": "12:01:02"}, "2024-01-31 12:01:02"},
		{"StudyTime", object{"StudyTime": "2561"}, nil},
		{"StudyTime", object{"StudyTime": ""}, nil},
		{"StudyTime", object{"StudyDate": "20240230"}, nil},
		{"StudyTime", object{"StudyDate": "00010101", "TimezoneOffsetFromUTC": "+1400"}, nil},
		{"AcquisitionTime", object{"AcquisitionDateTime": "20240203040506.123456+0000"}, "2024-02-03 12:05:06"},
		{"AcquisitionTime", object{"AcquisitionDateTime": "2024020304"}, "2024-02-03 04:00:00"},
		{"AcquisitionTime", object{"AcquisitionDate": ""}, nil},
		{"BirthDate", object{"PatientBirthDate": "19000101"}, "1900-01-01"},
		{"BirthDate", object{"PatientBirthDate": "1970"}, nil},
		// Table 8.
		{"Modality", object{"Modality": "DX"}, "DX"},
		{"Modality", object{"Modality": "DR"}, "DR"},
		{"Modality", object{"Modality": ""}, nil},
	} {
		r := settings().ImageRow(instance(t, complete.with(test.object)), File{Path: "/x", State: FileReady})
		if got := named(DocImage, r)[test.column]; got != test.want {
			t.Errorf("%s of %q: %v, want %v", test.column, test.object, got, test.want)
		}
	}
	s := settings()
	s.Modalities, s.UnknownModality = map[string]string{"DR": "DX"}, "OT"
	for codes, want := range map[string]string{"DR": "DX", "OPT": "OT", "CT": "CT", "CT PT": "PT", "SR": "SR", "KO": "OT", "MR CT": "CT", "": ""} {
		if got := s.ModalityOf(strings.Fields(codes)); got != want {
			t.Errorf("modality of %q: %s, want %s", codes, got, want)
		}
	}
}

func TestCampuses(t *testing.T) {
	s := settings()
	s.Campuses = []Campus{{AETitles: []string{"CT2", "MR2"}, Institution: Institution{Name: "内江市示例医院（东院区）"}}, {AETitles: []string{"US1"}, Institution: Institution{Code: "12511000000000001X"}}}
	for ae, want := range map[string]Institution{
		"CT1": hospital, "MR2": {hospital.Code, "内江市示例医院（东院区）"}, "US1": {"12511000000000001X", hospital.Name},
	} {
		in := instance(t, complete)
		in.CallingAETitle = ae
		got := named(DocImage, s.ImageRow(in, File{}))
		if got["HospCode"] != want.Code || got["HostName"] != want.Name {
			t.Errorf("%s: %v, %v", ae, got["HospCode"], got["HostName"])
		}
	}
}

func TestGapsAndRules(t *testing.T) {
	lacking := complete.with(object{"AccessionNumber": "", "StudyID": "20240131-77", "StudyTime": "", "PatientID": strings.Repeat("长", 70), "InstitutionName": "East", "StationName": ""})
	plain := settings().ImageRow(instance(t, lacking), File{Path: "/x", State: FileReady})
	if want := []string{"AccessionNumber missing", "PatID too long", "StudyTime missing"}; !slices.Equal(plain.Gaps, want) || !plain.Lacking {
		t.Errorf("gaps %v", plain.Gaps)
	}
	if id := named(DocImage, plain)["PatID"]; id != strings.Repeat("长", 64) {
		t.Errorf("PatID is cut to %v", id)
	}
	element := func(keyword string) dicom.Tag {
		tag, err := ElementNamed(keyword)
		if err != nil {
			t.Fatal(err)
		}
		return tag
	}
	s := settings()
	s.Rules = []Rule{
		{Column: "AccessionNumber", From: []dicom.Tag{element("StudyID")}, Match: regexp.MustCompile(`^X(\d+)$`), Value: "$1"},
		{Column: "AccessionNumber", From: []dicom.Tag{element("StudyID")}, Match: regexp.MustCompile(`^\d+-(\d+)$`), Value: "ACC$1"},
		{Column: "StudyTime", From: []dicom.Tag{element("SeriesDate"), element("SeriesTime")}},
		{Column: "HostName", Always: true, From: []dicom.Tag{element("InstitutionName")}, Lookup: map[string]string{"East": "东院区"}},
		{Column: "SeriesNumber", Value: "constant, but it is not empty"},
		{Column: "BirthDate", Always: true, Value: "1980-02-03"},
	}
	got := named(DocImage, s.ImageRow(instance(t, lacking), File{Path: "/x", State: FileReady}))
	for column, want := range map[string]any{"AccessionNumber": "ACC77", "StudyTime": "2024-01-31 23:59:02", "HostName": "东院区", "SeriesNumber": "2", "BirthDate": "1980-02-03"} {
		if got[column] != want {
			t.Errorf("%s: %v, want %v", column, got[column], want)
		}
	}
}

func TestElementsOfRules(t *testing.T) {
	for _, keyword := range []string{"PixelData", "Nonsense", ""} {
		if _, err := ElementNamed(keyword); err == nil {
			t.Errorf("%q may be used", keyword)
		}
	}
}

func TestReadLookup(t *testing.T) {
	path := t.TempDir() + "/lookup.csv"
	for text, want := range map[string]string{
		"\uFEFF# comment\n\nEast , 东院区\r\nWest,西,院区\n": "map[East:东院区 West:西,院区]",
		"no comma\n": path + ":1: not KEY,VALUE",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		table, err := ReadLookup(path)
		if got := fmt.Sprint(table); got != want && (err == nil || err.Error() != want) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
}

// FuzzRow holds rows to what every database takes: valid UTF-8 without control characters, lengths, real dates.
func FuzzRow(f *testing.F) {
	f.Add("GB18030", "Zhang^San", "20240131", "235901", "010Y", "+0800", "CT")
	f.Add("ISO 2022 IR 58", "\x1b$)A\xcd\xf5", "00010101", "99", "999W", "-9999", "\x00")
	f.Fuzz(func(t *testing.T, charset, name, date, clock, years, offset, modality string) {
		var m spool.Metadata
		for tag, value := range map[dicom.Tag]string{
			dicom.TagSpecificCharacterSet: charset, dicom.TagPatientName: name, dicom.TagStudyDate: date, dicom.TagStudyTime: clock, dicom.TagPatientAge: years,
			dicom.TagTimezoneOffsetFromUTC: offset, dicom.TagModality: modality, dicom.TagAcquisitionDateTime: date + clock + offset, dicom.TagPatientBirthDate: date, dicom.TagAccessionNumber: name,
		} {
			m.Elements = append(m.Elements, dicom.Element{Tag: tag, VR: dicom.TagVR(tag), Value: []byte(value)})
		}
		r := settings().ImageRow(&spool.Instance{Metadata: m, StudyInstanceUID: dicom.UID(name)}, File{})
		for i, c := range DocImage.Columns {
			checkValue(t, c, r.Values[i])
		}
	})
}

func checkValue(t *testing.T, c Column, v any) {
	s, ok := v.(string)
	switch {
	case v == nil:
	case !ok:
		t.Errorf("%s is %T", c.Name, v)
	case c.Type == "date":
		if at, err := time.Parse(dateForm, s); err != nil || at.Year() < 1000 {
			t.Errorf("%s %q: %v", c.Name, s, err)
		}
	case c.Type == "datetime":
		if at, err := time.Parse(dateTimeForm, s); err != nil || at.Year() < 1000 {
			t.Errorf("%s %q: %v", c.Name, s, err)
		}
	case strings.ToValidUTF8(s, "") != s || clean(s) != s && len([]rune(s)) < c.Length || len([]rune(s)) > c.Length:
		t.Errorf("%s %q", c.Name, s)
	}
}

// TestHashesOfRowsStay: other ones would have every row of every database written again.
func TestHashesOfRowsStay(t *testing.T) {
	r := Row{Values: []any{`A"1张`, int64(2), nil}, Gaps: []string{"PatID missing"}, State: FileReady}
	// SHA-256 of: string "A\"1张" NUL int64 "2" NUL <nil> "<nil>" NUL PatID missing NUL ready
	if r.sum(); r.Hash != "da3f647f432fbf7712c0a455d9302db0" {
		t.Error(r.Hash)
	}
}
