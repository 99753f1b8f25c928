package transfer

import (
	"fmt"
	"io"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// An Item is one instance to send.
type Item struct {
	Pair
	SOPInstanceUID dicom.UID
	// Size is the length of the data set in bytes, negative if unknown.
	Size int64
	// Open opens the data set, without preamble and File Meta Information.
	// It is called by the pump's goroutine, twice at most, and only once
	// unless Pump.Whole is set; the pump closes what it returns.
	Open func() (io.ReadCloser, error)
	// Alone asks that no other request be unanswered while this one is, so
	// that if the association breaks it is clear over which instance.
	Alone bool

	Priority                dimse.Priority
	MoveOriginatorAETitle   string // set for sub-operations of a C-MOVE
	MoveOriginatorMessageID uint16

	Value any // the source's own
}

// A Source gives a pump its items and learns what became of them. All
// methods but Ready are called from the pump's goroutine only.
type Source interface {
	// Next returns the next item without waiting: nil if there is none at the
	// moment, io.EOF if this association shall get no more.
	Next() (*Item, error)
	// Ready returns a channel that receives when Next is worth calling again
	// after it returned nil. Spurious signals do no harm.
	Ready() <-chan struct{}
	// Done reports the outcome of an item, exactly once for each item that
	// Next returned. It must not block: the association waits meanwhile.
	Done(*Item, Outcome)
}

// Kind says which of the things that can happen to an item happened.
type Kind int

const (
	// Answered: the peer responded; Status holds what.
	Answered Kind = iota
	// NoContext: the association has no accepted presentation context for the
	// item. Nothing was sent.
	NoContext
	// LocalError: the item's own bytes could not be read, or, with a
	// *ConversionError, not be converted. If that happened in
	// the middle of the request, the association had to be aborted.
	LocalError
	// Interrupted: the association ended before the peer responded, in the
	// middle of the request or after it. The peer may or may not have it.
	Interrupted
	// NotSent: the pump had taken the item but sent nothing of it.
	NotSent
)

var kindNames = [...]string{"answered", "no context", "local error", "interrupted", "not sent"}

// String returns the kind in words.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}

// An Outcome is what became of an item.
type Outcome struct {
	Kind   Kind
	Status dimse.Status // if answered
	Err    error        // otherwise
	// Unanswered is, for an interrupted item, the number of requests that
	// were unanswered when the association ended, this one included. If it is
	// 1, the association broke over this very item.
	Unanswered int
}

// A NoContextError says that the peer accepts no presentation context for a
// SOP class and transfer syntax.
type NoContextError struct {
	Pair Pair
	// Unconvertible says that it might have been converted, but that this software does not decode the transfer syntax.
	Unconvertible bool
}

func (e *NoContextError) Error() string {
	s := fmt.Sprintf("no accepted presentation context for %v", e.Pair)
	if e.Unconvertible {
		s += ", which dcmgate cannot convert"
	}
	return s
}
