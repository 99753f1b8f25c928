package dimse

import (
	"errors"
	"time"

	"dcmgate/pdu"
)

// maxDiscarded bounds what is read in Sta13. A peer in the middle of a large message has that
// much on the way before it notices our PDU; closing with bytes unread would make the kernel
// send RST, which can destroy that PDU on its side.
const maxDiscarded = 16 << 20

// awaitClose waits in Sta13 under ARTIM for the peer to close, taking what still arrives
// through the state machine for as long as it can be told apart. It returns in Sta1.
func (a *Association) awaitClose() {
	rd := &a.reading
	rd.closing = true
	start := a.stream.received.Load()
	a.stream.linger(time.Now().Add(a.artim()))
	for a.fsm.current() == sta13 {
		err := a.discard()
		if errors.As(err, new(*pdu.FormatError)) {
			rd.lostSync = true
			a.note(a.fire(evt19Invalid, &occurrence{reason: pdu.AbortReasonUnexpectedPDU, err: err}))
			continue
		}
		if err != nil {
			a.failed(err)
		}
		if a.stream.received.Load()-start > maxDiscarded {
			a.note(a.fire(evt18ARTIM, nil))
		}
	}
}

// discard takes one PDU, or a piece of what cannot be told apart.
func (a *Association) discard() error {
	rd := &a.reading
	if rd.lostSync {
		var scrap [4096]byte
		_, err := a.stream.Read(scrap[:])
		return err
	}
	if err := rd.r.Skip(); err != nil {
		return err
	}
	h, err := rd.r.Next()
	if err != nil {
		return err
	}
	return a.fire(eventOf(h.Type), &occurrence{reason: pdu.AbortReasonUnexpectedPDU})
}
