package dimse

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"dcmgate/pdu"
)

// FuzzServer feeds a server whatever a peer may send, before or on an association. It must not
// panic, must end when the peer is gone, and must give every place back.
func FuzzServer(f *testing.F) {
	whole := pdata(pdv(storeContext, commandLast, storeRQ(1)), pdv(storeContext, dataLast, []byte("12")))
	f.Add(false, encode(f, associateRQ()))
	f.Add(false, []byte("GET / HTTP/1.0\r\n\r\n"))
	f.Add(true, whole)
	f.Add(true, append(pdata(pdv(echoContext, commandLast, echoRQ(1))), encode(f, &pdu.ReleaseRQ{})...))
	f.Add(true, append(pdata(pdv(findContext, commandLast, findRQ(1)), pdv(findContext, dataLast, nil)), pdata(pdv(findContext, commandLast, cancelRQ(1)))...))
	f.Add(true, encode(f, &pdu.Abort{}))
	f.Add(true, append(encode(f, &pdu.ReleaseRQ{}), whole...))
	store := StoreFunc(func(_ context.Context, rq *Request) (Status, string) {
		_, _ = io.Copy(io.Discard, rq.Data)
		return StatusSuccess, ""
	})
	s, err := NewServer(acceptAll(Mux{CEchoRQ: Echo(), CFindRQ: find(3, nil), CStoreRQ: store}), ServerOptions{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, associated bool, input []byte) {
		ours, theirs := net.Pipe()
		_ = ours.SetDeadline(time.Now().Add(2 * time.Minute))
		s.accept(theirs, nil)
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, ours)
		}()
		if associated {
			_, _ = ours.Write(encode(t, associateRQ()))
		}
		_, _ = ours.Write(input)
		_ = ours.Close()
		<-drained
		(&watched{server: s}).idle(t)
	})
}

// FuzzRequestor feeds a requestor whatever an acceptor may answer.
func FuzzRequestor(f *testing.F) {
	ac := pdu.NewAssociateAC(associateRQ())
	ac.ProtocolVersion, ac.ApplicationContext = pdu.ProtocolVersion1, pdu.ApplicationContextName
	ac.Results = Negotiate(associateRQ(), firstOffered)
	accept := encode(f, ac)
	rsp := Command{CommandField: CEchoRSP, MessageIDBeingRespondedTo: 1}
	f.Add([]byte(nil))
	f.Add(encode(f, &pdu.AssociateRJ{Result: 1, Source: 1, Reason: 1}))
	f.Add(append(accept, pdata(pdv(echoContext, commandLast, rsp.Append(nil)))...))
	f.Add(append(accept, pdata(pdv(storeContext, commandLast, storeRQ(1)), pdv(storeContext, dataLast, nil))...))
	f.Add(append(accept, encode(f, &pdu.ReleaseRQ{})...))
	m, err := newInstruments(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		ours, theirs := net.Pipe()
		_ = ours.SetDeadline(time.Now().Add(2 * time.Minute))
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, ours)
		}()
		fed := make(chan struct{})
		go func() {
			defer close(fed)
			_, _ = ours.Write(input)
			_ = ours.Close()
		}()
		d := &Dialer{}
		if err := d.init(); err != nil {
			t.Fatal(err)
		}
		a := newAssociation(outbound, theirs, d.limits, 16384, m, d.log)
		a.service, a.rq = Echo(), associateRQ()
		if a.request(t.Context()) == nil {
			go a.run()
			_, _ = a.Echo(t.Context())
			_ = a.Close()
		} else {
			a.stop()
		}
		<-fed
		<-drained
	})
}
