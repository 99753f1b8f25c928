package dimse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"dcmgate/pdu"
)

// occurrence is what an event brings along for its action.
type occurrence struct {
	pdu     pdu.PDU         // received, or to be sent
	message *message        // of a P-DATA request
	reason  pdu.AbortReason // for the A-ABORT that answers the event
	err     error           // what happened
	other   bool            // the action's second next state is to be taken
	locked  bool            // the caller holds the write lock
}

// actions is what the actions of PS3.8 tables 9-6 to 9-9 do. The indications and confirmations
// they issue are effects on the association: an established association begins to run,
// pendings fail, a service's reads fail. Starting ARTIM is setting the read deadline, for
// nothing but reading happens in the two states it guards. Where a next state is Sta1 the
// transport is closed.
// It is filled in by init, because the actions fire events themselves.
var actions [aa8 + 1]func(*Association, *occurrence) error

func init() {
	actions = [...]func(*Association, *occurrence) error{
		ae1: (*Association).ae1, ae2: (*Association).ae2, ae3: (*Association).ae3, ae4: (*Association).ae4,
		ae5: (*Association).ae5, ae6: (*Association).ae6, ae7: (*Association).ae7, ae8: (*Association).ae8,
		dt1: (*Association).dt1, dt2: (*Association).dt2,
		ar1: (*Association).ar1, ar2: (*Association).ar2, ar3: (*Association).ar3, ar4: (*Association).ar4,
		ar5: (*Association).ar5, ar6: (*Association).ar6, ar7: (*Association).ar7, ar8: (*Association).ar8,
		ar9: (*Association).ar9, ar10: (*Association).ar10,
		aa1: (*Association).aa1, aa2: (*Association).aa2, aa3: (*Association).aa3, aa4: (*Association).aa4,
		aa5: (*Association).aa5, aa6: (*Association).aa6, aa7: (*Association).aa7, aa8: (*Association).aa8,
	}
}

var nothing occurrence // for events that bring nothing along

// fire takes an event through the state table and performs its action. o may be nil.
func (a *Association) fire(e event, o *occurrence) error {
	if o == nil {
		o = &nothing
	}
	act, err := a.fsm.step(e, o.other)
	if err != nil {
		return err
	}
	return actions[act](a, o)
}

// Association establishment, PS3.8 table 9-6.

// ae1 issues the transport connect request, which the Dialer has under way.
func (a *Association) ae1(*occurrence) error { return nil }

// ae2 sends the A-ASSOCIATE-RQ.
func (a *Association) ae2(o *occurrence) error { return a.writePDU(o.pdu) }

// ae3 confirms the association to the requestor.
func (a *Association) ae3(o *occurrence) error {
	a.establish(a.rq, o.pdu.(*pdu.AssociateAC))
	return nil
}

// ae4 confirms the rejection and closes the transport.
func (a *Association) ae4(o *occurrence) error {
	rj := o.pdu.(*pdu.AssociateRJ)
	a.end(&RejectError{Result: rj.Result, Source: rj.Source, Reason: rj.Reason})
	return a.stream.Close()
}

// ae5 accepts the transport and starts ARTIM.
func (a *Association) ae5(*occurrence) error {
	a.startARTIM()
	return nil
}

// ae6 stops ARTIM and indicates the request to the handler, or, where it is not acceptable,
// sends the A-ASSOCIATE-RJ and starts ARTIM again.
func (a *Association) ae6(o *occurrence) error {
	if !o.other {
		a.stream.unfix()
		return nil
	}
	return a.ae8(o)
}

// ae7 sends the A-ASSOCIATE-AC.
func (a *Association) ae7(o *occurrence) error {
	ac := o.pdu.(*pdu.AssociateAC)
	a.establish(a.rq, ac)
	return a.writePDU(ac)
}

// ae8 sends the A-ASSOCIATE-RJ and starts ARTIM.
func (a *Association) ae8(o *occurrence) error {
	a.startARTIM()
	a.end(o.err)
	return a.writePDU(o.pdu)
}

// Data transfer, PS3.8 table 9-7.

