package dimse

import (
	"encoding/binary"

	"dcmgate/dicom"
)

// Append encodes the command set in Implicit VR Little Endian (PS3.7 6.3.1), elements in
// ascending order and (0000,0000) first, and appends it to dst.
func (c *Command) Append(dst []byte) []byte {
	start := len(dst)
	dst = appendHeader(dst, tagGroupLength, 4)
	dst = append(dst, 0, 0, 0, 0)
	body := len(dst)
	dst = c.appendIdentification(dst)
	dst = c.appendOutcome(dst)
	dst = c.appendInstance(dst)
	dst = c.appendSuboperations(dst)
	binary.LittleEndian.PutUint32(dst[start+8:], uint32(len(dst)-body))
	return dst
}

// appendIdentification writes the elements up to (0000,0800): what the message is and is about.
func (c *Command) appendIdentification(dst []byte) []byte {
	f, response := c.CommandField, c.CommandField.IsResponse()
	cancel := f == CCancelRQ
	dst = appendText(dst, tagAffectedSOPClassUID, string(c.AffectedSOPClassUID), 0)
	dst = appendText(dst, tagRequestedSOPClassUID, string(c.RequestedSOPClassUID), 0)
	dst = appendUint16(dst, tagCommandField, uint16(f))
	if !response && !cancel {
		dst = appendUint16(dst, tagMessageID, c.MessageID)
	}
	if response || cancel {
		dst = appendUint16(dst, tagMessageIDBeingRespondedTo, c.MessageIDBeingRespondedTo)
	}
	dst = appendText(dst, tagMoveDestination, c.MoveDestination, ' ')
	if operations[f].priority {
		dst = appendUint16(dst, tagPriority, uint16(c.Priority))
	}
	if c.HasDataSet {
		return appendUint16(dst, tagCommandDataSetType, hasDataSet)
	}
	return appendUint16(dst, tagCommandDataSetType, noDataSet)
}

// appendOutcome writes the status elements of a response.
func (c *Command) appendOutcome(dst []byte) []byte {
	if !c.CommandField.IsResponse() {
		return dst
	}
	dst = appendUint16(dst, tagStatus, uint16(c.Status))
	dst = appendTags(dst, tagOffendingElement, c.OffendingElements)
	dst = appendText(dst, tagErrorComment, truncate(c.ErrorComment, maxErrorComment), ' ')
	return appendNonZero(dst, tagErrorID, c.ErrorID)
}

// appendInstance writes the instance identification and the type IDs of the N services.
func (c *Command) appendInstance(dst []byte) []byte {
	dst = appendText(dst, tagAffectedSOPInstanceUID, string(c.AffectedSOPInstanceUID), 0)
	dst = appendText(dst, tagRequestedSOPInstanceUID, string(c.RequestedSOPInstanceUID), 0)
	if c.CommandField == NEventReportRQ || c.EventTypeID != 0 {
		dst = appendUint16(dst, tagEventTypeID, c.EventTypeID)
	}
	dst = appendTags(dst, tagAttributeIdentifierList, c.AttributeIdentifierList)
	if c.CommandField == NActionRQ || c.ActionTypeID != 0 {
		dst = appendUint16(dst, tagActionTypeID, c.ActionTypeID)
	}
	return dst
}

// appendSuboperations writes the counters of C-GET and C-MOVE and the originator of a move.
func (c *Command) appendSuboperations(dst []byte) []byte {
	dst = appendOptional(dst, tagRemainingSuboperations, c.NumberOfRemainingSuboperations)
	dst = appendOptional(dst, tagCompletedSuboperations, c.NumberOfCompletedSuboperations)
	dst = appendOptional(dst, tagFailedSuboperations, c.NumberOfFailedSuboperations)
	dst = appendOptional(dst, tagWarningSuboperations, c.NumberOfWarningSuboperations)
	if c.MoveOriginatorAETitle == "" {
		return dst
	}
	dst = appendText(dst, tagMoveOriginatorAETitle, c.MoveOriginatorAETitle, ' ')
	return appendUint16(dst, tagMoveOriginatorMessageID, c.MoveOriginatorMessageID)
}

func appendHeader(dst []byte, element uint16, length uint32) []byte {
	dst = append(dst, 0, 0, byte(element), byte(element>>8))
	return binary.LittleEndian.AppendUint32(dst, length)
}

func appendUint16(dst []byte, element, v uint16) []byte {
	return binary.LittleEndian.AppendUint16(appendHeader(dst, element, 2), v)
}

func appendNonZero(dst []byte, element, v uint16) []byte {
	if v == 0 {
		return dst
	}
	return appendUint16(dst, element, v)
}

func appendOptional(dst []byte, element uint16, v *uint16) []byte {
	if v == nil {
		return dst
	}
	return appendUint16(dst, element, *v)
}

// appendText writes a string element padded to even length; an empty one is left out.
func appendText(dst []byte, element uint16, s string, pad byte) []byte {
	if s == "" {
		return dst
	}
	dst = appendHeader(dst, element, uint32(len(s)+len(s)&1))
	dst = append(dst, s...)
	if len(s)&1 == 1 {
		dst = append(dst, pad)
	}
	return dst
}

func appendTags(dst []byte, element uint16, tags []dicom.Tag) []byte {
	if len(tags) == 0 {
		return dst
	}
	dst = appendHeader(dst, element, uint32(4*len(tags)))
	for _, t := range tags {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(t>>16))
		dst = binary.LittleEndian.AppendUint16(dst, uint16(t))
	}
	return dst
}

// truncate cuts s to at most n bytes without splitting a UTF-8 sequence.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
