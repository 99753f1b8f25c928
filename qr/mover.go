package qr

import (
	"context"
	"errors"
	"io"
	"time"

	"dcmgate/pdu"
	"dcmgate/transfer"
)

// Bounds of what a destination can take of a retrieval's time.
const (
	storeWindow    = 8                     // sub-operations unanswered on an association, where the destination grants it
	maxTries       = 2                     // of an instance over which the association ended
	maxBreaks      = 16                    // associations that ended before their time
	cancelGrace    = 25 * time.Millisecond // for answers under way when the retrieval is cancelled
	releaseTimeout = 5 * time.Second
)

// mover sends over one association after another. It is the pump's source.
type mover struct {
	*feed
	ctx      context.Context
	dial     Dial
	contexts []pdu.PresentationContext
	left     []*transfer.Item // unanswered when an association ended, to be sent over the next one
	settled  int              // items that the present association has answered for
}

// run sends until nothing is left, or the destination has shown that it will not take it: it does not let an association
// come about, or ends two in succession without an answer. dialing bounds the first request: it ends when others have
// taken everything.
func (m *mover) run(dialing context.Context) {
	fruitless, breaks := 0, 0
	for {
		m.settled = 0
		a, err := m.connect(dialing)
		unreachable := err != nil
		if !unreachable {
			if err = m.send(a); err == nil {
				return
			}
		}
		if m.ctx.Err() != nil || dialing.Err() != nil && len(m.left) == 0 {
			return // cancelled, or nothing was left for it
		}
		dialing = m.ctx
		if errors.As(err, new(*transfer.LocalAbortError)) {
			continue // the instance's fault, which will not come again
		}
		m.broke(err)
		breaks++
		if fruitless++; m.settled > 0 {
			fruitless = 0
		}
		if unreachable || fruitless >= maxTries || breaks >= maxBreaks {
			m.giveUp(err)
			return
		}
	}
}

// connect dials. What a cancelled dial leaves behind is not waited for.
func (m *mover) connect(ctx context.Context) (transfer.Association, error) {
	type result struct {
		a   transfer.Association
		err error
	}
	dialled := make(chan result, 1)
	go func() {
		a, err := m.dial(ctx, m.contexts)
		dialled <- result{a, err}
	}()
	select {
	case r := <-dialled:
		return r.a, r.err
	case <-ctx.Done():
		m.closing.Go(func() {
			if r := <-dialled; r.err == nil {
				r.a.Close()
			}
		})
		return nil, ctx.Err()
	}
}

func (m *mover) send(a transfer.Association) error {
	defer m.hangUp(a)
	p := transfer.Pump{Association: a, Source: m, Window: storeWindow, Grace: cancelGrace, Converter: m.converter}
	if err := p.Run(m.ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(m.ctx, releaseTimeout)
	defer cancel()
	_ = a.Release(ctx) // everything was answered; how it ends does not matter
	return nil
}

// hangUp closes an association. A caller that has cancelled does not wait until the destination has closed its side, too.
func (m *mover) hangUp(a transfer.Association) {
	if m.ctx.Err() != nil {
		m.closing.Go(func() { a.Close() })
		return
	}
	a.Close() // an error would only repeat how it ended
}

func (m *mover) giveUp(err error) {
	for _, item := range m.left {
		m.fail(item, brief(err))
	}
	m.left = nil
}

// Next implements transfer.Source. It waits for nothing but the index.
func (m *mover) Next() (*transfer.Item, error) {
	if len(m.left) > 0 {
		item := m.left[0]
		m.left = m.left[1:]
		return item, nil
	}
	if item := m.take(); item != nil {
		return item, nil
	}
	return nil, io.EOF
}

// Ready implements transfer.Source. There is nothing to wait for: Next tells the end.
func (m *mover) Ready() <-chan struct{} { return nil }

// Done implements transfer.Source. What a cancelled retrieval did not get to an answer remains.
func (m *mover) Done(item *transfer.Item, o transfer.Outcome) {
	if m.feed.settled(item, o) {
		m.settled++
		return
	}
	if m.ctx.Err() != nil {
		return
	}
	p := item.Value.(*parcel)
	if o.Kind == transfer.Interrupted {
		p.tries++
	}
	if p.tries >= maxTries {
		m.fail(item, brief(o.Err))
		return
	}
	m.left = append(m.left, item)
}
