package forwarder

import "fmt"

// rejectionKey is result, source and reason of an A-ASSOCIATE-RJ as numbered
// in PS3.8 Table 9-21.
type rejectionKey struct{ result, source, reason byte }

// rejectionTable holds the rejections of PS3.8 Table 9-21. They all concern
// the destination: no instance is parked for them.
var rejectionTable = map[rejectionKey]class{
	{1, 1, 1}: rejected("no-reason", "the destination rejects the association for good without saying why", "check its list of known AE titles"),
	{1, 1, 2}: rejected("application-context", "the destination does not support the DICOM application context", "check that the address is a DICOM service"),
	{1, 1, 3}: rejected("calling-ae", "the destination does not know our calling AE title", "have it entered there, exactly as it is written here"),
	{1, 1, 7}: rejected("called-ae", "the destination does not answer to the called AE title", "check ae_title of the destination, upper and lower case included"),
	{1, 2, 1}: rejected("no-reason-acse", "the destination's association service rejects the association for good", "look into its log"),
	{1, 2, 2}: rejected("protocol-version", "the destination does not support our protocol version", "check that the address is a DICOM service"),
	{1, 3, 1}: rejected("congestion-permanent", "the destination is congested and rejects the association for good", "see to its load and limits"),
	{1, 3, 2}: rejected("limit-permanent", "the destination has reached its limit of associations and rejects for good", "raise its limit or lower associations here"),
	{2, 1, 1}: busy("no-reason-transient", "the destination rejects the association for now without saying why"),
	{2, 1, 2}: rejected("application-context", "the destination does not support the DICOM application context", "check that the address is a DICOM service"),
	{2, 1, 3}: rejected("calling-ae", "the destination does not know our calling AE title", "have it entered there, exactly as it is written here"),
	{2, 1, 7}: rejected("called-ae", "the destination does not answer to the called AE title", "check ae_title of the destination, upper and lower case included"),
	{2, 2, 1}: busy("no-reason-acse-transient", "the destination's association service rejects the association for now"),
	{2, 2, 2}: rejected("protocol-version", "the destination does not support our protocol version", "check that the address is a DICOM service"),
	{2, 3, 1}: busy("congestion", "the destination is congested for now"),
	{2, 3, 2}: busy("limit", "the destination has reached its limit of associations for now"),
}

func rejected(code, words, advice string) class {
	return class{Scope: scopeDestination, Action: actTrip, Code: "rejected-" + code, Words: words, Advice: advice}
}

func busy(code, words string) class {
	return class{
		Scope: scopeDestination, Action: actRetry, Busy: true, Code: "busy-" + code, Words: words,
		Advice: "if this lasts, raise its limit of associations or lower associations here",
	}
}

// classifyRejection returns the meaning of an A-ASSOCIATE-RJ. Reserved
// combinations follow their result alone.
func classifyRejection(result, source, reason byte) failure {
	class, ok := rejectionTable[rejectionKey{result, source, reason}]
	switch {
	case ok:
	case result == 2:
		class = busy("unknown", "the destination rejects the association for now with a reason the standard does not give")
	default:
		class = rejected("unknown", "the destination rejects the association with a reason the standard does not give", "look into its log")
	}
	return failure{class, fmt.Sprintf("A-ASSOCIATE-RJ result %d, source %d, reason %d", result, source, reason)}
}
