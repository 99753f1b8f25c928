package dimse

import (
	"strings"
	"testing"
)

// standardTable is PS3.8 table 9-10 typed from the page, row by row, columns Sta1 to Sta13; a
// dot is an empty cell.
const standardTable = `
Evt1   AE-1 .    .    .    .    .    .    .    .    .     .    .    .
Evt2   .    .    .    AE-2 .    .    .    .    .    .     .    .    .
Evt3   .    AA-1 AA-8 .    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt4   .    AA-1 AA-8 .    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt5   AE-5 .    .    .    .    .    .    .    .    .     .    .    .
Evt6   .    AE-6 AA-8 .    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
Evt7   .    .    AE-7 .    .    .    .    .    .    .     .    .    .
Evt8   .    .    AE-8 .    .    .    .    .    .    .     .    .    .
Evt9   .    .    .    .    .    DT-1 .    AR-7 .    .     .    .    .
Evt10  .    AA-1 AA-8 .    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt11  .    .    .    .    .    AR-1 .    .    .    .     .    .    .
Evt12  .    AA-1 AA-8 .    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
Evt13  .    AA-1 AA-8 .    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3 AA-8 AA-6
Evt14  .    .    .    .    .    .    .    AR-4 AR-9 .     .    AR-4 .
Evt15  .    .    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1 AA-1 .
Evt16  .    AA-2 AA-3 .    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3 AA-3 AA-2
Evt17  .    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4 AA-4 AR-5
Evt18  .    AA-2 .    .    .    .    .    .    .    .     .    .    AA-2
Evt19  .    AA-1 AA-8 .    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
`

// standardNext is the last column of PS3.8 tables 9-6 to 9-9.
const standardNext = `
AE-1 Sta4
AE-2 Sta5
AE-3 Sta6
AE-4 Sta1
AE-5 Sta2
AE-6 Sta3 Sta13
AE-7 Sta6
AE-8 Sta13
DT-1 Sta6
DT-2 Sta6
AR-1 Sta7
AR-2 Sta8
AR-3 Sta1
AR-4 Sta13
AR-5 Sta1
AR-6 Sta7
AR-7 Sta8
AR-8 Sta9 Sta10
AR-9 Sta11
AR-10 Sta12
AA-1 Sta13
AA-2 Sta1
AA-3 Sta1
AA-4 Sta1
AA-5 Sta1
AA-6 Sta13
AA-7 Sta13
AA-8 Sta13
`

func rows(text string) [][]string {
	var all [][]string
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		all = append(all, strings.Fields(line))
	}
	return all
}

func TestTransitionsAreTheStandards(t *testing.T) {
	want := rows(standardTable)
	if len(want) != int(evt19Invalid) {
		t.Fatalf("%d rows", len(want))
	}
	for i, row := range want {
		e := event(i + 1)
		if row[0] != e.String() || len(row) != 14 {
			t.Fatalf("row %v", row)
		}
		for st := sta1; st <= sta13; st++ {
			got := "."
			if act := transitions[e][st]; act != 0 {
				got = act.String()
			}
			if got != row[st] {
				t.Errorf("%v in %v: %s, the standard has %s", e, st, got, row[st])
			}
		}
	}
}

func TestNextStatesAreTheStandards(t *testing.T) {
	want := rows(standardNext)
	if len(want) != int(aa8) {
		t.Fatalf("%d rows", len(want))
	}
	for i, row := range want {
		act := action(i + 1)
		got := []string{act.String(), nextStates[act].usual.String()}
		if n := nextStates[act].other; n != 0 {
			got = append(got, n.String())
		}
		if strings.Join(got, " ") != strings.Join(row, " ") {
			t.Errorf("got %v, the standard has %v", got, row)
		}
	}
}

func TestEveryActionIsImplemented(t *testing.T) {
	for act := ae1; act <= aa8; act++ {
		if actions[act] == nil {
			t.Errorf("%v does nothing", act)
		}
	}
}

// TestMachineFollowsItsTable walks every cell, from both ends.
func TestMachineFollowsItsTable(t *testing.T) {
	for _, requestor := range []bool{false, true} {
		for e := evt1AssociateRequest; e <= evt19Invalid; e++ {
			for st := sta1; st <= sta13; st++ {
				m := machine{requestor: requestor, state: st}
				act, err := m.step(e, false)
				switch want := transitions[e][st]; {
				case want == 0:
					if err == nil || m.current() != st {
						t.Errorf("%v in %v: %v, now %v", e, st, err, m.current())
					}
				case act != want || err != nil:
					t.Errorf("%v in %v: %v, %v", e, st, act, err)
				case act == ar8 && !requestor && m.current() != sta10, act == ar8 && requestor && m.current() != sta9:
					t.Errorf("collision leads to %v", m.current())
				}
			}
		}
	}
	m := machine{state: sta2}
	if _, err := m.step(evt6AssociateRQ, true); err != nil || m.current() != sta13 {
		t.Errorf("unacceptable request leads to %v, %v", m.current(), err)
	}
}
