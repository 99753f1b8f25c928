package commitment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// Bounds of what is read. Whoever asks for more instances divides the request.
const (
	// MaxReferences is how many instances a request may name, and a result report on.
	MaxReferences = 10_000
	// MaxDataSet bounds the encoded data set of a request or result in bytes.
	MaxDataSet = 4 << 20
	// MaxUIDLength bounds a UID in characters: PS3.5 9.1 allows 64, and not everybody is as careful.
	MaxUIDLength = 128
)

const (
	tagRetrieveAETitle          dicom.Tag = 0x00080054
	tagReferencedSOPClassUID    dicom.Tag = 0x00081150
	tagReferencedSOPInstanceUID dicom.Tag = 0x00081155
	tagTransactionUID           dicom.Tag = 0x00081195
	tagFailureReason            dicom.Tag = 0x00081197
	tagFailedSOPSequence        dicom.Tag = 0x00081198
	tagReferencedSOPSequence    dicom.Tag = 0x00081199
)

// Failure Reasons (0008,1197), PS3.3 C.14.1.1. All but the last have the codes of statuses.
const (
	ReasonProcessingFailure       = dimse.StatusProcessingFailure
	ReasonNoSuchInstance          = dimse.StatusNoSuchSOPInstance
	ReasonClassInstanceConflict   = dimse.StatusClassInstanceConflict
	ReasonSOPClassNotSupported    = dimse.StatusSOPClassNotSupported
	ReasonResourceLimitation      = dimse.StatusResourceLimitation
	ReasonDuplicateTransactionUID = dimse.Status(0x0131)
)

// ReasonText is a Failure Reason in words.
func ReasonText(reason dimse.Status) string {
	if reason == ReasonDuplicateTransactionUID {
		return "duplicate transaction UID"
	}
	return reason.Meaning(dimse.NActionRQ)
}

// Reference names an instance, as an item of Referenced SOP Sequence (0008,1199) does.
type Reference struct {
	SOPClassUID    dicom.UID // (0008,1150)
	SOPInstanceUID dicom.UID // (0008,1155)
}

// Failure is an instance that is not committed: an item of Failed SOP Sequence (0008,1198).
type Failure struct {
	Reference
	Reason dimse.Status // (0008,1197)
}

// Request is the action information of N-ACTION (PS3.4 table J.3-1).
type Request struct {
	TransactionUID dicom.UID // (0008,1195)
	References     []Reference
}

// Result is the event information of N-EVENT-REPORT (PS3.4 table J.3-2).
type Result struct {
	TransactionUID  dicom.UID
	RetrieveAETitle string // (0008,0054), where the committed instances can be had; "" if the result does not tell
	Committed       []Reference
	Failed          []Failure
}

// ParseRequest reads action information in a transfer syntax. Its errors are *[dimse.StatusError]: what to answer.
func ParseRequest(data []byte, ts dicom.UID) (*Request, error) {
	elements, err := parse(data, ts)
	if err != nil {
		return nil, err
	}
	r := new(Request)
	var sequence *dicom.DataElement
	for i := range elements {
		switch e := &elements[i]; e.Tag {
		case tagTransactionUID:
			r.TransactionUID = dicom.ParseUID(e.Value)
		case tagReferencedSOPSequence:
			sequence = e
		}
	}
	if err := checkUID(tagTransactionUID, r.TransactionUID); err != nil {
		return nil, err
	}
	if r.References, err = references(sequence); err != nil {
		return nil, err
	}
	if len(r.References) == 0 {
		return nil, invalid(tagReferencedSOPSequence, "has no item")
	}
	return r, checkCount(len(r.References))
}

// ParseResult reads event information in a transfer syntax. Its errors are *[dimse.StatusError]: what to answer.
func ParseResult(data []byte, ts dicom.UID) (*Result, error) {
	elements, err := parse(data, ts)
	if err != nil {
		return nil, err
	}
	r := new(Result)
	for i := range elements {
		switch e := &elements[i]; e.Tag {
		case tagRetrieveAETitle:
			r.RetrieveAETitle = strings.Trim(string(e.Value), " \x00")
		case tagTransactionUID:
			r.TransactionUID = dicom.ParseUID(e.Value)
		case tagReferencedSOPSequence:
			r.Committed, err = references(e)
		case tagFailedSOPSequence:
			r.Failed, err = failures(e)
		}
		if err != nil {
			return nil, err
		}
	}
	if err := checkUID(tagTransactionUID, r.TransactionUID); err != nil {
		return nil, err
	}
	if len(r.Committed)+len(r.Failed) == 0 {
		return nil, invalid(tagReferencedSOPSequence, "has no item, and none has failed")
	}
	return r, checkCount(len(r.Committed) + len(r.Failed))
}

func parse(data []byte, ts dicom.UID) ([]dicom.DataElement, error) {
	if len(data) > MaxDataSet {
		return nil, errTooLong
	}
	elements, err := dicom.ParseElements(data, ts)
	if err != nil {
		var format *dicom.FormatError
		if errors.As(err, &format) {
			return nil, &dimse.StatusError{Status: dimse.StatusProcessingFailure, Comment: "data set cannot be read: " + format.Reason}
		}
		return nil, &dimse.StatusError{Status: dimse.StatusProcessingFailure, Comment: "data set cannot be read"}
	}
	return elements, nil
}

