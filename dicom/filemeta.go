package dicom

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Our names in File Meta Information and in A-ASSOCIATE (PS3.7 D.3.3.2).
const (
	// ImplementationClassUID identifies dcmgate. It was derived from a UUID
	// once (PS3.5 B.2) and stays the same in all versions.
	ImplementationClassUID UID = "2.25.54595714236622277466605987214271410818"
	// ImplementationVersionName is at most 16 characters.
	ImplementationVersionName = "DCMGATE_0_1"
)

// FileMeta is the File Meta Information of PS3.10 7.1, as far as a gateway has
// use for it.
type FileMeta struct {
	SOPClassUID               UID    // (0002,0002) Media Storage SOP Class UID
	SOPInstanceUID            UID    // (0002,0003) Media Storage SOP Instance UID
	TransferSyntaxUID         UID    // (0002,0010)
	ImplementationClassUID    UID    // (0002,0012)
	ImplementationVersionName string // (0002,0013)
	SourceAETitle             string // (0002,0016) Source Application Entity Title

	// Guessed is set by ReadFileMeta where the file does not name its transfer
	// syntax, so that TransferSyntaxUID is what the data set looks like.
	Guessed bool
}

const (
	preambleLength  = 128
	prefix          = "DICM"
	groupFileMeta   = 0x0002
	maxMetaElement  = 1 << 20 // bytes of an element of group 0002
	maxMetaLength   = 4 << 20 // bytes of the group
	maxMetaValue    = 1 << 10 // bytes of an element of interest
	maxShortValue   = 0xFFFE  // what the explicit VRs below can hold, even
	maxAETitle      = 16      // PS3.5 table 6.2-1: AE, SH
	metaReadAhead   = 16 << 10
	groupLengthSize = 12 // bytes of (0002,0000) itself
)

// Append appends preamble, prefix and File Meta Information to dst, after which
// the data set is to follow: a Part 10 file up to the data set.
//
// The implementation is ours unless m names one. What m leaves empty and
// PS3.10 7.1 demands comes out as an element without a value; the optional
// Source AE Title is left out.
func (m FileMeta) Append(dst []byte) []byte {
	class, version := m.ImplementationClassUID, m.ImplementationVersionName
	if class == "" {
		class, version = ImplementationClassUID, ImplementationVersionName
	}
	dst = append(dst, make([]byte, preambleLength)...)
	dst = append(dst, prefix...)
	begin := len(dst)
	dst = append(dst, 2, 0, 0, 0, 'U', 'L', 4, 0, 0, 0, 0, 0)
	dst = append(dst, 2, 0, 1, 0, 'O', 'B', 0, 0, 2, 0, 0, 0, 0, 1)
	dst = appendMeta(dst, 0x0002, "UI", string(m.SOPClassUID))
	dst = appendMeta(dst, 0x0003, "UI", string(m.SOPInstanceUID))
	dst = appendMeta(dst, 0x0010, "UI", string(m.TransferSyntaxUID))
	dst = appendMeta(dst, 0x0012, "UI", string(class))
	if version != "" {
		dst = appendMeta(dst, 0x0013, "SH", truncate(version, maxAETitle))
	}
	if m.SourceAETitle != "" {
		dst = appendMeta(dst, 0x0016, "AE", truncate(m.SourceAETitle, maxAETitle))
	}
	length := len(dst) - begin - groupLengthSize
	binary.LittleEndian.PutUint32(dst[begin+8:], uint32(length))
	return dst
}

// appendMeta appends an element of group 0002, padded to even length: UIDs with
// NUL, text with a space (PS3.5 6.2).
func appendMeta(dst []byte, element uint16, vr, value string) []byte {
	value = truncate(value, maxShortValue)
	padded := (len(value) + 1) &^ 1
	dst = append(dst, groupFileMeta, 0, byte(element), byte(element>>8), vr[0], vr[1], byte(padded), byte(padded>>8))
	dst = append(dst, value...)
	if padded == len(value) {
		return dst
	}
	if vr == "UI" {
		return append(dst, 0)
	}
	return append(dst, ' ')
}

func truncate(s string, length int) string { return s[:min(len(s), length)] }

// ErrNotDICOM is what ReadFileMeta finds in a file that is neither a Part 10
// file nor begins like a data set.
var ErrNotDICOM = errors.New("dicom: neither a DICOM file nor a data set")

