package qr

import (
	"slices"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// The bytes of the Service-class-application-information of C-FIND (PS3.4 table C.5-1).
const (
	byteRelational = iota
	byteDateTime
	byteFuzzy
	applicationBytes
)

// Negotiate answers the SOP Class Extended Negotiation of a request for C-FIND: relational queries, combined date-time
// matching and fuzzy matching of person names are granted to who asks; time zone adjustment and the enhanced multi-frame
// conversion are not. The answer is as long as the offer, and to what is not served there is none.
func Negotiate(offered []pdu.ExtendedNegotiation) []pdu.ExtendedNegotiation {
	var granted []pdu.ExtendedNegotiation
	for _, o := range offered {
		if _, ok := modelOf(dimse.CFindRQ, dicom.UID(o.SOPClassUID)); !ok || len(o.Information) == 0 {
			continue
		}
		information := make([]byte, min(len(o.Information), 5))
		for i := range min(len(information), applicationBytes) {
			if o.Information[i] == 1 {
				information[i] = 1
			}
		}
		granted = append(granted, pdu.ExtendedNegotiation{SOPClassUID: o.SOPClassUID, Information: information})
	}
	return granted
}

// extensionsOf are those that were granted for a SOP class.
func extensionsOf(granted []pdu.ExtendedNegotiation, sopClass dicom.UID) extensions {
	i := slices.IndexFunc(granted, func(g pdu.ExtendedNegotiation) bool { return dicom.UID(g.SOPClassUID) == sopClass })
	if i < 0 {
		return extensions{}
	}
	has := func(at int) bool { return at < len(granted[i].Information) && granted[i].Information[at] == 1 }
	return extensions{relational: has(byteRelational), dateTime: has(byteDateTime), fuzzy: has(byteFuzzy)}
}
