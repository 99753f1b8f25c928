package pdu

import "fmt"

// ApplicationContextName is the only application context DICOM defines
// (PS3.7 annex A.2.1).
const ApplicationContextName = "1.2.840.10008.3.1.1.1"

// ProtocolVersion1 is the bit of ProtocolVersion that stands for the one
// version there is. Others may be set beside it and are not looked at (PS3.8
// 9.3.2).
const ProtocolVersion1 uint16 = 1

// Bounds on what an association PDU may hold. Those without a source are ours,
// far above what is seen, so that a parsed request has a bounded size.
const (
	maxContexts         = 128  // PS3.8 7.1.1.13: odd IDs in 1..255
	maxTransferSyntaxes = 256  // per presentation context
	maxNegotiations     = 1024 // role selections and extended negotiations, each
	maxRelatedClasses   = 256  // per common extended negotiation
	maxUID              = 256  // PS3.5 9.1 says 64; longer ones occur and are for policy to judge
)

// Item types of PS3.8 9.3.2, 9.3.3 and annex D, and of PS3.7 annex D.3.3.
const (
	itemApplicationContext    = 0x10
	itemPresentationContext   = 0x20
	itemContextResult         = 0x21
	itemAbstractSyntax        = 0x30
	itemTransferSyntax        = 0x40
	itemUserInformation       = 0x50
	itemMaximumLength         = 0x51
	itemImplementationClass   = 0x52
	itemAsyncOperationsWindow = 0x53
	itemRoleSelection         = 0x54
	itemImplementationVersion = 0x55
	itemExtended              = 0x56
	itemCommonExtended        = 0x57
	itemUserIdentity          = 0x58
	itemUserIdentityResponse  = 0x59
)

// AssociateRQ is the A-ASSOCIATE-RQ PDU (PS3.8 9.3.2).
type AssociateRQ struct {
	ProtocolVersion uint16 // bit field; see ProtocolVersion1

	// CalledAETitle and CallingAETitle have 16 bytes, as received, padding and
	// all, because the answer has to repeat them. Compare after [TrimAETitle].
	// Append pads shorter ones.
	CalledAETitle, CallingAETitle string

	Reserved             [32]byte // bytes 43-74, repeated in the answer
	ApplicationContext   string   // empty if the item was missing
	PresentationContexts []PresentationContext
	UserInformation
}

// AssociateAC is the A-ASSOCIATE-AC PDU (PS3.8 9.3.3).
type AssociateAC struct {
	ProtocolVersion uint16 // bit field; see ProtocolVersion1

	// CalledAETitle, CallingAETitle and Reserved repeat the request's fields.
	// PS3.8 forbids to test them.
	CalledAETitle, CallingAETitle string
	Reserved                      [32]byte

	ApplicationContext string
	Results            []PresentationContextResult
	UserInformation
}

// NewAssociateAC returns an acceptance of rq that repeats what has to be
// repeated (PS3.8 table 9-17). Results and UserInformation are left to fill in.
func NewAssociateAC(rq *AssociateRQ) *AssociateAC {
	return &AssociateAC{
		ProtocolVersion:    ProtocolVersion1,
		CalledAETitle:      rq.CalledAETitle,
		CallingAETitle:     rq.CallingAETitle,
		Reserved:           rq.Reserved,
		ApplicationContext: ApplicationContextName,
	}
}

// Type returns TypeAssociateRQ.
func (*AssociateRQ) Type() Type { return TypeAssociateRQ }

// Type returns TypeAssociateAC.
func (*AssociateAC) Type() Type { return TypeAssociateAC }

// Append implements [PDU]. It fails if an AE title exceeds 16 bytes, context
// IDs are even or repeated, or a field exceeds its bound or length field.
func (a *AssociateRQ) Append(dst []byte) ([]byte, error) {
	e := newEncoder(dst, TypeAssociateRQ)
	e.associateHead(a.ProtocolVersion, a.CalledAETitle, a.CallingAETitle, a.Reserved)
	e.uidItem(itemApplicationContext, a.ApplicationContext)
	var ids contextIDs
	for _, c := range a.PresentationContexts {
		e.check(ids.add(c.ID))
		e.presentationContext(c)
	}
	e.userInformation(&a.UserInformation)
	return e.finish(dst)
}

// Append implements [PDU]. It fails as [AssociateRQ.Append] does.
func (a *AssociateAC) Append(dst []byte) ([]byte, error) {
	e := newEncoder(dst, TypeAssociateAC)
	e.associateHead(a.ProtocolVersion, a.CalledAETitle, a.CallingAETitle, a.Reserved)
	e.uidItem(itemApplicationContext, a.ApplicationContext)
	var ids contextIDs
	for _, c := range a.Results {
		e.check(ids.add(c.ID))
		e.contextResult(c)
	}
	e.userInformation(&a.UserInformation)
	return e.finish(dst)
}

// associateHead writes bytes 7 to 74, common to request and acceptance.
func (e *encoder) associateHead(version uint16, called, calling string, reserved [32]byte) {
	e.uint16(version)
	e.uint16(0)
	e.aeTitle("Called-AE-title", called)
	e.aeTitle("Calling-AE-title", calling)
	e.bytes(reserved[:])
}

func (d *decoder) associateHead(version *uint16, called, calling *string, reserved *[32]byte) {
	*version = d.uint16("Protocol-version")
	d.skip("Reserved", 2)
	*called = string(d.take("Called-AE-title", aeTitleLength))
	*calling = string(d.take("Calling-AE-title", aeTitleLength))
	copy(reserved[:], d.take("Reserved", len(reserved)))
}

func (d *decoder) associateRQ() *AssociateRQ {
	a := &AssociateRQ{}
	d.associateHead(&a.ProtocolVersion, &a.CalledAETitle, &a.CallingAETitle, &a.Reserved)
	var ids contextIDs
	d.items(func(kind byte, item *decoder) {
		switch kind {
		case itemApplicationContext:
			a.ApplicationContext = item.uid("Application-context-name", item.len())
		case itemPresentationContext:
			a.PresentationContexts = append(a.PresentationContexts, item.presentationContext(&ids))
		case itemUserInformation:
			item.userInformation(&a.UserInformation)
		}
	})
	return a
}

func (d *decoder) associateAC() *AssociateAC {
	a := &AssociateAC{}
	d.associateHead(&a.ProtocolVersion, &a.CalledAETitle, &a.CallingAETitle, &a.Reserved)
	var ids contextIDs
	d.items(func(kind byte, item *decoder) {
		switch kind {
		case itemApplicationContext:
			a.ApplicationContext = item.uid("Application-context-name", item.len())
		case itemContextResult:
			a.Results = append(a.Results, item.contextResult(&ids))
		case itemUserInformation:
			item.userInformation(&a.UserInformation)
		}
	})
	return a
}

// contextIDs is the set of presentation context IDs used in one PDU. That IDs
// are odd bytes and unique is also what bounds the number of contexts to 128.
type contextIDs [256]bool

func (s *contextIDs) add(id byte) error {
	if id%2 == 0 {
		return fmt.Errorf("%d is even", id)
	}
	if s[id] {
		return fmt.Errorf("%d is used twice", id)
	}
	s[id] = true
	return nil
}
