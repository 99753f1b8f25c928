package dimse

import (
	"errors"
	"strings"
)

// Diagnosis is what the failure of an association this side requested means, for a technician.
type Diagnosis struct {
	Code   string // stable short name, for programs
	Words  string // what happened
	Advice string // what to do about it
	Kind   DiagnosisKind
}

// DiagnosisKind tells whether to try again.
type DiagnosisKind uint8

const (
	DiagnosisPassing DiagnosisKind = iota // may pass by itself
	DiagnosisBusy                         // the peer works, but admits no further association now
	DiagnosisLasting                      // somebody has to change something, here or at the peer
)

// Diagnose explains why a Dial failed, or why an association ended that had not been released.
// peer is what the other side is called in the words, such as "the destination".
func Diagnose(err error, peer string) Diagnosis {
	d := diagnose(err)
	d.Words = strings.ReplaceAll(d.Words, "{peer}", peer)
	d.Advice = strings.ReplaceAll(d.Advice, "{peer}", peer)
	return d
}

func diagnose(err error) Diagnosis {
	if rj, ok := errors.AsType[*RejectError](err); ok {
		return diagnoseRejection(rj)
	}
	for _, row := range networkTable {
		if row.matches(err) {
			return row.diagnosis
		}
	}
	return networkTable[len(networkTable)-1].diagnosis // not reached: the last row matches every error
}

func passing(code, words, advice string) Diagnosis {
	return Diagnosis{code, words, advice, DiagnosisPassing}
}

func lasting(code, words, advice string) Diagnosis {
	return Diagnosis{code, words, advice, DiagnosisLasting}
}
