package dimse

import (
	"errors"
	"net"
	"testing"
	"time"

	"dcmgate/dicom"
)

// TestReservedPlaceIsHeldBriefly takes the place for C-ECHO without end: in silence, by one echo
// after the other, and by not closing the connection.
func TestReservedPlaceIsHeldBriefly(t *testing.T) {
	noLeaks(t)
	for name, c := range map[string]struct {
		times reservedTimes
		busy  bool
	}{
		"idle":  {reservedTimes{idle: 100 * time.Millisecond, total: time.Hour}, false},
		"total": {reservedTimes{idle: time.Hour, total: 200 * time.Millisecond}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewServer(acceptAll(Echo()), ServerOptions{MaxAssociations: 1})
			if err != nil {
				t.Fatal(err)
			}
			s.reserved = c.times
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go s.Serve(l)
			defer s.Close()
			address := l.Addr().String()
			ordinary := dial(t, address, nil)
			p := connect(t, address)
			rq := associateRQ()
			rq.PresentationContexts = contexts(dicom.VerificationSOPClass)
			p.associate(rq)
			for c.busy {
				p.send(pdata(pdv(1, commandLast, echoRQ(1))))
				h, err := p.r.Next()
				if err != nil {
					t.Fatal(err)
				}
				if _, err := p.r.Decode(); err == nil {
					t.Logf("aborted by %v", h.Type)
					break
				}
				if err := p.r.Skip(); err != nil {
					t.Fatal(err)
				}
			}
			if !c.busy {
				p.expectAbort(user, 0)
			}
			// The peer does not close, and yet the place is free for the next.
			eventually(t, "another echo", func() bool {
				d := Dialer{LocalAETitle: "TESTER"}
				a, err := d.Dial(t.Context(), address, Proposal{CalledAETitle: "X", Contexts: contexts(dicom.VerificationSOPClass)})
				if err != nil {
					if !errors.As(err, new(*RejectError)) && !errors.As(err, new(*AbortError)) { // it may have been too slow itself
						t.Fatal(err)
					}
					return false
				}
				defer a.Close()
				_, err = a.Echo(t.Context())
				return err == nil
			})
			if _, err := ordinary.Echo(t.Context()); err != nil {
				t.Errorf("an ordinary association: %v", err)
			}
		})
	}
}
