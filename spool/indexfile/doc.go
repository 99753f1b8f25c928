// Package indexfile reads the files of the index as Badger lays them out, without Badger. Badger maps its tables into
// memory and trusts them: a page that the disk cannot read kills the process by SIGBUS, a block that is not what was
// written makes it panic, give wrong values, or pass over the keys that follow. So whoever opens an index has it read
// through before, where the disk's error is an error and checksums are compared: Check. CheckTables does the same beside
// a running index, and Salvage makes a copy of a damaged one that Badger can read, without what is damaged.
//
// What it knows of Badger 4: a table is blocks one after the other, an index of them, the length of the index, a checksum
// of it and the length of that; a block is entries, their offsets, how many there are, a checksum of all that and its
// length. A MANIFEST lists the tables there are. Nothing is compressed or encrypted.
package indexfile
