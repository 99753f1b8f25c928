package dimse

import (
	"fmt"
	"sync"
)

// state is a state of the DICOM Upper Layer, numbered as in PS3.8 tables 9-1 to 9-5.
type state uint8

const (
	sta1  state = iota + 1 // idle
	sta2                   // transport connection open, awaiting A-ASSOCIATE-RQ
	sta3                   // awaiting the local A-ASSOCIATE response
	sta4                   // awaiting the transport connection
	sta5                   // awaiting A-ASSOCIATE-AC or -RJ
	sta6                   // association established
	sta7                   // awaiting A-RELEASE-RP
	sta8                   // awaiting the local A-RELEASE response
	sta9                   // release collision, requestor: awaiting the local A-RELEASE response
	sta10                  // release collision, acceptor: awaiting A-RELEASE-RP
	sta11                  // release collision, requestor: awaiting A-RELEASE-RP
	sta12                  // release collision, acceptor: awaiting the local A-RELEASE response
	sta13                  // awaiting the close of the transport connection
)

// String is the standard's name, such as "Sta6".
func (s state) String() string { return fmt.Sprintf("Sta%d", uint8(s)) }

// event is an event of PS3.8 table 9-10, numbered by the order of its rows.
type event uint8

const (
	evt1AssociateRequest    event = iota + 1 // A-ASSOCIATE request (local user)
	evt2TransportConfirm                     // transport connection confirmed
	evt3AssociateAC                          // A-ASSOCIATE-AC received
	evt4AssociateRJ                          // A-ASSOCIATE-RJ received
	evt5TransportIndication                  // transport connection indication
	evt6AssociateRQ                          // A-ASSOCIATE-RQ received
	evt7AssociateAccept                      // A-ASSOCIATE response, accept (local user)
	evt8AssociateReject                      // A-ASSOCIATE response, reject (local user)
	evt9DataRequest                          // P-DATA request (local user)
	evt10Data                                // P-DATA-TF received
	evt11ReleaseRequest                      // A-RELEASE request (local user)
	evt12ReleaseRQ                           // A-RELEASE-RQ received
	evt13ReleaseRP                           // A-RELEASE-RP received
	evt14ReleaseResponse                     // A-RELEASE response (local user)
	evt15AbortRequest                        // A-ABORT request (local user)
	evt16Abort                               // A-ABORT received
	evt17TransportClosed                     // transport connection closed
	evt18ARTIM                               // ARTIM timer expired
	evt19Invalid                             // unrecognized or invalid PDU received
)

// String is the event as "Evt1" and so on.
func (e event) String() string { return fmt.Sprintf("Evt%d", uint8(e)) }

// action is an action of PS3.8 tables 9-6 to 9-9. What each does is in actions.go.
type action uint8

const (
	ae1 action = iota + 1
	ae2
	ae3
	ae4
	ae5
	ae6
	ae7
	ae8
	dt1
	dt2
	ar1
	ar2
	ar3
	ar4
	ar5
	ar6
	ar7
	ar8
	ar9
	ar10
	aa1
	aa2
	aa3
	aa4
	aa5
	aa6
	aa7
	aa8
)

var actionNames = [...]string{
	ae1: "AE-1", ae2: "AE-2", ae3: "AE-3", ae4: "AE-4", ae5: "AE-5", ae6: "AE-6", ae7: "AE-7", ae8: "AE-8",
	dt1: "DT-1", dt2: "DT-2",
	ar1: "AR-1", ar2: "AR-2", ar3: "AR-3", ar4: "AR-4", ar5: "AR-5",
	ar6: "AR-6", ar7: "AR-7", ar8: "AR-8", ar9: "AR-9", ar10: "AR-10",
	aa1: "AA-1", aa2: "AA-2", aa3: "AA-3", aa4: "AA-4", aa5: "AA-5", aa6: "AA-6", aa7: "AA-7", aa8: "AA-8",
}

// String is the standard's name, such as "AE-6".
func (a action) String() string { return actionNames[a] }

// next is the state that follows an action. Two actions have a choice: AE-6 goes on to Sta13
// if the request is not acceptable, AR-8 to Sta10 if this side accepted the association.
type next struct{ usual, other state }

// nextStates is the "next state" column of PS3.8 tables 9-6 to 9-9.
var nextStates = [...]next{
	ae1: {sta4, 0}, ae2: {sta5, 0}, ae3: {sta6, 0}, ae4: {sta1, 0},
	ae5: {sta2, 0}, ae6: {sta3, sta13}, ae7: {sta6, 0}, ae8: {sta13, 0},
	dt1: {sta6, 0}, dt2: {sta6, 0},
	ar1: {sta7, 0}, ar2: {sta8, 0}, ar3: {sta1, 0}, ar4: {sta13, 0}, ar5: {sta1, 0},
	ar6: {sta7, 0}, ar7: {sta8, 0}, ar8: {sta9, sta10}, ar9: {sta11, 0}, ar10: {sta12, 0},
	aa1: {sta13, 0}, aa2: {sta1, 0}, aa3: {sta1, 0}, aa4: {sta1, 0},
	aa5: {sta1, 0}, aa6: {sta13, 0}, aa7: {sta13, 0}, aa8: {sta13, 0},
}

