package gateway

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
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
var anybody = Peer{Allow: allRights}

// anyTitle is the AE title of an entry of peers for all callers that no other
// entry names.
const anyTitle = "*"

// caller is who requests an association, as far as that is known of the
// connection.
type caller struct {
	from netip.Addr
	tls  *tls.ConnectionState // nil without TLS
}

// refusal is the answer to a caller that is not admitted. Its detail is for
// the log: the caller is told the standard's reason alone.
type refusal struct {
	*dimse.RejectError
	why string // for the counter
}

// admit looks a caller up. AE titles are as received; they are compared
// without their padding and with regard to case, as PS3.5 6.2 has it.
func (a *admission) admit(callingAE, calledAE string, c caller) (Peer, *refusal) {
	calling, called := pdu.TrimAETitle(callingAE), pdu.TrimAETitle(calledAE)
	if a.checkCalled && called != a.own {
		verb := "is not"
		if what := differs(called, a.own); what != "" {
			verb = "differs only in " + what + " from"
		}
		return Peer{}, &refusal{dimse.RejectCalledAETitle(fmt.Sprintf(
			"called AE title %s %s %s; correct it at %s, or set dicom.check_called_ae to false",
			pdu.Printable(called), verb, a.own, c.from)), refusedCalledAE}
	}
	if a.accept == AcceptAny {
		peer := anybody
		peer.AETitle = calling
		return peer, nil
	}
	return a.known(calling, c)
}

// known finds the first entry that the caller fits: of those with its AE title,
// or, if there is none, of those for any.
func (a *admission) known(calling string, c caller) (Peer, *refusal) {
	title := calling
	if !slices.ContainsFunc(a.peers, func(p Peer) bool { return p.AETitle == calling && calling != anyTitle }) {
		title = anyTitle
	}
	var unfit *refusal
	for _, p := range a.peers {
		if p.AETitle != title {
			continue
		}
		if unfit = fits(p, calling, c); unfit == nil {
			p.AETitle = calling
			return p, nil
		}
	}
	if unfit != nil && title != anyTitle {
		return Peer{}, unfit
	}
	return Peer{}, a.stranger(calling, c, unfit)
}

// fits tells what keeps a caller from being a peer; nil if nothing does.
func fits(p Peer, calling string, c caller) *refusal {
	switch {
	case !p.AdmitsAddress(c.from):
		return &refusal{dimse.RejectCallingAETitle(fmt.Sprintf(
			"calling AE title %s is not expected from %s; %s may be added to its from under peers:", pdu.Printable(calling), c.from, c.from)), refusedAddress}
	case !p.AdmitsCertificate(c.tls):
		return &refusal{dimse.RejectCallingAETitle(fmt.Sprintf(
			"calling AE title %s is to come with a certificate that is listed under peers:, but from %s %s", pdu.Printable(calling), c.from, lackOf(c.tls))), refusedCertificate}
	}
	return nil
}

// stranger is the refusal of a caller whose AE title no entry has. unfit is
// what keeps it from being one of those for any title, if there are some.
func (a *admission) stranger(calling string, c caller, unfit *refusal) *refusal {
	for _, p := range a.peers {
		if what := differs(calling, p.AETitle); what != "" {
			return &refusal{dimse.RejectCallingAETitle(fmt.Sprintf(
				"calling AE title %s differs from %s under peers only in %s; correct it there or at %s",
				pdu.Printable(calling), p.AETitle, what, c.from)), refusedUnknown}
		}
	}
	if unfit != nil && unfit.why == refusedCertificate {
		return unfit
	}
	return &refusal{dimse.RejectCallingAETitle(fmt.Sprintf(
		"calling AE title %[1]s is not in peers; to admit it, add there: - {ae_title: %[1]s, from: [%[2]s]}", pdu.Printable(calling), c.from)), refusedUnknown}
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
