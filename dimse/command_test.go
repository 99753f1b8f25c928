package dimse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"

	godicom "github.com/grailbio/go-dicom"
	"github.com/grailbio/go-dicom/dicomio"
	"github.com/grailbio/go-dicom/dicomtag"

	"dcmgate/dicom"
)

func uint16p(v uint16) *uint16 { return &v }

// commands are one message of each kind, with everything it may carry.
var commands = map[string]Command{
	"C-ECHO-RQ":  {CommandField: CEchoRQ, MessageID: 1, AffectedSOPClassUID: "1.2.840.10008.1.1"},
	"C-ECHO-RSP": {CommandField: CEchoRSP, MessageIDBeingRespondedTo: 1, AffectedSOPClassUID: "1.2.840.10008.1.1"},
	"C-STORE-RQ": {CommandField: CStoreRQ, MessageID: 65535, AffectedSOPClassUID: "1.2.840.10008.5.1.4.1.1.2", AffectedSOPInstanceUID: "1.2.3.4.55",
		Priority: PriorityLow, HasDataSet: true, MoveOriginatorAETitle: "QR_CLIENT", MoveOriginatorMessageID: 9},
	"C-STORE-RSP": {CommandField: CStoreRSP, MessageIDBeingRespondedTo: 65535, AffectedSOPClassUID: "1.2.840.10008.5.1.4.1.1.2",
		AffectedSOPInstanceUID: "1.2.3.4.55", Status: StatusDataSetMismatch, ErrorComment: "no such thing",
		OffendingElements: []dicom.Tag{0x00080016, 0x7FE00010}},
	"C-FIND-RSP": {CommandField: CFindRSP, MessageIDBeingRespondedTo: 3, Status: StatusPending, HasDataSet: true},
	"C-MOVE-RQ":  {CommandField: CMoveRQ, MessageID: 4, AffectedSOPClassUID: "1.2.840.10008.5.1.4.1.2.2.2", MoveDestination: "CLOUD", HasDataSet: true},
	"C-MOVE-RSP": {CommandField: CMoveRSP, MessageIDBeingRespondedTo: 4, Status: StatusSubOpsCompleteFailures,
		NumberOfRemainingSuboperations: uint16p(0), NumberOfCompletedSuboperations: uint16p(500),
		NumberOfFailedSuboperations: uint16p(2), NumberOfWarningSuboperations: uint16p(1)},
	"C-CANCEL-RQ": {CommandField: CCancelRQ, MessageIDBeingRespondedTo: 4},
	"N-EVENT-REPORT-RQ": {CommandField: NEventReportRQ, MessageID: 5, AffectedSOPClassUID: "1.2.840.10008.1.20.1",
		AffectedSOPInstanceUID: "1.2.840.10008.1.20.1.1", EventTypeID: 2, HasDataSet: true},
	"N-ACTION-RQ": {CommandField: NActionRQ, MessageID: 6, RequestedSOPClassUID: "1.2.840.10008.1.20.1",
		RequestedSOPInstanceUID: "1.2.840.10008.1.20.1.1", ActionTypeID: 1, HasDataSet: true},
	"N-GET-RQ": {CommandField: NGetRQ, MessageID: 7, RequestedSOPClassUID: "1.2.3", RequestedSOPInstanceUID: "1.2.3.4",
		AttributeIdentifierList: []dicom.Tag{0x00100010, 0x00100020}},
	"N-SET-RSP": {CommandField: NSetRSP, MessageIDBeingRespondedTo: 8, Status: StatusProcessingFailure, ErrorID: 77},
}

func TestCommandsSurviveTheWire(t *testing.T) {
	for name, c := range commands {
		got, err := ParseCommand(c.Append(nil))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !reflect.DeepEqual(got, c) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, c)
		}
		if c.CommandField.String() != name {
			t.Errorf("%s is called %v", name, c.CommandField)
		}
	}
}

// TestEchoRequestBytes is a C-ECHO-RQ written by hand from PS3.7 table 9.3-12 and 6.3.1.
func TestEchoRequestBytes(t *testing.T) {
	want := []byte{
		0x00, 0x00, 0x00, 0x00, 4, 0, 0, 0, 56, 0, 0, 0, // (0000,0000) UL: the 56 bytes that follow
		0x00, 0x00, 0x02, 0x00, 18, 0, 0, 0, // (0000,0002) UI, padded with NUL
		'1', '.', '2', '.', '8', '4', '0', '.', '1', '0', '0', '0', '8', '.', '1', '.', '1', 0,
		0x00, 0x00, 0x00, 0x01, 2, 0, 0, 0, 0x30, 0x00, // (0000,0100) US
		0x00, 0x00, 0x10, 0x01, 2, 0, 0, 0, 0x01, 0x00, // (0000,0110) US
		0x00, 0x00, 0x00, 0x08, 2, 0, 0, 0, 0x01, 0x01, // (0000,0800) US: no data set
	}
	c := commands["C-ECHO-RQ"]
	if got := c.Append(nil); !bytes.Equal(got, want) {
		t.Errorf("got  % x\nwant % x", got, want)
	}
}

