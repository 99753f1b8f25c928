package dimse

import "dcmgate/pdu"

// rejectionKey is result, source and reason of an A-ASSOCIATE-RJ as numbered in PS3.8 table 9-21.
type rejectionKey struct{ result, source, reason byte }

// rejectionTable holds the rejections of PS3.8 table 9-21.
var rejectionTable = map[rejectionKey]Diagnosis{
	{1, 1, 1}: rejected("no-reason", "{peer} rejects the association for good without saying why", "check its list of known AE titles"),
	{1, 1, 2}: rejected("application-context", "{peer} does not support the DICOM application context", "check that the address is a DICOM service"),
	{1, 1, 3}: rejected("calling-ae", "{peer} does not know our calling AE title", adviceCalling),
	{1, 1, 7}: rejected("called-ae", "{peer} does not answer to the called AE title", adviceCalled),
	{1, 2, 1}: rejected("no-reason-acse", "{peer}'s association service rejects the association for good", "look into its log"),
	{1, 2, 2}: rejected("protocol-version", "{peer} does not support our protocol version", "check that the address is a DICOM service"),
	{1, 3, 1}: rejected("congestion-permanent", "{peer} is congested and rejects the association for good", "see to its load and limits"),
	{1, 3, 2}: rejected("limit-permanent", "{peer} has reached its limit of associations and rejects for good", "raise its limit or lower associations here"),
	{2, 1, 1}: busy("no-reason-transient", "{peer} rejects the association for now without saying why"),
	{2, 1, 2}: rejected("application-context", "{peer} does not support the DICOM application context", "check that the address is a DICOM service"),
	{2, 1, 3}: rejected("calling-ae", "{peer} does not know our calling AE title", adviceCalling),
	{2, 1, 7}: rejected("called-ae", "{peer} does not answer to the called AE title", adviceCalled),
	{2, 2, 1}: busy("no-reason-acse-transient", "{peer}'s association service rejects the association for now"),
	{2, 2, 2}: rejected("protocol-version", "{peer} does not support our protocol version", "check that the address is a DICOM service"),
	{2, 3, 1}: busy("congestion", "{peer} is congested for now"),
	{2, 3, 2}: busy("limit", "{peer} has reached its limit of associations for now"),
}

const (
	adviceCalling = "have it entered there, exactly as it is written here (where {peer} is a dcmgate: add it, or the address it is called from, under peers; dcmgate status there says which)"
	adviceCalled  = "check the called AE title (ae_title of a destination, --called of a command), upper and lower case included"
)

func rejected(code, words, advice string) Diagnosis {
	return Diagnosis{"rejected-" + code, words, advice, DiagnosisLasting}
}

func busy(code, words string) Diagnosis {
	return Diagnosis{"busy-" + code, words, "if this lasts, raise its limit of associations or lower associations here", DiagnosisBusy}
}

// diagnoseRejection looks an A-ASSOCIATE-RJ up. Reserved combinations follow their result alone.
func diagnoseRejection(e *RejectError) Diagnosis {
	d, ok := rejectionTable[rejectionKey{byte(e.Result), byte(e.Source), byte(e.Reason)}]
	switch {
	case ok:
		return d
	case e.Result == pdu.RejectedTransient:
		return busy("unknown", "{peer} rejects the association for now with a reason the standard does not give")
	}
	return rejected("unknown", "{peer} rejects the association with a reason the standard does not give", "look into its log")
}
