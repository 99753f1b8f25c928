package dimse

import (
	"bytes"
	"fmt"
	"testing"

	"dcmgate/internal/synth"
	"dcmgate/pdu"
)

// TestPDataTFKeepsToTheCap has peers that would take longer P-DATA-TF than the Dialer wants to
// send, and shorter ones.
func TestPDataTFKeepsToTheCap(t *testing.T) {
	for _, test := range []struct{ peer, cap, longest uint32 }{
		{0, 4096, 4096}, {1 << 20, 4096, 4096}, {16384, 1 << 20, 16384}, {16384, 0, 16384}, {16384, 1018, 1018}, {65536, 65536, 65536},
	} {
		t.Run(fmt.Sprint(test.peer, " ", test.cap), func(t *testing.T) {
			taken := make(chan uint32, 1)
			address := scriptedAcceptor(t, func(p *scripted) {
				p.acceptUpTo(test.peer)
				taken <- p.takeStore()
				p.send(pdata(pdv(3, commandLast, storeResponse())))
			})
			a := dial(t, address, func(d *Dialer, _ *Proposal) { d.MaximumSentLength = test.cap })
			if got := a.PeerMaximumLength(); got != test.peer {
				t.Errorf("the peer's maximum length is %d, want %d", got, test.peer)
			}
			o := synth.Object{SOPInstanceUID: "2.25.1", Data: bytes.Repeat([]byte{7}, 300_000)}
			if _, err := a.Store(t.Context(), storeRequest(ctContext(t, a), o)); err != nil {
				t.Fatal(err)
			}
			if longest := <-taken; longest != test.longest {
				t.Errorf("the longest P-DATA-TF had %d bytes, want %d", longest, test.longest)
			}
		})
	}
}

// acceptUpTo accepts all contexts and offers to receive P-DATA-TF of maximum bytes.
func (p *scripted) acceptUpTo(maximum uint32) {
	v, _ := p.receive()
	rq := v.(*pdu.AssociateRQ)
	ac := pdu.NewAssociateAC(rq)
	ac.ProtocolVersion, ac.ApplicationContext = pdu.ProtocolVersion1, pdu.ApplicationContextName
	ac.Results = Negotiate(rq, firstOffered)
	ac.MaximumLength = maximum
	p.send(encode(p.t, ac))
}

// takeStore reads one message with its data set and returns the length of its longest PDU.
func (p *scripted) takeStore() (longest uint32) {
	for {
		h, err := p.r.Next()
		if err != nil {
			p.t.Error(err)
			return longest
		}
		longest = max(longest, h.Length)
		f, err := p.r.Fragment()
		if err == nil {
			err = p.r.Skip()
		}
		if err != nil {
			p.t.Error(err)
			return longest
		}
		if f.Last && !f.Command {
			return longest
		}
	}
}

func storeResponse() []byte {
	c := Command{CommandField: CStoreRSP, MessageIDBeingRespondedTo: 1, AffectedSOPClassUID: ctImage, AffectedSOPInstanceUID: "2.25.1"}
	return c.Append(nil)
}
