// Package images keeps images that are not DICOM objects - JPEG, PNG and BMP files of endoscopes, microscopes,
// electrocardiographs - with what they belong to, for the standard's view of them (section 4.2.5).
//
// # What is taken
//
// [Check] reads a file once, as it comes in, in memory that does not depend on its size. It goes by the bytes alone, never by
// a name: the structure has to be that of a JPEG, PNG or BMP file from the first byte to the last, and the compressed data has to
// come out as exactly as many samples as the header promises. Nothing is drawn, so there is nothing to blow up. A file that ends
// early, or goes on after the image's end, is refused.
//
// # How it is kept
//
// A [Store] has a file for each content, named by its SHA-256, written aside, synced, and moved to its place; and a record
// for each image, which is a content and its [Identifiers], in a SQLite database whose transactions are synced. [Store.Add]
// returns when both are durable. What a crash leaves behind is a file without a record, which was never acknowledged.
//
// Records have numbers that rise with each change, without gaps ([Store.Changes]), and are never deleted: an image that was
// withdrawn keeps its record, and loses its bytes unless others have the same.
package images
