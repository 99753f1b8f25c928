// Package jpeg decodes the JPEG processes that DICOM uses for images: baseline (process 1), extended sequential with
// Huffman coding (processes 2 and 4, 8 and 12 bits) and lossless with Huffman coding (process 14, all selection values, 2 to
// 16 bits), as ITU-T T.81 defines them.
//
// A [Decoder] takes one frame as a slice and writes its samples where the caller wants them. The caller says what the frame
// has to be ([Format]); a stream that says otherwise is refused before memory is taken for it, so that memory is bounded by
// the frame that was asked for and never by what the stream claims.
//
// Samples come out as the Independent JPEG Group's library gives them by default, on which DCMTK is built: the accurate
// integer inverse DCT, chroma upsampled with a triangle filter where it was halved horizontally or in both directions, and
// YCbCr converted with 16 fractional bits. Lossless frames come out as they went in.
//
// Progressive, hierarchical and arithmetic coding (retired in DICOM) are refused with an [UnsupportedError]. What breaks T.81,
// ends early or has bits left over is refused with a [FormatError]; nothing is guessed or concealed.
//
//	header.go    markers and their parameters (T.81 annex B)
//	huffman.go   tables and the bits of a scan (annexes C and F.2.2)
//	dct.go       scans of DCT coded frames (F.2), idct.go the inverse transform
//	lossless.go  scans of lossless frames (annex H)
//	output.go    upsampling and colour
package jpeg
