package dimse

import "dcmgate/dicom"

// Priority is (0000,0700) of a C-STORE, C-FIND, C-GET or C-MOVE request.
type Priority uint16

// The priorities of PS3.7 E.1. The zero value is the ordinary one.
const (
	PriorityMedium Priority = 0x0000
	PriorityHigh   Priority = 0x0001
	PriorityLow    Priority = 0x0002
)

// Command is a command set, PS3.7 9.3, 10.3 and E.1: the first part of every DIMSE message.
// Zero values of optional elements are left out when encoding; elements that a message must
// have are written whatever their value.
type Command struct {
	AffectedSOPClassUID       dicom.UID    // (0000,0002)
	RequestedSOPClassUID      dicom.UID    // (0000,0003)
	CommandField              CommandField // (0000,0100)
	MessageID                 uint16       // (0000,0110), of requests
	MessageIDBeingRespondedTo uint16       // (0000,0120), of responses and C-CANCEL-RQ
	MoveDestination           string       // (0000,0600)
	Priority                  Priority     // (0000,0700)
	HasDataSet                bool         // (0000,0800) is not 0101H
	Status                    Status       // (0000,0900), of responses
	OffendingElements         []dicom.Tag  // (0000,0901)
	ErrorComment              string       // (0000,0902), at most 64 characters on the wire
	ErrorID                   uint16       // (0000,0903)
	AffectedSOPInstanceUID    dicom.UID    // (0000,1000)
	RequestedSOPInstanceUID   dicom.UID    // (0000,1001)
	EventTypeID               uint16       // (0000,1002)
	AttributeIdentifierList   []dicom.Tag  // (0000,1005)
	ActionTypeID              uint16       // (0000,1008)

	// The sub-operation counters of C-GET and C-MOVE responses. Nil means absent, which is
	// also how a count that does not fit 16 bits has to be sent.
	NumberOfRemainingSuboperations *uint16 // (0000,1020)
	NumberOfCompletedSuboperations *uint16 // (0000,1021)
	NumberOfFailedSuboperations    *uint16 // (0000,1022)
	NumberOfWarningSuboperations   *uint16 // (0000,1023)

	MoveOriginatorAETitle   string // (0000,1030)
	MoveOriginatorMessageID uint16 // (0000,1031), present with the title
}

// The elements of PS3.7 table E.1-1.
const (
	tagGroupLength               = 0x0000
	tagAffectedSOPClassUID       = 0x0002
	tagRequestedSOPClassUID      = 0x0003
	tagCommandField              = 0x0100
	tagMessageID                 = 0x0110
	tagMessageIDBeingRespondedTo = 0x0120
	tagMoveDestination           = 0x0600
	tagPriority                  = 0x0700
	tagCommandDataSetType        = 0x0800
	tagStatus                    = 0x0900
	tagOffendingElement          = 0x0901
	tagErrorComment              = 0x0902
	tagErrorID                   = 0x0903
	tagAffectedSOPInstanceUID    = 0x1000
	tagRequestedSOPInstanceUID   = 0x1001
	tagEventTypeID               = 0x1002
	tagAttributeIdentifierList   = 0x1005
	tagActionTypeID              = 0x1008
	tagRemainingSuboperations    = 0x1020
	tagCompletedSuboperations    = 0x1021
	tagFailedSuboperations       = 0x1022
	tagWarningSuboperations      = 0x1023
	tagMoveOriginatorAETitle     = 0x1030
	tagMoveOriginatorMessageID   = 0x1031
)

const (
	noDataSet  = 0x0101 // the value of (0000,0800) that PS3.7 E.1 gives to "no data set"
	hasDataSet = 0x0001 // any other value means there is one; this is what we send

	maxErrorComment = 64 // LO, PS3.5 6.2
)
