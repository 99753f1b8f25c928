package dimse

import (
	"context"
	"crypto/tls"
	"net/netip"

	"dcmgate/pdu"
)

// Handler decides on association requests. The engine has checked what the protocol demands
// (version, application context, limits); everything else is policy.
type Handler interface {
	// Associate admits a request or refuses it. It is called in a goroutine of the connection,
	// several at once. A *RejectError is sent as it is; any other error, and a panic, are logged
	// and answered as a transient rejection (temporary congestion). An acceptance without any
	// accepted context is valid: the association is established and of little use, as PS3.8 has
	// it. ctx ends when the connection or the server does.
	Associate(ctx context.Context, rq *AssociationRequest) (*Acceptance, error)
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(ctx context.Context, rq *AssociationRequest) (*Acceptance, error)

// Associate calls f.
func (f HandlerFunc) Associate(ctx context.Context, rq *AssociationRequest) (*Acceptance, error) {
	return f(ctx, rq)
}

// AssociationRequest is what a Handler decides on.
type AssociationRequest struct {
	ID     string               // names the association in logs
	Remote netip.AddrPort       // zero if the transport is not TCP
	TLS    *tls.ConnectionState // nil without TLS
	// RQ is the request itself; not to be changed. RQ.UserIdentity may hold any of the five
	// types of PS3.7 D.3.3.7; a policy that demands one rejects requests without.
	RQ *pdu.AssociateRQ
}

// CallingAETitle is the requestor's AE title without padding.
func (r *AssociationRequest) CallingAETitle() string { return pdu.TrimAETitle(r.RQ.CallingAETitle) }

// CalledAETitle is the AE title the requestor wants to reach, without padding.
func (r *AssociationRequest) CalledAETitle() string { return pdu.TrimAETitle(r.RQ.CalledAETitle) }

// Acceptance is how a Handler admits an association. The engine cuts every field to what the
// request proposed, as the standard demands.
type Acceptance struct {
	// Results answers the presentation contexts; see Negotiate. What it leaves out is refused
	// (user-rejection).
	Results []pdu.PresentationContextResult
	// Service answers the operations; nil refuses all.
	Service Service
	// AsyncOperationsWindow is what this side allows, counted from the requestor: Invoked are
	// the operations the peer may have outstanding. 0 is as many as the engine supports
	// (MaxOperations); nil is one each.
	AsyncOperationsWindow *pdu.AsyncOperationsWindow
	RoleSelections        []pdu.RoleSelection
	ExtendedNegotiations  []pdu.ExtendedNegotiation
	// UserIdentityResponse goes to a peer that requested a positive response; nil sends an
	// empty one, which is right for user names and passcodes.
	UserIdentityResponse []byte
	// Closed is called once when the association is over, after the last service has returned;
	// nil is fine. It is also called if the association was never established after all.
	Closed func(AssociationSummary)
}
