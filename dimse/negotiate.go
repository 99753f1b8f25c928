package dimse

import (
	"slices"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

// MaxOperations bounds the operations of one direction that an association has outstanding,
// also where the peers agreed on an unlimited window.
const MaxOperations = 64

// ContextPolicy decides on one presentation context: it returns one of the offered transfer
// syntaxes and pdu.ContextAccepted, or the result to refuse with.
type ContextPolicy func(abstract dicom.UID, offered []dicom.UID) (chosen dicom.UID, result pdu.ContextResult)

// Negotiate answers the presentation contexts of a request in their order (PS3.8 9.3.3.2).
// Contexts are independent, so an abstract syntax may occur any number of times. A context
// whose ID is even or was used before is no context and is not answered; one whose abstract
// syntax is missing is refused without asking the policy, and a policy that chooses what was
// not offered is overruled.
func Negotiate(rq *pdu.AssociateRQ, policy ContextPolicy) []pdu.PresentationContextResult {
	results := make([]pdu.PresentationContextResult, 0, len(rq.PresentationContexts))
	var seen [256]bool
	for _, pc := range rq.PresentationContexts {
		if pc.ID&1 == 0 || seen[pc.ID] {
			continue
		}
		seen[pc.ID] = true
		results = append(results, negotiateContext(pc, policy))
	}
	return results
}

func negotiateContext(pc pdu.PresentationContext, policy ContextPolicy) pdu.PresentationContextResult {
	// The transfer syntax of a refused context is not significant, but must be there.
	refused := pdu.PresentationContextResult{ID: pc.ID, TransferSyntax: string(dicom.ImplicitVRLittleEndian)}
	if len(pc.TransferSyntaxes) > 0 {
		refused.TransferSyntax = pc.TransferSyntaxes[0]
	}
	if pc.AbstractSyntax == "" {
		refused.Result = pdu.ContextAbstractSyntaxNotSupported
		return refused
	}
	offered := make([]dicom.UID, len(pc.TransferSyntaxes))
	for i, ts := range pc.TransferSyntaxes {
		offered[i] = dicom.UID(ts)
	}
	chosen, result := policy(dicom.UID(pc.AbstractSyntax), offered)
	if result == pdu.ContextAccepted && !slices.Contains(offered, chosen) {
		result = pdu.ContextTransferSyntaxesNotSupported
	}
	if result != pdu.ContextAccepted {
		refused.Result = result
		return refused
	}
	return pdu.PresentationContextResult{ID: pc.ID, Result: pdu.ContextAccepted, TransferSyntax: string(chosen)}
}

// lesser is the smaller of two windows, where 0 is no limit.
func lesser(a, b uint16) uint16 {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}

// grantWindow cuts what the acceptor allows to what was offered (PS3.7 D.3.3.3). Both count
// from the requestor: Invoked are the operations it may invoke. Nil means that the item was
// not offered or is not granted, hence one operation at a time.
func grantWindow(offered, allowed *pdu.AsyncOperationsWindow) *pdu.AsyncOperationsWindow {
	if offered == nil || allowed == nil {
		return nil
	}
	return &pdu.AsyncOperationsWindow{
		Invoked:   lesser(offered.Invoked, lesser(allowed.Invoked, MaxOperations)),
		Performed: lesser(offered.Performed, lesser(allowed.Performed, MaxOperations)),
	}
}

// windows are the operations outstanding at a time by who invokes them.
func windows(w *pdu.AsyncOperationsWindow) (byRequestor, byAcceptor int) {
	if w == nil {
		return 1, 1
	}
	return int(lesser(w.Invoked, MaxOperations)), int(lesser(w.Performed, MaxOperations))
}

// grantRoles cuts the acceptor's role selections to what was proposed (PS3.7 D.3.3.4.2). Of
// several for one SOP class the first counts, on either side.
func grantRoles(proposed, allowed []pdu.RoleSelection) []pdu.RoleSelection {
	if len(allowed) == 0 {
		return nil
	}
	open := make(map[string]pdu.RoleSelection, len(proposed))
	for _, p := range proposed {
		if _, again := open[p.SOPClassUID]; !again {
			open[p.SOPClassUID] = p
		}
	}
	var granted []pdu.RoleSelection
	for _, a := range allowed {
		p, ok := open[a.SOPClassUID]
		if !ok {
			continue
		}
		delete(open, a.SOPClassUID)
		granted = append(granted, pdu.RoleSelection{SOPClassUID: a.SOPClassUID, SCU: a.SCU && p.SCU, SCP: a.SCP && p.SCP})
	}
	return granted
}

// negotiatedContexts joins proposal and answer. What the answer accepts without having been
// offered it is ignored: nothing may be sent in it.
func negotiatedContexts(rq *pdu.AssociateRQ, ac *pdu.AssociateAC, requestor bool) []NegotiatedContext {
	proposed := make(map[byte]pdu.PresentationContext, len(rq.PresentationContexts))
	for _, pc := range rq.PresentationContexts {
		proposed[pc.ID] = pc
	}
	roles := grantRoles(rq.RoleSelections, ac.RoleSelections)
	var accepted []NegotiatedContext
	for _, r := range ac.Results {
		pc, ok := proposed[r.ID]
		if !ok || r.Result != pdu.ContextAccepted || !slices.Contains(pc.TransferSyntaxes, r.TransferSyntax) {
			continue
		}
		delete(proposed, r.ID) // the first answer counts
		c := NegotiatedContext{ID: r.ID, AbstractSyntax: dicom.UID(pc.AbstractSyntax), TransferSyntax: dicom.UID(r.TransferSyntax)}
		scu, scp := requestorRoles(roles, pc.AbstractSyntax)
		if c.SCU, c.SCP = scu, scp; !requestor {
			c.SCU, c.SCP = scp, scu
		}
		accepted = append(accepted, c)
	}
	return accepted
}

// requestorRoles are the roles the requestor has for an abstract syntax; without selection it
// is the SCU.
func requestorRoles(granted []pdu.RoleSelection, abstract string) (scu, scp bool) {
	for _, r := range granted {
		if r.SOPClassUID == abstract {
			return r.SCU, r.SCP
		}
	}
	return true, false
}

// onlyVerification tells whether a request proposes nothing but Verification.
func onlyVerification(rq *pdu.AssociateRQ) bool {
	for _, pc := range rq.PresentationContexts {
		if dicom.UID(pc.AbstractSyntax) != dicom.VerificationSOPClass {
			return false
		}
	}
	return len(rq.PresentationContexts) > 0
}