// ReadFileMeta reads what stands before the data set of a DICOM file: preamble,
// prefix and File Meta Information. headerLen is the offset, in bytes, at which
// the data set begins.
//
// It takes files as they are found: preamble or prefix may be missing, the
// group length too or be wrong; the elements may be in implicit VR. Where there
// is no File Meta Information, or not all of it, transfer syntax, SOP class and
// SOP instance are taken from the begin of the data set; those that cannot be
// found remain empty.
//
// If r is a *[bufio.Reader], headerLen bytes are taken out of it and the data set
// can be read from it. Of any other reader more is read than that; go on at
// headerLen with ReadAt or Seek.
//
// Errors are ErrNotDICOM, a *[FormatError], or of r, wrapped.
func ReadFileMeta(r io.Reader) (m FileMeta, headerLen int64, err error) {
	buffered, ok := r.(*bufio.Reader)
	if !ok {
		buffered = bufio.NewReaderSize(r, metaReadAhead)
	}
	f := metaReader{r: buffered}
	if err := f.read(); err != nil {
		return FileMeta{}, 0, err
	}
	return f.meta, f.offset, nil
}

// metaReader is a ReadFileMeta under way.
type metaReader struct {
	r      *bufio.Reader
	meta   FileMeta
	offset int64 // bytes taken out of r
	end    int64 // of the group by its group length, 0 if that is unknown
}

func (f *metaReader) read() error {
	if err := f.skipPreamble(); err != nil {
		return err
	}
	for {
		more, err := f.element()
		if err != nil {
			return err
		}
		if !more {
			return f.complete()
		}
	}
}

// skipPreamble passes over preamble and prefix, as far as they are there.
func (f *metaReader) skipPreamble() error {
	head, err := f.r.Peek(preambleLength + len(prefix))
	switch {
	case len(head) == preambleLength+len(prefix) && string(head[preambleLength:]) == prefix:
		return f.discard(preambleLength + len(prefix))
	case len(head) >= len(prefix) && string(head[:len(prefix)]) == prefix:
		return f.discard(len(prefix))
	case err != nil && err != io.EOF:
		return readError(err)
	}
	return nil
}

// element reads one element of group 0002; more is false where the next element
// is of another group, or there is none.
func (f *metaReader) element() (more bool, err error) {
	head, err := f.r.Peek(fullHeader)
	if err != nil && err != io.EOF {
		return false, readError(err)
	}
	if len(head) < 2 || binary.LittleEndian.Uint16(head) != groupFileMeta {
		return false, nil
	}
	if len(head) < shortHeader {
		return false, f.fail(NewTag(groupFileMeta, 0), "ends within an element header")
	}
	if f.offset == f.end && f.meta.TransferSyntaxUID.Deflated() {
		// A deflated data set begins with any bytes, also with those of an
		// element of group 0002.
		return false, nil
	}
	tag := NewTag(groupFileMeta, binary.LittleEndian.Uint16(head[2:]))
	used, length := metaHeader(head)
	if used > len(head) {
		return false, f.fail(tag, "ends within an element header")
	}
	if length > maxMetaElement || f.offset+length > maxMetaLength {
		return false, f.fail(tag, fmt.Sprintf("length %d is out of bounds", length))
	}
	return true, f.value(tag, used, length)
}

// metaHeader returns the size of an element's header and the length of its
// value. File Meta Information is explicit VR little endian; some toolkits
// write it in the implicit VR of their data set.
func metaHeader(head []byte) (used int, length int64) {
	v, known := vrOf(head[4], head[5])
	switch {
	case !known:
		return shortHeader, int64(binary.LittleEndian.Uint32(head[4:]))
	case !v.long:
		return shortHeader, int64(binary.LittleEndian.Uint16(head[6:]))
	case len(head) < fullHeader:
		return fullHeader, 0
	}
	return fullHeader, int64(binary.LittleEndian.Uint32(head[8:]))
}

// value takes the element out of the reader and its value into f.meta.
func (f *metaReader) value(tag Tag, used int, length int64) error {
	begin := f.offset
	if err := f.discard(used); err != nil {
		return err
	}
	if length > maxMetaValue || !interestingMeta(tag) {
		return f.discardElement(tag, length)
	}
	value, err := f.r.Peek(int(length))
	if len(value) < int(length) {
		if err != nil && err != io.EOF {
			return readError(err)
		}
		f.offset = begin
		return f.fail(tag, "ends within the value")
	}
	f.take(tag, value)
	return f.discard(int(length))
}