// goElements is the command as go-dicom's elements, made from our fields and not from our bytes.
func goElements(t *testing.T, c Command) []*godicom.Element {
	var list []*godicom.Element
	add := func(element uint16, values ...any) {
		e, err := godicom.NewElement(dicomtag.Tag{Group: 0, Element: element}, values...)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	parsed := reflect.ValueOf(c)
	text := func(element uint16, field string) {
		if s := parsed.FieldByName(field).String(); s != "" {
			add(element, s)
		}
	}
	counter := func(element uint16, v *uint16) {
		if v != nil {
			add(element, *v)
		}
	}
	text(0x0002, "AffectedSOPClassUID")
	text(0x0003, "RequestedSOPClassUID")
	add(0x0100, uint16(c.CommandField))
	if c.MessageID != 0 {
		add(0x0110, c.MessageID)
	}
	if c.MessageIDBeingRespondedTo != 0 {
		add(0x0120, c.MessageIDBeingRespondedTo)
	}
	text(0x0600, "MoveDestination")
	if c.CommandField == CStoreRQ || c.CommandField == CMoveRQ {
		add(0x0700, uint16(c.Priority))
	}
	dataSet := uint16(0x0101)
	if c.HasDataSet {
		dataSet = 1
	}
	add(0x0800, dataSet)
	if c.CommandField.IsResponse() {
		add(0x0900, uint16(c.Status))
	}
	text(0x0902, "ErrorComment")
	if c.ErrorID != 0 {
		add(0x0903, c.ErrorID)
	}
	text(0x1000, "AffectedSOPInstanceUID")
	text(0x1001, "RequestedSOPInstanceUID")
	if c.EventTypeID != 0 {
		add(0x1002, c.EventTypeID)
	}
	if c.ActionTypeID != 0 {
		add(0x1008, c.ActionTypeID)
	}
	counter(0x1020, c.NumberOfRemainingSuboperations)
	counter(0x1021, c.NumberOfCompletedSuboperations)
	counter(0x1022, c.NumberOfFailedSuboperations)
	counter(0x1023, c.NumberOfWarningSuboperations)
	text(0x1030, "MoveOriginatorAETitle")
	if c.MoveOriginatorAETitle != "" {
		add(0x1031, c.MoveOriginatorMessageID)
	}
	return list
}

// TestCommandsAgreeWithGoDICOM takes go-dicom as oracle in both directions. Lists of tags are
// left out: it cannot write VR AT.
func TestCommandsAgreeWithGoDICOM(t *testing.T) {
	for name, c := range commands {
		c.OffendingElements, c.AttributeIdentifierList = nil, nil
		elements := goElements(t, c)
		body := encodeWithGoDICOM(t, elements)
		head := dicomio.NewBytesEncoder(binary.LittleEndian, dicomio.ImplicitVR)
		godicom.WriteElement(head, godicom.MustNewElement(dicomtag.CommandGroupLength, uint32(len(body))))
		want := append(head.Bytes(), body...)
		got := c.Append(nil)
		if !bytes.Equal(got, want) {
			t.Errorf("%s:\n got % x\nwant % x", name, got, want)
			continue
		}
		d := dicomio.NewBytesDecoder(got, binary.LittleEndian, dicomio.ImplicitVR)
		for i := -1; i < len(elements); i++ {
			e := godicom.ReadElement(d, godicom.ReadOptions{})
			if d.Error() != nil {
				t.Fatalf("%s: go-dicom cannot read it: %v", name, d.Error())
			}
			if i >= 0 && (e.Tag != elements[i].Tag || !reflect.DeepEqual(e.Value, elements[i].Value)) {
				t.Errorf("%s: go-dicom reads %v", name, e)
			}
		}
	}
}

func encodeWithGoDICOM(t *testing.T, elements []*godicom.Element) []byte {
	e := dicomio.NewBytesEncoder(binary.LittleEndian, dicomio.ImplicitVR)
	for _, el := range elements {
		godicom.WriteElement(e, el)
	}
	if e.Error() != nil {
		t.Fatal(e.Error())
	}
	return e.Bytes()
}

func element(group, element uint16, length uint32, value string) string {
	b := binary.LittleEndian.AppendUint16(nil, group)
	b = binary.LittleEndian.AppendUint16(b, element)
	b = binary.LittleEndian.AppendUint32(b, length)
	return string(b) + value
}

func TestLenientParsing(t *testing.T) {
	field := element(0, 0x0100, 2, "\x01\x00")
	for name, c := range map[string]struct {
		set  string
		want Command
	}{
		"no group length":        {field + element(0, 0x0110, 2, "\x05\x00"), Command{CommandField: CStoreRQ, MessageID: 5}},
		"wrong group length":     {element(0, 0, 4, "\xff\xff\xff\x7f") + field, Command{CommandField: CStoreRQ}},
		"odd UID, no padding":    {field + element(0, 0x0002, 3, "1.2"), Command{CommandField: CStoreRQ, AffectedSOPClassUID: "1.2"}},
		"UID padded by spaces":   {field + element(0, 0x0002, 6, "1.2   "), Command{CommandField: CStoreRQ, AffectedSOPClassUID: "1.2"}},
		"UID with NULs":          {field + element(0, 0x1000, 6, "1.2\x00\x00\x00"), Command{CommandField: CStoreRQ, AffectedSOPInstanceUID: "1.2"}},
		"any order":              {element(0, 0x0800, 2, "\x00\x00") + field, Command{CommandField: CStoreRQ, HasDataSet: true}},
		"unknown element":        {field + element(0, 0x0042, 2, "zz"), Command{CommandField: CStoreRQ}},
		"other group":            {field + element(8, 0x0100, 2, "\x22\x22"), Command{CommandField: CStoreRQ}},
		"empty integer":          {field + element(0, 0x0110, 0, ""), Command{CommandField: CStoreRQ}},
		"long integer":           {field + element(0, 0x0110, 4, "\x05\x00\x00\x00"), Command{CommandField: CStoreRQ, MessageID: 5}},
		"data set type absent":   {field, Command{CommandField: CStoreRQ}},
		"tag list cut short":     {field + element(0, 0x0901, 6, "\x08\x00\x16\x00\x08\x00"), Command{CommandField: CStoreRQ, OffendingElements: []dicom.Tag{0x00080016}}},
		"padded move originator": {field + element(0, 0x1030, 8, "  PACS  "), Command{CommandField: CStoreRQ, MoveOriginatorAETitle: "PACS"}},
	} {
		got, err := ParseCommand([]byte(c.set))
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestMalformedCommands(t *testing.T) {
	field := element(0, 0x0100, 2, "\x01\x00")
	for name, c := range map[string]struct{ set, reason string }{
		"empty":                 {"", "no command field"},
		"header cut short":      {field + "\x00\x00\x10", "cut short"},
		"value cut short":       {field + element(0, 0x0002, 100, "1.2"), "exceeds the set"},
		"length near 2^32":      {field + element(0, 0x0002, 0xFFFFFFFF, "1.2"), "exceeds the set"},
		"without field":         {element(0, 0x0110, 2, "\x01\x00"), "no command field"},
		"field without a value": {element(0, 0x0100, 0, ""), "no command field"},
		"too long":              {field + strings.Repeat(element(0, 0x0042, 0, ""), 9000), "65536"},
	} {
		_, err := ParseCommand([]byte(c.set))
		var bad *CommandError
		if !errors.As(err, &bad) || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrorCommentIsCut(t *testing.T) {
	c := Command{CommandField: CStoreRSP, ErrorComment: strings.Repeat("x", 63) + "é"}
	got, err := ParseCommand(c.Append(nil))
	if err != nil || got.ErrorComment != strings.Repeat("x", 63) {
		t.Errorf("%q, %v", got.ErrorComment, err)
	}
}

func FuzzParseCommand(f *testing.F) {
	for _, c := range commands {
		f.Add(c.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCommand(b)
		if err != nil {
			return
		}
		// What was understood survives being written and read, but for what a message of its
		// kind does not carry and what LO cuts.
		once, err := ParseCommand(c.Append(nil))
		if err != nil {
			t.Fatalf("own encoding: %v", err)
		}
		twice, err := ParseCommand(once.Append(nil))
		if err != nil || !reflect.DeepEqual(once, twice) {
			t.Fatalf("%+v\n%+v, %v", once, twice, err)
		}
	})
}
