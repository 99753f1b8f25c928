// Package segment keeps records, each a DICOM Part 10 file with its metadata and digest, in segment files: what Commit
// has acknowledged survives a loss of power, and costs one fdatasync or a share of one.
//
// # Lanes
//
// A segment is a file of nominally 128 MiB. A segment that takes records is a lane, and a writer leases one for the
// length of one record and streams into it: no record is held in memory, none waits for another, and none is moved
// later. The lane used last is leased first, so that only as many segments are partly filled as there are writers at
// once. A record is never split; the last one of a segment may reach beyond the nominal end, and a record of any
// length makes its segment as long as it needs.
//
// Space is reserved in steps before data is accepted, so that a full disk is met at Begin and not in the middle.
//
// # Records
//
// A record begins at a multiple of 4096 bytes and shares no block with another. It is a header, the payload exactly as
// it was written, the metadata, and a trailer with the digest; record.go has the layout. It counts only if header and
// trailer are whole and belong together and to the segment's present generation. The first block stays in
// memory until Commit, so that a record that was given up, or that the process did not live to commit, does not look
// like one. Small records are committed in groups (group.go), long ones alone.
//
// A write or sync that failed is not tried again: the kernel may have dropped the pages. The record is refused and the
// segment sealed at its last good record.
//
// # Recovery
//
// The index above keeps, in the transaction that takes a record in, the Checkpoint behind it. Replay reports what is
// behind the checkpoints, after syncing it and reading it from the disk rather than from what the page cache has, and
// checks every digest. What was being written when the power went is set aside in the quarantine directory;
// what is damaged although it had been acknowledged is reported and left where it is, and the records behind it still
// count. ScanAll reads everything, to build an index anew.
//
// # Deletion
//
// Free punches a record out. A segment without live records is recycled: it goes to the pool and is later overwritten
// in place, which is much faster than writing new blocks. Its label is written and synced first, with a new
// generation and a random nonce; since every record carries both, nothing that an older generation left, and nothing
// that a sender made up to look like a record, is taken for one. Whoever reads a record keeps it from being punched
// out or overwritten.
//
// # Figures
//
// Durable records per second, on ext4 with 2 busy cores (compare them with each other only), by number of writers:
//
//	                                        512 KB               20 KB
//	                                      1     4    16       1     4    16
//	append to a growing file           1279  1754  1547    2174  5060  9609
//	the same, reserved at once         1070  1174  1932    2085  3477  9018
//	the same, reserved by 32 MiB       1325  1917  2776    2294         11769
//	zeroed just ahead, then written     767  1082  1616    4378 10353 15639
//	overwritten                        2358  4597  6286    4604 10117 22781
//	overwritten, syncs shared                              4212 12314 35078
//	reserved at once, syncs shared                                    16055
//
// Reserving in steps is no slower than growing, so that is what happens; zeroing ahead costs large records as much as
// it brings, so Prepare does it only while nobody writes. Sharing one sync among the small records that are ready
// gains half at sixteen writers and costs nothing at one or four; two or more shared syncs at a time gain nothing. A
// shared file for large records brings nothing (3823 at 4 writers, 6894 at 16).
package segment
