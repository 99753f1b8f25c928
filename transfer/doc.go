// Package transfer moves instances over associations that we open: it plans
// the presentation contexts a batch of instances needs and pumps the
// instances through an association as fast as the peer answers. The
// forwarder delivers with it; the sub-operations of C-MOVE and C-GET
// use it too.
//
// # Planning
//
// A presentation context names one abstract syntax and several transfer
// syntaxes, of which the acceptor picks one. A sender that puts all its
// syntaxes into one context therefore lets the acceptor choose the encoding,
// and ends up converting. NewPlan gives every pair of SOP class and stored
// transfer syntax a context of its own with that one syntax, so that what is
// accepted can be sent byte for byte, and what is not is known at once.
// PS3.8 7.1.1.13 gives contexts odd numbers from 1 to 255: 128 fit into an
// association, and a batch that needs more is split over several.
//
// Where a peer may be sent instances converted ([PlanOptions.Convert]), contexts
// for Explicit and Implicit VR Little Endian follow those of the stored
// syntax, again one each. A pump with a [Converter] uses them for what is
// not accepted otherwise.
//
// # Pumping
//
// A Pump writes C-STORE requests until the negotiated asynchronous operations
// window (PS3.7 D.3.3.3) is full, then waits for a response, in whatever order
// they come. While it waits it opens the next instance and reads its first bytes, so
// that the request is on its way as soon as the window has room.
//
//	          Source.Next          StartStore            Wait
//	spool ----> prefetched item ----> window of requests ----> Outcome -> Source.Done
//
// Every item a pump has taken gets exactly one Outcome: what the peer
// answered, or which of the things that can happen to an instance or an
// association happened to it. What an outcome leads to (retry, give up) is
// the caller's policy.
package transfer
