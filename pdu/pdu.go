package pdu

import "fmt"

// Type is the first byte of every PDU (PS3.8 9.3.1).
type Type byte

// The PDU types of PS3.8 9.3.2 to 9.3.8.
const (
	TypeAssociateRQ Type = 0x01
	TypeAssociateAC Type = 0x02
	TypeAssociateRJ Type = 0x03
	TypePData       Type = 0x04
	TypeReleaseRQ   Type = 0x05
	TypeReleaseRP   Type = 0x06
	TypeAbort       Type = 0x07
)

var typeNames = [...]string{
	TypeAssociateRQ: "A-ASSOCIATE-RQ",
	TypeAssociateAC: "A-ASSOCIATE-AC",
	TypeAssociateRJ: "A-ASSOCIATE-RJ",
	TypePData:       "P-DATA-TF",
	TypeReleaseRQ:   "A-RELEASE-RQ",
	TypeReleaseRP:   "A-RELEASE-RP",
	TypeAbort:       "A-ABORT",
}

// String returns the standard's name of the PDU, such as "P-DATA-TF".
func (t Type) String() string {
	if t.known() {
		return typeNames[t]
	}
	return fmt.Sprintf("PDU type %02XH", byte(t))
}

func (t Type) known() bool { return t >= TypeAssociateRQ && t <= TypeAbort }

// PDU is any PDU other than P-DATA-TF, which is streamed by [Reader] and
// [Writer]. It is implemented by pointers to [AssociateRQ], [AssociateAC],
// [AssociateRJ], [ReleaseRQ], [ReleaseRP] and [Abort].
type PDU interface {
	Type() Type
	// Append encodes the PDU, header included, behind dst. It fails, with dst
	// returned as it was, if a field cannot be represented on the wire.
	Append(dst []byte) ([]byte, error)
}

const (
	headerLength = 6 // PDU-type, reserved, PDU-length
	fixedLength  = 4 // PDU-length of A-ASSOCIATE-RJ, A-RELEASE-RQ/RP and A-ABORT
)

// Header is what precedes the variable field of every PDU (PS3.8 9.3.1).
type Header struct {
	Type   Type
	Length uint32 // bytes that follow the header
}

// decode parses the variable field of a PDU that is not P-DATA-TF.
func decode(t Type, body []byte) (PDU, error) {
	d := &decoder{pdu: t, buf: body, base: headerLength}
	var p PDU
	switch t {
	case TypeAssociateRQ:
		p = d.associateRQ()
	case TypeAssociateAC:
		p = d.associateAC()
	case TypeAssociateRJ:
		p = d.associateRJ()
	case TypeReleaseRQ:
		p = &ReleaseRQ{}
	case TypeReleaseRP:
		p = &ReleaseRP{}
	case TypeAbort:
		p = d.abort()
	default:
		d.fail(fieldType, "not decoded as a whole")
	}
	if d.err != nil {
		return nil, d.err
	}
	return p, nil
}

// appendFixed encodes the PDUs whose variable field has four bytes.
func appendFixed(dst []byte, t Type, a, b, c, d byte) []byte {
	return append(dst, byte(t), 0, 0, 0, 0, fixedLength, a, b, c, d)
}
