package audit

import (
	"encoding/base64"
	"net/netip"
	"strings"
	"time"

	"dcmgate/dicom"
)

// Participant is a person, a process or an application entity that took part in an event. Its values may come from the
// network; they are shortened and escaped where they are written.
type Participant struct {
	UserID    string // see PS3.15 A.5.2.1
	AETitle   string // of an application entity; "" of others
	UserName  string
	Address   string // IP address, or name of a machine, or URI; "" if there is none
	Requestor bool   // the one who wanted it; one at most of an event
}

// as is the participant in a role.
func (p Participant) as(roles ...CodedValue) ActiveParticipant {
	a := ActiveParticipant{UserID: clip(p.UserID), UserName: clip(p.UserName), Requestor: p.Requestor, AccessPoint: clip(p.Address), Roles: roles}
	if p.AETitle != "" {
		a.AlternativeUserID = "AETITLES=" + clip(p.AETitle) // PS3.15 A.5.2.2
	}
	switch _, err := netip.ParseAddr(p.Address); {
	case p.Address == "":
	case err == nil:
		a.AccessPointType = accessPointAddress
	case strings.Contains(p.Address, ":/"):
		a.AccessPointType = accessPointURI
	default:
		a.AccessPointType = accessPointMachine
	}
	return a
}

// Every text of a message is bounded, in bytes, and so is a query, so that a message fits into a line even if every
// character of them has to be escaped.
const (
	maxText  = 384
	maxQuery = 12 << 10
)

// clip shortens a text that may come from the network.
func clip(s string) string {
	if len(s) > maxText {
		s = s[:maxText] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

func event(id CodedValue, action Action, outcome Outcome, types ...CodedValue) EventIdentification {
	return EventIdentification{ID: id, Action: action, Outcome: outcome, Types: types, Time: time.Now().UTC().Truncate(time.Millisecond)}
}

// Activity tells that the application was started, or stopped (PS3.15 A.5.3.1). by is who did it, "" if nobody knows.
func Activity(start bool, application Participant, by Participant) *Message {
	kind := typeStart
	if !start {
		kind = typeStop
	}
	m := &Message{Event: event(eventApplication, Execute, Success, kind), Participants: []ActiveParticipant{application.as(roleApplication)}}
	if by.UserID != "" {
		m.Participants = append(m.Participants, by.as(roleLauncher))
	}
	return m
}

// LogUsed tells that the audit trail in a directory was read (PS3.15 A.5.3.2).
func LogUsed(by Participant, uri string) *Message {
	m := &Message{Event: event(eventLogUsed, Read, Success), Participants: []ActiveParticipant{by.as()}}
	m.Objects = []Object{named(Object{ID: clip(uri), Type: objectSystem, Role: roleSecurity, IDType: idURI}, "Security Audit Log")}
	return m
}

// Network tells that a node has come, by an association, or has gone (PS3.15 A.5.3.9). description says how.
func Network(attach bool, node Participant, outcome Outcome, description string) *Message {
	kind := typeAttach
	if !attach {
		kind = typeDetach
	}
	e := event(eventNetwork, Execute, outcome, kind)
	e.Description = clip(description)
	node.Requestor = false
	return &Message{Event: e, Participants: []ActiveParticipant{node.as()}}
}

// Search is a query in the form of the protocol it was put by.
type Search struct {
	Subject        string    // SOP class, or path of an HTTP interface
	Query          []byte    // without values that tell of patients
	TransferSyntax dicom.UID // of a DICOM query; "" of others
}

// Query tells of a query (PS3.15 A.5.3.10).
func Query(from, to Participant, s Search, outcome Outcome, description string) *Message {
	e := event(eventQuery, Execute, outcome)
	e.Description = clip(description)
	if len(s.Query) > maxQuery {
		s.Query = nil
		e.Description = clip("query too long to be recorded; " + description)
	}
	o := Object{ID: clip(s.Subject), Type: objectSystem, Role: roleReport, IDType: idSearch}
	if s.TransferSyntax != "" {
		o.IDType = idSOPClass
		o.Details = []Detail{detail("TransferSyntax", string(s.TransferSyntax))}
	}
	query := base64.StdEncoding.EncodeToString(s.Query)
	o.Query = &query
	return &Message{Event: e, Participants: []ActiveParticipant{from.as(roleSource), to.as(roleDestination)}, Objects: []Object{o}}
}

// Alert tells of something that the security of the system is concerned by (PS3.15 A.5.3.11). by are those who reported
// or did it, subject is a node's address or an URI, description says what happened.
func Alert(kind CodedValue, outcome Outcome, subject, description string, by ...Participant) *Message {
	m := &Message{Event: event(eventAlert, Execute, outcome, kind)}
	for _, p := range by {
		m.Participants = append(m.Participants, p.as())
	}
	o := Object{ID: clip(subject), Type: objectSystem, Role: roleSecurity, IDType: idURI, Details: []Detail{detail("Alert Description", description)}}
	if !strings.Contains(subject, ":/") {
		o.IDType = idNode
	}
	m.Objects = []Object{named(o, "Alert Subject")}
	return m
}

// Description returns what an alert says, or how an event has ended.
func (m *Message) Description() string {
	for i := range m.Objects {
		for _, d := range m.Objects[i].Details {
			if d.Type == "Alert Description" {
				return d.text()
			}
		}
	}
	return m.Event.Description
}

func detail(name, value string) Detail {
	return Detail{name, base64.StdEncoding.EncodeToString([]byte(clip(value)))}
}

// text is the detail's value, "" if it cannot be read.
func (d Detail) text() string {
	b, err := base64.StdEncoding.DecodeString(d.Value)
	if err != nil {
		return ""
	}
	return string(b)
}

// named gives an object a name, which the schema wants of those without a query.
func named(o Object, name string) Object {
	o.Name = &name
	return o
}
