package dimse

import (
	"encoding/binary"
	"fmt"
	"strings"

	"dcmgate/dicom"
)

// MaxCommandLength bounds a command set in bytes. The largest legitimate ones are a few
// hundred bytes; an N-GET may list some hundred attributes.
const MaxCommandLength = 64 << 10

// CommandError reports a command set that cannot be understood. What follows it on the
// association cannot be told apart any more, so the engine aborts.
type CommandError struct {
	Offset int    // byte of the command set, from 0
	Reason string // lower case, without patient data
}

// Error implements error.
func (e *CommandError) Error() string {
	return fmt.Sprintf("command set: %s at byte %d", e.Reason, e.Offset)
}

// ParseCommand decodes a command set. It is lenient where the meaning is clear: a wrong or
// missing group length, values of odd length, padding by space or NUL, elements in any order
// and unknown elements are taken; what cannot be framed, and a set without a Command Field,
// is a *CommandError. b is not retained.
func ParseCommand(b []byte) (Command, error) {
	c := Command{}
	if len(b) > MaxCommandLength {
		return c, &CommandError{MaxCommandLength, "longer than 65536 bytes"}
	}
	seenField := false
	for at := 0; at < len(b); {
		if len(b)-at < 8 {
			return c, &CommandError{at, "element header cut short"}
		}
		group := binary.LittleEndian.Uint16(b[at:])
		element := binary.LittleEndian.Uint16(b[at+2:])
		length := binary.LittleEndian.Uint32(b[at+4:])
		if uint64(length) > uint64(len(b)-at-8) {
			return c, &CommandError{at, fmt.Sprintf("element (%04X,%04X) of %d bytes exceeds the set", group, element, length)}
		}
		value := b[at+8 : at+8+int(length)]
		if group == 0 {
			c.set(element, value)
			seenField = seenField || element == tagCommandField && len(value) >= 2
		}
		at += 8 + int(length)
	}
	if !seenField {
		return c, &CommandError{len(b), "no command field (0000,0100)"}
	}
	return c, nil
}

// set assigns one element. A value too short for its type counts as absent.
func (c *Command) set(element uint16, v []byte) {
	switch element {
	case tagAffectedSOPClassUID:
		c.AffectedSOPClassUID = uidValue(v)
	case tagRequestedSOPClassUID:
		c.RequestedSOPClassUID = uidValue(v)
	case tagAffectedSOPInstanceUID:
		c.AffectedSOPInstanceUID = uidValue(v)
	case tagRequestedSOPInstanceUID:
		c.RequestedSOPInstanceUID = uidValue(v)
	case tagMoveDestination:
		c.MoveDestination = textValue(v)
	case tagErrorComment:
		c.ErrorComment = textValue(v)
	case tagMoveOriginatorAETitle:
		c.MoveOriginatorAETitle = textValue(v)
	case tagOffendingElement:
		c.OffendingElements = tagValues(v)
	case tagAttributeIdentifierList:
		c.AttributeIdentifierList = tagValues(v)
	default:
		if len(v) >= 2 {
			c.setUint16(element, binary.LittleEndian.Uint16(v))
		}
	}
}

func (c *Command) setUint16(element, v uint16) {
	switch element {
	case tagCommandField:
		c.CommandField = CommandField(v)
	case tagMessageID:
		c.MessageID = v
	case tagMessageIDBeingRespondedTo:
		c.MessageIDBeingRespondedTo = v
	case tagPriority:
		c.Priority = Priority(v)
	case tagCommandDataSetType:
		c.HasDataSet = v != noDataSet
	case tagStatus:
		c.Status = Status(v)
	case tagErrorID:
		c.ErrorID = v
	case tagEventTypeID:
		c.EventTypeID = v
	case tagActionTypeID:
		c.ActionTypeID = v
	case tagRemainingSuboperations:
		c.NumberOfRemainingSuboperations = counter(v)
	case tagCompletedSuboperations:
		c.NumberOfCompletedSuboperations = counter(v)
	case tagFailedSuboperations:
		c.NumberOfFailedSuboperations = counter(v)
	case tagWarningSuboperations:
		c.NumberOfWarningSuboperations = counter(v)
	case tagMoveOriginatorMessageID:
		c.MoveOriginatorMessageID = v
	}
}

// counter keeps the value of the other elements off the heap.
func counter(v uint16) *uint16 { return &v }

// uidValue strips the padding senders put around UIDs: NUL by the standard, blanks in the field.
func uidValue(v []byte) dicom.UID { return dicom.UID(textValue(v)) }

func textValue(v []byte) string { return strings.Trim(string(v), " \x00") }

func tagValues(v []byte) []dicom.Tag {
	if len(v) < 4 {
		return nil
	}
	tags := make([]dicom.Tag, 0, len(v)/4)
	for ; len(v) >= 4; v = v[4:] {
		group, element := binary.LittleEndian.Uint16(v), binary.LittleEndian.Uint16(v[2:])
		tags = append(tags, dicom.Tag(uint32(group)<<16|uint32(element)))
	}
	return tags
}