// interestingMeta tells whether take has a use for the element.
func interestingMeta(tag Tag) bool {
	switch tag.Element() {
	case 0x0000, 0x0002, 0x0003, 0x0010, 0x0012, 0x0013, 0x0016:
		return true
	}
	return false
}

// take files the value of an element.
func (f *metaReader) take(tag Tag, value []byte) {
	text := string(ParseUID(value)) // AE and SH are padded with spaces as well
	switch tag.Element() {
	case 0x0000:
		if len(value) == 4 {
			f.end = f.offset + 4 + int64(binary.LittleEndian.Uint32(value))
		}
	case 0x0002:
		f.meta.SOPClassUID = UID(text)
	case 0x0003:
		f.meta.SOPInstanceUID = UID(text)
	case 0x0010:
		f.meta.TransferSyntaxUID = UID(text)
	case 0x0012:
		f.meta.ImplementationClassUID = UID(text)
	case 0x0013:
		f.meta.ImplementationVersionName = text
	case 0x0016:
		f.meta.SourceAETitle = text
	}
}

// complete makes up for what the File Meta Information did not say.
func (f *metaReader) complete() error {
	if f.meta.TransferSyntaxUID != "" && f.meta.SOPClassUID != "" && f.meta.SOPInstanceUID != "" {
		return nil
	}
	head, err := f.r.Peek(min(f.r.Size(), metaReadAhead))
	if err != nil && err != io.EOF {
		return readError(err)
	}
	if f.meta.TransferSyntaxUID == "" {
		if !f.guess(head) {
			return ErrNotDICOM
		}
	}
	f.fromDataSet(head)
	return nil
}

// guess sets the transfer syntax by what the data set looks like. A file that
// has File Meta Information is a DICOM file even if its data set is empty or
// makes no sense, and gets the default transfer syntax of PS3.5 10.1.
func (f *metaReader) guess(head []byte) (ok bool) {
	f.meta.Guessed = true
	f.meta.TransferSyntaxUID, ok = guessTransferSyntax(head)
	if !ok && f.offset > 0 {
		f.meta.TransferSyntaxUID, ok = ImplicitVRLittleEndian, true
	}
	return ok
}

// fromDataSet takes SOP class and instance from the begin of the data set.
func (f *metaReader) fromDataSet(head []byte) {
	s := NewScanner(f.meta.TransferSyntaxUID, []Tag{TagSOPClassUID, TagSOPInstanceUID})
	s.Write(head)
	for _, e := range s.Elements() {
		switch {
		case e.Tag == TagSOPClassUID && f.meta.SOPClassUID == "":
			f.meta.SOPClassUID = ParseUID(e.Value)
		case e.Tag == TagSOPInstanceUID && f.meta.SOPInstanceUID == "":
			f.meta.SOPInstanceUID = ParseUID(e.Value)
		}
	}
}

// guessTransferSyntax tells the three plain transfer syntaxes apart by the
// first element. Encapsulated pixel data does not show there; explicit VR
// little endian is close enough to find one's way.
func guessTransferSyntax(head []byte) (uid UID, ok bool) {
	if len(head) < shortHeader {
		return "", false
	}
	_, explicit := vrOf(head[4], head[5])
	little, big := uint16At(head, false), uint16At(head, true)
	switch {
	case explicit && big >= firstGroup && big < little:
		return ExplicitVRBigEndian, true
	case explicit && little >= firstGroup:
		return ExplicitVRLittleEndian, true
	case !explicit && little >= firstGroup && TagVR(tagAt(head, false)) != "" &&
		uint32At(head[4:], false) < plausibleFirstLength:
		return ImplicitVRLittleEndian, true
	}
	return "", false
}

func (f *metaReader) discardElement(tag Tag, length int64) error {
	n, err := f.r.Discard(int(length))
	f.offset += int64(n)
	if err == io.EOF {
		return f.fail(tag, "ends within the value")
	}
	return readError(err)
}

func (f *metaReader) discard(n int) error {
	n, err := f.r.Discard(n)
	f.offset += int64(n)
	return readError(err)
}

func (f *metaReader) fail(tag Tag, reason string) error {
	return &FormatError{Tag: tag, Offset: f.offset, Reason: "file meta information: " + reason}
}

func readError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("dicom: read file meta information: %w", err)
}
