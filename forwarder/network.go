package forwarder

import (
	"errors"
	"fmt"
	"strings"

	"dcmgate/dimse"
)

// actions is what is done about the failure of an association, by the kind of
// its diagnosis. It is a matter of the destination, whatever it is: no
// instance is parked for it.
var actions = map[dimse.DiagnosisKind]action{
	dimse.DiagnosisPassing: actRetry,
	dimse.DiagnosisBusy:    actRetry,
	dimse.DiagnosisLasting: actTrip,
}

// classifyDial returns the meaning of a failed dial.
func classifyDial(err error) failure {
	d := dimse.Diagnose(err, "the destination")
	c := class{
		Scope: scopeDestination, Action: actions[d.Kind], Busy: d.Kind == dimse.DiagnosisBusy,
		Code: d.Code, Words: d.Words, Advice: d.Advice,
	}
	if rj, ok := errors.AsType[*dimse.RejectError](err); ok {
		return failure{class: c, Detail: fmt.Sprintf("A-ASSOCIATE-RJ result %d, source %d, reason %d", rj.Result, rj.Source, rj.Reason)}
	}
	return failure{class: c, Detail: bounded(err.Error())}
}

// classifyBreak returns the meaning of the end of an established association.
// The instance being sent may be the cause, so attempts are limited.
func classifyBreak(err error) failure {
	f := classifyDial(err)
	f.Limited = true
	return f
}

// bounded keeps a peer's words from filling records and logs.
func bounded(s string) string {
	const limit = 300
	s = strings.ToValidUTF8(s, "?")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}
