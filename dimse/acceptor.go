package dimse

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

// serveConnection is the life of one accepted connection, from Sta1 to Sta1.
func (s *Server) serveConnection(a *Association) {
	s.negotiate(a)
	established := a.fsm.current() == sta6
	if !established {
		displace(s.admission.refused(a))
	}
	s.metrics.settleRequest(a)
	switch {
	case !established:
		a.awaitClose()
	case s.admission.isReserved(a):
		s.reserved.run(a)
	default:
		a.run()
	}
}

// negotiate takes a connection from Sta1 to Sta6, or to the end of it.
func (s *Server) negotiate(a *Association) {
	if err := a.fire(evt5TransportIndication, nil); err != nil {
		a.note(err)
		return
	}
	if err := secure(a); err != nil {
		a.failed(&HandshakeError{err})
		return
	}
	for a.fsm.current() == sta2 {
		if err := s.awaitRequest(a); err != nil {
			a.failed(err)
		}
	}
	if a.fsm.current() == sta3 {
		s.decide(a)
	}
}

// secure completes TLS within ARTIM, if the connection uses it.
func secure(a *Association) error {
	c, ok := a.stream.Conn.(*tls.Conn)
	if !ok {
		return nil
	}
	deadline := a.begun.Add(a.limits.ARTIM)
	state, err := handshake(a.ctx, c, deadline)
	a.tls = state
	a.stream.fix(deadline) // the handshake has moved it
	return err
}

// awaitRequest takes one PDU in Sta2, which should be the A-ASSOCIATE-RQ.
func (s *Server) awaitRequest(a *Association) error {
	h, err := a.reading.r.Next()
	if err != nil {
		return err
	}
	if h.Type == pdu.TypePData {
		return a.enterData()
	}
	if h.Type != pdu.TypeAssociateRQ {
		return a.receive(h)
	}
	p, err := a.reading.r.Decode()
	if err != nil {
		return err
	}
	a.rq = p.(*pdu.AssociateRQ)
	o := &occurrence{pdu: p}
	if refusal := s.acceptable(a); refusal != nil {
		o = rejection(refusal)
		o.other = true
	}
	return a.fire(evt6AssociateRQ, o)
}

func rejection(e *RejectError) *occurrence {
	return &occurrence{pdu: &pdu.AssociateRJ{Result: e.Result, Source: e.Source, Reason: e.Reason}, err: e}
}

// acceptable makes the service-provider's checks of AE-6.
func (s *Server) acceptable(a *Association) *RejectError {
	if a.rq.ProtocolVersion&pdu.ProtocolVersion1 == 0 {
		return &RejectError{pdu.RejectedPermanent, pdu.RejectSourceACSE, pdu.RejectACSEProtocolVersionNotSupported,
			fmt.Sprintf("the peer offers protocol version bits %04XH, this is version 1", a.rq.ProtocolVersion)}
	}
	if s.isClosing() {
		return RejectCongestion("the service is shutting down")
	}
	return s.admission.admit(a)
}

// decide makes the service-user's decision in Sta3 and answers.
func (s *Server) decide(a *Association) {
	acceptance, refusal := s.ask(a)
	if refusal == nil && s.isClosing() {
		refusal = RejectCongestion("the service is shutting down")
	}
	if acceptance != nil {
		a.onClosed = acceptance.Closed
	}
	// Whatever has come since the request is taken through the table first: it is a violation
	// (AA-8), or the peer has given up (AA-3).
	for a.fsm.current() == sta3 && a.reading.r.Buffered() > 0 {
		a.startARTIM()
		if err := a.takePDU(); err != nil {
			a.failed(err)
		}
	}
	if a.fsm.current() != sta3 {
		return
	}
	if refusal != nil {
		a.settle(a.fire(evt8AssociateReject, rejection(refusal)))
		return
	}
	a.service = acceptance.Service
	if a.service == nil {
		a.service = noService
	}
	a.settle(a.fire(evt7AssociateAccept, &occurrence{pdu: s.answer(a.rq, acceptance, a.offered)}))
}

