package pdu

import "io"

// DataReader presents one command set or data set, fragmented in whatever way
// over presentation data values and PDUs, as a stream. It is for one goroutine,
// the one that uses the [Reader].
type DataReader struct {
	r       *Reader
	advance func() (Header, error)
	current Fragment // its Command and ContextID hold for the whole part
	done    bool
	err     error
}

// NewDataReader returns a DataReader on the part that begins with the fragment
// first, just returned by r.Fragment. When a PDU is used up and the part is not,
// it calls advance, which returns what r.Next returns and is the place for
// deadlines; nothing else may use r until Done.
//
// Reads fail with a *[InterruptedError] if a PDU other than P-DATA-TF comes
// before the end, with a *[FormatError] if a fragment of another context or kind
// does (PS3.8 E.1: fragments of messages are not interleaved), and with
// io.ErrUnexpectedEOF if the stream ends.
func NewDataReader(r *Reader, first Fragment, advance func() (Header, error)) *DataReader {
	d := &DataReader{r: r, advance: advance}
	d.Reset(first)
	return d
}

// Reset begins another part on the same Reader, to save an allocation.
func (d *DataReader) Reset(first Fragment) {
	d.current, d.err = first, nil
	d.settle()
}

// Done reports whether the whole part has been consumed.
func (d *DataReader) Done() bool { return d.done }

// Err returns the error that ended the part early, nil if there was none. After
// a failed WriteTo it tells whose failure it was: nil means the writer's, and
// the rest can still be read.
func (d *DataReader) Err() error { return d.err }

// Read implements io.Reader; io.EOF is the end of the part.
func (d *DataReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := d.ready(); err != nil {
		return 0, err
	}
	n, err := d.r.Read(p)
	if err != nil {
		d.err = err
	}
	d.settle()
	return n, err
}

// WriteTo implements io.WriterTo: it writes the rest of the part to w in slices
// of the Reader's buffer, which w must not keep.
func (d *DataReader) WriteTo(w io.Writer) (int64, error) {
	var total int64
	for {
		switch err := d.ready(); err {
		case nil:
		case io.EOF:
			return total, nil
		default:
			return total, err
		}
		n, writers, err := d.r.writeTo(w)
		total += n
		d.settle()
		if err != nil {
			if !writers {
				d.err = err
			}
			return total, err
		}
	}
}

// ready goes to the next fragment that holds bytes, unless the current one does.
func (d *DataReader) ready() error {
	for {
		switch {
		case d.err != nil:
			return d.err
		case d.done:
			return io.EOF
		case d.r.fragLeft > 0:
			return nil
		}
		if d.err = d.next(); d.err == nil {
			d.settle()
		}
	}
}

func (d *DataReader) settle() { d.done = d.current.Last && d.r.fragLeft == 0 }

// next takes up the next fragment, in the next PDU if need be.
func (d *DataReader) next() error {
	at := d.r.offset()
	f, err := d.r.Fragment()
	if err == io.EOF {
		if err := d.nextPDU(); err != nil {
			return err
		}
		at = d.r.offset()
		f, err = d.r.Fragment()
	}
	if err != nil {
		return err
	}
	if f.ContextID != d.current.ContextID {
		return &FormatError{PDU: TypePData, Field: fieldContextID, Offset: at + 4,
			Reason: "changes inside a message"}
	}
	if f.Command != d.current.Command {
		return &FormatError{PDU: TypePData, Field: fieldControlHeader, Offset: at + 5,
			Reason: "changes between command and data set before the last fragment"}
	}
	d.current = f
	return nil
}

func (d *DataReader) nextPDU() error {
	h, err := d.advance()
	switch {
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case h.Type != TypePData:
		return &InterruptedError{Header: h}
	}
	return nil
}
