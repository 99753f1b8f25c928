package audit

import (
	"strings"
	"time"
)

// Summary is an entry of the log for people and their programs.
type Summary struct {
	Time        time.Time `json:"time"`
	Event       string    `json:"event"`          // see Message.Word
	Type        string    `json:"type,omitempty"` // such as Attach
	Action      Action    `json:"action"`
	Outcome     Outcome   `json:"outcome"` // 0 is success
	Requestor   *Party    `json:"requestor,omitempty"`
	Source      *Party    `json:"source,omitempty"`      // of instances, or of a query
	Destination *Party    `json:"destination,omitempty"` // likewise
	Others      []Party   `json:"others,omitempty"`
	Subject     string    `json:"subject,omitempty"` // of an alert, SOP class of a query
	Studies     []string  `json:"studies,omitempty"`
	Patients    []string  `json:"patients,omitempty"` // as recorded
	Instances   int       `json:"instances,omitempty"`
	Description string    `json:"description,omitempty"`
	Host        string    `json:"host"`
	Process     string    `json:"process"`
}

// Party is a participant.
type Party struct {
	UserID  string `json:"user_id"`
	AETitle string `json:"ae_title,omitempty"`
	Name    string `json:"name,omitempty"` // for people
	Address string `json:"address,omitempty"`
}

// Label is the AE title, or else the user ID with the name.
func (p *Party) Label() string {
	switch {
	case p == nil:
		return ""
	case p.AETitle != "":
		return p.AETitle
	case p.Name != "" && !strings.HasPrefix(p.UserID, p.Name+"@"):
		return p.UserID + " (" + p.Name + ")"
	}
	return p.UserID
}

// Summary returns what the entry says.
func (e *Entry) Summary() Summary {
	m := &e.Message
	s := Summary{
		Time: m.Event.Time, Event: m.Word(), Action: m.Event.Action, Outcome: m.Event.Outcome,
		Studies: m.Studies(), Instances: m.Instances(), Description: m.Description(), Host: e.Host, Process: e.Process,
	}
	if len(m.Event.Types) > 0 {
		s.Type = m.Event.Types[0].Meaning
	}
	for i := range m.Participants {
		s.place(&m.Participants[i])
	}
	for i := range m.Objects {
		switch o := &m.Objects[i]; o.IDType.Code {
		case idStudy.Code:
		case idPatient.Code:
			s.Patients = append(s.Patients, o.ID)
		default:
			s.Subject = o.ID
		}
	}
	return s
}

func (s *Summary) place(a *ActiveParticipant) {
	p := &Party{UserID: a.UserID, Name: a.UserName, AETitle: strings.TrimPrefix(a.AlternativeUserID, "AETITLES="), Address: a.AccessPoint}
	placed := a.Requestor
	if a.Requestor {
		s.Requestor = p
	}
	for _, role := range a.Roles {
		switch role.Code {
		case roleSource.Code:
			s.Source, placed = p, true
		case roleDestination.Code:
			s.Destination, placed = p, true
		}
	}
	if !placed {
		s.Others = append(s.Others, *p)
	}
}
