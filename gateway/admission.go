package gateway

import (
	"fmt"
	"net/netip"
	"strings"

	"dcmgate/dimse"
	"dcmgate/pdu"
	"dcmgate/spool"
)

// admission decides which associations are admitted. It holds no state, so
// that its table can be read, and tested, as one.
type admission struct {
	own         string // AE title
	checkCalled bool
	accept      AcceptPolicy
	peers       []Peer // upstreams among them, see admitted
}

// anybody is who a caller is under accept: any.
var anybody = Peer{Allow: []Right{RightStore, RightQuery, RightRetrieve, RightCommit, RightUpstream}}

// admit looks a caller up. AE titles are as received; they are compared
// without their padding and with regard to case, as PS3.5 6.2 has it.
func (a *admission) admit(callingAE, calledAE string, from netip.Addr) (Peer, *dimse.RejectError) {
	calling, called := pdu.TrimAETitle(callingAE), pdu.TrimAETitle(calledAE)
	if a.checkCalled && called != a.own {
		verb := "is not"
		if what := differs(called, a.own); what != "" {
			verb = "differs only in " + what + " from"
		}
		return Peer{}, dimse.RejectCalledAETitle(fmt.Sprintf(
			"called AE title %s %s %s; correct it at %s, or set dicom.check_called_ae to false",
			pdu.Printable(called), verb, a.own, from))
	}
	if a.accept == AcceptAny {
		peer := anybody
		peer.AETitle = calling
		return peer, nil
	}
	return a.known(calling, from)
}

func (a *admission) known(calling string, from netip.Addr) (Peer, *dimse.RejectError) {
	for _, p := range a.peers {
		if p.AETitle != calling {
			continue
		}
		if !p.AdmitsAddress(from) {
			return Peer{}, dimse.RejectCallingAETitle(fmt.Sprintf(
				"calling AE title %s is not expected from %s; %s may be added to its from under peers:", calling, from, from))
		}
		return p, nil
	}
	for _, p := range a.peers {
		if what := differs(calling, p.AETitle); what != "" {
			return Peer{}, dimse.RejectCallingAETitle(fmt.Sprintf(
				"calling AE title %s differs from %s under peers only in %s; correct it there or at %s",
				pdu.Printable(calling), p.AETitle, what, from))
		}
	}
	return Peer{}, dimse.RejectCallingAETitle(fmt.Sprintf(
		"calling AE title %s is not in peers; %s may be added under peers:", pdu.Printable(calling), from))
}

// congested turns senders away for the time being while the spool has no room
// for what they would send.
func congested(level spool.Level) *dimse.RejectError {
	if level < spool.LevelReject {
		return nil
	}
	return dimse.RejectCongestion("the spool is nearly full; free space on its disk, raise spool.quota, " +
		"or see to destinations that do not take their instances (dcmgate status)")
}

// differs says in what two AE titles differ if it is something that is easily
// overlooked, "" if not.
func differs(a, b string) string {
	spaceless := func(s string) string { return strings.Join(strings.Fields(s), "") }
	switch {
	case a == b:
		return ""
	case strings.EqualFold(a, b):
		return "case"
	case spaceless(a) == spaceless(b):
		return "spaces"
	case strings.EqualFold(spaceless(a), spaceless(b)):
		return "case and spaces"
	}
	return ""
}
