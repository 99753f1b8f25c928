package transcode

import (
	"bufio"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"dcmgate/dicom"
	"dcmgate/pixel"
)

// Bounds of what is kept of a data set.
const (
	// MaxBuffered is the longest sequence or item, in bytes, whose new length is found before it is passed on.
	MaxBuffered = 4 << 20
	maxDepth    = 64 // sequences within each other
	maxLeftOut  = 64 << 20
	maxAhead    = 1 << 20
	chunkSize   = 64 << 10
)

// targets are the transfer syntaxes that can be converted to, the ones that lose least first.
var targets = []dicom.UID{
	dicom.ExplicitVRLittleEndian, dicom.ImplicitVRLittleEndian, dicom.DeflatedExplicitVRLittleEndian, dicom.ExplicitVRBigEndian,
}

// Targets returns the transfer syntaxes that a data set in from can be converted to, in order of preference, without from
// itself. The slice is the caller's.
func Targets(from dicom.UID) []dicom.UID {
	if !slices.Contains(targets, from) && !pixel.Decodable(from) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(targets), func(ts dicom.UID) bool { return ts == from })
}

// Can tells whether data sets in from can be converted to to.
func Can(from, to dicom.UID) bool { return slices.Contains(Targets(from), to) }

// A Reader reads a converted data set. It is for one goroutine.
type Reader struct {
	next  func() ([]byte, error, bool)
	stop  func()
	ahead [][]byte // read in New
	chunk []byte
	err   error
}

// New converts the data set that r reads, without File Meta Information, from one transfer syntax to another. The reader must
// be closed; r is not. Frames are decoded out of the budget, which may be nil. When ctx ends, so do waiting for that and
// decoding, with its error.
func New(ctx context.Context, budget *Budget, from, to dicom.UID, r io.Reader) (*Reader, error) {
	if !Can(from, to) {
		return nil, fmt.Errorf("transcode: %s is not converted to %s", from, to)
	}
	c := &converter{ctx: ctx, budget: budget, from: from, to: to}
	reader := &Reader{}
	reader.next, reader.stop = iter.Pull2(func(yield func([]byte, error) bool) { c.run(r, yield) })
	for kept := 0; kept < maxAhead && !c.settled; {
		chunk, err, more := reader.next()
		if err != nil {
			reader.stop()
			return nil, err
		}
		if !more {
			break
		}
		kept += len(chunk)
		reader.ahead = append(reader.ahead, slices.Clone(chunk))
	}
	return reader, nil
}

// Read reads the next bytes of the converted data set. io.EOF comes only behind the last of a data set that was converted to
// its end.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if len(r.ahead) > 0 {
			r.chunk, r.ahead = r.ahead[0], r.ahead[1:]
			continue
		}
		chunk, err, more := r.next()
		switch {
		case err != nil:
			r.err = err
		case !more:
			r.err = io.EOF
		}
		r.chunk = chunk
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// Close gives up what the conversion holds. It may be called again.
func (r *Reader) Close() error {
	r.stop()
	r.chunk, r.ahead = nil, nil
	if r.err == nil {
		r.err = errClosed
	}
	return nil
}

var (
	errClosed  = errors.New("transcode: reader is closed")
	errStopped = errors.New("transcode: nobody reads on") // never seen by a caller
)

// yielder passes what is written on to the reader.
type yielder func([]byte, error) bool

func (y yielder) Write(p []byte) (int, error) {
	if !y(p, nil) {
		return 0, errStopped
	}
	return len(p), nil
}

// run converts, passing on chunks and at last an error if there is one.
func (c *converter) run(r io.Reader, yield yielder) {
	out := bufio.NewWriterSize(yield, chunkSize)
	err := c.convert(r, out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil && !errors.Is(err, errStopped) {
		yield(nil, fmt.Errorf("convert %s to %s: %w", name(c.from), name(c.to), err))
	}
}

func name(ts dicom.UID) string {
	if n := dicom.TransferSyntaxName(ts); n != "" {
		return n
	}
	return string(ts)
}

// convert converts r to its end.
func (c *converter) convert(r io.Reader, out io.Writer) error {
	if err := c.recode(r, out); err != nil {
		return err
	}
	// Whoever made r may compare at its end what was read with a checksum.
	_, err := io.Copy(io.Discard, r)
	return err
}

// recode reads and writes the data set, inflating the one and deflating the other where the transfer syntaxes are deflated
// (PS3.5 A.5).
func (c *converter) recode(r io.Reader, out io.Writer) error {
	if c.from.Deflated() {
		r = flate.NewReader(bufio.NewReader(r))
	}
	c.in = &input{r: bufio.NewReaderSize(r, chunkSize)}
	if !c.to.Deflated() {
		return c.dataSet(out)
	}
	counted := &counter{w: out}
	deflater, err := flate.NewWriter(counted, flate.BestSpeed)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(deflater, chunkSize)
	if err := c.dataSet(buffered); err != nil {
		return err
	}
	if err := errors.Join(buffered.Flush(), deflater.Close()); err != nil {
		return err
	}
	if counted.n%2 != 0 {
		_, err = out.Write([]byte{0})
	}
	return err
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
