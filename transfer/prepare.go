package transfer

import (
	"context"
	"fmt"
	"io"

	"dcmgate/dicom"
)

// prepared is an item whose payload has been opened and whose first bytes
// may have been read. It is the io.Reader of the data set: first what was
// read ahead, then the rest straight from the payload, so that only the head
// of an instance is copied twice. A peer that takes small P-DATA-TF only makes
// for small reads; those come from a buffer, because a system call each costs
// more than the copy.
type prepared struct {
	item      *Item
	contextID byte
	size      int64 // of the payload, negative if unknown
	payload   io.ReadCloser
	head      []byte // read ahead, not yet consumed
	buffer    []byte // for small reads; nil for none. head is a part of it
	sent      int64
	err       error // of the payload, other than an io.EOF in the right place

	ctx     context.Context // of waiting for the limiter
	limiter *Limiter
}

// open opens the item's payload, to be converted to a transfer syntax if to names one.
func (s *session) open(item *Item, contextID byte, to dicom.UID) (*prepared, error) {
	size := item.Size
	payload, err := item.Open()
	switch {
	case err != nil || to == "":
	case s.Whole:
		size = -1
		payload, err = s.Converter.openWhole(s.ctx, s.Association, item, to, payload, s.stop)
	default:
		size = -1
		payload, err = s.Converter.open(s.ctx, s.Association, item, to, payload)
	}
	if err != nil {
		return nil, fmt.Errorf("open instance %s: %w", item.SOPInstanceUID, err)
	}
	return &prepared{item: item, contextID: contextID, size: size, payload: payload}, nil
}

// Read reads at the limiter's pace. It notes the payload's own errors, so
// that they can be told from those of the association.
func (p *prepared) Read(b []byte) (n int, err error) {
	b = p.limiter.clip(b)
	n, err = p.read(b)
	p.sent += int64(n)
	if err == io.EOF && p.sent < p.size {
		err = fmt.Errorf("only %d of %d bytes: %w", p.sent, p.size, io.ErrUnexpectedEOF)
	}
	if err != nil && err != io.EOF {
		p.err = err
	}
	if waitErr := p.limiter.wait(p.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}

// read reads what was read ahead, or else from the payload. An error that
// came with bytes is left for the next read to meet again.
func (p *prepared) read(b []byte) (int, error) {
	if len(p.head) == 0 {
		if 2*len(b) > len(p.buffer) {
			return p.payload.Read(b)
		}
		n, err := p.payload.Read(p.buffer)
		if n == 0 {
			return 0, err
		}
		p.head = p.buffer[:n]
	}
	n := copy(b, p.head)
	p.head = p.head[n:]
	return n, nil
}

// readAhead reads the first bytes of the payload into the buffer.
func (p *prepared) readAhead() error {
	n, err := io.ReadFull(p.payload, p.buffer)
	p.head = p.buffer[:n]
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil // a short instance; Read compares it with its size
	}
	if err != nil {
		return fmt.Errorf("read instance %s: %w", p.item.SOPInstanceUID, err)
	}
	return nil
}

func (p *prepared) close() { _ = p.payload.Close() } // only read from
