package dimse

import "fmt"

// Status is (0000,0900) of a response, PS3.7 annex C and the services' own tables in PS3.4.
type Status uint16

// StatusClass is the class PS3.7 annex C gives to a status.
type StatusClass uint8

// The classes of PS3.7 C.1 to C.5.
const (
	ClassSuccess StatusClass = iota
	ClassWarning
	ClassFailure
	ClassCancel
	ClassPending
)

var statusClassNames = [...]string{"success", "warning", "failure", "cancel", "pending"}

// String is the class's name in lower case, as used in metrics.
func (c StatusClass) String() string { return statusClassNames[c] }

// Statuses that the engine answers itself or that more than one service shares.
const (
	StatusSuccess                  Status = 0x0000
	StatusAttributeListError       Status = 0x0107
	StatusProcessingFailure        Status = 0x0110
	StatusDuplicateSOPInstance     Status = 0x0111
	StatusNoSuchSOPInstance        Status = 0x0112
	StatusNoSuchEventType          Status = 0x0113
	StatusNoSuchArgument           Status = 0x0114
	StatusInvalidArgumentValue     Status = 0x0115
	StatusInvalidSOPInstance       Status = 0x0117
	StatusNoSuchSOPClass           Status = 0x0118
	StatusClassInstanceConflict    Status = 0x0119
	StatusMissingAttribute         Status = 0x0120
	StatusMissingAttributeValue    Status = 0x0121
	StatusSOPClassNotSupported     Status = 0x0122
	StatusNoSuchActionType         Status = 0x0123
	StatusNotAuthorized            Status = 0x0124
	StatusDuplicateInvocation      Status = 0x0210
	StatusUnrecognizedOperation    Status = 0x0211
	StatusMistypedArgument         Status = 0x0212
	StatusResourceLimitation       Status = 0x0213
	StatusOutOfResources           Status = 0xA700
	StatusUnableToCalculateMatches Status = 0xA701
	StatusUnableToPerformSubOps    Status = 0xA702
	StatusMoveDestinationUnknown   Status = 0xA801
	StatusDataSetMismatch          Status = 0xA900
	StatusCoercion                 Status = 0xB000
	StatusElementsDiscarded        Status = 0xB006
	StatusDataSetMismatchWarning   Status = 0xB007
	StatusCannotUnderstand         Status = 0xC000
	StatusUnableToProcess          Status = 0xC000
	StatusCancel                   Status = 0xFE00
	StatusPending                  Status = 0xFF00
	StatusPendingWarning           Status = 0xFF01
	StatusSubOpsCompleteFailures   Status = 0xB000
)

// Class sorts a status by PS3.7 annex C. A code of no known range is a failure: whoever
// waits for success must not mistake it.
func (s Status) Class() StatusClass {
	switch {
	case s == StatusSuccess:
		return ClassSuccess
	case s == StatusPending || s == StatusPendingWarning:
		return ClassPending
	case s == StatusCancel:
		return ClassCancel
	case s>>12 == 0xB, s == 0x0001, s == StatusAttributeListError, s == 0x0116:
		return ClassWarning
	default:
		return ClassFailure
	}
}

// Ok tells whether the operation took effect: success or warning.
func (s Status) Ok() bool { c := s.Class(); return c == ClassSuccess || c == ClassWarning }

// statusRow is one row of a service's status table; low and high bound the codes.
type statusRow struct {
	low, high Status
	meaning   string
}

