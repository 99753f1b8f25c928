package pdu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
)

// associate builds an A-ASSOCIATE PDU of fixed fields and the items given. The
// first item begins at offset 74.
func associate(t Type, items ...any) []byte {
	body := wire(0, 1, 0, 0, "CALLED          ", "CALLING         ", zero32, wire(items...))
	return wire(int(t), 0, uint32Bytes(len(body)), body)
}

// item builds an item of any kind.
func item(kind int, parts ...any) []byte {
	v := wire(parts...)
	return wire(kind, 0, len(v)>>8, len(v), v)
}

func uint32Bytes(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// pdata builds a P-DATA-TF of raw presentation data value items.
func pdata(items ...any) []byte {
	body := wire(items...)
	return wire(0x04, 0, uint32Bytes(len(body)), body)
}

// pdv builds a presentation data value item.
func pdv(contextID, control int, parts ...any) []byte {
	v := wire(parts...)
	return wire(uint32Bytes(len(v)+2), contextID, control, v)
}

func TestMalformed(t *testing.T) {
	many := func(n int, b []byte) []byte { return bytes.Repeat(b, n) }
	context := func(id int) []byte { return item(0x20, id, 0, 0, 0, item(0x30, "1.2"), item(0x40, "1.2")) }
	rows := []struct {
		name   string
		wire   []byte
		field  string
		offset int64
		reason string // part of it
	}{
		// Headers (9.3.1).
		{"TLS hello", wire(0x16, 0x03, 0x01, 0x02, 0x00, 0x01), "PDU-type", 0, "TLS hello"},
		{"HTTP", wire("GET / HTTP/1.1\r\n\r\n"), "PDU-type", 0, "looks like HTTP"},
		{"SSH", wire("SSH-2.0-x\r\n"), "PDU-type", 0, "looks like SSH"},
		{"RDP", wire(0x03, 0, 0, 0x13, 0x0E, 0xE0, 0, 0, 0), "PDU-length", 2, "looks like RDP"},
		{"one byte", wire(0x47), "PDU-type", 0, "not a PDU type"},
		{"type 0", wire(0, 0, 0, 0, 0, 4, 0, 0, 0, 0), "PDU-type", 0, ""},
		{"type 8", wire(8, 0, 0, 0, 0, 4, 0, 0, 0, 0), "PDU-type", 0, "not a PDU type"},
		{"request longer than the limit", wire(1, 0, 0, 16, 0, 1), "PDU-length", 2, "at most 1048576"},
		{"request of the longest length", wire(1, 0, 255, 255, 255, 255), "PDU-length", 2, ""},
		{"request without its fixed fields", wire(1, 0, 0, 0, 0, 67), "PDU-length", 2, "at least 68"},
		{"empty request", wire(1, 0, 0, 0, 0, 0), "PDU-length", 2, "at least 68"},
		{"empty acceptance", wire(2, 0, 0, 0, 0, 0), "PDU-length", 2, "at least 68"},
		{"short rejection", wire(3, 0, 0, 0, 0, 3, 0, 0, 0), "PDU-length", 2, "must be 4"},
		{"long release", wire(5, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0), "PDU-length", 2, "must be 4"},
		{"empty release", wire(6, 0, 0, 0, 0, 0), "PDU-length", 2, "must be 4"},
		{"endless abort", wire(7, 0, 255, 255, 255, 255), "PDU-length", 2, "must be 4"},
		{"P-DATA above the offer", wire(4, 0, 0, 0, 0x40, 1), "PDU-length", 2, "offered is 16384"},
		{"P-DATA without a value", wire(4, 0, 0, 0, 0, 0), "PDU-length", 2, "no presentation data value"},
		{"P-DATA of a part of a value", wire(4, 0, 0, 0, 0, 5, 0, 0, 0, 1, 1), "PDU-length", 2, ""},

		// Presentation data values (9.3.5.1).
		{"PDV of length 0", pdata(0, 0, 0, 0, 1, 3), "PDV Item-length", 6, "at least 2"},
		{"PDV of length 1", pdata(0, 0, 0, 1, 1, 3), "PDV Item-length", 6, "at least 2"},
		{"PDV beyond the PDU", pdata(0, 0, 0, 3, 1, 3), "PDV Item-length", 6, "2 left"},
		{"PDV far beyond the PDU", pdata(255, 255, 255, 255, 1, 3), "PDV Item-length", 6, ""},
		{"second PDV beyond", pdata(pdv(1, 3, "ab"), 0, 0, 0, 9, 1, 3), "PDV Item-length", 14, ""},
		{"rest too short for a PDV", pdata(pdv(1, 3, "ab"), 0, 0, 0), "PDV Item-length", 14, "3 bytes left"},

		// Items (9.3.1, 9.3.2).
		{"item header cut", associate(1, 0x10, 0), "Item-length", 76, "needs 2 bytes"},
		{"item type only", associate(1, 0x10), "Reserved", 75, ""},
		{"item beyond the PDU", associate(1, 0x10, 0, 0, 3, "1"), "Item-length", 76, "3 bytes, 1 left"},
		{"unknown item beyond the PDU", associate(1, 0x99, 0, 255, 255), "Item-length", 76, ""},
		{"UID beyond the bound", associate(1, item(0x10, strings.Repeat("1", 257))), "Application-context-name", 78, "at most 256"},
		{"context without its ID", associate(1, item(0x20)), "Presentation-context-ID", 78, ""},
		{"context cut", associate(1, item(0x20, 1, 0)), "Reserved", 79, ""},
		{"even context ID", associate(1, context(2)), "Presentation-context-ID", 78, "2 is even"},
		{"context ID 0", associate(1, context(0)), "Presentation-context-ID", 78, "0 is even"},
		{"context ID twice", associate(1, context(3), context(3)), "Presentation-context-ID", 78 + 22, "3 is used twice"},
		{"sub-item beyond its item", associate(1, item(0x20, 1, 0, 0, 0, 0x30, 0, 0, 9, "1.2"), item(0x10, "1.2")),
			"Item-length", 84, "9 bytes, 3 left"},
		{"too many transfer syntaxes", associate(1, item(0x20, 1, 0, 0, 0, many(257, item(0x40)))),
			"Transfer-syntax-name", 82 + 256*4 + 4, "too many"},
		{"result for an even ID", associate(2, item(0x21, 4, 0, 0, 0)), "Presentation-context-ID", 78, "even"},
		{"result twice", associate(2, item(0x21, 1, 0, 0, 0), item(0x21, 1, 0, 0, 0)), "Presentation-context-ID", 86, "twice"},
		{"result cut", associate(2, item(0x21, 1, 0)), "Result/Reason", 80, ""},

		// Sub-items of the user information (PS3.8 D.1, PS3.7 D.3.3).
		{"51H short", associate(1, item(0x50, item(0x51, 0, 0, 0))), "Maximum-length-received", 82, "needs 4 bytes, 3 left"},
		{"52H long", associate(1, item(0x50, item(0x52, strings.Repeat("1", 300)))), "Implementation-class-uid", 82, ""},
		{"53H short", associate(1, item(0x50, item(0x53, 0, 1, 0))), "Maximum-number-operations-performed", 84, ""},
		{"54H UID beyond", associate(1, item(0x50, item(0x54, 0, 9, "1.2", 0, 1))), "UID-length", 82, "9 bytes, 5 left"},
		{"54H without roles", associate(1, item(0x50, item(0x54, 0, 3, "1.2"))), "SCU-role", 87, ""},
		{"54H without SCP role", associate(1, item(0x50, item(0x54, 0, 3, "1.2", 1))), "SCP-role", 88, ""},
		{"54H too many", associate(1, item(0x50, many(1025, item(0x54, 0, 0, 1, 1)))), "Item-type", 78 + 1024*8 + 4, "more than 1024"},
		{"55H long", associate(1, item(0x50, item(0x55, strings.Repeat("V", 257)))), "Implementation-version-name", 82, ""},
		{"56H without UID", associate(1, item(0x50, item(0x56, 0))), "SOP-class-uid-length", 82, ""},
		{"56H UID beyond", associate(1, item(0x50, item(0x56, 0, 4, "1.2"))), "SOP-class-uid-length", 82, ""},
		{"56H too many", associate(1, item(0x50, many(1025, item(0x56, 0, 0)))), "Item-type", 78 + 1024*6 + 4, ""},
		{"57H without service class", associate(1, item(0x50, item(0x57, 0, 1, "1"))), "Service-class-uid-length", 85, ""},
		{"57H too many", associate(1, item(0x50, many(1025, item(0x57, 0, 0, 0, 0)))), "Item-type", 78 + 1024*8 + 4, ""},
		{"57H list beyond", associate(1, item(0x50, item(0x57, 0, 1, "1", 0, 1, "1", 0, 3, 0, 0))),
			"Related-general-sop-class-identification-length", 88, "3 bytes, 2 left"},
		{"57H related UID beyond", associate(1, item(0x50, item(0x57, 0, 1, "1", 0, 1, "1", 0, 3, 0, 2, "1"))),
			"Related-general-sop-class-uid-length", 90, ""},
		{"57H too many related", associate(1, item(0x50, item(0x57, 0, 0, 0, 0, 2, 2, many(257, wire(0, 0))))), "Item-type", 88 + 512, "more than 256"},
		{"58H without type", associate(1, item(0x50, item(0x58))), "User-Identity-Type", 82, ""},
		{"58H without primary", associate(1, item(0x50, item(0x58, 1, 0))), "Primary-field-length", 84, ""},
		{"58H primary beyond", associate(1, item(0x50, item(0x58, 1, 0, 0, 4, "bob"))), "Primary-field-length", 84, ""},
		{"58H secondary beyond", associate(1, item(0x50, item(0x58, 2, 0, 0, 3, "bob", 0, 1))), "Secondary-field-length", 89, ""},
		{"58H secondary length cut", associate(1, item(0x50, item(0x58, 2, 0, 0, 3, "bob", 0))), "Secondary-field-length", 89, ""},
		{"59H beyond", associate(2, item(0x50, item(0x59, 0, 1))), "Server-response-length", 82, ""},
		{"sub-item cut", associate(1, item(0x50, 0x51, 0, 0)), "Item-length", 80, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			err := readAll(NewReader(bytes.NewReader(row.wire), 0, Limits{MaxPDataLength: 16384}))
			var fe *FormatError
			if !errors.As(err, &fe) {
				t.Fatalf("got %v, want a FormatError", err)
			}
			if fe.Field != row.field || fe.Offset != row.offset || !strings.Contains(fe.Reason, row.reason) {
				t.Errorf("got %v, want field %s, offset %d, reason %q", fe, row.field, row.offset, row.reason)
			}
			if fe.PDU != Type(row.wire[0]) {
				t.Errorf("PDU %v, want that of the first byte, %02XH", fe.PDU, row.wire[0])
			}
			want := AbortReasonInvalidParameterValue
			if row.field == "PDU-type" {
				want = AbortReasonUnrecognizedPDU
			}
			if fe.AbortReason() != want {
				t.Errorf("abort reason %v, want %v", fe.AbortReason(), want)
			}
		})
	}
}

