package cloud

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// column is a field as the standard's tables have it; testdata/203.json holds those of 203.
type column struct {
	Name   string
	Length int
}

func columns(t *testing.T, view string) []column {
	t.Helper()
	var views []struct {
		View    string
		Columns []column
	}
	data, err := os.ReadFile("testdata/203.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &views); err != nil {
		t.Fatal(err)
	}
	for _, v := range views {
		if v.View == view {
			return v.Columns
		}
	}
	t.Fatalf("no %s", view)
	return nil
}

func TestImageHasTheFieldsOfTheStandard(t *testing.T) {
	fields := reflect.TypeFor[Image]()
	var got, want []string
	for i := range fields.NumField() {
		got = append(got, fields.Field(i).Tag.Get("json"))
	}
	for _, c := range columns(t, "203.response") {
		want = append(want, c.Name)
		if c.Name == "dcmDownloadUrl" && c.Length != MaxDownloadURL {
			t.Errorf("dcmDownloadUrl has %d characters", c.Length)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if len(want) != 11 {
		t.Errorf("%d fields", len(want))
	}
}

func TestAnswer(t *testing.T) {
	var b strings.Builder
	w := NewAnswerWriter(&b)
	images := []Image{{HospitalName: "内江市", SOPInstanceUID: "1.2"}, {PatNo: `"<&>`, DownloadURL: "https://h/x?a=1&b=2"}}
	for i := range images {
		if err := w.Add(&images[i]); err != nil {
			t.Fatal(err)
		}
	}
	if json.Valid([]byte(b.String())) {
		t.Error("a part is a whole document")
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	var got Answer
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatalf("%v: %s", err, b.String())
	}
	if want := (Answer{Code: "N0000", Message: "成功", Result: images}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	b.Reset()
	if err := NewAnswerWriter(&b).End(); err != nil || b.String() != `{"code":"N0000","message":"成功","result":[]}`+"\n" {
		t.Errorf("%v, %s", err, b.String())
	}
}

// Errata 54, 57 and 74: other cases, the old name, numbers.
func TestImageOfAnotherPlatform(t *testing.T) {
	for text, want := range map[string]Image{
		`{"HOSPITALCODE":"1","seriesNumber":3,"PatientID":"P","sopInstanceUid":"1.2","more":{"x":[1]},"modality":null}`: {HospitalCode: "1", SeriesNumber: "3", PatNo: "P", SOPInstanceUID: "1.2"},
		`{"PatientID":"old","PatNo":"new"}`: {PatNo: "new"},
		`{"PatNo":"new","patientId":"old"}`: {PatNo: "new"},
	} {
		for range 20 { // the order of a map
			var got Image
			if err := json.Unmarshal([]byte(text), &got); err != nil || got != want {
				t.Fatalf("%s: %+v, %v", text, got, err)
			}
		}
	}
}

func TestParseRetrieveRequest(t *testing.T) {
	long := strings.Repeat("1", 65)
	for _, row := range []struct {
		query string
		wrong string // parameter
	}{
		{"HospitalCode=05871212&StudyInstanceUID=1.2.3&Signature=AB", ""},
		{"hospitalCode=05871212&studyinstanceuid=1.2.3&signature=ab", ""},
		{"HospitalCode=05871212&StudyInstanceUID=1.2.3&timeStamp=1589167913&areaId=7&accessKey=k", ""},
		{"StudyInstanceUID=1.2.3&Signature=AB", "HospitalCode"},
		{"HospitalCode=&StudyInstanceUID=1.2.3", "HospitalCode"},
		{"HospitalCode=1", "StudyInstanceUID"},
		{"", "HospitalCode"},
		{"HospitalCode=1&StudyInstanceUID=" + long, "StudyInstanceUID"},
		{"HospitalCode=12345678901234567890123&StudyInstanceUID=1", "HospitalCode"},
		{"HospitalCode=1&StudyInstanceUID=1'%20OR%201=1--", "StudyInstanceUID"},
		{"HospitalCode=1&StudyInstanceUID=../../etc/passwd", "StudyInstanceUID"},
		{"HospitalCode=1&StudyInstanceUID=1.2*", "StudyInstanceUID"},
		{"HospitalCode=1&StudyInstanceUID=1.2%00", "StudyInstanceUID"},
		{"HospitalCode=1%0a2&StudyInstanceUID=1", "HospitalCode"},
		{"HospitalCode=%E5%8C%BB&StudyInstanceUID=1", "HospitalCode"},
		{"HospitalCode=1&StudyInstanceUID=1&Signature=" + strings.Repeat("A", 257), "Signature"},
		{"HospitalCode=1&StudyInstanceUID=1&accessKey=" + strings.Repeat("A", 257), "accessKey"},
		{"HospitalCode=1&HospitalCode=2&StudyInstanceUID=1", "query"},
		{"HospitalCode=1&hospitalcode=1&StudyInstanceUID=1", "query"},
		{"HospitalCode=1;StudyInstanceUID=1", "query"},
		{"HospitalCode=%zz&StudyInstanceUID=1", "query"},
		{"HospitalCode=1&StudyInstanceUID=1&a=1&b=&c=&d=&e=&f=&g=&h=&i=&j=&k=&l=&m=&n=&o=", "query"},
		{"HospitalCode=1&StudyInstanceUID=1&a=" + strings.Repeat("A", 4096), "query"},
		{"HospitalCode=1&StudyInstanceUID=1&timeStamp=now", "timeStamp"},
		{"HospitalCode=1&StudyInstanceUID=1&timeStamp=-5", "timeStamp"},
		{"HospitalCode=1&StudyInstanceUID=1&timeStamp=99999999999999", "timeStamp"},
	} {
		rq, err := ParseRetrieveRequest(row.query)
		wrong, _ := errors.AsType[*ParameterError](err)
		switch {
		case row.wrong == "" && (err != nil || rq.StudyInstanceUID != "1.2.3" || rq.HospitalCode != "05871212"):
			t.Errorf("%s: %+v, %v", row.query, rq, err)
		case row.wrong != "" && (wrong == nil || wrong.Name != row.wrong):
			t.Errorf("%s: %v, want %s", row.query, err, row.wrong)
		}
	}
}

// What is signed are the request's own parameters, with the names they have there.
func TestSignedParameters(t *testing.T) {
	rq, err := ParseRetrieveRequest("hospitalCode=0587&Signature=AB&StudyInstanceUID=1.2&timeStamp=1620365451221&accessKey=k")
	if err != nil {
		t.Fatal(err)
	}
	want := []Parameter{{"StudyInstanceUID", "1.2"}, {"hospitalCode", "0587"}, {"timeStamp", "1620365451221"}}
	if !slices.Equal(rq.Signed, want) || rq.AccessKey != "k" || !rq.TimeStamp.Equal(time.UnixMilli(1620365451221)) {
		t.Errorf("%+v", rq)
	}
	if rq, err := ParseRetrieveRequest("hospitalCode=1&StudyInstanceUID=1&timeStamp=1589167913"); err != nil || !rq.TimeStamp.Equal(time.Unix(1589167913, 0)) {
		t.Errorf("seconds: %v, %v", rq.TimeStamp, err)
	}
}

func TestCodes(t *testing.T) {
	for code, want := range map[Code][2]bool{"N0000": {true, false}, "N000": {true, false}, "E0000": {}, "E0001": {}, "E0002": {false, true}, "E9000": {false, true}, "": {}} {
		if code.OK() != want[0] || code.BadSignature() != want[1] {
			t.Errorf("%s: %v %v", code, code.OK(), code.BadSignature())
		}
	}
}

func FuzzParseRetrieveRequest(f *testing.F) {
	for _, seed := range []string{"HospitalCode=05871212&StudyInstanceUID=1.2.3&Signature=AB&timeStamp=1", "a=%00&&=&%=", "HOSPITALcode=%F0%9F%98%80"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		rq, err := ParseRetrieveRequest(query)
		if err != nil {
			if !errors.As(err, new(*ParameterError)) {
				t.Fatalf("%T", err)
			}
			return
		}
		if len(rq.StudyInstanceUID) > 64 || strings.Trim(rq.StudyInstanceUID, "0123456789.") != "" || rq.HospitalCode == "" || len(rq.Signed) > 16 {
			t.Fatalf("%+v", rq)
		}
	})
}

func FuzzImage(f *testing.F) {
	f.Add([]byte(`{"PatientID":"a","seriesNumber":1e3}`))
	f.Add([]byte(`{"dcmDownloadUrl":"\ud800"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var i Image
		if json.Unmarshal(data, &i) == nil {
			b, err := json.Marshal(&i)
			if err != nil {
				t.Fatal(err)
			}
			var again Image
			if err := json.Unmarshal(b, &again); err != nil || again != i {
				t.Fatalf("%+v, %+v, %v", i, again, err)
			}
		}
	})
}