var errTooLong = &dimse.StatusError{Status: dimse.StatusResourceLimitation, Comment: fmt.Sprintf("data set is longer than %d bytes", MaxDataSet)}

func checkCount(n int) error {
	if n > MaxReferences {
		return &dimse.StatusError{Status: dimse.StatusResourceLimitation,
			Comment: fmt.Sprintf("%d instances; at most %d at once", n, MaxReferences)}
	}
	return nil
}

func invalid(tag dicom.Tag, what string) error {
	return &dimse.StatusError{Status: dimse.StatusInvalidArgumentValue, Comment: tag.String() + " " + what}
}

// checkUID demands what can be kept and sent back: some characters, all printable. A UID that PS3.5 9.1 would not have
// still names an instance that was stored under it.
func checkUID(tag dicom.Tag, uid dicom.UID) error {
	switch {
	case uid == "":
		return invalid(tag, "is missing")
	case len(uid) > MaxUIDLength:
		return invalid(tag, fmt.Sprintf("has more than %d characters", MaxUIDLength))
	case strings.ContainsFunc(string(uid), func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }):
		return invalid(tag, "is not a single UID")
	}
	return nil
}

func references(sequence *dicom.DataElement) ([]Reference, error) {
	failed, err := failures(sequence)
	if err != nil || len(failed) == 0 {
		return nil, err
	}
	list := make([]Reference, len(failed))
	for i := range failed {
		list[i] = failed[i].Reference
	}
	return list, nil
}

// failures reads the items of either sequence.
func failures(sequence *dicom.DataElement) ([]Failure, error) {
	if sequence == nil {
		return nil, nil
	}
	if err := checkCount(len(sequence.Items)); err != nil {
		return nil, err
	}
	var list []Failure
	for _, item := range sequence.Items {
		f, err := failure(item)
		if err != nil {
			return nil, err
		}
		list = append(list, f)
	}
	return list, nil
}

func failure(item []dicom.DataElement) (Failure, error) {
	f := Failure{Reason: ReasonProcessingFailure} // where the item does not tell
	for i := range item {
		switch e := &item[i]; e.Tag {
		case tagReferencedSOPClassUID:
			f.SOPClassUID = dicom.ParseUID(e.Value)
		case tagReferencedSOPInstanceUID:
			f.SOPInstanceUID = dicom.ParseUID(e.Value)
		case tagFailureReason:
			if len(e.Values) > 0 {
				if n, err := strconv.ParseUint(e.Values[0], 10, 16); err == nil {
					f.Reason = dimse.Status(n)
				}
			}
		}
	}
	if err := checkUID(tagReferencedSOPClassUID, f.SOPClassUID); err != nil {
		return f, err
	}
	return f, checkUID(tagReferencedSOPInstanceUID, f.SOPInstanceUID)
}

// Encode lays the request out in a transfer syntax.
func (r *Request) Encode(ts dicom.UID) ([]byte, error) {
	items := make([][]dicom.DataElement, len(r.References))
	for i := range r.References {
		items[i] = r.References[i].elements()
	}
	return dicom.EncodeElements([]dicom.DataElement{
		uidElement(tagTransactionUID, r.TransactionUID),
		{Tag: tagReferencedSOPSequence, VR: "SQ", Items: items},
	}, ts)
}

// Encode lays the result out in a transfer syntax. A sequence without items is left out.
func (r *Result) Encode(ts dicom.UID) ([]byte, error) {
	elements := []dicom.DataElement{uidElement(tagTransactionUID, r.TransactionUID)}
	if r.RetrieveAETitle != "" {
		elements = append(elements, dicom.DataElement{Tag: tagRetrieveAETitle, VR: "AE", Value: []byte(r.RetrieveAETitle)})
	}
	if len(r.Committed) > 0 {
		items := make([][]dicom.DataElement, len(r.Committed))
		for i := range r.Committed {
			items[i] = r.Committed[i].elements()
		}
		elements = append(elements, dicom.DataElement{Tag: tagReferencedSOPSequence, VR: "SQ", Items: items})
	}
	if len(r.Failed) > 0 {
		elements = append(elements, dicom.DataElement{Tag: tagFailedSOPSequence, VR: "SQ", Items: failedItems(r.Failed, ts)})
	}
	return dicom.EncodeElements(elements, ts)
}

func failedItems(failed []Failure, ts dicom.UID) [][]dicom.DataElement {
	items := make([][]dicom.DataElement, len(failed))
	for i := range failed {
		reason := binary.LittleEndian.AppendUint16(nil, uint16(failed[i].Reason))
		if ts.BigEndian() {
			reason = binary.BigEndian.AppendUint16(nil, uint16(failed[i].Reason))
		}
		items[i] = append(failed[i].elements(), dicom.DataElement{Tag: tagFailureReason, VR: "US", Value: reason})
	}
	return items
}

func (r Reference) elements() []dicom.DataElement {
	return []dicom.DataElement{
		uidElement(tagReferencedSOPClassUID, r.SOPClassUID),
		uidElement(tagReferencedSOPInstanceUID, r.SOPInstanceUID),
	}
}

func uidElement(tag dicom.Tag, uid dicom.UID) dicom.DataElement {
	return dicom.DataElement{Tag: tag, VR: "UI", Value: []byte(uid)}
}
