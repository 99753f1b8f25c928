package pdu

import "fmt"

// AssociateRJ is the A-ASSOCIATE-RJ PDU (PS3.8 9.3.4). What Reason means
// depends on Source, so only the whole has a readable reason: see String.
type AssociateRJ struct {
	Result RejectResult
	Source RejectSource
	Reason RejectReason
}

// RejectResult tells whether trying again can help (PS3.8 table 9-21).
type RejectResult byte

// Results of a rejected association request.
const (
	RejectedPermanent RejectResult = 1
	RejectedTransient RejectResult = 2
)

// String uses the words of PS3.8 table 9-21.
func (r RejectResult) String() string {
	switch r {
	case RejectedPermanent:
		return "rejected-permanent"
	case RejectedTransient:
		return "rejected-transient"
	}
	return fmt.Sprintf("reserved result %d", byte(r))
}

// RejectSource tells who rejected (PS3.8 table 9-21).
type RejectSource byte

// Sources of a rejection.
const (
	RejectSourceServiceUser  RejectSource = 1
	RejectSourceACSE         RejectSource = 2 // service-provider, ACSE related function
	RejectSourcePresentation RejectSource = 3 // service-provider, Presentation related function
)

// String uses the words of PS3.8 table 9-21.
func (s RejectSource) String() string {
	switch s {
	case RejectSourceServiceUser:
		return "DICOM UL service-user"
	case RejectSourceACSE:
		return "DICOM UL service-provider (ACSE related function)"
	case RejectSourcePresentation:
		return "DICOM UL service-provider (Presentation related function)"
	}
	return fmt.Sprintf("reserved source %d", byte(s))
}

// RejectReason is the Reason/Diag. field (PS3.8 table 9-21). The same number
// means something else for each source, which the names say.
type RejectReason byte

// Reasons if the source is RejectSourceServiceUser.
const (
	RejectUserNoReason                       RejectReason = 1
	RejectUserApplicationContextNotSupported RejectReason = 2
	RejectUserCallingAETitleNotRecognized    RejectReason = 3
	RejectUserCalledAETitleNotRecognized     RejectReason = 7
)

// Reasons if the source is RejectSourceACSE.
const (
	RejectACSENoReason                    RejectReason = 1
	RejectACSEProtocolVersionNotSupported RejectReason = 2
)

// Reasons if the source is RejectSourcePresentation.
const (
	RejectPresentationTemporaryCongestion RejectReason = 1
	RejectPresentationLocalLimitExceeded  RejectReason = 2
)

var rejectReasons = map[RejectSource]map[RejectReason]string{
	RejectSourceServiceUser: {
		RejectUserNoReason:                       "no-reason-given",
		RejectUserApplicationContextNotSupported: "application-context-name-not-supported",
		RejectUserCallingAETitleNotRecognized:    "calling-AE-title-not-recognized",
		RejectUserCalledAETitleNotRecognized:     "called-AE-title-not-recognized",
	},
	RejectSourceACSE: {
		RejectACSENoReason:                    "no-reason-given",
		RejectACSEProtocolVersionNotSupported: "protocol-version-not-supported",
	},
	RejectSourcePresentation: {
		RejectPresentationTemporaryCongestion: "temporary-congestion",
		RejectPresentationLocalLimitExceeded:  "local-limit-exceeded",
	},
}

// ReasonString names the reason in the words of PS3.8 table 9-21.
func (a *AssociateRJ) ReasonString() string {
	if s, ok := rejectReasons[a.Source][a.Reason]; ok {
		return s
	}
	return fmt.Sprintf("reserved reason %d", byte(a.Reason))
}

// String names result, reason and source.
func (a *AssociateRJ) String() string {
	return fmt.Sprintf("%v by %v: %s", a.Result, a.Source, a.ReasonString())
}

// Type returns TypeAssociateRJ.
func (*AssociateRJ) Type() Type { return TypeAssociateRJ }

// Append implements [PDU]; it cannot fail.
func (a *AssociateRJ) Append(dst []byte) ([]byte, error) {
	return appendFixed(dst, TypeAssociateRJ, 0, byte(a.Result), byte(a.Source), byte(a.Reason)), nil
}

func (d *decoder) associateRJ() *AssociateRJ {
	d.skip("Reserved", 1)
	return &AssociateRJ{
		Result: RejectResult(d.uint8("Result")),
		Source: RejectSource(d.uint8("Source")),
		Reason: RejectReason(d.uint8("Reason/Diag.")),
	}
}
