// Package forwarder delivers instances to their destinations: each exactly
// once if the network lets it, at least once whatever happens.
//
// # An instance's way out
//
//	Queue.Claim ─► feed ─► worker ─► transfer.Pump ─► association ─► destination
//	                ▲         │                                           │
//	                │         └──── settle ◄──────── response ────────────┘
//	                │                  │
//	          given back          Queue.Complete: delivered, later, parked
//
// For each destination a courier claims a few jobs ahead of what can be sent
// and keeps as many workers as pay off. A worker drives one association: it
// proposes a presentation context for every pair of SOP class and transfer
// syntax that waits, and takes from the feed what its association carries.
// Couriers share nothing, so that a dead destination costs the others nothing.
//
// # What a result means
//
// Tables, keyed as in the standard, say for every C-STORE status, every
// A-ASSOCIATE-RJ and every error of the network whether it speaks about the
// instance or about the destination, and what is done:
//
//   - The destination has the instance: success, warnings, duplicates.
//   - The instance is refused for good, or its SOP class and transfer syntax
//     are: it is parked at once, with the reason, until a person acts.
//   - The instance may pass later: it is sent again after a growing, jittered
//     wait. Where this may be the instance's own fault, attempts are limited,
//     but only count to the end once the destination has taken something else
//     meanwhile, or, if this is all that fails, has answered a C-ECHO between
//     two attempts, which is sent for the purpose if nothing else is; or else
//     an ailing destination would get its queue parked.
//   - The stored bytes are damaged: the association is aborted before the
//     instance is whole, and the instance parked. The disk fails to read them:
//     the same after a few attempts. Neither speaks about the destination.
//   - The destination fails: its breaker counts. When it opens, leases are
//     handed back and nothing is claimed until a probe succeeds. The probe is
//     one instance over one association, or a C-ECHO if none waits. A
//     rejection that only a person can mend opens the breaker at once, and
//     probes are rare then.
//
// If an association breaks with several requests unanswered, nobody knows
// which of them broke it. None is charged; each is sent again alone in its
// association, where it is delivered or takes the blame. So an instance that
// a destination cannot survive delays others a little and is parked in the
// end.
//
// # How many associations
//
// One association shows whether the destination is there. With a backlog
// several more are opened at once, then a controller climbs the hill of
// goodput: it tries a few more or one fewer and keeps what measures better.
// Associations without work linger, the most recently used longest, and are
// released. If a destination leaves a further request unanswered, the idle ones
// are released for it at once. Should that be what it waited for, no more than
// the destination serves are opened for some minutes.
//
// # Locks and goroutines
//
// A courier is one goroutine plus one per association. One mutex per courier
// guards all its state and is never held during I/O. The pure parts (breaker,
// Backoff, Calendar, controller, feed, the tables) know neither clock nor
// lock: time is an argument.
package forwarder
