// Package spool keeps what the gateway has taken responsibility for: instances, the jobs to deliver them, and the index
// that finds both.
//
// # Life of an instance
//
// [Spool.Begin] gives a [Writer]. What is written to it streams through a scanner, SHA-256 and into a record of package
// segment; nothing is held in memory. [Writer.Commit] decides whether the instance is new, makes the record durable and
// returns: success may be answered from then on. The record carries everything the index needs, the jobs included, so
// the segments are the truth and the index (Badger) is a view of them that can be rebuilt.
//
//	Begin ─ Write… ─ Commit ──────────────► success is answered
//	                   │ record durable
//	                   ▼
//	             pending map ─────────────► dedup, queries, claims
//	                   │ committer
//	                   ▼
//	       index, jobs, changes, checkpoint     (one synced transaction)
//
// One goroutine, the committer, writes the index. It takes whatever is ready and writes instances, keys, jobs, outcomes,
// changes, counters and the checkpoints of the segments in one transaction, so that none of these can disagree after a
// crash: what was committed behind a checkpoint is replayed by [Open], and nothing else is. Every read-modify-write
// happens there; nobody else needs a lock on the index.
//
// # Jobs
//
// A job is an instance for a destination, which is an opaque name here. [Spool.Claim] leases jobs in memory, highest
// priority and then oldest first; [Spool.Complete] ends the lease. A restart makes every lease a pending job again: an
// instance may be sent twice, never not at all.
//
// # Giving room back
//
// Delivered instances are evicted, oldest first, when quota, free space or age ask for it; a custody record stays. What
// is not delivered is never evicted. When room runs low all the same, [Spool.Pressure] rises in steps before Begin has
// to refuse.
//
// # Trust
//
// Names, UIDs and elements come from the network: they are bounded where they enter and are never part of a file name.
// Errors, logs and metrics name UIDs and IDs only.
package spool
