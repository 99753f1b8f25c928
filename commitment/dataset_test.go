package commitment

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

const ct = dicom.CTImageStorage

var syntaxes = []dicom.UID{dicom.ExplicitVRLittleEndian, dicom.ImplicitVRLittleEndian, dicom.ExplicitVRBigEndian, dicom.DeflatedExplicitVRLittleEndian}

// unhex reads bytes written in groups, with comments behind #.
func unhex(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes are laid out by hand from PS3.5 7.1 and 7.5, tables J.3-1 and J.3-2 of PS3.4.
const (
	goldenRequestImplicit = `
		0800 9511 04000000 312e3200                 # (0008,1195) Transaction UID 1.2
		0800 9911 22000000                          # (0008,1199) Referenced SOP Sequence
		feff 00e0 1a000000                          #   item
		0800 5011 04000000 312e3300                 #     (0008,1150) 1.3
		0800 5511 06000000 312e332e3400             #     (0008,1155) 1.3.4`
	goldenResultExplicit = `
		0800 5400 4145 0400 50414353                # (0008,0054) Retrieve AE Title PACS
		0800 9511 5549 0400 312e3200                # (0008,1195) Transaction UID 1.2
		0800 9811 5351 0000 2c000000                # (0008,1198) Failed SOP Sequence
		feff 00e0 24000000                          #   item
		0800 5011 5549 0400 312e3300                #     (0008,1150) 1.3
		0800 5511 5549 0600 312e332e3500            #     (0008,1155) 1.3.5
		0800 9711 5553 0200 1201                    #     (0008,1197) Failure Reason 0112H
		0800 9911 5351 0000 22000000                # (0008,1199) Referenced SOP Sequence
		feff 00e0 1a000000                          #   item
		0800 5011 5549 0400 312e3300
		0800 5511 5549 0600 312e332e3400`
	goldenResultBigEndian = `
		0008 1195 5549 0004 312e3200
		0008 1198 5351 0000 0000002c
		fffe e000 00000024
		0008 1150 5549 0004 312e3300
		0008 1155 5549 0006 312e332e3500
		0008 1197 5553 0002 0119`
)

func TestGoldenBytes(t *testing.T) {
	request := &Request{TransactionUID: "1.2", References: []Reference{{"1.3", "1.3.4"}}}
	full := &Result{TransactionUID: "1.2", RetrieveAETitle: "PACS", Committed: []Reference{{"1.3", "1.3.4"}},
		Failed: []Failure{{Reference{"1.3", "1.3.5"}, ReasonNoSuchInstance}}}
	failed := &Result{TransactionUID: "1.2", Failed: []Failure{{Reference{"1.3", "1.3.5"}, ReasonClassInstanceConflict}}}
	for _, test := range []struct {
		name   string
		golden string
		ts     dicom.UID
		value  interface {
			Encode(dicom.UID) ([]byte, error)
		}
		parse func([]byte, dicom.UID) (any, error)
	}{
		{"request", goldenRequestImplicit, dicom.ImplicitVRLittleEndian, request, parsedRequest},
		{"result", goldenResultExplicit, dicom.ExplicitVRLittleEndian, full, parsedResult},
		{"result, big endian", goldenResultBigEndian, dicom.ExplicitVRBigEndian, failed, parsedResult},
	} {
		t.Run(test.name, func(t *testing.T) {
			want := unhex(t, test.golden)
			if got, err := test.value.Encode(test.ts); err != nil || !bytes.Equal(got, want) {
				t.Errorf("Encode: %v\n% x, want\n% x", err, got, want)
			}
			if got, err := test.parse(want, test.ts); err != nil || !reflect.DeepEqual(got, test.value) {
				t.Errorf("parse: %v\n%+v, want\n%+v", err, got, test.value)
			}
		})
	}
}

func parsedRequest(b []byte, ts dicom.UID) (any, error) { return ParseRequest(b, ts) }
func parsedResult(b []byte, ts dicom.UID) (any, error)  { return ParseResult(b, ts) }

func manyReferences(n int) []Reference {
	list := make([]Reference, n)
	for i := range list {
		list[i] = Reference{ct, dicom.UID(fmt.Sprintf("2.25.329800735698586629295641978511506172918.%d", i+1))}
	}
	return list
}

func TestEverySyntaxAndSize(t *testing.T) {
	for _, ts := range syntaxes {
		for _, n := range []int{1, 2, 1000} {
			request := &Request{TransactionUID: "2.25.1", References: manyReferences(n)}
			data, err := request.Encode(ts)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseRequest(data, ts)
			if err != nil || !reflect.DeepEqual(got, request) {
				t.Fatalf("%s, %d references: %v", ts, n, err)
			}
			result := &Result{TransactionUID: "2.25.1", Committed: request.References[1:],
				Failed: []Failure{{request.References[0], ReasonDuplicateTransactionUID}}}
			if n == 1 {
				result.Committed = nil
			}
			if data, err = result.Encode(ts); err != nil {
				t.Fatal(err)
			}
			if again, err := ParseResult(data, ts); err != nil || !reflect.DeepEqual(again, result) {
				t.Fatalf("%s, result on %d: %v", ts, n, err)
			}
		}
	}
}

func TestAsManyAsMayBe(t *testing.T) {
	request := &Request{TransactionUID: "2.25.1", References: manyReferences(MaxReferences)}
	data, err := request.Encode(dicom.ImplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseRequest(data, dicom.ImplicitVRLittleEndian); err != nil || !reflect.DeepEqual(got, request) {
		t.Fatal(err)
	}
}

func TestPaddingAndStraySpacesAreNoPartOfUIDs(t *testing.T) {
	data := unhex(t, `
		0800 9511 04000000 312e3220
		0800 9911 1e000000 feff 00e0 16000000
		0800 5011 02000000 3120
		0800 5511 04000000 312e3220`)
	r, err := ParseRequest(data, dicom.ImplicitVRLittleEndian)
	if want := (&Request{"1.2", []Reference{{"1", "1.2"}}}); err != nil || !reflect.DeepEqual(r, want) {
		t.Errorf("%+v, %v; want %+v", r, err, want)
	}
}

func encoded(t testing.TB, elements ...dicom.DataElement) []byte {
	t.Helper()
	b, err := dicom.EncodeElements(elements, dicom.ExplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sequenceOf(tag dicom.Tag, items ...[]dicom.DataElement) dicom.DataElement {
	return dicom.DataElement{Tag: tag, VR: "SQ", Items: items}
}

func TestHostileRequests(t *testing.T) {
	good := Reference{ct, "1.2.3"}.elements()
	transaction := uidElement(tagTransactionUID, "1.2")
	long := uidElement(tagReferencedSOPInstanceUID, dicom.UID(strings.Repeat("1", MaxUIDLength+1)))
	tooMany := make([][]dicom.DataElement, MaxReferences+1)
	for i := range tooMany {
		tooMany[i] = good
	}
	for _, test := range []struct {
		name   string
		data   []byte
		status dimse.Status
		says   string
	}{
		{"nothing", nil, 0x0115, "(0008,1195) is missing"},
		{"garbage", []byte("GET / HTTP/1.1\r\n\r\n"), 0x0110, "cannot be read"},
		{"cut off", encoded(t, transaction, sequenceOf(tagReferencedSOPSequence, good))[:40], 0x0110, "cannot be read"},
		{"no transaction UID", encoded(t, sequenceOf(tagReferencedSOPSequence, good)), 0x0115, "(0008,1195) is missing"},
		{"empty transaction UID", encoded(t, uidElement(tagTransactionUID, ""), sequenceOf(tagReferencedSOPSequence, good)), 0x0115, "(0008,1195) is missing"},
		{"two transaction UIDs", encoded(t, uidElement(tagTransactionUID, `1.2\1.3`), sequenceOf(tagReferencedSOPSequence, good)), 0x0115, "not a single UID"},
		{"long transaction UID", encoded(t, uidElement(tagTransactionUID, dicom.UID(strings.Repeat("9", 129))), sequenceOf(tagReferencedSOPSequence, good)), 0x0115, "more than 128"},
		{"control characters", encoded(t, uidElement(tagTransactionUID, "1\n2"), sequenceOf(tagReferencedSOPSequence, good)), 0x0115, "not a single UID"},
		{"no sequence", encoded(t, transaction), 0x0115, "(0008,1199) has no item"},
		{"empty sequence", encoded(t, transaction, sequenceOf(tagReferencedSOPSequence)), 0x0115, "(0008,1199) has no item"},
		{"a value for the sequence", encoded(t, transaction, dicom.DataElement{Tag: tagReferencedSOPSequence, VR: "LO", Value: []byte("1.2")}), 0x0115, "(0008,1199) has no item"},
		{"empty item", encoded(t, transaction, sequenceOf(tagReferencedSOPSequence, nil)), 0x0115, "(0008,1150) is missing"},
		{"no class", encoded(t, transaction, sequenceOf(tagReferencedSOPSequence, good[1:])), 0x0115, "(0008,1150) is missing"},
		{"no instance", encoded(t, transaction, sequenceOf(tagReferencedSOPSequence, good[:1])), 0x0115, "(0008,1155) is missing"},
		{"long instance", encoded(t, transaction, sequenceOf(tagReferencedSOPSequence, []dicom.DataElement{good[0], long})), 0x0115, "more than 128"},
		{"too many", encoded(t, transaction, sequenceOf(tagReferencedSOPSequence, tooMany...)), 0x0213, "at most 10000"},
		{"too long", make([]byte, MaxDataSet+1), 0x0213, "longer than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := ParseRequest(test.data, dicom.ExplicitVRLittleEndian)
			var status *dimse.StatusError
			if !errors.As(err, &status) || status.Status != test.status || !strings.Contains(status.Comment, test.says) {
				t.Errorf("%+v, %v; want %v %q", r, err, test.status, test.says)
			}
		})
	}
}

func TestHostileResults(t *testing.T) {
	good := Reference{ct, "1.2.3"}.elements()
	transaction := uidElement(tagTransactionUID, "1.2")
	bomb, err := dicom.EncodeElements([]dicom.DataElement{transaction, {Tag: 0x00091001, VR: "OB", Value: make([]byte, 64<<20)}}, dicom.DeflatedExplicitVRLittleEndian)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		data   []byte
		ts     dicom.UID
		status dimse.Status
	}{
		{"nothing", nil, dicom.ExplicitVRLittleEndian, 0x0115},
		{"on no instance", encoded(t, transaction), dicom.ExplicitVRLittleEndian, 0x0115},
		{"no instance in an item", encoded(t, transaction, sequenceOf(tagFailedSOPSequence, good[:1])), dicom.ExplicitVRLittleEndian, 0x0115},
		{"no transaction", encoded(t, sequenceOf(tagFailedSOPSequence, good)), dicom.ExplicitVRLittleEndian, 0x0115},
		{"inflates without end", bomb, dicom.DeflatedExplicitVRLittleEndian, 0x0110},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := ParseResult(test.data, test.ts)
			var status *dimse.StatusError
			if !errors.As(err, &status) || status.Status != test.status {
				t.Errorf("%+v, %v; want %v", r, err, test.status)
			}
		})
	}
}

