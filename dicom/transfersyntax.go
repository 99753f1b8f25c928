package dicom

import "slices"

// Transfer syntaxes of PS3.6 table A-1, retired ones included.
const (
	ImplicitVRLittleEndian                         UID = "1.2.840.10008.1.2"
	ExplicitVRLittleEndian                         UID = "1.2.840.10008.1.2.1"
	EncapsulatedUncompressedExplicitVRLittleEndian UID = "1.2.840.10008.1.2.1.98"
	DeflatedExplicitVRLittleEndian                 UID = "1.2.840.10008.1.2.1.99"
	ExplicitVRBigEndian                            UID = "1.2.840.10008.1.2.2" // retired
	JPEGBaseline                                   UID = "1.2.840.10008.1.2.4.50"
	JPEGExtended                                   UID = "1.2.840.10008.1.2.4.51"
	JPEGExtendedProcess3And5                       UID = "1.2.840.10008.1.2.4.52" // retired
	JPEGSpectralSelectionProcess6And8              UID = "1.2.840.10008.1.2.4.53" // retired
	JPEGSpectralSelectionProcess7And9              UID = "1.2.840.10008.1.2.4.54" // retired
	JPEGFullProgressionProcess10And12              UID = "1.2.840.10008.1.2.4.55" // retired
	JPEGFullProgressionProcess11And13              UID = "1.2.840.10008.1.2.4.56" // retired
	JPEGLossless                                   UID = "1.2.840.10008.1.2.4.57"
	JPEGLosslessProcess15                          UID = "1.2.840.10008.1.2.4.58" // retired
	JPEGExtendedHierarchicalProcess16And18         UID = "1.2.840.10008.1.2.4.59" // retired
	JPEGExtendedHierarchicalProcess17And19         UID = "1.2.840.10008.1.2.4.60" // retired
	JPEGSpectralHierarchicalProcess20And22         UID = "1.2.840.10008.1.2.4.61" // retired
	JPEGSpectralHierarchicalProcess21And23         UID = "1.2.840.10008.1.2.4.62" // retired
	JPEGProgressionHierarchicalProcess24And26      UID = "1.2.840.10008.1.2.4.63" // retired
	JPEGProgressionHierarchicalProcess25And27      UID = "1.2.840.10008.1.2.4.64" // retired
	JPEGLosslessHierarchicalProcess28              UID = "1.2.840.10008.1.2.4.65" // retired
	JPEGLosslessHierarchicalProcess29              UID = "1.2.840.10008.1.2.4.66" // retired
	JPEGLosslessSV1                                UID = "1.2.840.10008.1.2.4.70"
	JPEGLSLossless                                 UID = "1.2.840.10008.1.2.4.80"
	JPEGLSNearLossless                             UID = "1.2.840.10008.1.2.4.81"
	JPEG2000Lossless                               UID = "1.2.840.10008.1.2.4.90"
	JPEG2000                                       UID = "1.2.840.10008.1.2.4.91"
	JPEG2000MulticomponentLossless                 UID = "1.2.840.10008.1.2.4.92"
	JPEG2000Multicomponent                         UID = "1.2.840.10008.1.2.4.93"
	JPIPReferenced                                 UID = "1.2.840.10008.1.2.4.94"
	JPIPReferencedDeflate                          UID = "1.2.840.10008.1.2.4.95"
	MPEG2MainProfileMainLevel                      UID = "1.2.840.10008.1.2.4.100"
	FragmentableMPEG2MainProfileMainLevel          UID = "1.2.840.10008.1.2.4.100.1"
	MPEG2MainProfileHighLevel                      UID = "1.2.840.10008.1.2.4.101"
	FragmentableMPEG2MainProfileHighLevel          UID = "1.2.840.10008.1.2.4.101.1"
	MPEG4HighProfile41                             UID = "1.2.840.10008.1.2.4.102"
	FragmentableMPEG4HighProfile41                 UID = "1.2.840.10008.1.2.4.102.1"
	MPEG4BDCompatibleHighProfile41                 UID = "1.2.840.10008.1.2.4.103"
	FragmentableMPEG4BDCompatibleHighProfile41     UID = "1.2.840.10008.1.2.4.103.1"
	MPEG4HighProfile42For2DVideo                   UID = "1.2.840.10008.1.2.4.104"
	FragmentableMPEG4HighProfile42For2DVideo       UID = "1.2.840.10008.1.2.4.104.1"
	MPEG4HighProfile42For3DVideo                   UID = "1.2.840.10008.1.2.4.105"
	FragmentableMPEG4HighProfile42For3DVideo       UID = "1.2.840.10008.1.2.4.105.1"
	MPEG4StereoHighProfile42                       UID = "1.2.840.10008.1.2.4.106"
	FragmentableMPEG4StereoHighProfile42           UID = "1.2.840.10008.1.2.4.106.1"
	HEVCMainProfile51                              UID = "1.2.840.10008.1.2.4.107"
	HEVCMain10Profile51                            UID = "1.2.840.10008.1.2.4.108"
	JPEGXLLossless                                 UID = "1.2.840.10008.1.2.4.110"
	JPEGXLJPEGRecompression                        UID = "1.2.840.10008.1.2.4.111"
	JPEGXL                                         UID = "1.2.840.10008.1.2.4.112"
	HTJ2KLossless                                  UID = "1.2.840.10008.1.2.4.201"
	HTJ2KLosslessRPCL                              UID = "1.2.840.10008.1.2.4.202"
	HTJ2K                                          UID = "1.2.840.10008.1.2.4.203"
	JPIPHTJ2KReferenced                            UID = "1.2.840.10008.1.2.4.204"
	JPIPHTJ2KReferencedDeflate                     UID = "1.2.840.10008.1.2.4.205"
	RLELossless                                    UID = "1.2.840.10008.1.2.5"
	RFC2557MIMEEncapsulation                       UID = "1.2.840.10008.1.2.6.1" // retired
	XMLEncoding                                    UID = "1.2.840.10008.1.2.6.2" // retired
	SMPTEST211020Progressive                       UID = "1.2.840.10008.1.2.7.1"
	SMPTEST211020Interlaced                        UID = "1.2.840.10008.1.2.7.2"
	SMPTEST211030PCMDigitalAudio                   UID = "1.2.840.10008.1.2.7.3"
	DeflatedImageFrameCompression                  UID = "1.2.840.10008.1.2.8.1"
	Papyrus3ImplicitVRLittleEndian                 UID = "1.2.840.10008.1.20" // retired
)

