// Package dicom knows data sets: what DICOM calls things, how a data set is
// laid out in bytes, and how its text is to be read.
//
// It deals with bytes that already arrived; it opens no files or sockets, logs
// nothing and starts no goroutines. Its parts:
//
//   - [UID], [Tag] and the tables of PS3.6: transfer syntaxes with the
//     properties a receiver must know ([UID.Encapsulated] and so on), the
//     Storage SOP Classes, names for logs and pages.
//   - [FileMeta] writes and reads the header of a Part 10 file: the preamble and
//     group 0002. [ReadFileMeta] copes with files that lack any of it.
//   - [Scanner] picks wanted elements out of a data set while it streams past,
//     in any transfer syntax, with bounded memory. It is on the receiving path
//     of every instance and never gets in its way: a data set that cannot be
//     understood is still stored, only less is known about it.
//   - [Text] and [EncodeText] convert between the bytes of an element and text,
//     for every Specific Character Set of PS3.3 C.12.1.1.2.
//   - [ParseElements] builds the tree of elements of a header for detail views
//     and rules. Values are interpreted by go-dicom, which trusts the lengths
//     it reads and therefore sees only what a strict reader has written for it.
//
// # Errors and patient data
//
// Errors of this package name tags, value representations, lengths and offsets,
// never the value of an element, so that they may be logged.
//
// # Hostile input
//
// Everything read here comes from the network. Lengths, depths and counts are
// compared with limits and with what surrounds them before memory is taken for
// them, and each parser has a fuzz target.
package dicom