// readAll reads a stream as an association would, up to its first error.
func readAll(r *Reader) error {
	for {
		h, err := r.Next()
		if err != nil {
			return err
		}
		if h.Type != TypePData {
			if _, err := r.Decode(); err != nil {
				return err
			}
			continue
		}
		for {
			if _, err := r.Fragment(); err == io.EOF {
				break
			} else if err != nil {
				return err
			}
			if _, err := r.WriteTo(io.Discard); err != nil {
				return err
			}
		}
	}
}

// TestTolerated lists what is against the standard, or new to it, and passes.
func TestTolerated(t *testing.T) {
	long := strings.Repeat("1234567.", 20) + "1" // 161 characters
	user := func(items ...any) []byte { return associate(1, item(0x50, items...)) }
	rows := []struct {
		name string
		wire []byte
		got  func(*AssociateRQ) any
		want any
	}{
		{"no items at all", associate(1), func(a *AssociateRQ) any { return a.UserInformation }, UserInformation{}},
		{"no sub-items", user(), func(a *AssociateRQ) any { return a.UserInformation }, UserInformation{}},
		{"unknown items", associate(1, item(0x99, "?"), item(0x00), item(0x10, "1.2"), item(0x21, "x")),
			func(a *AssociateRQ) any { return a.ApplicationContext }, "1.2"},
		{"unknown sub-items", user(item(0x5F, "?"), item(0x52, "1.2")),
			func(a *AssociateRQ) any { return a.ImplementationClassUID }, "1.2"},
		{"UID padded with NUL", associate(1, item(0x10, "1.2\x00")),
			func(a *AssociateRQ) any { return a.ApplicationContext }, "1.2"},
		{"UID padded with spaces and NULs", associate(1, item(0x10, "1.2  \x00\x00")),
			func(a *AssociateRQ) any { return a.ApplicationContext }, "1.2"},
		{"UID of nothing but padding", associate(1, item(0x10, "\x00\x00")),
			func(a *AssociateRQ) any { return a.ApplicationContext }, ""},
		{"UID of more than 64 characters", associate(1, item(0x20, 1, 0, 0, 0, item(0x30, long))),
			func(a *AssociateRQ) any { return a.PresentationContexts[0].AbstractSyntax }, long},
		{"context without syntaxes", associate(1, item(0x20, 1, 0, 0, 0)),
			func(a *AssociateRQ) any { return a.PresentationContexts }, []PresentationContext{{ID: 1}}},
		{"reserved bytes set", associate(1, item(0x20, 1, 9, 9, 9)),
			func(a *AssociateRQ) any { return a.PresentationContexts }, []PresentationContext{{ID: 1}}},
		{"items in any order", associate(1, item(0x50, item(0x52, "1.3")), item(0x10, "1.2")),
			func(a *AssociateRQ) any { return a.ApplicationContext + a.ImplementationClassUID }, "1.21.3"},
		{"sub-item given twice", user(item(0x52, "1.3"), item(0x52, "1.4")),
			func(a *AssociateRQ) any { return a.ImplementationClassUID }, "1.4"},
		{"51H with padding behind", user(item(0x51, 0, 0, 1, 0, 0, 0), item(0x52, "1.2")),
			func(a *AssociateRQ) any { return a.MaximumLength }, uint32(256)},
		{"54H padded to an even length", user(item(0x54, 0, 3, "1.2", 1, 1, 0)),
			func(a *AssociateRQ) any { return a.RoleSelections }, []RoleSelection{{"1.2", true, true}}},
		{"54H with roles other than 0 and 1", user(item(0x54, 0, 4, "1.2\x00", 0, 0xFF)),
			func(a *AssociateRQ) any { return a.RoleSelections }, []RoleSelection{{"1.2", false, true}}},
		{"56H without information", user(item(0x56, 0, 3, "1.2")),
			func(a *AssociateRQ) any { return a.ExtendedNegotiations }, []ExtendedNegotiation{{"1.2", []byte{}}}},
		{"57H without related classes", user(item(0x57, 0, 3, "1.2", 0, 3, "1.4")),
			func(a *AssociateRQ) any { return a.CommonExtendedNegotiations }, []CommonExtendedNegotiation{{"1.2", "1.4", nil}}},
		{"57H with another version", user(0x57, 1, 0, 4, 0, 0, 0, 0),
			func(a *AssociateRQ) any { return a.CommonExtendedNegotiations }, []CommonExtendedNegotiation{{}}},
		{"58H without secondary field", user(item(0x58, 1, 0, 0, 3, "bob")),
			func(a *AssociateRQ) any { return a.UserIdentity }, &UserIdentity{1, false, []byte("bob"), []byte{}}},
		{"58H of a type to come", user(item(0x58, 77, 1, 0, 0, 0, 0)),
			func(a *AssociateRQ) any { return a.UserIdentity }, &UserIdentity{77, true, []byte{}, []byte{}}},
		{"55H of more than 16 characters", user(item(0x55, "A_LONG_VERSION_NAME_1.0 ")),
			func(a *AssociateRQ) any { return a.ImplementationVersionName }, "A_LONG_VERSION_NAME_1.0"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			p, err := decodeAll(row.wire)
			if err != nil {
				t.Fatal(err)
			}
			if got := row.got(p.(*AssociateRQ)); !reflect.DeepEqual(got, row.want) {
				t.Errorf("got %#v, want %#v", got, row.want)
			}
		})
	}
}

