// Package dimse is the association engine: PS3.8's upper layer and PS3.7's message exchange, for
// both ends of an association. It owns order, limits, timers and replies; whom to admit and how
// to answer are decided by the Handler and Service it is given. Bytes on the wire are package
// pdu's business.
//
// # Accepting
//
//	server, err := dimse.NewServer(handler, dimse.ServerOptions{})
//	go server.Serve(listener)
//	...
//	server.Shutdown(ctx)
//
// A Handler looks at each request and refuses it with a *RejectError or returns an Acceptance:
// the answers to the presentation contexts (see Negotiate) and the Service for the operations.
// A Service is given a Request, whose data set it reads as it arrives, and a ResponseWriter. A
// Mux makes one Service of several, by command field; StoreFunc and Echo are ready to go in.
//
// # Requesting
//
//	a, err := (&dimse.Dialer{LocalAETitle: "DCMGATE"}).Dial(ctx, address, dimse.Proposal{...})
//	id, ok := a.Accepted(sopClass, transferSyntax)
//	response, err := a.Store(ctx, dimse.StoreRequest{ContextID: id, ...})
//	err = a.Release(ctx)
//
// StartStore pipelines up to the negotiated window; Do invokes any operation and streams its
// responses. An Association is the same thing from either end: a Service may invoke operations
// on Request.Association (C-GET's sub-operations, N-EVENT-REPORT), and a Proposal may bring a
// Service for what the acceptor requests.
//
// # Inside
//
// fsm.go holds the state table of PS3.8 9.2 as data, and every event on the wire or from the
// local user goes through Association.fire; actions.go is what the actions do. One goroutine of
// an association reads at a time. Having read a request it serves it, data set and all, straight
// from the receive buffer, and passes the reading on (roles.go). Whoever writes a message holds
// the write lock and sends command and data in one burst (writing.go). stream.go keeps the
// timers: a PDU that has begun must end, a message must keep a minimum rate, an association must
// not idle, a burst must be taken. A timeout inside a message ends the association, since what
// would follow could not be told apart.
//
// # Ends
//
// After an A-ASSOCIATE-RJ, A-ABORT or A-RELEASE-RP the peer is given ARTIM to close, and what it
// still sends is read and discarded up to a bound, so that the close does not become a reset
// that destroys our last PDU on its side. Err tells why an association ended: ErrReleased,
// *AbortError, *TimeoutError, or the transport's error. Operations that end with it fail with a
// *LostError, which knows whether the request had left completely.
//
// Neither errors nor log lines hold patient data; data sets are never looked into.
package dimse
