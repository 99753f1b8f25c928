package gateway

import (
	"slices"

	"dcmgate/dicom"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// grantRoles answers the role selections of a request (PS3.7 D.3.3.4): a peer
// that may retrieve and proposes C-GET can be the SCP of the storage SOP
// classes it proposes, to be sent instances of them over the association. It
// is their SCU, too, if it wants to and may store. Where nothing is selected,
// or no answer given, the requestor is the SCU alone.
func (c *contexts) grantRoles(p Peer, rq *pdu.AssociateRQ) []pdu.RoleSelection {
	if !p.Allows(RightRetrieve) || !proposesGet(rq) {
		return nil
	}
	proposed := make(map[string]pdu.RoleSelection, len(rq.RoleSelections))
	for _, r := range rq.RoleSelections {
		if _, again := proposed[r.SOPClassUID]; !again {
			proposed[r.SOPClassUID] = r
		}
	}
	var granted []pdu.RoleSelection
	for _, pc := range rq.PresentationContexts {
		r, ok := proposed[pc.AbstractSyntax]
		if !ok || !r.SCP || !c.storage(dicom.UID(pc.AbstractSyntax)) {
			continue
		}
		delete(proposed, pc.AbstractSyntax)
		granted = append(granted, pdu.RoleSelection{SOPClassUID: pc.AbstractSyntax, SCU: r.SCU && p.Allows(RightStore), SCP: true})
	}
	return granted
}

func proposesGet(rq *pdu.AssociateRQ) bool {
	return slices.ContainsFunc(rq.PresentationContexts, func(pc pdu.PresentationContext) bool {
		return slices.Contains(qr.GetSOPClasses(), dicom.UID(pc.AbstractSyntax))
	})
}

// takers are the SOP classes of which the requestor is sent instances.
func takers(roles []pdu.RoleSelection) map[dicom.UID]bool {
	taking := make(map[dicom.UID]bool, len(roles))
	for _, r := range roles {
		if r.SCP {
			taking[dicom.UID(r.SOPClassUID)] = true
		}
	}
	return taking
}

// prevailing tells in which of several transfer syntaxes most instances of a
// SOP class are stored; false if none are.
type prevailing func(abstract dicom.UID, offered []dicom.UID) (dicom.UID, bool)

// taken chooses the transfer syntax of a context in which instances are to be
// sent to the requestor: what they are stored in, as far as one can tell, for
// there is no other context to send them in; otherwise as for instances that
// are received.
func (c *contexts) taken(abstract dicom.UID, offered []dicom.UID, stored prevailing) (dicom.UID, pdu.ContextResult) {
	known := c.those(offered)
	if len(known) > 1 && stored != nil {
		if ts, ok := stored(abstract, known); ok {
			return ts, pdu.ContextAccepted
		}
	}
	if ts, ok := c.transferSyntax(known); ok {
		return ts, pdu.ContextAccepted
	}
	return "", pdu.ContextTransferSyntaxesNotSupported
}