// layout is how a transfer syntax lays out a data set.
type layout uint8

const (
	native     layout = 0 // explicit VR, little endian, native pixel data
	implicitVR layout = 1 << iota
	bigEndian
	deflated
	encapsulated // pixel data in fragments (PS3.5 A.4)
)

type transferSyntax struct {
	uid    UID
	name   string
	layout layout
}

// transferSyntaxes is PS3.6 table A-1, rows of type Transfer Syntax, in the
// order of the table; the properties are those of PS3.5 annex A.
//
// The JPIP syntaxes have no pixel data at all, only a URL to it, and the SMPTE
// ones describe streams of PS3.22 that are never stored; their data sets are
// laid out natively. MIME encapsulation and XML are no data sets in the sense
// of PS3.5; whoever meets them sees plain explicit VR and fails there.
var transferSyntaxes = []transferSyntax{
	{ImplicitVRLittleEndian, "Implicit VR Little Endian", implicitVR},
	{ExplicitVRLittleEndian, "Explicit VR Little Endian", native},
	{EncapsulatedUncompressedExplicitVRLittleEndian, "Encapsulated Uncompressed Explicit VR Little Endian", encapsulated},
	{DeflatedExplicitVRLittleEndian, "Deflated Explicit VR Little Endian", deflated},
	{ExplicitVRBigEndian, "Explicit VR Big Endian", bigEndian},
	{JPEGBaseline, "JPEG Baseline (Process 1)", encapsulated},
	{JPEGExtended, "JPEG Extended (Process 2 & 4)", encapsulated},
	{JPEGExtendedProcess3And5, "JPEG Extended (Process 3 & 5)", encapsulated},
	{JPEGSpectralSelectionProcess6And8, "JPEG Spectral Selection, Non-Hierarchical (Process 6 & 8)", encapsulated},
	{JPEGSpectralSelectionProcess7And9, "JPEG Spectral Selection, Non-Hierarchical (Process 7 & 9)", encapsulated},
	{JPEGFullProgressionProcess10And12, "JPEG Full Progression, Non-Hierarchical (Process 10 & 12)", encapsulated},
	{JPEGFullProgressionProcess11And13, "JPEG Full Progression, Non-Hierarchical (Process 11 & 13)", encapsulated},
	{JPEGLossless, "JPEG Lossless, Non-Hierarchical (Process 14)", encapsulated},
	{JPEGLosslessProcess15, "JPEG Lossless, Non-Hierarchical (Process 15)", encapsulated},
	{JPEGExtendedHierarchicalProcess16And18, "JPEG Extended, Hierarchical (Process 16 & 18)", encapsulated},
	{JPEGExtendedHierarchicalProcess17And19, "JPEG Extended, Hierarchical (Process 17 & 19)", encapsulated},
	{JPEGSpectralHierarchicalProcess20And22, "JPEG Spectral Selection, Hierarchical (Process 20 & 22)", encapsulated},
	{JPEGSpectralHierarchicalProcess21And23, "JPEG Spectral Selection, Hierarchical (Process 21 & 23)", encapsulated},
	{JPEGProgressionHierarchicalProcess24And26, "JPEG Full Progression, Hierarchical (Process 24 & 26)", encapsulated},
	{JPEGProgressionHierarchicalProcess25And27, "JPEG Full Progression, Hierarchical (Process 25 & 27)", encapsulated},
	{JPEGLosslessHierarchicalProcess28, "JPEG Lossless, Hierarchical (Process 28)", encapsulated},
	{JPEGLosslessHierarchicalProcess29, "JPEG Lossless, Hierarchical (Process 29)", encapsulated},
	{JPEGLosslessSV1, "JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14 [Selection Value 1])", encapsulated},
	{JPEGLSLossless, "JPEG-LS Lossless Image Compression", encapsulated},
	{JPEGLSNearLossless, "JPEG-LS Lossy (Near-Lossless) Image Compression", encapsulated},
	{JPEG2000Lossless, "JPEG 2000 Image Compression (Lossless Only)", encapsulated},
	{JPEG2000, "JPEG 2000 Image Compression", encapsulated},
	{JPEG2000MulticomponentLossless, "JPEG 2000 Part 2 Multi-component Image Compression (Lossless Only)", encapsulated},
	{JPEG2000Multicomponent, "JPEG 2000 Part 2 Multi-component Image Compression", encapsulated},
	{JPIPReferenced, "JPIP Referenced", native},
	{JPIPReferencedDeflate, "JPIP Referenced Deflate", deflated},
	{MPEG2MainProfileMainLevel, "MPEG2 Main Profile / Main Level", encapsulated},
	{FragmentableMPEG2MainProfileMainLevel, "Fragmentable MPEG2 Main Profile / Main Level", encapsulated},
	{MPEG2MainProfileHighLevel, "MPEG2 Main Profile / High Level", encapsulated},
	{FragmentableMPEG2MainProfileHighLevel, "Fragmentable MPEG2 Main Profile / High Level", encapsulated},
	{MPEG4HighProfile41, "MPEG-4 AVC/H.264 High Profile / Level 4.1", encapsulated},
	{FragmentableMPEG4HighProfile41, "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.1", encapsulated},
	{MPEG4BDCompatibleHighProfile41, "MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", encapsulated},
	{FragmentableMPEG4BDCompatibleHighProfile41, "Fragmentable MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1", encapsulated},
	{MPEG4HighProfile42For2DVideo, "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", encapsulated},
	{FragmentableMPEG4HighProfile42For2DVideo, "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video", encapsulated},
	{MPEG4HighProfile42For3DVideo, "MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", encapsulated},
	{FragmentableMPEG4HighProfile42For3DVideo, "Fragmentable MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video", encapsulated},
	{MPEG4StereoHighProfile42, "MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", encapsulated},
	{FragmentableMPEG4StereoHighProfile42, "Fragmentable MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2", encapsulated},
	{HEVCMainProfile51, "HEVC/H.265 Main Profile / Level 5.1", encapsulated},
	{HEVCMain10Profile51, "HEVC/H.265 Main 10 Profile / Level 5.1", encapsulated},
	{JPEGXLLossless, "JPEG XL Lossless", encapsulated},
	{JPEGXLJPEGRecompression, "JPEG XL JPEG Recompression", encapsulated},
	{JPEGXL, "JPEG XL", encapsulated},
	{HTJ2KLossless, "High-Throughput JPEG 2000 Image Compression (Lossless Only)", encapsulated},
	{HTJ2KLosslessRPCL, "High-Throughput JPEG 2000 with RPCL Options Image Compression (Lossless Only)", encapsulated},
	{HTJ2K, "High-Throughput JPEG 2000 Image Compression", encapsulated},
	{JPIPHTJ2KReferenced, "JPIP HTJ2K Referenced", native},
	{JPIPHTJ2KReferencedDeflate, "JPIP HTJ2K Referenced Deflate", deflated},
	{RLELossless, "RLE Lossless", encapsulated},
	{RFC2557MIMEEncapsulation, "RFC 2557 MIME encapsulation", native},
	{XMLEncoding, "XML Encoding", native},
	{SMPTEST211020Progressive, "SMPTE ST 2110-20 Uncompressed Progressive Active Video", native},
	{SMPTEST211020Interlaced, "SMPTE ST 2110-20 Uncompressed Interlaced Active Video", native},
	{SMPTEST211030PCMDigitalAudio, "SMPTE ST 2110-30 PCM Digital Audio", native},
	{DeflatedImageFrameCompression, "Deflated Image Frame Compression", encapsulated},
	{Papyrus3ImplicitVRLittleEndian, "Papyrus 3 Implicit VR Little Endian", implicitVR},
}

