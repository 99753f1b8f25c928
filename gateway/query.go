package gateway

import (
	"slices"

	"dcmgate/commitment"
	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/qr"
)

// querySyntaxes are the transfer syntaxes of identifiers, most wanted first.
var querySyntaxes = append(slices.Clone(uncompressed), dicom.DeflatedExplicitVRLittleEndian)

// rightFor is what a peer needs for an abstract syntax of the Query/Retrieve and Storage Commitment service classes; ok is
// false of others.
func rightFor(abstract dicom.UID) (right Right, ok bool) {
	switch {
	case slices.Contains(qr.FindSOPClasses(), abstract):
		return RightQuery, true
	case slices.Contains(qr.MoveSOPClasses(), abstract), slices.Contains(qr.GetSOPClasses(), abstract):
		return RightRetrieve, true
	case abstract == commitment.SOPClass:
		return RightCommit, true
	}
	return "", false
}

// policyOf returns the choice for a peer by its rights and by the roles that
// it was granted: queries and retrievals as well as what policyFor answers.
func (c *contexts) policyOf(p Peer, roles []pdu.RoleSelection, prevailing prevailing) dimse.ContextPolicy {
	others := c.policyFor(p.Allows(RightStore))
	taking := takers(roles)
	return func(abstract dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
		if taking[abstract] {
			return c.taken(abstract, offered, prevailing)
		}
		right, ok := rightFor(abstract)
		if !ok {
			return others(abstract, offered)
		}
		if !p.Allows(right) {
			return "", pdu.ContextUserRejection
		}
		return c.dataSetSyntax(offered)
	}
}

// dataSetSyntax chooses among those offered for data sets without pixels.
func (c *contexts) dataSetSyntax(offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
	if ts, ok := firstOf(querySyntaxes, c.those(offered)); ok {
		return ts, pdu.ContextAccepted
	}
	return "", pdu.ContextTransferSyntaxesNotSupported
}

// serveQueries adds C-FIND to the services of a peer that may query, C-MOVE and
// C-GET to those of one that may retrieve, and returns the answer to its extended
// negotiation.
func (r *receiver) serveQueries(services dimse.Mux, p Peer, rq *dimse.AssociationRequest) []pdu.ExtendedNegotiation {
	if r.queries == nil {
		return nil
	}
	caller := callerOf(p, rq)
	if p.Allows(RightRetrieve) {
		services[dimse.CMoveRQ] = r.queries.Move(caller)
		services[dimse.CGetRQ] = r.queries.Get(caller)
	}
	if !p.Allows(RightQuery) {
		return nil
	}
	caller.Granted = qr.Negotiate(rq.RQ.ExtendedNegotiations)
	services[dimse.CFindRQ] = r.queries.Find(caller)
	return caller.Granted
}

// callerOf is a peer as queries and retrievals know it.
func callerOf(p Peer, rq *dimse.AssociationRequest) qr.Caller {
	return qr.Caller{
		AETitle:      rq.CallingAETitle(),
		Association:  rq.ID,
		Address:      rq.Remote.Addr().String(),
		MaxMatches:   p.Query.MaxMatches,
		CharacterSet: p.Query.CharacterSet,
		MoveTo:       p.MoveTo,
		Upstream:     p.Allows(RightUpstream),
	}
}

// characterSets are the defined terms of PS3.3 C.12.1.1.2 that a peer's queries
// can be said to be in.
var characterSets = []string{"", "ISO_IR 6", "ISO_IR 13", "ISO_IR 100", "ISO_IR 101", "ISO_IR 109", "ISO_IR 110", "ISO_IR 126",
	"ISO_IR 127", "ISO_IR 138", "ISO_IR 144", "ISO_IR 148", "ISO_IR 166", "ISO_IR 203", "ISO_IR 192", "GB18030", "GBK"}

func (v *validator) peerQuery(raw *rawPeerQuery) PeerQuery {
	return PeerQuery{MaxMatches: v.whole(raw.MaxMatches, 1, 1_000_000), CharacterSet: v.characterSet(raw.CharacterSet)}
}

func (v *validator) characterSet(raw value) string {
	if !slices.Contains(characterSets, raw.Text) {
		v.fail(raw.at, "%q is not a single defined term of Specific Character Set, such as GB18030 or ISO_IR 192", raw.Text)
	}
	return raw.Text
}
