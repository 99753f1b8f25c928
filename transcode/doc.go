// Package transcode converts data sets from one transfer syntax to another while they are read.
//
//	r, err := transcode.New(ctx, budget, dicom.JPEGLosslessSV1, dicom.ExplicitVRLittleEndian, dataSet)
//
// What can be converted [Can] tells: the native transfer syntaxes (Implicit VR Little Endian, Explicit VR Little Endian, Explicit
// VR Big Endian, Deflated Explicit VR Little Endian) into each other, and what package pixel decodes into these. Nothing is
// compressed.
//
// # What is altered
//
// Values stay as they are, but for the byte order of those that have one. In detail:
//
//   - Where a value representation has to be added, it is that of PS3.6; of several the one that Pixel Representation, LUT
//     Descriptor or PS3.5 A.1 say, and UN where none is known. UN remains UN, and what is in it implicit VR little endian (PS3.5
//     6.2.2).
//   - Between explicit transfer syntaxes, if nothing is decoded, lengths and delimiters remain as they are. Otherwise sequences
//     and items of undefined length remain so, those of defined length get the new length; longer ones than [MaxBuffered] get
//     undefined length, so that they need not be kept. Group lengths, retired and optional (PS3.5 7.2), are left out.
//   - Delimiters that delimit nothing are left out.
//   - Where pixel data is decoded, so are the Extended Offset Table and its lengths, and the Encapsulated Pixel Data Value Total
//     Length: they describe the fragments that are no more. Photometric Interpretation of lossy JPEG becomes RGB if it was
//     YBR_FULL or YBR_FULL_422. All else, Planar Configuration, Lossy Image Compression and the SOP Instance UID among it,
//     remains; samples are arranged as Planar Configuration says.
//
// # Memory
//
// A data set streams through. Memory is bounded by one frame where pixel data is decoded, by MaxBuffered for a sequence, and
// does not depend on the size of the object. A [Budget] bounds what all conversions together take for frames.
//
// # Errors
//
// New reads ahead until the first frame is decoded (or the pixel data begins, or a MiB has come), so that an object that cannot
// be converted shows before anything of it is sent. Later errors come from Read, never the end of the data set in their place.
// They are *[dicom.FormatError], those of package pixel, or of the reader, wrapped.
package transcode
