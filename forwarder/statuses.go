package forwarder

import "fmt"

// statusRow classifies a range of C-STORE response statuses, both ends
// included.
type statusRow struct {
	first, last uint16
	class       class
}

// statusTable holds the statuses a C-STORE response may carry: the general
// ones of PS3.7 Annex C and the storage service's own of PS3.4 Table B.2-1.
// The first row that contains the status counts. Review it beside those
// tables.
var statusTable = []statusRow{
	{0x0000, 0x0000, delivered("success", "stored")},
	{0x0001, 0x0001, delivered("warning", "stored; the destination does not support requested optional attributes")},
	{0x0105, 0x0105, park("attribute", "the destination knows no such attribute")},
	{0x0106, 0x0106, park("attribute", "the destination found an invalid attribute value")},
	{0x0107, 0x0107, delivered("warning", "stored; the destination reports an attribute list error")},
	{0x0110, 0x0110, limited("processing-failure", "the destination failed while processing the instance", "look into its log at the time of the attempt")},
	{0x0111, 0x0111, delivered("duplicate", "the destination already has this instance")},
	{0x0112, 0x0112, park("no-such-instance", "the destination knows no such SOP instance")},
	{0x0113, 0x0115, park("argument", "the destination found an argument of the request wrong")},
	{0x0116, 0x0116, delivered("warning", "stored; the destination found an attribute value out of range")},
	{0x0117, 0x0117, park("invalid-instance", "the destination finds the SOP Instance UID invalid")},
	{0x0118, 0x0118, park("sop-class", "the destination knows no such SOP class")},
	{0x0119, 0x0119, park("class-conflict", "the destination holds this SOP Instance UID under another SOP class")},
	{0x0120, 0x0121, park("attribute", "the destination misses a required attribute or its value")},
	{0x0122, 0x0122, park("sop-class", "the destination refuses this SOP class")},
	{0x0123, 0x0123, park("argument", "the destination knows no such action type")},
	{0x0124, 0x0124, tripping("not-authorized", "the destination does not authorise this gateway to store", "have it grant storage to the calling AE title")},
	{0x0210, 0x0210, limited("protocol", "the destination took the request for a duplicate invocation", "it will be sent again with another message ID")},
	{0x0211, 0x0211, tripping("unrecognized-operation", "the destination does not offer C-STORE on this association", "check that address and called AE title name its storage service")},
	{0x0212, 0x0212, park("argument", "the destination found an argument of the request mistyped")},
	{0x0213, 0x0213, exhausted("out-of-resources", "the destination has reached a resource limit", "if this lasts, see to its disk space and load")},
	{0xA700, 0xA7FF, exhausted("out-of-resources", "the destination refuses for lack of resources", "if this lasts, see to its disk space and load")},
	{0xA900, 0xA9FF, park("data-set-mismatch", "the destination finds that the data set does not match the SOP class")},
	{0xB000, 0xB000, delivered("warning", "stored; the destination changed some data elements (coercion)")},
	{0xB006, 0xB006, delivered("warning", "stored; the destination discarded some data elements")},
	{0xB007, 0xB007, delivered("warning", "stored; the destination finds that the data set does not match the SOP class")},
	{0xB000, 0xBFFF, delivered("warning", "stored with a warning")},
	{0xC000, 0xCFFF, park("cannot-understand", "the destination cannot understand the data set")},
	{0xFE00, 0xFE00, limited("cancelled", "the destination cancelled the operation", "")},
	{0xFF00, 0xFF01, limited("protocol", "the destination answered that the operation is pending, which storage does not have", "")},
	{0x0000, 0xFFFF, limited("unknown-status", "the destination answered with a status the standard does not give for storage", "look into its log and conformance statement")},
}

// park is a row for what will never succeed by itself.
func park(code, words string) class {
	return class{Action: actPark, Code: code, Words: words, Advice: "correct the instance or the destination, then retry or drop it"}
}

// delivered is a row for what counts as delivered.
func delivered(code, words string) class { return class{Action: actDeliver, Code: code, Words: words} }

// limited is a row for what may have passed at the next attempt.
func limited(code, words, advice string) class {
	return class{Action: actRetry, Limited: true, Code: code, Words: words, Advice: advice}
}

// exhausted is a row for a destination that has no room for any instance.
func exhausted(code, words, advice string) class {
	return class{Scope: scopeDestination, Action: actRetry, Code: code, Words: words, Advice: advice}
}

// tripping is a row for a destination that seems to refuse every instance.
// It is limited, because it may after all be this one alone.
func tripping(code, words, advice string) class {
	return class{Scope: scopeDestination, Action: actTrip, Limited: true, Code: code, Words: words, Advice: advice}
}

// classifyStatus returns the meaning of a C-STORE response status. The
// destination's Error Comment is left out on purpose: it is free text and may
// name the patient.
func classifyStatus(status uint16) failure {
	for _, row := range statusTable {
		if row.first <= status && status <= row.last {
			return failure{class: row.class, Detail: fmt.Sprintf("status %04X", status)}
		}
	}
	return failure{class: statusTable[len(statusTable)-1].class} // not reached: the last row contains every status
}
