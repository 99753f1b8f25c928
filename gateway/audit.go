package gateway

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"dcmgate/audit"
	"dcmgate/dicom"
)

// application is the gateway as a participant.
func application(aeTitle string) audit.Participant {
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return audit.Participant{UserID: strconv.Itoa(os.Getpid()), AETitle: aeTitle, UserName: "dcmgate", Address: host}
}

// entity is an application entity as a participant.
func entity(aeTitle, address string) audit.Participant {
	if aeTitle == "" {
		aeTitle = "-"
	}
	return audit.Participant{UserID: aeTitle, AETitle: aeTitle, Address: address}
}

func requestor(p audit.Participant) audit.Participant {
	p.Requestor = true
	return p
}

// know remembers where destinations and peers are.
func (a *auditor) know(cfg *Config) {
	others := make(map[string]audit.Participant)
	for _, p := range cfg.Peers {
		others[p.AETitle] = entity(p.AETitle, hostOf(p.Address))
	}
	for _, d := range cfg.Destinations {
		others[destinationKey+d.Name] = entity(d.AETitle, hostOf(d.Address))
	}
	for _, u := range cfg.Upstreams {
		others[upstreamKey+u.Name] = entity(u.AETitle, hostOf(u.Address))
	}
	a.others.Store(&others)
}

// destinationKey and upstreamKey begin the keys of destinations and upstreams among those of peers; no AE title holds a
// backslash.
const (
	destinationKey = "\\"
	upstreamKey    = "\\\\"
)

func (a *auditor) at(key, aeTitle string) audit.Participant {
	if p, ok := (*a.others.Load())[key]; ok {
		return p
	}
	return entity(aeTitle, "")
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// counted are instances that one message tells of.
type counted struct {
	audit.Transfer
	class dicom.UID // "" if they are of several, or of none
	n     int
}

// alert tells of something that concerns security. by is who did it.
func (a *auditor) alert(e *AuditEvent, kind audit.CodedValue, outcome audit.Outcome, subject, description string, by ...audit.Participant) {
	if now := a.trail(); now != nil {
		now.tell(e, audit.Alert(kind, outcome, subject, description, append([]audit.Participant{requestor(now.own)}, by...)...))
	}
}

// again is alert for what somebody can do again and again: it is told once a minute for each key, with a count. Keys are from
// the code, so that there are few.
func (a *auditor) again(key string, e *AuditEvent, kind audit.CodedValue, subject, description string, by ...audit.Participant) {
	if a.trail() == nil {
		return
	}
	if repeated, due := a.floods.due(key); due {
		a.alert(e, kind, audit.SeriousFailure, subject, description+times(repeated), by...)
	}
}

func times(repeated int) string {
	if repeated == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d times before)", repeated)
}

// configured tells that another configuration was taken, or that it was not.
func (a *auditor) configured(cause string, r *Reloaded, err error) {
	if err == nil && len(r.Changed)+len(r.NeedsRestart) == 0 {
		return
	}
	outcome, what := audit.Success, "configuration taken ("+cause+"): "+strings.Join(r.Changed, ", ")
	if len(r.NeedsRestart) > 0 {
		what = strings.TrimSuffix(what, ": ") + "; after a restart: " + strings.Join(r.NeedsRestart, ", ")
	}
	if err != nil {
		outcome, what = audit.SeriousFailure, "configuration not taken ("+cause+"): "+strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	a.alert(onConfigured, audit.SoftwareConfiguration, outcome, "file:"+r.File, what)
}

// relistened tells that the address of a setting that is listened on is another; "" for none.
func (a *auditor) relistened(key, from, to string) {
	what := key + ": listens on " + to
	switch {
	case to == "":
		what = key + ": no longer listens on " + from
	case from != "":
		what += ", no longer on " + from
	}
	a.alert(onRelistened, audit.NetworkConfiguration, audit.Success, cmp.Or(to, from), what)
}
