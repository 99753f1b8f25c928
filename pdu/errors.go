package pdu

import (
	"errors"
	"fmt"
)

// FormatError says what in a received PDU violates PS3.8 9.3 or the limits
// given to the [Reader]. It never quotes what the peer sent, so that it may be
// logged as it is.
//
// Where the standard's tables number bytes from 1, Offset counts from 0 as packet
// analysers do, which is where a technician will look.
type FormatError struct {
	PDU    Type   // the PDU it was found in
	Field  string // the field as the standard's tables name it, such as "Item-length"
	Offset int64  // where the field begins, in bytes from the first byte of the PDU
	Reason string
}

// Error names the PDU, the field, its place and what is wrong.
func (e *FormatError) Error() string {
	return fmt.Sprintf("malformed %v: %s at offset %d: %s", e.PDU, e.Field, e.Offset, e.Reason)
}

// AbortReason is the reason an A-ABORT that answers the malformed PDU gives
// (PS3.8 9.3.8): unrecognized-PDU if the type is unknown, otherwise
// invalid-PDU-parameter value.
func (e *FormatError) AbortReason() AbortReason {
	if e.Field == fieldType {
		return AbortReasonUnrecognizedPDU
	}
	return AbortReasonInvalidParameterValue
}

// InterruptedError says that a PDU other than P-DATA-TF came before the last
// fragment of a message part. The PDU is not lost: [Reader.Decode] returns it,
// and it is often an A-ABORT.
type InterruptedError struct {
	Header Header
}

// Error names the PDU that came.
func (e *InterruptedError) Error() string {
	return fmt.Sprintf("%v inside a message", e.Header.Type)
}

var (
	// errMisuse marks calls in an order the documentation excludes. It means a
	// bug in the caller, never something a peer did.
	errMisuse = errors.New("pdu: reader used out of order")

	errInvalidCount = errors.New("pdu: Read or Write returned an impossible count")
)

// Names of fields that are checked outside of the decoder.
const (
	fieldType           = "PDU-type"
	fieldLength         = "PDU-length"
	fieldPDVLength      = "PDV Item-length"
	fieldContextID      = "Presentation-context-ID"
	fieldControlHeader  = "Message Control Header"
	fieldItemType       = "Item-type"
	fieldItemLength     = "Item-length"
	fieldTransferSyntax = "Transfer-syntax-name"
)
