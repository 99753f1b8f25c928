package qr

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// What makes no sense gets the right status, a comment, the element at fault, a line in the log without values, and is counted.
func TestBadInput(t *testing.T) {
	var log bytes.Buffer
	scp := New(Options{Index: patients(t), AETitle: "DCMGATE", Logger: slog.New(slog.NewTextHandler(&log, nil)), Registerer: prometheus.NewRegistry()})
	element := func(tag dicom.Tag, vr, value string) dicom.DataElement {
		return dicom.DataElement{Tag: tag, VR: vr, Value: []byte(value)}
	}
	level := element(dicom.TagQueryRetrieveLevel, "CS", "STUDY ")
	encode := func(elements ...dicom.DataElement) []byte {
		slices.SortFunc(elements, func(a, b dicom.DataElement) int { return int(int64(a.Tag) - int64(b.Tag)) })
		data, err := dicom.EncodeElements(elements, dicom.ImplicitVRLittleEndian)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	deep := dicom.DataElement{Tag: 0x00400275, VR: "SQ", Items: [][]dicom.DataElement{{}}}
	for range 100 {
		deep = dicom.DataElement{Tag: 0x00400275, VR: "SQ", Items: [][]dicom.DataElement{{deep}}}
	}
	twoItems := dicom.DataElement{Tag: 0x00081032, VR: "SQ", Items: [][]dicom.DataElement{{}, {}}}
	inItem := dicom.DataElement{Tag: 0x00081032, VR: "SQ", Items: [][]dicom.DataElement{{element(dicom.TagStudyDate, "DA", "SECRET")}}}
	for _, row := range []struct {
		name   string
		class  dicom.UID
		data   []byte
		status dimse.Status
		tags   []dicom.Tag
	}{
		{"empty", StudyRootFind, nil, dimse.StatusDataSetMismatch, []dicom.Tag{dicom.TagQueryRetrieveLevel}},
		{"no data set", StudyRootFind, []byte("SECRET THAT IS NO DATA SET"), dimse.StatusDataSetMismatch, nil},
		{"cut", StudyRootFind, encode(level, element(dicom.TagPatientID, "LO", "SECRET"))[:20], dimse.StatusDataSetMismatch, nil},
		{"too long", StudyRootFind, bytes.Repeat([]byte{0}, MaxIdentifier+1), dimse.StatusDataSetMismatch, nil},
		{"huge value", StudyRootFind, encode(level, element(dicom.TagPatientID, "LO", strings.Repeat("SECRET", 1000))), dimse.StatusDataSetMismatch, []dicom.Tag{dicom.TagPatientID}},
		{"deep", StudyRootFind, encode(level, deep), dimse.StatusDataSetMismatch, nil},
		{"length beyond the end", StudyRootFind, append(encode(level), 0x10, 0, 0x20, 0, 0xFF, 0xFF, 0xFF, 0x7F), dimse.StatusDataSetMismatch, nil},
		{"two levels", StudyRootFind, encode(element(dicom.TagQueryRetrieveLevel, "CS", `STUDY\SERIES`)), dimse.StatusDataSetMismatch, []dicom.Tag{dicom.TagQueryRetrieveLevel}},
		{"level of another model", PatientStudyOnlyFind, encode(element(dicom.TagQueryRetrieveLevel, "CS", "IMAGE ")), dimse.StatusDataSetMismatch, []dicom.Tag{dicom.TagQueryRetrieveLevel}},
		{"no unique key", StudyRootFind, encode(element(dicom.TagQueryRetrieveLevel, "CS", "SERIES")), dimse.StatusDataSetMismatch, []dicom.Tag{dicom.TagStudyInstanceUID}},
		{"no time", StudyRootFind, encode(level, element(dicom.TagStudyTime, "TM", "SECRET")), dimse.StatusDataSetMismatch, []dicom.Tag{dicom.TagStudyTime}},
		{"no number", StudyRootFind, encode(level, element(dicom.TagPatientWeight, "DS", "SECRET")), dimse.StatusDataSetMismatch, []dicom.Tag{dicom.TagPatientWeight}},
		{"two items", StudyRootFind, encode(level, twoItems), dimse.StatusDataSetMismatch, []dicom.Tag{0x00081032}},
		{"no date in an item", StudyRootFind, encode(level, inItem), dimse.StatusDataSetMismatch, []dicom.Tag{0x00081032}},
		{"unknown SOP class", "1.2.840.10008.5.1.4.1.2.9.9", encode(level), dimse.StatusSOPClassNotSupported, nil},
	} {
		log.Reset()
		w := &responses{}
		scp.Find(Caller{AETitle: "WS"}).ServeDIMSE(t.Context(), w, &dimse.Request{
			Context: dimse.NegotiatedContext{AbstractSyntax: row.class, TransferSyntax: dicom.ImplicitVRLittleEndian},
			Command: dimse.Command{CommandField: dimse.CFindRQ, MessageID: 1}, Data: bytes.NewReader(row.data),
		})
		c := w.final()
		if len(w.commands) != 1 || c.Status != row.status || c.ErrorComment == "" || len(c.ErrorComment) > 64 || strings.Contains(c.ErrorComment, "SECRET") {
			t.Errorf("%s: %+v", row.name, c)
		}
		if row.tags != nil && !slices.Equal(c.OffendingElements, row.tags) {
			t.Errorf("%s: at fault %v, want %v", row.name, c.OffendingElements, row.tags)
		}
		if line := log.String(); strings.Count(line, "\n") != 1 || !strings.Contains(line, `msg="query refused"`) || !strings.Contains(line, "reason=") || strings.Contains(line, "SECRET") {
			t.Errorf("%s: log %q", row.name, line)
		}
	}
	if n := testutil.ToFloat64(scp.metrics.queries.WithLabelValues("none", "A900")) + testutil.ToFloat64(scp.metrics.queries.WithLabelValues("STUDY", "A900")); n != 14 {
		t.Errorf("%v refusals counted", n)
	}
	if n := testutil.ToFloat64(scp.metrics.queries.WithLabelValues("none", "0122")); n != 1 {
		t.Errorf("%v queries of an unknown SOP class counted", n)
	}
}