func TestResultWithoutTransferSyntax(t *testing.T) {
	p, err := decodeAll(associate(2, item(0x21, 1, 0, 4, 0)))
	if err != nil {
		t.Fatal(err)
	}
	want := []PresentationContextResult{{ID: 1, Result: ContextTransferSyntaxesNotSupported}}
	if got := p.(*AssociateAC).Results; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAllContexts(t *testing.T) {
	rq := &AssociateRQ{CalledAETitle: "A", CallingAETitle: "B"}
	for id := 1; id < 256; id += 2 {
		rq.PresentationContexts = append(rq.PresentationContexts, PresentationContext{ID: byte(id)})
	}
	b, err := rq.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := decodeAll(b)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.(*AssociateRQ).PresentationContexts); n != maxContexts {
		t.Errorf("%d contexts, want %d", n, maxContexts)
	}
}

func TestEncodingFails(t *testing.T) {
	uid := strings.Repeat("1", maxUID+1)
	contexts := func(ids ...byte) (c []PresentationContext) {
		for _, id := range ids {
			c = append(c, PresentationContext{ID: id})
		}
		return c
	}
	user := func(u UserInformation) *AssociateRQ { return &AssociateRQ{UserInformation: u} }
	rows := []struct {
		name string
		pdu  PDU
		want string
	}{
		{"called AE title", &AssociateRQ{CalledAETitle: "SEVENTEEN_LETTERS"}, "Called-AE-title has 17 characters"},
		{"calling AE title", &AssociateAC{CallingAETitle: "SEVENTEEN_LETTERS"}, "Calling-AE-title has 17 characters"},
		{"even ID", &AssociateRQ{PresentationContexts: contexts(1, 2)}, "2 is even"},
		{"ID twice", &AssociateRQ{PresentationContexts: contexts(1, 3, 1)}, "1 is used twice"},
		{"result ID twice", &AssociateAC{Results: make([]PresentationContextResult, 1)}, "0 is even"},
		{"long UID", &AssociateRQ{ApplicationContext: uid}, "UID of 257 characters"},
		{"long abstract syntax", &AssociateRQ{PresentationContexts: []PresentationContext{{ID: 1, AbstractSyntax: uid}}}, "UID of"},
		{"too many transfer syntaxes", &AssociateRQ{PresentationContexts: []PresentationContext{
			{ID: 1, TransferSyntaxes: make([]string, maxTransferSyntaxes+1)}}}, "257 transfer syntaxes"},
		{"too many roles", user(UserInformation{RoleSelections: make([]RoleSelection, maxNegotiations+1)}), "1025 negotiation"},
		{"too many related", user(UserInformation{CommonExtendedNegotiations: []CommonExtendedNegotiation{
			{RelatedSOPClassUIDs: make([]string, maxRelatedClasses+1)}}}), "257 related"},
		{"long related", user(UserInformation{CommonExtendedNegotiations: []CommonExtendedNegotiation{
			{RelatedSOPClassUIDs: []string{strings.Repeat("1", 1<<16)}}}}), "exceeds its length field"},
		{"long information", user(UserInformation{ExtendedNegotiations: []ExtendedNegotiation{
			{Information: make([]byte, 1<<16)}}}), "exceeds its length field"},
		{"long identity", user(UserInformation{UserIdentity: &UserIdentity{Primary: make([]byte, 1<<16)}}), "exceeds its length field"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			b, err := row.pdu.Append([]byte("kept"))
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want an error with %q", err, row.want)
			}
			if string(b) != "kept" {
				t.Errorf("destination is %q after the failure", b)
			}
		})
	}
}

