package gateway

import (
	"slices"
	"strings"

	"dcmgate/dicom"
	"dcmgate/pdu"
)

// standardRoot begins every UID that the standard itself registers, and
// standardStorageRoot those of its storage SOP classes (PS3.6 table A-1).
const (
	standardRoot        = "1.2.840.10008."
	standardStorageRoot = "1.2.840.10008.5.1.4.1.1."
)

// uncompressed ranks the transfer syntaxes that pixel data has outside files,
// most wanted first. Explicit VR comes before implicit because private
// elements keep their value representation in it.
var uncompressed = []dicom.UID{
	dicom.ExplicitVRLittleEndian,
	dicom.ImplicitVRLittleEndian,
	dicom.ExplicitVRBigEndian,
}

// contexts answers proposed presentation contexts (PS3.8 9.3.3.2).
type contexts struct {
	known      map[dicom.UID]bool // transfer syntaxes accepted
	prefer     []dicom.UID
	anyStorage bool
}

func newContexts(d DICOM) *contexts {
	c := &contexts{
		known:      make(map[dicom.UID]bool),
		prefer:     d.TransferSyntaxes.Prefer,
		anyStorage: d.SOPClasses == SOPClassesAny,
	}
	for _, ts := range dicom.TransferSyntaxes() {
		c.known[ts] = true
	}
	for _, ts := range d.TransferSyntaxes.Private {
		c.known[ts] = true
	}
	for _, ts := range d.TransferSyntaxes.Refuse {
		delete(c.known, ts)
	}
	return c
}

// policyFor returns the choice for a caller with or without the right to
// store, in the form that dimse.Negotiate asks for.
func (c *contexts) policyFor(mayStore bool) func(abstract dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
	return func(abstract dicom.UID, offered []dicom.UID) (dicom.UID, pdu.ContextResult) {
		switch {
		case abstract == dicom.VerificationSOPClass:
		case !c.storage(abstract):
			return "", pdu.ContextAbstractSyntaxNotSupported
		case !mayStore:
			return "", pdu.ContextUserRejection
		}
		if ts, ok := c.transferSyntax(offered); ok {
			return ts, pdu.ContextAccepted
		}
		return "", pdu.ContextTransferSyntaxesNotSupported
	}
}

// storage reports whether an abstract syntax is taken to be a storage SOP
// class. A UID that no table has may be a vendor's private class or one that
// the standard registered later; the standard's services are never mistaken
// for one, since they have other roots.
func (c *contexts) storage(abstract dicom.UID) bool {
	if dicom.IsStorageSOPClass(abstract) {
		return true
	}
	if !c.anyStorage || abstract == "" || dicom.SOPClassName(abstract) != "" && dicom.SOPClassName(abstract) != string(abstract) {
		return false
	}
	s := string(abstract)
	return strings.HasPrefix(s, standardStorageRoot) || !strings.HasPrefix(s, standardRoot)
}

// transferSyntax chooses among those offered in one context. The sender will
// convert to whatever is chosen, so the choice must be what it has:
//
// What is listed under prefer wins. Then, if the first that is known here is
// compressed, that is what the sender holds, and the uncompressed ones beside
// it are there because PS3.5 10.1 wants a fallback; taking the fallback would
// turn a JPEG of 200 KB into 10 MB. Otherwise the sender holds uncompressed
// pixels, and taking a compressed one further down would make it compress,
// with loss perhaps; so the best uncompressed one is taken.
func (c *contexts) transferSyntax(offered []dicom.UID) (dicom.UID, bool) {
	known := c.those(offered)
	if len(known) == 0 {
		return "", false
	}
	if ts, ok := firstOf(c.prefer, known); ok {
		return ts, true
	}
	if !slices.Contains(uncompressed, known[0]) {
		return known[0], true
	}
	return firstOf(uncompressed, known)
}

// those are the offered transfer syntaxes that are accepted at all.
func (c *contexts) those(offered []dicom.UID) []dicom.UID {
	return slices.DeleteFunc(slices.Clone(offered), func(ts dicom.UID) bool { return !c.known[ts] })
}

// firstOf returns the first of wanted that is among offered.
func firstOf(wanted, offered []dicom.UID) (dicom.UID, bool) {
	for _, ts := range wanted {
		if slices.Contains(offered, ts) {
			return ts, true
		}
	}
	return "", false
}
