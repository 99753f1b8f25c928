// Package web serves the standard's clients over HTTP: interface 203 (5.3), which lists the images of a study with an
// address for each, and these addresses.
//
//	GET /Viewer/DICOMStudyRetrieve?HospitalCode=…&StudyInstanceUID=…&Signature=…   retrieve.go
//	GET /Viewer/dicom/TOKEN.dcm    the Part 10 file of an instance                 download.go
//	GET /Viewer/dicom/TOKEN.zip    all of a study in one archive                   archive.go
//
// A request of 203 is signed (package cloud); an address needs no signature because nobody can guess it: its token names an
// instance, the client it was made for and when, under a message authentication code (link.go). It ends with its time, with
// the client's key, or with a command (revoke.go).
//
// What is served comes straight from the segments, by sendfile once the bytes are known to be right: damage.go says when
// they are looked at. Every connection, request and wait is bounded (limits.go, listener.go).
//
// Log lines name clients, addresses, instance IDs and counts, nothing that names a patient.
package web