// privateTransferSyntaxes are those met in the field that the rule for unknown
// ones would get wrong. GE's differs from implicit VR little endian in the byte
// order of its pixel data only.
var privateTransferSyntaxes = []transferSyntax{
	{"1.2.840.113619.5.2", "", implicitVR},
}

var transferSyntaxByUID = func() map[UID]transferSyntax {
	m := make(map[UID]transferSyntax, len(transferSyntaxes))
	for _, ts := range slices.Concat(transferSyntaxes, privateTransferSyntaxes) {
		m[ts.uid] = ts
	}
	return m
}()

// layout returns the properties of transfer syntax u. A syntax nobody told us
// about is taken for explicit VR little endian with encapsulated pixel data, as
// PS3.5 A.4 says of all that were added for compression.
func (u UID) layout() layout {
	if ts, known := transferSyntaxByUID[u]; known {
		return ts.layout
	}
	return encapsulated
}

// Encapsulated tells whether pixel data of transfer syntax u is sent in
// fragments (PS3.5 A.4). True for an unknown transfer syntax.
func (u UID) Encapsulated() bool { return u.layout()&encapsulated != 0 }

// BigEndian tells whether transfer syntax u is Explicit VR Big Endian.
func (u UID) BigEndian() bool { return u.layout()&bigEndian != 0 }

// ImplicitVR tells whether data sets of transfer syntax u leave out the value
// representations (PS3.5 7.1.3).
func (u UID) ImplicitVR() bool { return u.layout()&implicitVR != 0 }

// Deflated tells whether whole data sets of transfer syntax u are compressed by
// the deflate algorithm (PS3.5 A.5).
func (u UID) Deflated() bool { return u.layout()&deflated != 0 }

// TransferSyntaxName returns the name PS3.6 gives transfer syntax uid, "" if it
// is not a transfer syntax of the standard.
func TransferSyntaxName(uid UID) string { return transferSyntaxByUID[uid].name }

// TransferSyntaxes returns all transfer syntaxes of PS3.6 table A-1, retired
// ones included, in the order of the table. The slice is the caller's.
func TransferSyntaxes() []UID {
	uids := make([]UID, len(transferSyntaxes))
	for i, ts := range transferSyntaxes {
		uids[i] = ts.uid
	}
	return uids
}