func TestAFailureWithoutReasonIsAProcessingFailure(t *testing.T) {
	r, err := ParseResult(encoded(t, uidElement(tagTransactionUID, "1.2"), sequenceOf(tagFailedSOPSequence, Reference{ct, "1.2.3"}.elements())),
		dicom.ExplicitVRLittleEndian)
	if err != nil || len(r.Failed) != 1 || r.Failed[0].Reason != 0x0110 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestReasonsInWords(t *testing.T) {
	for reason, want := range map[dimse.Status]string{ // PS3.3 C.14.1.1
		0x0110: "processing failure", 0x0112: "no such SOP instance", 0x0213: "resource limitation",
		0x0122: "refused: SOP class not supported", 0x0119: "class and instance conflict", 0x0131: "duplicate transaction UID",
	} {
		if got := ReasonText(reason); got != want {
			t.Errorf("%v: %q, want %q", reason, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, goldenRequestImplicit), uint8(1))
	f.Add(unhex(f, goldenResultExplicit), uint8(0))
	f.Add(unhex(f, goldenResultBigEndian), uint8(2))
	f.Fuzz(func(t *testing.T, data []byte, syntax uint8) {
		ts := syntaxes[int(syntax)%len(syntaxes)]
		if r, err := ParseRequest(data, ts); err == nil {
			sameAgain(t, r, ts, ParseRequest)
		} else if !errors.As(err, new(*dimse.StatusError)) {
			t.Errorf("an error without status: %v", err)
		}
		if r, err := ParseResult(data, ts); err == nil {
			sameAgain(t, r, ts, ParseResult)
		} else if !errors.As(err, new(*dimse.StatusError)) {
			t.Errorf("an error without status: %v", err)
		}
	})
}

// sameAgain holds what was read to surviving another round.
func sameAgain[T any, P interface {
	*T
	Encode(dicom.UID) ([]byte, error)
}](t *testing.T, r P, ts dicom.UID, parse func([]byte, dicom.UID) (*T, error)) {
	t.Helper()
	data, err := r.Encode(ts)
	if err != nil {
		t.Fatal(err)
	}
	again, err := parse(data, ts)
	if err != nil || !reflect.DeepEqual(again, (*T)(r)) {
		t.Errorf("%v\n%+v became\n%+v", err, r, again)
	}
}