// dt1 sends P-DATA-TF: the message of the occurrence. The caller holds the write lock.
func (a *Association) dt1(o *occurrence) error { return a.writeMessage(o.message) }

// dt2 indicates P-DATA: the reader goes on to take its fragments.
func (a *Association) dt2(*occurrence) error { return nil }

// Release, PS3.8 table 9-8.

// ar1 sends A-RELEASE-RQ. The caller holds the write lock.
func (a *Association) ar1(*occurrence) error { return a.writePDU(&pdu.ReleaseRQ{}) }

// ar2 indicates the release; the reader answers once nothing is being served.
func (a *Association) ar2(*occurrence) error { return nil }

// ar3 confirms the release and closes the transport.
func (a *Association) ar3(*occurrence) error {
	a.end(ErrReleased)
	return a.stream.Close()
}

// ar4 sends A-RELEASE-RP and starts ARTIM. The caller holds the write lock.
func (a *Association) ar4(*occurrence) error {
	err := a.writePDU(&pdu.ReleaseRP{})
	a.end(ErrReleased)
	a.awaitTransportClose()
	return err
}

// ar5 stops ARTIM: the peer has closed the transport.
func (a *Association) ar5(*occurrence) error { return a.stream.Close() }

// ar6 indicates P-DATA that crossed our A-RELEASE-RQ.
func (a *Association) ar6(*occurrence) error { return nil }

// ar7 sends P-DATA-TF after the peer has asked for release: the last responses.
func (a *Association) ar7(o *occurrence) error { return a.writeMessage(o.message) }

// ar8 indicates a release that collided with ours.
func (a *Association) ar8(*occurrence) error { return nil }

// ar9 sends A-RELEASE-RP as the requestor of a collision. The caller holds the write lock.
func (a *Association) ar9(*occurrence) error { return a.writePDU(&pdu.ReleaseRP{}) }

// ar10 confirms our release as the acceptor of a collision; the peer's is still to be answered.
func (a *Association) ar10(*occurrence) error { return nil }

// Abort and what is related, PS3.8 table 9-9.

// aa1 sends A-ABORT (service-user) and starts ARTIM.
func (a *Association) aa1(o *occurrence) error {
	a.end(&AbortError{Source: pdu.AbortSourceServiceUser, Err: o.err})
	return a.sendAbort(pdu.Abort{Source: pdu.AbortSourceServiceUser}, o.locked)
}

// aa2 stops ARTIM and closes the transport.
func (a *Association) aa2(o *occurrence) error {
	a.end(o.err)
	return a.stream.Close()
}

// aa3 indicates the peer's A-ABORT and closes the transport.
func (a *Association) aa3(o *occurrence) error {
	abort := o.pdu.(*pdu.Abort)
	a.end(&AbortError{Source: abort.Source, Reason: abort.Reason, Remote: true})
	return a.stream.Close()
}

// aa4 indicates that the transport is gone.
func (a *Association) aa4(o *occurrence) error {
	a.end(fmt.Errorf("connection lost: %w", o.err))
	return a.stream.Close()
}

// aa5 stops ARTIM: the transport is gone before there was an association.
func (a *Association) aa5(o *occurrence) error {
	a.end(fmt.Errorf("connection lost: %w", o.err))
	return a.stream.Close()
}

// aa6 ignores a PDU that comes after the end.
func (a *Association) aa6(*occurrence) error { return nil }

// aa7 sends A-ABORT to whoever goes on after the end.
func (a *Association) aa7(o *occurrence) error {
	return a.sendAbort(pdu.Abort{Source: pdu.AbortSourceServiceProvider, Reason: o.reason}, o.locked)
}

// aa8 sends A-ABORT (service-provider), indicates it and starts ARTIM.
func (a *Association) aa8(o *occurrence) error {
	a.end(&AbortError{Source: pdu.AbortSourceServiceProvider, Reason: o.reason, Err: o.err})
	return a.sendAbort(pdu.Abort{Source: pdu.AbortSourceServiceProvider, Reason: o.reason}, o.locked)
}