func TestNewAssociateAC(t *testing.T) {
	rq := &AssociateRQ{CalledAETitle: " called\x00", CallingAETitle: "calling ", Reserved: [32]byte{31: 7}}
	ac := NewAssociateAC(rq)
	if ac.CalledAETitle != rq.CalledAETitle || ac.CallingAETitle != rq.CallingAETitle || ac.Reserved != rq.Reserved {
		t.Errorf("%+v does not repeat %+v", ac, rq)
	}
	if ac.ProtocolVersion != ProtocolVersion1 || ac.ApplicationContext != ApplicationContextName {
		t.Errorf("version %d, context %s", ac.ProtocolVersion, ac.ApplicationContext)
	}
}

func TestNames(t *testing.T) {
	rows := []struct {
		got  fmt.Stringer
		want string
	}{
		{TypeAssociateRQ, "A-ASSOCIATE-RQ"},
		{TypePData, "P-DATA-TF"},
		{Type(0x47), "PDU type 47H"},
		{&AssociateRJ{1, 1, 1}, "rejected-permanent by DICOM UL service-user: no-reason-given"},
		{&AssociateRJ{1, 1, 2}, "rejected-permanent by DICOM UL service-user: application-context-name-not-supported"},
		{&AssociateRJ{1, 1, 3}, "rejected-permanent by DICOM UL service-user: calling-AE-title-not-recognized"},
		{&AssociateRJ{1, 1, 7}, "rejected-permanent by DICOM UL service-user: called-AE-title-not-recognized"},
		{&AssociateRJ{1, 1, 8}, "rejected-permanent by DICOM UL service-user: reserved reason 8"},
		{&AssociateRJ{2, 2, 1}, "rejected-transient by DICOM UL service-provider (ACSE related function): no-reason-given"},
		{&AssociateRJ{1, 2, 2}, "rejected-permanent by DICOM UL service-provider (ACSE related function): protocol-version-not-supported"},
		{&AssociateRJ{2, 3, 1}, "rejected-transient by DICOM UL service-provider (Presentation related function): temporary-congestion"},
		{&AssociateRJ{2, 3, 2}, "rejected-transient by DICOM UL service-provider (Presentation related function): local-limit-exceeded"},
		{&AssociateRJ{0, 9, 0}, "reserved result 0 by reserved source 9: reserved reason 0"},
		{&Abort{0, 0}, "A-ABORT by DICOM UL service-user"},
		{&Abort{2, 0}, "A-ABORT by DICOM UL service-provider: reason-not-specified"},
		{&Abort{2, 1}, "A-ABORT by DICOM UL service-provider: unrecognized-PDU"},
		{&Abort{2, 2}, "A-ABORT by DICOM UL service-provider: unexpected-PDU"},
		{&Abort{2, 3}, "A-ABORT by DICOM UL service-provider: reserved reason 3"},
		{&Abort{2, 4}, "A-ABORT by DICOM UL service-provider: unrecognized-PDU parameter"},
		{&Abort{2, 5}, "A-ABORT by DICOM UL service-provider: unexpected-PDU parameter"},
		{&Abort{2, 6}, "A-ABORT by DICOM UL service-provider: invalid-PDU-parameter value"},
		{&Abort{1, 0}, "A-ABORT by reserved source 1: reason-not-specified"},
		{ContextAccepted, "acceptance"},
		{ContextUserRejection, "user-rejection"},
		{ContextNoReason, "no-reason (provider rejection)"},
		{ContextAbstractSyntaxNotSupported, "abstract-syntax-not-supported (provider rejection)"},
		{ContextTransferSyntaxesNotSupported, "transfer-syntaxes-not-supported (provider rejection)"},
		{ContextResult(5), "reserved result 5"},
		{UserIdentityJWT, "JSON web token"},
		{UserIdentityType(0), "user identity type 0"},
	}
	for _, row := range rows {
		if got := row.got.String(); got != row.want {
			t.Errorf("got %q, want %q", got, row.want)
		}
	}
}