// generalStatuses are those of PS3.7 annex C, valid for every service.
var generalStatuses = []statusRow{
	{0x0000, 0x0000, "success"},
	{0x0001, 0x0001, "warning: requested optional attributes are not supported"},
	{0x0105, 0x0105, "no such attribute"},
	{0x0106, 0x0106, "invalid attribute value"},
	{0x0107, 0x0107, "warning: attribute list error"},
	{0x0110, 0x0110, "processing failure"},
	{0x0111, 0x0111, "duplicate SOP instance"},
	{0x0112, 0x0112, "no such SOP instance"},
	{0x0113, 0x0113, "no such event type"},
	{0x0114, 0x0114, "no such argument"},
	{0x0115, 0x0115, "invalid argument value"},
	{0x0116, 0x0116, "warning: attribute value out of range"},
	{0x0117, 0x0117, "invalid SOP instance"},
	{0x0118, 0x0118, "no such SOP class"},
	{0x0119, 0x0119, "class and instance conflict"},
	{0x0120, 0x0120, "missing attribute"},
	{0x0121, 0x0121, "missing attribute value"},
	{0x0122, 0x0122, "refused: SOP class not supported"},
	{0x0123, 0x0123, "no such action type"},
	{0x0124, 0x0124, "refused: not authorized"},
	{0x0131, 0x0131, "no such procedure step"},
	{0x0210, 0x0210, "duplicate invocation: message ID is in use"},
	{0x0211, 0x0211, "unrecognized operation"},
	{0x0212, 0x0212, "mistyped argument"},
	{0x0213, 0x0213, "resource limitation"},
	{0xFE00, 0xFE00, "cancelled"},
	{0xFF00, 0xFF01, "pending"},
}

// serviceStatuses are the services' own rows: PS3.4 tables B.2-1 (storage), C.4-1 (find),
// C.4-2 (move) and C.4-3 (get).
var serviceStatuses = map[CommandField][]statusRow{
	CStoreRQ: {
		{0xA700, 0xA7FF, "refused: out of resources"},
		{0xA900, 0xA9FF, "data set does not match SOP class"},
		{0xB000, 0xB000, "warning: coercion of data elements"},
		{0xB006, 0xB006, "warning: elements discarded"},
		{0xB007, 0xB007, "warning: data set does not match SOP class"},
		{0xC000, 0xCFFF, "cannot understand"},
	},
	CFindRQ: {
		{0xA700, 0xA700, "refused: out of resources"},
		{0xA900, 0xA900, "identifier does not match SOP class"},
		{0xC000, 0xCFFF, "unable to process"},
		{0xFF01, 0xFF01, "pending, some optional keys were not matched"},
	},
	CMoveRQ: {
		{0xA701, 0xA701, "refused: out of resources, unable to calculate number of matches"},
		{0xA702, 0xA702, "refused: out of resources, unable to perform sub-operations"},
		{0xA801, 0xA801, "refused: move destination unknown"},
		{0xA900, 0xA900, "identifier does not match SOP class"},
		{0xAA00, 0xAA04, "none of the frames requested were found or can be made"},
		{0xB000, 0xB000, "warning: sub-operations complete, one or more failures"},
		{0xC000, 0xCFFF, "unable to process"},
	},
	CGetRQ: {
		{0xA701, 0xA701, "refused: out of resources, unable to calculate number of matches"},
		{0xA702, 0xA702, "refused: out of resources, unable to perform sub-operations"},
		{0xA900, 0xA900, "identifier does not match SOP class"},
		{0xAA00, 0xAA04, "none of the frames requested were found or can be made"},
		{0xB000, 0xB000, "warning: sub-operations complete, one or more failures"},
		{0xC000, 0xCFFF, "unable to process"},
	},
}

// Meaning is the status in words as the table of the operation's service has it, such as
// "refused: out of resources". Either message of the operation may be given.
func (s Status) Meaning(operation CommandField) string {
	for _, rows := range [][]statusRow{serviceStatuses[operation.Request()], generalStatuses} {
		for _, r := range rows {
			if s >= r.low && s <= r.high {
				return r.meaning
			}
		}
	}
	return s.Class().String()
}

// String is the code in the standard's notation with its general meaning, such as
// "0211H unrecognized operation".
func (s Status) String() string { return fmt.Sprintf("%04XH %s", uint16(s), s.Meaning(0)) }

// StatusError carries the status and comment with which a service refuses an operation.
type StatusError struct {
	Status  Status
	Comment string // goes to the peer as (0000,0902); no patient data
}

// Error implements error.
func (e *StatusError) Error() string {
	if e.Comment == "" {
		return e.Status.String()
	}
	return e.Status.String() + ": " + e.Comment
}