// settle treats a failed write of the answer as the loss of the connection it is.
func (a *Association) settle(err error) {
	if err != nil {
		a.failed(err)
	}
}

// ask calls the handler, which may panic or be nil-handed.
func (s *Server) ask(a *Association) (acceptance *Acceptance, refusal *RejectError) {
	if a.rq.ApplicationContext != pdu.ApplicationContextName {
		return nil, &RejectError{pdu.RejectedPermanent, pdu.RejectSourceServiceUser, pdu.RejectUserApplicationContextNotSupported,
			"the peer asks for an application context other than DICOM's"}
	}
	defer func() {
		if p := recover(); p != nil {
			s.metrics.panics.Inc()
			s.log.Error("association handler panicked", "association", a.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			acceptance, refusal = nil, RejectCongestion("the handler panicked; please report this")
		}
	}()
	rq := &AssociationRequest{ID: a.id, Remote: a.remote, TLS: a.tls, RQ: a.rq}
	acceptance, err := s.handler.Associate(a.ctx, rq)
	switch {
	case err == nil && acceptance != nil:
		return acceptance, nil
	case err == nil:
		err = errors.New("the handler returned neither acceptance nor error")
	}
	if errors.As(err, &refusal) {
		return nil, refusal
	}
	return nil, RejectCongestion(err.Error())
}

// answer makes the A-ASSOCIATE-AC of an acceptance.
func (s *Server) answer(rq *pdu.AssociateRQ, acceptance *Acceptance, maxLength uint32) *pdu.AssociateAC {
	ac := pdu.NewAssociateAC(rq)
	ac.ProtocolVersion = pdu.ProtocolVersion1
	ac.ApplicationContext = pdu.ApplicationContextName
	ac.Results = Negotiate(rq, chosenResults(rq, acceptance.Results))
	ac.MaximumLength = maxLength
	ac.ImplementationClassUID = string(dicom.ImplementationClassUID)
	ac.ImplementationVersionName = dicom.ImplementationVersionName
	ac.AsyncOperationsWindow = grantWindow(rq.AsyncOperationsWindow, acceptance.AsyncOperationsWindow)
	ac.RoleSelections = grantRoles(rq.RoleSelections, acceptance.RoleSelections)
	for _, x := range acceptance.ExtendedNegotiations {
		for _, proposed := range rq.ExtendedNegotiations {
			if proposed.SOPClassUID == x.SOPClassUID {
				ac.ExtendedNegotiations = append(ac.ExtendedNegotiations, x)
				break
			}
		}
	}
	if rq.UserIdentity != nil && rq.UserIdentity.PositiveResponseRequested {
		ac.UserIdentityResponse = append([]byte{}, acceptance.UserIdentityResponse...)
	}
	return ac
}

// chosenResults plays back what a handler has decided, context by context, so that Negotiate
// holds it to the proposal.
func chosenResults(rq *pdu.AssociateRQ, results []pdu.PresentationContextResult) ContextPolicy {
	byID := make(map[byte]pdu.PresentationContextResult, len(results))
	for _, r := range results {
		byID[r.ID] = r
	}
	var order []byte
	var seen [256]bool
	for _, pc := range rq.PresentationContexts {
		if pc.ID&1 == 1 && !seen[pc.ID] && pc.AbstractSyntax != "" {
			order = append(order, pc.ID)
		}
		seen[pc.ID] = true
	}
	return func(dicom.UID, []dicom.UID) (dicom.UID, pdu.ContextResult) {
		id := order[0]
		order = order[1:]
		r, ok := byID[id]
		if !ok {
			return "", pdu.ContextUserRejection
		}
		return dicom.UID(r.TransferSyntax), r.Result
	}
}

// newInbound makes the association of an accepted connection.
func (s *Server) newInbound(conn net.Conn) *Association {
	o := s.options.Load()
	a := newAssociation(inbound, conn, o.Timeouts, o.MaximumLength, s.metrics, s.log)
	a.remote = remoteAddress(conn)
	return a
}