func TestCredentialsAreNotPrinted(t *testing.T) {
	rq := &AssociateRQ{UserInformation: UserInformation{UserIdentity: &UserIdentity{
		Type: UserIdentityUsernamePasscode, Primary: []byte("bob"), Secondary: []byte("secret")}}}
	bob := fmt.Sprint([]byte("bob"))
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		s := fmt.Sprintf(format+format+format, rq, rq.UserIdentity, *rq.UserIdentity)
		if strings.Contains(s, "secret") || strings.Contains(s, "bob") || strings.Contains(s, bob[1:len(bob)-1]) {
			t.Errorf("%s prints credentials: %s", format, s)
		}
	}
}

func TestPeersStrings(t *testing.T) {
	for in, want := range map[string]string{
		"CT1             ": "CT1",
		"  CT 1\x00\x00":   "CT 1",
		"                ": "",
		"ct1":              "ct1",
	} {
		if got := TrimAETitle(in); got != want {
			t.Errorf("TrimAETitle(%q) = %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"CT1":                       "CT1",
		"a\nb\x1b[0m\x00\u00e9\xff": "a?b?[0m???",
		strings.Repeat("x", 64):     strings.Repeat("x", 64),
		strings.Repeat("x", 65):     strings.Repeat("x", 61) + "...",
	} {
		if got := Printable(in); got != want {
			t.Errorf("Printable(%q) = %q, want %q", in, got, want)
		}
	}
}
