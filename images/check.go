package images

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Kind is what an image is encoded as. Its text is the suffix of a file's name.
type Kind string

// The kinds that the standard names (4.2.5); JPG and JPEG are one.
const (
	JPEG Kind = "jpg"
	PNG  Kind = "png"
	BMP  Kind = "bmp"
)

// ContentType is the kind's media type.
func (k Kind) ContentType() string {
	switch k {
	case JPEG:
		return "image/jpeg"
	case PNG:
		return "image/png"
	case BMP:
		return "image/bmp"
	}
	return "application/octet-stream"
}

// Limits of an image whatever its file's size.
const (
	// MaxPixels bounds height times width: above what a slide scanner gives as one file.
	MaxPixels = 1 << 27
	maxSide   = 1 << 20

	// maxPadding bounds the zero bytes that may follow an image's end, as some devices fill blocks.
	maxPadding = 4096
)

// Info is what a file was found to be.
type Info struct {
	Kind          Kind
	Width, Height int // pixels
}

// FormatError says that a file is not a whole image of a kind that is taken.
type FormatError struct {
	Kind   Kind // "" if it is none
	Offset int64
	Reason string
}

// Error implements error.
func (e *FormatError) Error() string {
	if e.Kind == "" {
		return "not a JPEG, PNG or BMP file"
	}
	return fmt.Sprintf("not a whole %s file: %s at offset %d", e.Kind, e.Reason, e.Offset)
}

// Check reads r to its end and tells what image it is. The error is a *[FormatError] if it is none, else one of r.
func Check(r io.Reader) (Info, error) {
	source := &source{r: r}
	in := &input{r: bufio.NewReaderSize(source, 32<<10)}
	info, err := in.check()
	if source.err != nil {
		return info, source.err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = in.bad("it ends early")
	}
	return info, err
}

// source remembers what reading failed with.
type source struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		s.err = err
	}
	return n, err
}

// input is a file being read, with its place for errors.
type input struct {
	r    *bufio.Reader
	at   int64
	kind Kind
}

func (in *input) bad(format string, args ...any) error {
	return &FormatError{Kind: in.kind, Offset: in.at, Reason: fmt.Sprintf(format, args...)}
}

var magic = []struct {
	kind  Kind
	start string
	check func(*input) (Info, error)
}{
	{JPEG, "\xff\xd8\xff", (*input).jpeg},
	{PNG, "\x89PNG\r\n\x1a\n", (*input).png},
	{BMP, "BM", (*input).bmp},
}

func (in *input) check() (Info, error) {
	for _, m := range magic {
		start, err := in.r.Peek(len(m.start))
		if err != nil && !errors.Is(err, io.EOF) {
			return Info{}, err
		}
		if !bytes.Equal(start, []byte(m.start)) {
			continue
		}
		in.kind = m.kind
		info, err := m.check(in)
		if err != nil {
			return Info{}, err
		}
		info.Kind = m.kind
		return info, in.end()
	}
	return Info{}, in.bad("")
}

// end wants nothing more but padding.
func (in *input) end() error {
	for n := 0; ; n++ {
		b, err := in.r.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if b != 0 || n == maxPadding {
			return in.bad("it goes on after the image's end")
		}
		in.at++
	}
}

// size checks an image's dimensions.
func (in *input) size(width, height int) (Info, error) {
	if width < 1 || height < 1 || width > maxSide || height > maxSide || width*height > MaxPixels {
		return Info{}, in.bad("%d x %d pixels; from 1 to %d in all are allowed", width, height, MaxPixels)
	}
	return Info{Width: width, Height: height}, nil
}

func (in *input) readByte() (byte, error) {
	b, err := in.r.ReadByte()
	if err == nil {
		in.at++
	}
	return b, err
}

// bytes reads exactly so many.
func (in *input) bytes(n int) ([]byte, error) {
	p := make([]byte, n)
	m, err := io.ReadFull(in.r, p)
	in.at += int64(m)
	return p, err
}

func (in *input) skip(n int64) error {
	m, err := io.CopyN(io.Discard, in.r, n)
	in.at += m
	return err
}
