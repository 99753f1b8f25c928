package transcode

import (
	"bufio"
	"errors"
	"io"

	"dcmgate/dicom"
)

// input reads a data set and knows where it is.
type input struct {
	r      *bufio.Reader
	offset int64
	tag    dicom.Tag // of the element under way, for errors
	left   int64     // bytes that were left out of the result
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.offset += int64(n)
	return n, err
}

func (in *input) fail(reason string) error {
	return &dicom.FormatError{Tag: in.tag, Offset: in.offset, Reason: reason}
}

// unexpected makes an error of an end that comes too early.
func (in *input) unexpected(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return in.fail("ends early")
	}
	return err
}

// header reads the header of the next element, item or delimiter. io.EOF says that there is none.
func (in *input) header(e dicom.Encoding) (h dicom.ElementHeader, size int, err error) {
	b, err := in.r.Peek(dicom.MaxHeaderSize)
	if len(b) == 0 {
		return h, 0, err
	}
	if len(b) < dicom.HeaderSize {
		return h, 0, in.unexpected(err)
	}
	h, size = e.Header(b)
	in.tag = h.Tag
	if size > len(b) {
		return h, 0, in.unexpected(err)
	}
	n, err := in.r.Discard(size)
	in.offset += int64(n)
	return h, size, err
}

// leaveOut counts what is read and not converted, and ends what has nothing else: a data set that is deflated may have any
// amount of it.
func (in *input) leaveOut(n int64) error {
	if in.left += n; in.left > maxLeftOut {
		return in.fail("too much to leave out")
	}
	return nil
}

// discard passes over a value.
func (in *input) discard(length int64) error {
	if err := in.leaveOut(length); err != nil {
		return err
	}
	n, err := io.CopyN(io.Discard, in.r, length)
	in.offset += n
	return in.unexpected(err)
}
