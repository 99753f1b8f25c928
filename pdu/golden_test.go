package pdu

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
)

// wire joins bytes (as int constants) and strings, so that a PDU can be written
// down field by field beside the rows of the standard's tables.
func wire(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		default:
			panic("wire: neither int, string nor []byte")
		}
	}
	return b
}

var zero32 = strings.Repeat("\x00", 32)

// golden PDUs decode to value and encode to wire again.
var goldens = []struct {
	name  string
	wire  []byte
	value PDU
}{
	{
		// What storescu of DCMTK 3.6 sends for one SOP class.
		name: "A-ASSOCIATE-RQ like storescu", // PS3.8 table 9-11
		wire: wire(
			0x01, 0x00, 0x00, 0x00, 0x00, 0xD5, // 1 PDU-type, 2 reserved, 3-6 PDU-length
			0x00, 0x01, // 7-8 Protocol-version
			0x00, 0x00, // 9-10 Reserved
			"ANY-SCP         ", // 11-26 Called-AE-title
			"STORESCU        ", // 27-42 Calling-AE-title
			zero32,             // 43-74 Reserved
			// Application Context item, table 9-12
			0x10, 0x00, 0x00, 0x15, "1.2.840.10008.3.1.1.1",
			// Presentation Context item, table 9-13
			0x20, 0x00, 0x00, 0x36,
			0x01, 0x00, 0x00, 0x00, // 5 Presentation-context-ID, 6-8 reserved
			0x30, 0x00, 0x00, 0x19, "1.2.840.10008.5.1.4.1.1.2", // Abstract Syntax, table 9-14
			0x40, 0x00, 0x00, 0x11, "1.2.840.10008.1.2", // Transfer Syntax, table 9-15
			// User Information item, table 9-16
			0x50, 0x00, 0x00, 0x3A,
			0x51, 0x00, 0x00, 0x04, 0x00, 0x00, 0x40, 0x00, // Maximum Length, PS3.8 table D.1-1: 16384
			0x52, 0x00, 0x00, 0x1B, "1.2.276.0.7230010.3.0.3.6.7", // PS3.7 table D.3-1
			0x55, 0x00, 0x00, 0x0F, "OFFIS_DCMTK_367", // PS3.7 table D.3-3
		),
		value: &AssociateRQ{
			ProtocolVersion:    1,
			CalledAETitle:      "ANY-SCP         ",
			CallingAETitle:     "STORESCU        ",
			ApplicationContext: ApplicationContextName,
			PresentationContexts: []PresentationContext{{
				ID:               1,
				AbstractSyntax:   "1.2.840.10008.5.1.4.1.1.2",
				TransferSyntaxes: []string{"1.2.840.10008.1.2"},
			}},
			UserInformation: UserInformation{
				MaximumLength:             16384,
				ImplementationClassUID:    "1.2.276.0.7230010.3.0.3.6.7",
				ImplementationVersionName: "OFFIS_DCMTK_367",
			},
		},
	},
	{
		// Two contexts, one with several transfer syntaxes, and every sub-item a
		// requestor may send.
		name: "A-ASSOCIATE-RQ with all negotiations",
		wire: wire(
			0x01, 0x00, 0x00, 0x00, 0x01, 0x46,
			0x00, 0x01, 0x00, 0x00,
			"DCMGATE         ", "CT1             ",
			"0123456789abcdef0123456789abcdef", // 43-74 Reserved, kept for the answer
			0x10, 0x00, 0x00, 0x15, "1.2.840.10008.3.1.1.1",
			0x20, 0x00, 0x00, 0x2E,
			0x01, 0x00, 0x00, 0x00,
			0x30, 0x00, 0x00, 0x11, "1.2.840.10008.1.1",
			0x40, 0x00, 0x00, 0x11, "1.2.840.10008.1.2",
			0x20, 0x00, 0x00, 0x25,
			0xFF, 0x00, 0x00, 0x00,
			0x30, 0x00, 0x00, 0x07, "1.2.3.4",
			0x40, 0x00, 0x00, 0x05, "1.2.3",
			0x40, 0x00, 0x00, 0x05, "1.2.4",
			0x40, 0x00, 0x00, 0x00,
			0x50, 0x00, 0x00, 0x8A,
			0x51, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, // no limit
			0x52, 0x00, 0x00, 0x05, "1.2.3",
			0x53, 0x00, 0x00, 0x04, 0x00, 0x08, 0x00, 0x01, // PS3.7 table D.3-7: invoked, performed
			0x54, 0x00, 0x00, 0x0B, // PS3.7 table D.3-9
			0x00, 0x07, "1.2.3.4", // UID-length, SOP-class-uid
			0x00, 0x01, // SCU-role, SCP-role
			0x54, 0x00, 0x00, 0x07, 0x00, 0x03, "1.2", 0x01, 0x00,
			0x56, 0x00, 0x00, 0x0C, // PS3.7 table D.3-11
			0x00, 0x07, "1.2.3.4", 0x01, 0x00, 0x02, // Service-class-application-information
			0x57, 0x00, 0x00, 0x19, // PS3.7 table D.3-12; byte 2 is the sub-item version
			0x00, 0x05, "1.2.5", // SOP-class-uid
			0x00, 0x03, "1.4", // Service-class-uid
			0x00, 0x0B, // Related-general-sop-class-identification-length
			0x00, 0x03, "1.6", 0x00, 0x04, "1.77", // table D.3-13
			0x57, 0x00, 0x00, 0x0B, 0x00, 0x03, "1.2", 0x00, 0x02, "1.", 0x00, 0x00,
			0x55, 0x00, 0x00, 0x04, "V_10",
			0x58, 0x00, 0x00, 0x0F, // PS3.7 table D.3-14
			0x02, 0x01, // User-Identity-Type, Positive-response-requested
			0x00, 0x03, "bob", // Primary-field
			0x00, 0x06, "secret", // Secondary-field
		),
		value: &AssociateRQ{
			ProtocolVersion:    1,
			CalledAETitle:      "DCMGATE         ",
			CallingAETitle:     "CT1             ",
			Reserved:           [32]byte([]byte("0123456789abcdef0123456789abcdef")),
			ApplicationContext: ApplicationContextName,
			PresentationContexts: []PresentationContext{
				{ID: 1, AbstractSyntax: "1.2.840.10008.1.1", TransferSyntaxes: []string{"1.2.840.10008.1.2"}},
				{ID: 255, AbstractSyntax: "1.2.3.4", TransferSyntaxes: []string{"1.2.3", "1.2.4", ""}},
			},
			UserInformation: UserInformation{
				ImplementationClassUID:    "1.2.3",
				ImplementationVersionName: "V_10",
				AsyncOperationsWindow:     &AsyncOperationsWindow{Invoked: 8, Performed: 1},
				RoleSelections: []RoleSelection{
					{SOPClassUID: "1.2.3.4", SCP: true},
					{SOPClassUID: "1.2", SCU: true},
				},
				ExtendedNegotiations: []ExtendedNegotiation{
					{SOPClassUID: "1.2.3.4", Information: []byte{1, 0, 2}},
				},
				CommonExtendedNegotiations: []CommonExtendedNegotiation{
					{SOPClassUID: "1.2.5", ServiceClassUID: "1.4", RelatedSOPClassUIDs: []string{"1.6", "1.77"}},
					{SOPClassUID: "1.2", ServiceClassUID: "1."},
				},
				UserIdentity: &UserIdentity{
					Type:                      UserIdentityUsernamePasscode,
					PositiveResponseRequested: true,
					Primary:                   []byte("bob"),
					Secondary:                 []byte("secret"),
				},
			},
		},
	},
	{
		// What Orthanc, built on DCMTK, answers to a request like the first with a
		// second context it does not know.
		name: "A-ASSOCIATE-AC like Orthanc", // PS3.8 table 9-17
		wire: wire(
			0x02, 0x00, 0x00, 0x00, 0x00, 0xD5,
			0x00, 0x01, // 7-8 Protocol-version
			0x00, 0x00, // 9-10 Reserved
			"ANY-SCP         ", "STORESCU        ", zero32, // 11-74 Reserved: as in the request
			0x10, 0x00, 0x00, 0x15, "1.2.840.10008.3.1.1.1",
			// Presentation Context item, table 9-18
			0x21, 0x00, 0x00, 0x19,
			0x01, 0x00, // 5 Presentation-context-ID, 6 reserved
			0x00, 0x00, // 7 Result/Reason: acceptance, 8 reserved
			0x40, 0x00, 0x00, 0x11, "1.2.840.10008.1.2", // table 9-19
			0x21, 0x00, 0x00, 0x19,
			0x03, 0x00, 0x03, 0x00, // abstract-syntax-not-supported
			0x40, 0x00, 0x00, 0x11, "1.2.840.10008.1.2", // not significant
			0x50, 0x00, 0x00, 0x3A, // table 9-20
			0x51, 0x00, 0x00, 0x04, 0x00, 0x00, 0x40, 0x00,
			0x52, 0x00, 0x00, 0x1B, "1.2.276.0.7230010.3.0.3.6.7",
			0x55, 0x00, 0x00, 0x0F, "OFFIS_DCMTK_367",
		),
		value: &AssociateAC{
			ProtocolVersion:    1,
			CalledAETitle:      "ANY-SCP         ",
			CallingAETitle:     "STORESCU        ",
			ApplicationContext: ApplicationContextName,
			Results: []PresentationContextResult{
				{ID: 1, TransferSyntax: "1.2.840.10008.1.2"},
				{ID: 3, Result: ContextAbstractSyntaxNotSupported, TransferSyntax: "1.2.840.10008.1.2"},
			},
			UserInformation: UserInformation{
				MaximumLength:             16384,
				ImplementationClassUID:    "1.2.276.0.7230010.3.0.3.6.7",
				ImplementationVersionName: "OFFIS_DCMTK_367",
			},
		},
	},
	{
		name: "A-ASSOCIATE-AC with user identity response",
		wire: wire(
			0x02, 0x00, 0x00, 0x00, 0x00, 0x69,
			0x00, 0x01, 0x00, 0x00,
			"A               ", "B               ", zero32,
			0x10, 0x00, 0x00, 0x03, "1.2",
			0x50, 0x00, 0x00, 0x1A,
			0x51, 0x00, 0x00, 0x04, 0xFF, 0xFF, 0xFF, 0xFF,
			0x53, 0x00, 0x00, 0x04, 0x00, 0x00, 0xFF, 0xFF,
			0x59, 0x00, 0x00, 0x06, // PS3.7 table D.3-15
			0x00, 0x04, "\x01\x02\x03\x04", // Server-response-length, Server-response
		),
		value: &AssociateAC{
			ProtocolVersion:    1,
			CalledAETitle:      "A               ",
			CallingAETitle:     "B               ",
			ApplicationContext: "1.2",
			UserInformation: UserInformation{
				MaximumLength:         0xFFFFFFFF,
				AsyncOperationsWindow: &AsyncOperationsWindow{Performed: 0xFFFF},
				UserIdentityResponse:  []byte{1, 2, 3, 4},
			},
		},
	},
	{
		name: "A-ASSOCIATE-RJ", // PS3.8 table 9-21
		wire: wire(
			0x03, 0x00, 0x00, 0x00, 0x00, 0x04,
			0x00,             // 7 Reserved
			0x02, 0x03, 0x02, // 8 Result, 9 Source, 10 Reason/Diag.
		),
		value: &AssociateRJ{RejectedTransient, RejectSourcePresentation, RejectPresentationLocalLimitExceeded},
	},
	{
		name:  "A-RELEASE-RQ", // PS3.8 table 9-24
		wire:  wire(0x05, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00),
		value: &ReleaseRQ{},
	},
	{
		name:  "A-RELEASE-RP", // PS3.8 table 9-25
		wire:  wire(0x06, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00),
		value: &ReleaseRP{},
	},
	{
		name: "A-ABORT", // PS3.8 table 9-26
		wire: wire(
			0x07, 0x00, 0x00, 0x00, 0x00, 0x04,
			0x00, 0x00, // 7, 8 Reserved
			0x02, 0x06, // 9 Source, 10 Reason/Diag.
		),
		value: &Abort{AbortSourceServiceProvider, AbortReasonInvalidParameterValue},
	},
}

func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			got, err := decodeAll(g.wire)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, g.value) {
				t.Errorf("decoded\n%+v\nwant\n%+v", got, g.value)
			}
			b, err := g.value.Append([]byte("before"))
			if err != nil {
				t.Fatal(err)
			}
			if want := append([]byte("before"), g.wire...); !bytes.Equal(b, want) {
				t.Errorf("encoded\n% X\nwant\n% X", b, want)
			}
		})
	}
}

// decodeAll reads the one PDU that b is.
func decodeAll(b []byte) (PDU, error) {
	r := NewReader(bytes.NewReader(b), 0, Limits{})
	if _, err := r.Next(); err != nil {
		return nil, err
	}
	p, err := r.Decode()
	if err == nil && r.Buffered() != 0 {
		panic("bytes behind the PDU")
	}
	return p, err
}
