// Package metrics holds the registry the gateway's instruments live in.
//
// Instruments themselves sit beside the code that moves them, in dimse, spool
// and forwarder; each of those packages is given a prometheus.Registerer. What
// is shared is here: the registry with the process's own collectors and build
// information, the HTTP handler, bucket layouts so that histograms of the same
// quantity can be laid over each other, and the list of everything registered,
// from which documentation and tests are made.
//
// Every label is bounded: a destination's name, a state, an outcome. UIDs,
// addresses and anything that names a patient are never labels.
package metrics
