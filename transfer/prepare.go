package transfer

import (
	"context"
	"fmt"
	"io"
)

// prepared is an item whose payload has been opened and whose first bytes
// may have been read. It is the io.Reader of the data set: first what was
// read ahead, then the rest straight from the payload, so that only the head
// of an instance is copied twice.
type prepared struct {
	item      *Item
	contextID byte
	payload   io.ReadCloser
	head      []byte // read ahead, not yet consumed
	sent      int64
	err       error // of the payload, other than an io.EOF in the right place

	ctx     context.Context // of waiting for the limiter
	limiter *Limiter
}

// open opens the item's payload.
func open(item *Item, contextID byte) (*prepared, error) {
	payload, err := item.Open()
	if err != nil {
		return nil, fmt.Errorf("open instance %s: %w", item.SOPInstanceUID, err)
	}
	return &prepared{item: item, contextID: contextID, payload: payload}, nil
}

// Read reads at the limiter's pace. It notes the payload's own errors, so
// that they can be told from those of the association.
func (p *prepared) Read(b []byte) (n int, err error) {
	b = p.limiter.clip(b)
	if len(p.head) > 0 {
		n = copy(b, p.head)
		p.head = p.head[n:]
	} else {
		n, err = p.payload.Read(b)
	}
	p.sent += int64(n)
	if err == io.EOF && p.sent < p.item.Size {
		err = fmt.Errorf("only %d of %d bytes: %w", p.sent, p.item.Size, io.ErrUnexpectedEOF)
	}
	if err != nil && err != io.EOF {
		p.err = err
	}
	if waitErr := p.limiter.wait(p.ctx, n); waitErr != nil {
		return n, waitErr
	}
	return n, err
}

// readAhead reads the first bytes of the payload into buf.
func (p *prepared) readAhead(buf []byte) error {
	n, err := io.ReadFull(p.payload, buf)
	p.head = buf[:n]
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil // a short instance; Read compares it with its size
	}
	if err != nil {
		return fmt.Errorf("read instance %s: %w", p.item.SOPInstanceUID, err)
	}
	return nil
}

func (p *prepared) close() { _ = p.payload.Close() } // only read from
