// Package upstream is the client side of Query/Retrieve (PS3.4 annex C) towards the archives behind the gateway: it puts to
// them what package qr is asked for and the gateway does not hold.
//
// An Upstream is one archive. find.go puts a question to it, fetch.go has it move a series to the gateway, once for all who want
// it; conversation.go is the association that it takes, with the
// limits that protect either side: so many associations at once, only at hours at which the calendar has it open, no attempt
// while the circuit breaker is open, and a bound for each wait. Whoever asks is told at once when its context ends; what is
// left of the association is wound up behind it.
//
// What archives answer is hostile until it has been looked at: identifiers are read within the bounds of package qr, which
// also holds them against the question.
package upstream
