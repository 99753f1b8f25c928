// Package restore brings studies back into the spool, from whatever sources there are, one after another (sources.go), also
// while somebody waits for them (background.go). The source that it has itself is the cloud (interface 203 of the standard,
// 5.3): it asks the platform for the list of a study, downloads what the spool lacks and stores it there, as if it had been
// received.
//
// An image counts only once it is whole: its length and digest agree with what the platform says, it is a DICOM file, and its
// UIDs are those of the list. A download that breaks off goes on where it was (package cloud); one that fails is begun again
// a few times. What is stored already is not downloaded. Nobody is sent what was restored: whoever wants it takes it from
// the spool, and it may be evicted as soon as its room is wanted, since the cloud has it.
package restore
