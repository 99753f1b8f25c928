// Package gateway is the composition root of dcmgate: it reads the
// configuration, holds the receive policy, and starts and stops the parts in
// order.
//
// Configuration is one strict YAML file. It is bound to raw structs in which
// every leaf keeps its text and its place, and then validated into a [Config]
// with real types; all mistakes of a file are reported at once, each with its
// line, its keys and what to write instead. reference.yaml, embedded and
// printed by `dcmgate config example`, documents every key.
//
// [New] validates and opens nothing; [Gateway.Run] opens the spool, starts the
// forwarder, the HTTP listener and the DICOM listeners, tells systemd, and
// when its context ends does the same in reverse within the configured time.
//
// An instance takes this way through the package: the receiver admits the
// association (admission.go) and answers each presentation context
// (contexts.go); a C-STORE-RQ opens a spool writer and its data set streams
// into it (store.go); only once the spool has committed both the bytes and a
// job for each destination is success answered. Everything after that is the
// forwarder's.
//
// Operators reach the gateway in two ways: over HTTP for metrics and health
// (admin.go), and over a Unix socket in the data directory, which only the
// owner of the data may open, for status, the queue and verification
// (control.go, [Client]).
package gateway
