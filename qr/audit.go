package qr

import (
	"strings"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/spool"
)

// Auditor is told who has asked for what, and what was sent to whom, for an audit trail. Its methods return at once; they
// are called by many goroutines.
type Auditor interface {
	// Asked tells of a C-FIND, C-MOVE or C-GET that is over.
	Asked(by Caller, what Asked)
	// Sent tells what became of an instance of a C-MOVE to a destination, or of a C-GET, whose destination is "".
	Sent(by Caller, destination string, in *spool.Instance, ok bool)
}

// Asked is an operation that is over.
type Asked struct {
	Operation   dimse.CommandField
	SOPClass    dicom.UID
	Identifier  []byte // in Explicit VR Little Endian, without what tells of patients; nil if it could not be read
	Destination string // of a C-MOVE
	Matches     int    // answers to a C-FIND, instances to be sent
	Failed      int    // of these
	Status      dimse.Status
}

// nobody is the Auditor of an SCP that has none.
type nobody struct{}

func (nobody) Asked(Caller, Asked)                        {}
func (nobody) Sent(Caller, string, *spool.Instance, bool) {}

// telling are the keys whose values an audit trail may hold, with the characters that they consist of: nothing that a
// caller may have written a name into.
var telling = map[dicom.Tag]string{
	dicom.TagQueryRetrieveLevel: "ACEGIMNPRSTUDY",
	dicom.TagStudyInstanceUID:   "0123456789.", dicom.TagSeriesInstanceUID: "0123456789.", dicom.TagSOPInstanceUID: "0123456789.",
	dicom.TagStudyDate: "0123456789-", dicom.TagStudyTime: "0123456789-.",
	dicom.TagModality: "ABCDEFGHIJKLMNOPQRSTUVWXYZ*", tagModalitiesInStudy: "ABCDEFGHIJKLMNOPQRSTUVWXYZ*",
}

// maxAudited bounds an identifier for an audit trail in bytes.
const maxAudited = 6 << 10

// Audited is an identifier as an audit trail may hold it: all keys, but the values of those alone that do not tell who a
// patient is. One that is too long is told without any values.
func Audited(keys []Attribute) []byte {
	for _, most := range []int{maxAudited, 0} {
		id := Identifier{}
		room := most
		for _, a := range keys {
			told := Attribute{Tag: a.Tag, VR: a.VR}
			allowed, ok := telling[a.Tag]
			for _, v := range a.Values {
				if !ok || strings.Trim(v, allowed) != "" || len(v) > room {
					continue
				}
				room -= len(v) + 1
				told.Values = append(told.Values, v)
			}
			id.Attributes = append(id.Attributes, told)
		}
		data, err := id.Encode(dicom.ExplicitVRLittleEndian)
		if err == nil && len(data) <= 2*maxAudited {
			return data
		}
	}
	return nil
}
