package pdu

import "fmt"

// Abort is the A-ABORT PDU (PS3.8 9.3.8).
type Abort struct {
	Source AbortSource
	Reason AbortReason // significant only if Source is the service-provider
}

// AbortSource tells who ended the association (PS3.8 table 9-26).
type AbortSource byte

// Sources of an abort.
const (
	AbortSourceServiceUser     AbortSource = 0
	AbortSourceServiceProvider AbortSource = 2
)

// String uses the words of PS3.8 table 9-26.
func (s AbortSource) String() string {
	switch s {
	case AbortSourceServiceUser:
		return "DICOM UL service-user"
	case AbortSourceServiceProvider:
		return "DICOM UL service-provider"
	}
	return fmt.Sprintf("reserved source %d", byte(s))
}

// AbortReason tells why the service-provider ended it (PS3.8 table 9-26).
type AbortReason byte

// Reasons of an abort by the service-provider.
const (
	AbortReasonNotSpecified          AbortReason = 0
	AbortReasonUnrecognizedPDU       AbortReason = 1
	AbortReasonUnexpectedPDU         AbortReason = 2
	AbortReasonUnrecognizedParameter AbortReason = 4
	AbortReasonUnexpectedParameter   AbortReason = 5
	AbortReasonInvalidParameterValue AbortReason = 6
)

// String uses the words of PS3.8 table 9-26.
func (r AbortReason) String() string {
	switch r {
	case AbortReasonNotSpecified:
		return "reason-not-specified"
	case AbortReasonUnrecognizedPDU:
		return "unrecognized-PDU"
	case AbortReasonUnexpectedPDU:
		return "unexpected-PDU"
	case AbortReasonUnrecognizedParameter:
		return "unrecognized-PDU parameter"
	case AbortReasonUnexpectedParameter:
		return "unexpected-PDU parameter"
	case AbortReasonInvalidParameterValue:
		return "invalid-PDU-parameter value"
	}
	return fmt.Sprintf("reserved reason %d", byte(r))
}

// String names the source and, where it means something, the reason.
func (a *Abort) String() string {
	if a.Source == AbortSourceServiceUser {
		return fmt.Sprintf("A-ABORT by %v", a.Source)
	}
	return fmt.Sprintf("A-ABORT by %v: %v", a.Source, a.Reason)
}

// Type returns TypeAbort.
func (*Abort) Type() Type { return TypeAbort }

// Append implements [PDU]; it cannot fail.
func (a *Abort) Append(dst []byte) ([]byte, error) {
	return appendFixed(dst, TypeAbort, 0, 0, byte(a.Source), byte(a.Reason)), nil
}

func (d *decoder) abort() *Abort {
	d.skip("Reserved", 2)
	return &Abort{
		Source: AbortSource(d.uint8("Source")),
		Reason: AbortReason(d.uint8("Reason/Diag.")),
	}
}