// transitions is PS3.8 table 9-10. An empty cell is an event that cannot occur in the state.
var transitions = [...][sta13 + 1]action{
	evt1AssociateRequest: {sta1: ae1},
	evt2TransportConfirm: {sta4: ae2},
	evt3AssociateAC: {sta2: aa1, sta3: aa8, sta5: ae3, sta6: aa8, sta7: aa8, sta8: aa8, sta9: aa8,
		sta10: aa8, sta11: aa8, sta12: aa8, sta13: aa6},
	evt4AssociateRJ: {sta2: aa1, sta3: aa8, sta5: ae4, sta6: aa8, sta7: aa8, sta8: aa8, sta9: aa8,
		sta10: aa8, sta11: aa8, sta12: aa8, sta13: aa6},
	evt5TransportIndication: {sta1: ae5},
	evt6AssociateRQ: {sta2: ae6, sta3: aa8, sta5: aa8, sta6: aa8, sta7: aa8, sta8: aa8, sta9: aa8,
		sta10: aa8, sta11: aa8, sta12: aa8, sta13: aa7},
	evt7AssociateAccept: {sta3: ae7},
	evt8AssociateReject: {sta3: ae8},
	evt9DataRequest:     {sta6: dt1, sta8: ar7},
	evt10Data: {sta2: aa1, sta3: aa8, sta5: aa8, sta6: dt2, sta7: ar6, sta8: aa8, sta9: aa8,
		sta10: aa8, sta11: aa8, sta12: aa8, sta13: aa6},
	evt11ReleaseRequest: {sta6: ar1},
	evt12ReleaseRQ: {sta2: aa1, sta3: aa8, sta5: aa8, sta6: ar2, sta7: ar8, sta8: aa8, sta9: aa8,
		sta10: aa8, sta11: aa8, sta12: aa8, sta13: aa6},
	evt13ReleaseRP: {sta2: aa1, sta3: aa8, sta5: aa8, sta6: aa8, sta7: ar3, sta8: aa8, sta9: aa8,
		sta10: ar10, sta11: ar3, sta12: aa8, sta13: aa6},
	evt14ReleaseResponse: {sta8: ar4, sta9: ar9, sta12: ar4},
	evt15AbortRequest: {sta3: aa1, sta4: aa2, sta5: aa1, sta6: aa1, sta7: aa1, sta8: aa1, sta9: aa1,
		sta10: aa1, sta11: aa1, sta12: aa1},
	evt16Abort: {sta2: aa2, sta3: aa3, sta5: aa3, sta6: aa3, sta7: aa3, sta8: aa3, sta9: aa3,
		sta10: aa3, sta11: aa3, sta12: aa3, sta13: aa2},
	evt17TransportClosed: {sta2: aa5, sta3: aa4, sta4: aa4, sta5: aa4, sta6: aa4, sta7: aa4, sta8: aa4,
		sta9: aa4, sta10: aa4, sta11: aa4, sta12: aa4, sta13: ar5},
	evt18ARTIM: {sta2: aa2, sta13: aa2},
	evt19Invalid: {sta2: aa1, sta3: aa8, sta5: aa8, sta6: aa8, sta7: aa8, sta8: aa8, sta9: aa8,
		sta10: aa8, sta11: aa8, sta12: aa8, sta13: aa7},
}

// stateError reports an event that the table has no cell for: the local user asked for
// something the association cannot do (any more).
type stateError struct {
	event event
	state state
}

// Error implements error.
func (e *stateError) Error() string {
	return fmt.Sprintf("%v cannot occur in %v of PS3.8 table 9-10", e.event, e.state)
}

// machine holds the state of one association. Its zero value is not usable; see newMachine.
type machine struct {
	requestor bool
	mu        sync.Mutex
	state     state
}

func newMachine(requestor bool) machine { return machine{requestor: requestor, state: sta1} }

func (m *machine) current() state {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// step goes through the table: it enters the next state and returns the action to take.
// other chooses the second of two next states where an action has them.
func (m *machine) step(e event, other bool) (action, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	act := transitions[e][m.state]
	if act == 0 {
		return 0, &stateError{e, m.state}
	}
	n := nextStates[act]
	m.state = n.usual
	if n.other != 0 && (other || act == ar8 && !m.requestor) {
		m.state = n.other
	}
	return act, nil
}
