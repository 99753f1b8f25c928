package dimse

import (
	"errors"
	"fmt"
	"time"

	"dcmgate/pdu"
)

var (
	// ErrReleased is why an association ended that was released in order, by either side.
	ErrReleased = errors.New("association released")

	// ErrNoContext is returned for a presentation context that was not accepted.
	ErrNoContext = errors.New("no accepted presentation context")

	// ErrOperationEnded is returned by ResponseWriter.Respond after the final response.
	ErrOperationEnded = errors.New("the operation has been answered")

	// errEnded stops the reading of an association that has already ended for a recorded reason.
	errEnded = errors.New("association has ended")

	// errDisplaced is why a connection is closed that has sent no request.
	errDisplaced = errors.New("closed to make room for newer connections: too many have not sent an association request")

	// errCut is what a burst in progress fails with when the association is being aborted.
	errCut = errors.New("association is being aborted")
)

// RejectError is an A-ASSOCIATE-RJ, PS3.8 9.3.4: returned by Dial when the peer rejected, and
// by a Handler to reject. Only the first three fields travel.
type RejectError struct {
	Result pdu.RejectResult
	Source pdu.RejectSource
	Reason pdu.RejectReason

	// Detail says for the log why, and what a technician may do about it.
	Detail string
}

// Error implements error.
func (e *RejectError) Error() string {
	rj := pdu.AssociateRJ{Result: e.Result, Source: e.Source, Reason: e.Reason}
	if e.Detail == "" {
		return "association " + rj.String()
	}
	return "association " + rj.String() + ": " + e.Detail
}

// Permanent tells whether the same request would be rejected again.
func (e *RejectError) Permanent() bool { return e.Result == pdu.RejectedPermanent }

// Rejections a Handler commonly answers with. detail goes to the log.

// RejectCallingAETitle refuses a caller that is not known: rejected-permanent,
// calling-AE-title-not-recognized.
func RejectCallingAETitle(detail string) *RejectError {
	return &RejectError{pdu.RejectedPermanent, pdu.RejectSourceServiceUser, pdu.RejectUserCallingAETitleNotRecognized, detail}
}

// RejectCalledAETitle refuses a request meant for somebody else: rejected-permanent,
// called-AE-title-not-recognized.
func RejectCalledAETitle(detail string) *RejectError {
	return &RejectError{pdu.RejectedPermanent, pdu.RejectSourceServiceUser, pdu.RejectUserCalledAETitleNotRecognized, detail}
}

// RejectCongestion asks the peer to come back later: rejected-transient, temporary-congestion.
func RejectCongestion(detail string) *RejectError {
	return &RejectError{pdu.RejectedTransient, pdu.RejectSourcePresentation, pdu.RejectPresentationTemporaryCongestion, detail}
}

// RejectLimit says that as many associations are open as are allowed: rejected-transient,
// local-limit-exceeded.
func RejectLimit(detail string) *RejectError {
	return &RejectError{pdu.RejectedTransient, pdu.RejectSourcePresentation, pdu.RejectPresentationLocalLimitExceeded, detail}
}

// AbortError is the end of an association by A-ABORT, PS3.8 9.3.8.
type AbortError struct {
	Source pdu.AbortSource
	Reason pdu.AbortReason // significant for the service-provider only
	Remote bool            // the peer aborted
	Err    error           // why this side aborted; nil if the peer did
}

// Error implements error.
func (e *AbortError) Error() string {
	abort := pdu.Abort{Source: e.Source, Reason: e.Reason}
	if e.Remote {
		return "association aborted by the peer: " + abort.String()
	}
	if e.Err != nil {
		return fmt.Sprintf("association aborted: %v", e.Err)
	}
	return "association aborted here"
}

// Unwrap returns why this side aborted.
func (e *AbortError) Unwrap() error { return e.Err }

// TimeoutError says which of the association's timers ran out. It implements net.Error.
type TimeoutError struct {
	Waiting string // what for, such as "the rest of a PDU"
	Limit   time.Duration
}

// Error implements error.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("timeout after %v waiting for %s", e.Limit, e.Waiting)
}

// Timeout implements net.Error.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary implements net.Error; the association is not usable any more.
func (e *TimeoutError) Temporary() bool { return false }

// LostError is the outcome of an operation whose association ended before its response.
type LostError struct {
	// RequestWritten tells whether the request had been handed to the transport completely, so
	// that the peer may have performed the operation.
	RequestWritten bool
	Err            error // why the association ended
}

// Error implements error.
func (e *LostError) Error() string {
	if e.RequestWritten {
		return fmt.Sprintf("no response: %v", e.Err)
	}
	return fmt.Sprintf("request not sent: %v", e.Err)
}

// Unwrap returns why the association ended.
func (e *LostError) Unwrap() error { return e.Err }

// DataError says that the data set to be sent could not be read from its source: a fault on
// this side. The message was incomplete, so the association has been aborted.
type DataError struct{ Err error }

// Error implements error.
func (e *DataError) Error() string { return fmt.Sprintf("reading the data set to send: %v", e.Err) }

// Unwrap returns the source's error.
func (e *DataError) Unwrap() error { return e.Err }

// HandshakeError says that TLS did not come about on an accepted connection.
type HandshakeError struct{ Err error }

func (e *HandshakeError) Error() string { return "TLS: " + e.Err.Error() }

// Unwrap returns what went wrong.
func (e *HandshakeError) Unwrap() error { return e.Err }