func (a *Association) startARTIM() { a.stream.fix(time.Now().Add(a.artim())) }

func (a *Association) artim() time.Duration {
	if a.hasty.Load() {
		return min(closeWait, a.limits.ARTIM)
	}
	return a.limits.ARTIM
}

// awaitTransportClose starts ARTIM in Sta13. The deadline is already past for a read in
// progress, so that a service or reader that is in the middle of something returns at once;
// the reader then waits for the close under ARTIM (closing.go).
func (a *Association) awaitTransportClose() {
	a.stream.interrupt()
	a.ensureReader()
}

// abortWait is how long a message in progress may take to reach a PDU boundary before an A-ABORT.
const abortWait = 2 * time.Second

// sendAbort writes an A-ABORT between the PDUs of whatever is being sent. If the peer does not
// take it in time the transport is closed without.
func (a *Association) sendAbort(abort pdu.Abort, locked bool) error {
	wait := abortWait
	if a.hasty.Load() {
		wait = min(wait, closeWait)
	}
	a.stream.cut(wait)
	if !locked {
		timer := time.NewTimer(wait + wait/2)
		defer timer.Stop()
		select {
		case a.writing.lock <- struct{}{}:
			defer a.unlockWriter()
		case <-timer.C:
			a.awaitTransportClose()
			return a.stream.Close()
		}
	}
	b, err := abort.Append(nil)
	if err == nil {
		_, err = a.stream.write(b)
	}
	a.awaitTransportClose()
	if err != nil {
		return a.stream.Close()
	}
	return nil
}

// eventOf is the event that the arrival of a PDU is.
func eventOf(t pdu.Type) event {
	switch t {
	case pdu.TypeAssociateRQ:
		return evt6AssociateRQ
	case pdu.TypeAssociateAC:
		return evt3AssociateAC
	case pdu.TypeAssociateRJ:
		return evt4AssociateRJ
	case pdu.TypePData:
		return evt10Data
	case pdu.TypeReleaseRQ:
		return evt12ReleaseRQ
	case pdu.TypeReleaseRP:
		return evt13ReleaseRP
	case pdu.TypeAbort:
		return evt16Abort
	}
	return evt19Invalid
}

// failed turns the failure of a read into the event it is. It is called by the reader.
func (a *Association) failed(err error) {
	var format *pdu.FormatError
	var protocol *protocolError
	switch st := a.fsm.current(); {
	case errors.Is(err, errEnded) || st == sta1:
	case st == sta13 && isTimeout(err) && !a.reading.closing: // interrupted: the end is under way
	case errors.As(err, &format):
		a.reading.lostSync = true
		a.note(a.fire(evt19Invalid, &occurrence{reason: format.AbortReason(), err: err}))
	case errors.As(err, &protocol):
		a.note(a.fire(evt19Invalid, &occurrence{reason: protocol.reason, err: err}))
	case isTimeout(err) && (st == sta2 || st == sta13):
		timeout := &TimeoutError{"the A-ASSOCIATE-RQ", a.limits.ARTIM}
		a.note(a.fire(evt18ARTIM, &occurrence{err: timeout}))
	case errors.As(err, new(*TimeoutError)), isTimeout(err), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		a.note(a.fire(evt15AbortRequest, &occurrence{err: err}))
	default:
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		a.note(a.fire(evt17TransportClosed, &occurrence{err: err}))
	}
}

// note logs what an action could not do. Nobody can be told: it concerns the end itself.
func (a *Association) note(err error) {
	var refused *stateError
	if err != nil && !errors.As(err, &refused) {
		a.log.Debug("closing the association", "association", a.id, "error", err)
	}
}

// protocolError is a violation that the PDUs' own syntax does not show.
type protocolError struct {
	reason pdu.AbortReason
	what   string
	err    error
}

// Error implements error.
func (e *protocolError) Error() string {
	if e.err != nil {
		return e.what + ": " + e.err.Error()
	}
	return e.what
}

// Unwrap returns the cause.
func (e *protocolError) Unwrap() error { return e.err }
