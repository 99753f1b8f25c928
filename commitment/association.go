package commitment

import (
	"slices"

	"dcmgate/dicom"
	"dcmgate/dimse"
	"dcmgate/pdu"
)

// SOPClass is the Storage Commitment Push Model SOP Class; Instance is the one instance of it there is (PS3.4 J.3.5).
const (
	SOPClass = dicom.StorageCommitmentPushModelSOPClass
	Instance = dicom.StorageCommitmentPushModelSOPInstance
)

// Action and event types, PS3.4 J.3.2.1 and J.3.3.1.
const (
	actionRequest = 1 // Request Storage Commitment
	eventSuccess  = 1 // Storage Commitment Request Successful
	eventFailures = 2 // Storage Commitment Request Complete - Failures Exist
)

// Context is the presentation context to propose, under an odd ID. Both little endian transfer syntaxes are offered.
func Context(id byte) pdu.PresentationContext {
	return pdu.PresentationContext{ID: id, AbstractSyntax: string(SOPClass),
		TransferSyntaxes: []string{string(dicom.ExplicitVRLittleEndian), string(dicom.ImplicitVRLittleEndian)}}
}

// ReportingRole is the role selection of an SCP that requests an association to report a result (PS3.4 J.3.3, PS3.7
// D.3.3.4).
func ReportingRole() pdu.RoleSelection {
	return pdu.RoleSelection{SOPClassUID: string(SOPClass), SCP: true}
}

// GrantRoles answers the role selections of a request for an association: whether its requestor may ask (SCU), and
// whether it may report (SCP). It is nil if the request selects no roles for the SOP class, which leaves it the SCU.
func GrantRoles(proposed []pdu.RoleSelection, ask, report bool) []pdu.RoleSelection {
	i := slices.IndexFunc(proposed, func(r pdu.RoleSelection) bool { return r.SOPClassUID == string(SOPClass) })
	if i < 0 {
		return nil
	}
	return []pdu.RoleSelection{{SOPClassUID: string(SOPClass), SCU: ask && proposed[i].SCU, SCP: report && proposed[i].SCP}}
}

// contextOf finds the accepted context in which this side has a role. An acceptor that leaves role selection unanswered
// (PS3.7 D.3.3.4.2: the default roles) is spoken to all the same: it has accepted the SOP class, and can refuse.
func contextOf(a *dimse.Association, role func(dimse.NegotiatedContext) bool) (found dimse.NegotiatedContext, ok bool) {
	for _, c := range a.Contexts() {
		if c.AbstractSyntax != SOPClass {
			continue
		}
		if role(c) {
			return c, true
		}
		if !ok {
			found, ok = c, true
		}
	}
	return found, ok
}

func isSCU(c dimse.NegotiatedContext) bool { return c.SCU }
func isSCP(c dimse.NegotiatedContext) bool { return c.SCP }
