package dicom

import "io"

// FileMeta is the File Meta Information of PS3.10 7.1 as far as a gateway
// needs it.
type FileMeta struct {
	SOPClassUID               UID    // (0002,0002) Media Storage SOP Class UID
	SOPInstanceUID            UID    // (0002,0003) Media Storage SOP Instance UID
	TransferSyntaxUID         UID    // (0002,0010)
	ImplementationClassUID    UID    // (0002,0012), ours where empty
	ImplementationVersionName string // (0002,0013), ours where ImplementationClassUID is empty
	SourceAETitle             string // (0002,0016) Source Application Entity Title, left out where empty
}

// Append appends preamble, prefix and File Meta Information.
func (m FileMeta) Append(dst []byte) []byte { return dst }

// ReadFileMeta reads preamble, prefix and File Meta Information.
func ReadFileMeta(r io.Reader) (m FileMeta, headerLen int64, err error) { return m, 0, io.EOF }
