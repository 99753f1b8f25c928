package transfer

import (
	"context"

	"dcmgate/dicom"
	"dcmgate/dimse"
)

// An Association is what a pump needs of an established association. All
// methods may be called from several goroutines.
type Association interface {
	// ID is its name in the log.
	ID() string
	// Accepted returns the presentation context that the peer accepted for
	// the abstract syntax with exactly this transfer syntax.
	Accepted(abstract, transferSyntax dicom.UID) (contextID byte, ok bool)
	// Window returns how many requests may be unanswered at once, at least 1.
	Window() int
	// StartStore writes a C-STORE request with its data set. If it fails, the
	// association is of no further use.
	StartStore(ctx context.Context, rq dimse.StoreRequest) (Pending, error)
	// Echo sends a C-ECHO and waits for the answer.
	Echo(ctx context.Context) (dimse.Status, error)
	// Done is closed when the association has ended; Err then tells why.
	Done() <-chan struct{}
	Err() error
	// Release ends the association in order, Abort at once. Either is safe
	// after the other and after the peer has ended it.
	Release(ctx context.Context) error
	Abort() error
	// Close aborts it unless it has ended, and waits until nothing of it is
	// left.
	Close() error
}

// Pending is a request that waits for its response.
type Pending interface {
	// Wait returns the response, or why there will be none.
	Wait(ctx context.Context) (dimse.Response, error)
}

// Over makes an association of package dimse usable by a pump.
func Over(a *dimse.Association) Association { return overDIMSE{a} }

type overDIMSE struct{ *dimse.Association }

func (o overDIMSE) StartStore(ctx context.Context, rq dimse.StoreRequest) (Pending, error) {
	p, err := o.Association.StartStore(ctx, rq)
	if err != nil {
		return nil, err
	}
	return p, nil
}
