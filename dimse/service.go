package dimse

import (
	"context"
	"io"

	"dcmgate/dicom"
)

// NegotiatedContext is an accepted presentation context with the roles this side may take for
// its abstract syntax: as proposed by default (requestor SCU, acceptor SCP) or as the role
// selection of PS3.7 D.3.3.4 made them.
type NegotiatedContext struct {
	ID             byte
	AbstractSyntax dicom.UID
	TransferSyntax dicom.UID
	SCU, SCP       bool
}

// Request is an operation that the peer asks for. It and its Data are valid until ServeDIMSE
// returns.
type Request struct {
	Association *Association
	Context     NegotiatedContext
	Command     Command

	// Data is the data set as it arrives from the connection, nil if the message has none. It
	// also implements io.WriterTo, which hands out slices of the receive buffer and so saves a
	// copy. What the service leaves unread is drained. A failed read means that the association
	// has ended: nothing will be answered.
	Data io.Reader

	// Cancelled is closed when a C-CANCEL for this operation arrives. It is nil for operations
	// that cannot be cancelled. Cancels are only noticed once Data has been read.
	Cancelled <-chan struct{}
}

// ResponseWriter answers one operation.
type ResponseWriter interface {
	// Respond sends a response: c with its command field, message ID, affected SOP class and
	// instance filled in by the engine unless set, then data if it is not nil. A pending status
	// may be followed by more responses; any other is final and makes later calls fail with
	// ErrOperationEnded. If the request's Data has not been read to its end, it is drained
	// first: many peers do not look for a response before they have sent everything.
	Respond(c Command, data io.Reader) error
}

// Service answers operations. ServeDIMSE runs in a goroutine of the association, several at
// once only if the operations window permits. Operations that end without a final response are
// answered 0110H, cancelled ones FE00H; so are panics (0110H). ctx ends with the association.
type Service interface {
	ServeDIMSE(ctx context.Context, w ResponseWriter, rq *Request)
}

// ServiceFunc makes a function a Service.
type ServiceFunc func(ctx context.Context, w ResponseWriter, rq *Request)

// ServeDIMSE calls f.
func (f ServiceFunc) ServeDIMSE(ctx context.Context, w ResponseWriter, rq *Request) { f(ctx, w, rq) }

// Mux routes operations by the command field of the request. What it does not hold is
// answered 0211H, unrecognized operation.
type Mux map[CommandField]Service

// ServeDIMSE implements Service.
func (m Mux) ServeDIMSE(ctx context.Context, w ResponseWriter, rq *Request) {
	if s := m[rq.Command.CommandField]; s != nil {
		s.ServeDIMSE(ctx, w, rq)
		return
	}
	// An error here means that the association has ended, which the engine knows.
	_ = w.Respond(Command{Status: StatusUnrecognizedOperation}, nil)
}

// Echo is the Verification service, PS3.4 annex A.
func Echo() Service {
	return ServiceFunc(func(_ context.Context, w ResponseWriter, _ *Request) {
		_ = w.Respond(Command{Status: StatusSuccess}, nil)
	})
}

// StoreFunc makes a C-STORE service of a function that takes the instance in rq.Data and
// returns the status to answer with, and a comment for the peer (no patient data) or "".
type StoreFunc func(ctx context.Context, rq *Request) (status Status, comment string)

// ServeDIMSE implements Service.
func (f StoreFunc) ServeDIMSE(ctx context.Context, w ResponseWriter, rq *Request) {
	status, comment := f(ctx, rq)
	_ = w.Respond(Command{Status: status, ErrorComment: comment}, nil)
}
